"""Credentials go to the hosts of their provider and nowhere else."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from confidential import PASSWORD
from hypothesis import given
from hypothesis import strategies as st

from eofs import auth
from eofs.errors import AccessRefused
from eofs.model import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

PEPS = Provider(
    name="peps",
    hosts=("peps.cnes.fr", ".data.example", "mirror.example:8443", "any.example:*", "old.lan:8080", "127.0.0.1:*"),
    insecure_hosts=("old.lan:8080",),
    auth="basic",
    credentials={"username": "alice", "password": PASSWORD},
)


@pytest.mark.says("Credentials travel over https, or over http to loopback addresses")
@pytest.mark.parametrize(
    "url",
    [
        "https://peps.cnes.fr/resto",
        "https://peps.cnes.fr:443/resto",
        "https://peps.cnes.fr:/resto",
        "HTTPS://PEPS.CNES.FR/resto",
        "https://peps.cnes.fr./resto",
        "https://peps.cnes.fr?next=https://evil.example/",
        "https://peps.cnes.fr#@evil.example",
        "https://peps.cnes.fr/@evil.example/",
        "https://s3.data.example/x",
        "https://a.b.data.example/x",
        "https://mirror.example:8443/x",
        "https://any.example/x",
        "https://any.example:1/x",
        "http://old.lan:8080/x",
        "https://old.lan:8080/x",
        "http://127.0.0.1:40123/x",
        "http://127.0.0.1/x",
    ],
)
def test_an_address_of_the_provider_may_receive_credentials(url: str) -> None:
    assert auth.may_receive(PEPS, url)
    assert auth.headers(PEPS, url)


@pytest.mark.says(
    "A credential goes to the hosts of its provider and nowhere else",
)
@pytest.mark.parametrize(
    "url",
    [
        "http://peps.cnes.fr/resto",
        "https://peps.cnes.fr:8443/resto",
        "http://peps.cnes.fr:443/resto",
        "https://peps.cnes.fr:99999/resto",
        "https://peps.cnes.fr:port/resto",
        "https://peps.cnes.fr.evil.example/",
        "https://evil-peps.cnes.fr/",
        "https://cnes.fr/",
        "https://sub.peps.cnes.fr/",
        "https://data.example/",
        "https://xdata.example/",
        "http://s3.data.example/",
        "https://mirror.example/",
        "http://mirror.example:8443/",
        "http://any.example:8443/",
        "http://old.lan/",
        "https://peps.cnes.fr@evil.example/",
        "https://peps.cnes.fr:443@evil.example/",
        "https://user:password@peps.cnes.fr/",
        "https://@peps.cnes.fr/",
        "https://evil.example\\@peps.cnes.fr/",
        "https://peps.cnes.fr\\@evil.example/",
        "https://peps.cnes.fr;evil.example/",
        "https://peps.cnes.fr%2eevil.example/",
        "https://peps.cnes.fr\t.evil.example/",
        "https://peps.\ncnes.fr/",
        " https://peps.cnes.fr/",
        "https://peps.cnes.fr../",
        "https://pe\uff50s.cnes.fr/",
        "https://pep\u017f.cnes.fr/",
        "//peps.cnes.fr/resto",
        "///peps.cnes.fr/resto",
        "https:///peps.cnes.fr/",
        "https:peps.cnes.fr/",
        "peps.cnes.fr/resto",
        "ftp://peps.cnes.fr/",
        "s3://peps.cnes.fr/",
        "http://127.0.0.1.evil.example/",
        "http://127.1/",
        "http://2130706433/",
        "http://[::1]/",
        "https://[peps.cnes.fr]/",
        "https://[::1/",
        "",
    ],
)
def test_any_other_address_receives_nothing(url: str) -> None:
    assert not auth.may_receive(PEPS, url)
    assert auth.headers(PEPS, url) == {}


@pytest.mark.parametrize(
    ("hosts", "url", "may"),
    [
        (("[::1]:8080",), "http://[::1]:8080/", True),
        (("[::1]:8080",), "http://[0:0:0:0:0:0:0:1]:8080/", True),
        (("[::1]:8080",), "http://[::1]/", False),
        (("[::1]",), "http://[::1]:80/", True),
        (("[2001:db8::1]",), "https://[2001:DB8::1]/", True),
        (("[2001:db8::1]",), "http://[2001:db8::1]/", False),
        (("127.0.0.1",), "http://127.0.0.1/", True),
        (("127.0.0.1",), "http://127.0.0.1:8080/", False),
        (("localhost:8080",), "http://localhost:8080/", True),
        (("localhost",), "http://localhost.evil.example/", False),
        ((), "https://peps.cnes.fr/", False),
        (("",), "https:///", False),
    ],
)
def test_addresses_in_digits_and_loopback(hosts: tuple[str, ...], url: str, may: bool) -> None:
    assert auth.may_receive(Provider(name="x", hosts=hosts), url) is may


def test_a_host_is_insecure_only_where_it_is_also_a_host() -> None:
    assert not auth.may_receive(Provider(name="x", insecure_hosts=("a.example",)), "http://a.example/")


@given(st.text(max_size=40))
def test_no_text_breaks_the_question(url: str) -> None:
    everything = Provider(name="x", hosts=("peps.cnes.fr",))
    assert not auth.may_receive(everything, url)
    auth.may_receive(everything, f"https://{url}")
    auth.host_entry(url)


@pytest.mark.parametrize(
    ("written", "entry"),
    [
        ("peps.cnes.fr", ("peps.cnes.fr", False)),
        (" PEPS.cnes.FR. ", ("peps.cnes.fr", False)),
        ("peps.cnes.fr:8443", ("peps.cnes.fr:8443", False)),
        ("127.0.0.1:*", ("127.0.0.1:*", False)),
        (".cnes.fr", (".cnes.fr", False)),
        (".cnes.fr:8443", (".cnes.fr:8443", False)),
        ("http://mirror.lan:8080", ("mirror.lan:8080", True)),
        ("http://mirror.lan/", ("mirror.lan", True)),
        ("HTTPS://mirror.lan", ("mirror.lan", False)),
        ("[0:0::1]:80", ("[::1]:80", False)),
        *[
            (wrong, None)
            for wrong in (
                "", ".", "*", "*.cnes.fr", "a b", "::1", "[::1", "[x]", "[1:2]", "host:", "host:x", "host:123456", "ftp://host",
                "http://", "http://host/path", "http://user:pw@host", "host?", "pep\u017f.fr", "a..b", "http://http://h",
            )
        ],
    ],
)  # fmt: skip
def test_what_a_user_writes_for_a_host(written: str, entry: tuple[str, bool] | None) -> None:
    assert auth.host_entry(written) == entry


@pytest.mark.says("HTTP Basic")
def test_basic_is_sent_in_utf_8() -> None:
    sent = auth.headers(PEPS, "https://peps.cnes.fr/")
    assert list(sent) == ["Authorization"]
    kind, _, pair = sent["Authorization"].partition(" ")
    assert kind == "Basic"
    assert b64decode(pair).decode("utf-8") == f"alice:{PASSWORD}"


def test_basic_gives_back_the_bytes_of_a_variable_that_is_not_utf_8() -> None:
    latin = replace(PEPS, credentials={"username": "alice", "password": b"p\xe4ss".decode("utf-8", "surrogateescape")})
    sent = auth.headers(latin, "https://peps.cnes.fr/")["Authorization"]
    assert b64decode(sent.removeprefix("Basic ")) == b"alice:p\xe4ss"


@pytest.mark.parametrize(
    ("kind", "credentials", "missing"),
    [
        ("none", {}, ()),
        ("basic", {"username": "alice", "password": "x"}, ()),
        ("basic", {"username": "alice"}, ("password",)),
        ("basic", {"apikey": "x"}, ("username", "password")),
    ],
)
def test_what_is_missing(kind: str, credentials: Mapping[str, str], missing: tuple[str, ...]) -> None:
    provider = replace(PEPS, auth=kind, credentials=credentials)
    assert auth.missing(provider) == missing
    complete = kind == "basic" and not missing
    assert bool(auth.headers(provider, "https://peps.cnes.fr/")) is complete


KEYS = replace(PEPS, credentials={"apikey": "k&y=1"})


def test_every_kind_works_with_what_it_wants() -> None:
    for name, kind in auth.KINDS.items():
        assert kind.name == name
        provider = replace(PEPS, auth=name, credentials={})
        provider = replace(provider, credentials=dict.fromkeys(auth.missing(provider), "x"))
        assert auth.missing(provider) == ()
        assert all(isinstance(text, str) for text in kind.headers(provider, "https://peps.cnes.fr/").values())
    assert set(auth.EODAG_KINDS.values()) <= set(auth.KINDS)


@pytest.mark.says('`headers: {X-API-Key: "{apikey}"}`; a cookie is `headers: {Cookie: "name={apikey}"}`')
@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"X-API-Key": "{apikey}"}, {"X-API-Key": "k&y=1"}),
        ({"Authorization": "Apikey {apikey}"}, {"Authorization": "Apikey k&y=1"}),
        ({"Cookie": "seeedtoken={apikey}", "X-Fixed": "1"}, {"Cookie": "seeedtoken=k&y=1", "X-Fixed": "1"}),
        ({"X-API-Key": "{apikey.__class__} {}"}, {"X-API-Key": "{apikey.__class__} {}"}),
    ],
    ids=["a key of its own", "Authorization", "a cookie", "no other braces"],
)
def test_a_header_is_filled_with_the_credentials(headers: dict[str, str], sent: dict[str, str]) -> None:
    provider = replace(KEYS, auth="header", login={"headers": headers})
    assert auth.headers(provider, "https://peps.cnes.fr/") == sent
    assert auth.headers(provider, "https://elsewhere.example/") == {}


def test_a_header_wants_what_stands_in_its_braces() -> None:
    provider = replace(PEPS, auth="header", login={"headers": {"a": "{access_key}", "s": "{secret_key}"}})
    assert auth.missing(provider) == ("access_key", "secret_key")


@pytest.mark.parametrize("apikey", ["a\r\nX-Other: 1", "clé"])
def test_a_credential_that_no_header_can_carry_is_refused_and_not_shown(apikey: str) -> None:
    provider = replace(PEPS, auth="header", login={"headers": {"K": "{apikey}"}}, credentials={"apikey": apikey})
    with pytest.raises(AccessRefused, match="the credentials of peps hold a character") as refused:
        auth.headers(provider, "https://peps.cnes.fr/")
    assert apikey not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://peps.cnes.fr/x", "https://peps.cnes.fr/x?apikey=k%26y%3D1"),
        ("https://peps.cnes.fr/x?a=%2f&b", "https://peps.cnes.fr/x?a=%2f&b&apikey=k%26y%3D1"),
        ("https://peps.cnes.fr/x?apikey=old&a=1", "https://peps.cnes.fr/x?a=1&apikey=k%26y%3D1"),
        ("https://elsewhere.example/x", "https://elsewhere.example/x"),
    ],
)
def test_a_key_in_the_query_goes_to_the_hosts_of_the_provider_only(url: str, asked: str) -> None:
    provider = replace(KEYS, auth="query")
    assert auth.address(provider, url) == asked
    assert auth.headers(provider, url) == {}


@pytest.mark.says("each is added to the query")
def test_each_credential_goes_into_the_query() -> None:
    provider = replace(PEPS, auth="query", credentials={"user": "alice", "key": "k&y"})
    assert auth.address(provider, "https://peps.cnes.fr/x?a=1") == "https://peps.cnes.fr/x?a=1&user=alice&key=k%26y"


@pytest.mark.says("NASA Earthdata: Basic at urs.earthdata.nasa.gov")
def test_earthdata_sees_the_password_at_its_log_in_only() -> None:
    nasa = replace(PEPS, auth="earthdata", hosts=("urs.earthdata.nasa.gov", "data.nsidc.earthdatacloud.nasa.gov"))
    assert auth.headers(nasa, "https://data.nsidc.earthdatacloud.nasa.gov/x.h5") == {}
    assert "Basic" in auth.headers(nasa, "https://urs.earthdata.nasa.gov/oauth/authorize?x=1")["Authorization"]


def test_how_to_supply_names_the_variables_and_the_file() -> None:
    said = auth.how_to_supply(replace(PEPS, credentials={}))
    assert "set EODAG__PEPS__AUTH__CREDENTIALS__USERNAME and EODAG__PEPS__AUTH__CREDENTIALS__PASSWORD" in said
    assert "~/.config/eodag/eodag.yml" in said


def test_how_to_supply_names_only_what_is_missing() -> None:
    said = auth.how_to_supply(replace(PEPS, credentials={"username": "alice"}))
    assert "USERNAME" not in said
    assert "alice" not in said


def test_how_to_supply_names_all_where_the_credentials_were_refused() -> None:
    said = auth.how_to_supply(PEPS)
    assert "USERNAME" in said
    assert "PASSWORD" in said
    assert "alice" not in said


def test_how_to_supply_names_no_variable_that_no_shell_can_set() -> None:
    said = auth.how_to_supply(Provider(name="my-mirror.example", auth="basic"))
    assert "__" not in said
    assert "my-mirror.example" in said


def test_a_provider_that_wants_nothing_says_so() -> None:
    assert auth.how_to_supply(Provider(name="open")) == "open wants no credentials"


def test_a_way_to_log_in_that_is_not_there_yet_is_refused_when_it_is_needed() -> None:
    provider = replace(PEPS, auth="OIDCAuthorizationCodeFlowAuth")
    assert auth.missing(provider) == ()
    assert auth.headers(provider, "https://elsewhere.example/") == {}
    with pytest.raises(AccessRefused, match="OIDCAuthorizationCodeFlowAuth") as refused:
        auth.headers(provider, "https://peps.cnes.fr/")
    assert "alice" not in str(refused.value)
