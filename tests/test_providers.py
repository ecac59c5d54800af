"""Provider files say what, never if; what a user writes in their shape is read or refused with a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eofs import auth, providers
from eofs.errors import ConfigError
from eofs.model import Provider
from eofs.providers import values


def build(settings: dict[str, Any], name: str = "peps") -> Provider:
    return providers.build(name, settings, source="eofs.yml")


@pytest.mark.parametrize("name", providers.builtin())
def test_every_built_in_provider_can_be_built(name: str) -> None:
    provider = build(providers.builtin()[name], name)
    assert provider.title
    assert provider.hosts
    assert provider.auth in auth.KINDS


def test_peps() -> None:
    peps = build(providers.builtin()["peps"])
    assert auth.may_receive(peps, "https://peps.cnes.fr/resto/collections/S2ST/1/download")
    assert auth.missing(peps) == ("username", "password")
    assert (peps.dl_url_params, peps.max_connections) == ({"issuerId": "peps"}, 4)
    assert (peps.order, peps.closed) == ("get", None)


def test_the_demo_provider_has_what_it_wants_on_any_port_of_this_machine() -> None:
    demo = build(providers.builtin()["demo"], "demo")
    assert auth.headers(demo, "http://127.0.0.1:40123/download")
    assert not auth.may_receive(demo, "https://demo.example/")


def test_the_built_in_files_are_read_once() -> None:
    assert providers.builtin() is providers.builtin()


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        ({}, "auth", "none"),
        ({"title": "Mine"}, "title", "Mine"),
        ({"closed": "closed in 2026"}, "closed", "closed in 2026"),
        ({"hosts": ["A.example", "b.example:1"]}, "hosts", ("a.example", "b.example:1")),
        ({"hosts": "a.example, b.example"}, "hosts", ("a.example", "b.example")),
        ({"hosts": ["a.example"], "auth": {"hosts": ["c.example", "a.example"]}}, "hosts", ("a.example", "c.example")),
        ({"auth": {"hosts": "http://c.lan:80"}}, "insecure_hosts", ("c.lan:80",)),
        ({"hosts": ["http://c.lan"], "auth": {"hosts": ["c.lan"]}}, "insecure_hosts", ("c.lan",)),
        ({"download": {"files": "odata-nodes"}}, "files", "odata-nodes"),
        ({"download": {"files": " EUMETSAT-Entries "}}, "files", "eumetsat-entries"),
        ({"download": {"files": "none"}}, "files", None),
        ({"download": {"files": ""}}, "files", None),
        ({"auth": {"type": "basic"}}, "auth", "basic"),
        ({"auth": {"type": "Basic"}}, "auth", "basic"),
        ({"auth": {"type": "GenericAuth"}}, "auth", "basic"),
        ({"auth": {"type": "GenericAuth", "method": "basic"}}, "auth", "basic"),
        ({"auth": {"type": "GenericAuth", "method": "digest"}}, "auth", "GenericAuth, method digest"),
        ({"auth": {"type": "HTTPHeaderAuth"}}, "auth", "header"),
        ({"auth": {"type": "KeycloakOIDCPasswordAuth"}}, "auth", "oidc_password"),
        ({"auth": {"type": "OIDCTokenExchangeAuth"}}, "auth", "OIDCTokenExchangeAuth"),
        ({"auth": {"token_uri": " https://a.example/token "}}, "login", {"token_uri": "https://a.example/token"}),
        ({"auth": {"auth_uri": "https://a.example/?u={url}"}}, "login", {"auth_uri": "https://a.example/?u={url}"}),
        ({"auth": {"client_id": "public", "client_secret": None}}, "login", {"client_id": "public"}),
        ({"auth": {"headers": {"X-API-Key": "{apikey}"}}}, "login", {"headers": {"X-API-Key": "{apikey}"}}),
        ({"auth": {"token_provision": "QS", "token_qs_key": "t"}}, "login",
         {"token_provision": "qs", "token_qs_key": "t"}),
        ({"auth": {"auth_tuple": ["username", "password"], "post_credentials": "false"}}, "login",
         {"auth_tuple": ("username", "password"), "post_credentials": False}),
        ({"auth": {"credentials": {"USERNAME": "a", "pin": 7}}}, "credentials", {"username": "a", "pin": "7"}),
        ({"auth": {"credentials": {"username": None, "password": " "}}}, "credentials", {}),
        ({"auth": {"credentials": {"username": "a"}}}, "credentials_from", "eofs.yml"),
        ({"auth": {"credentials": {"username": ""}}}, "credentials_from", None),
        ({"auth": {"auth_error_code": 401}}, "auth_error_codes", {401}),
        ({"auth": {"auth_error_code": [401, 403]}}, "auth_error_codes", {401, 403}),
        ({"auth": {"auth_error_code": "401, 500"}}, "auth_error_codes", {401, 500}),
        ({"download": {"auth_error_code": 403}}, "auth_error_codes", {403}),
        ({"download": {"base_uri": "https://a.example/x"}}, "base_uri", "https://a.example/x"),
        ({"download": {"base_uri": "https://a.example/x"}}, "hosts", ("a.example:443",)),
        ({"download": {"base_uri": "http://a.example/x"}}, "insecure_hosts", ()),
        ({"download": {"base_uri": "https://{zone}.example/x"}}, "hosts", ()),
        ({"download": {"dl_url_params": {"issuerId": "x", "n": 3, "all": True, "not": None}}}, "dl_url_params",
         {"issuerId": "x", "n": "3", "all": "true"}),
        ({"download": {"ssl_verify": "False"}}, "ssl_verify", False),
        ({"download": {"extract": False}}, "extract", False),
        ({"download": {"extract": None}}, "extract", True),
        ({"download": {"order_enabled": False}}, "order", "none"),
        ({"download": {"order_enabled": "true"}}, "order", "get"),
        ({"download": {"max_workers": 2}}, "max_connections", 2),
        ({"download": {"max_connections": "3", "max_workers": 2}}, "max_connections", 3),
        ({"download": {"retries": 0}}, "retries", 0),
        ({"download": {"retry_delay": "0.5"}}, "retry_delay", 0.5),
        ({"priority": 1, "search": {"type": "QueryStringSearch"}, "download": {"archive_depth": "x"}}, "auth", "none"),
        ({"auth": None, "download": ""}, "auth", "none"),
    ],
)  # fmt: skip
def test_what_each_key_means(settings: dict[str, Any], field: str, value: object) -> None:
    assert getattr(build(settings), field) == value


def test_the_log_in_of_a_provider_as_eodag_describes_it() -> None:
    url = "https://identity.example/auth/realms/X/.well-known/openid-configuration"
    described = {
        "type": "KeycloakOIDCPasswordAuth",
        "matching_url": "https://catalogue.example",
        "oidc_config_url": url,
        "client_id": "public",
        "client_secret": None,
        "token_provision": "qs",
        "token_qs_key": "token",
        "allowed_audiences": ["PUBLIC"],
        "auth_error_code": 401,
        "credentials": {"username": "alice", "password": "hunter2", "totp": 123456},
    }
    provider = build({"auth": described}, "mine")
    assert (provider.auth, provider.auth_error_codes) == ("oidc_password", frozenset({401}))
    assert provider.credentials == {"username": "alice", "password": "hunter2", "totp": "123456"}
    login = {"oidc_config_url": url, "client_id": "public", "token_provision": "qs", "token_qs_key": "token"}
    assert provider.login == login
    assert "identity" not in repr(provider)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"hosts": ["a/b"]}, "eofs.yml: peps.hosts: expected hosts such as"),
        ({"hosts": {"a": 1}}, "eofs.yml: peps.hosts: expected a single text"),
        ({"auth": {"type": "bsaic"}}, "peps.auth.type cannot be 'bsaic': expected one of none, basic, header,"),
        ({"auth": {"token_uri": "a.example"}}, "peps.auth.token_uri cannot be 'a.example': expected an address"),
        ({"auth": {"token_provision": "body"}}, "peps.auth.token_provision cannot be 'body': expected header or qs"),
        ({"auth": {"headers": "Bearer hunter2"}}, "peps.auth.headers: expected names with a text each"),
        ({"auth": {"method": "ntlm"}}, "peps.auth.method cannot be 'ntlm': expected basic or digest"),
        (
            {"auth": {"auth_error_code": "login"}},
            "peps.auth.auth_error_code cannot be 'login': expected a whole",
        ),
        ({"auth": {"auth_error_code": 40}}, "expected a whole number from 100 to 599"),
        ({"download": {"max_connections": 0}}, "peps.download.max_connections cannot be '0': expected a whole number"),
        ({"download": {"max_connections": True}}, "expected a whole number"),
        ({"download": {"extract": "maybe"}}, "peps.download.extract cannot be 'maybe': expected true or false"),
        (
            {"download": {"files": "nodes"}},
            "peps.download.files cannot be 'nodes': expected one of odata-nodes, eumetsat",
        ),
        ({"download": {"files": ["odata-nodes"]}}, "peps.download.files: expected a single text"),
        ({"download": {"retries": "many"}}, "peps.download.retries cannot be 'many'"),
        ({"download": {"retries": -1}}, "peps.download.retries cannot be '-1'"),
        (
            {"download": {"retry_delay": "nan"}},
            "peps.download.retry_delay cannot be 'nan': expected seconds",
        ),
        ({"download": {"base_uri": ["x"]}}, "peps.download.base_uri: expected a single text"),
        ({"title": ["x"]}, "peps.title: expected a single text"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named_with_its_key_and_what_was_expected(
    settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError) as wrong:
        build(settings)
    assert sentence in str(wrong.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"auth": "hunter2"},
        {"auth": ["hunter2"]},
        {"auth": {"credentials": "hunter2"}},
        {"auth": {"credentials": {"password": ["hunter2"]}}},
        {"auth": {"hosts": "http://alice:hunter2@a.example"}},
        {"download": {"dl_url_params": "apikey=hunter2"}},
    ],
)
def test_what_may_be_a_password_is_never_repeated(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as wrong:
        build(settings)
    assert "hunter2" not in str(wrong.value)
    assert wrong.value.__cause__ is None
    assert wrong.value.__suppress_context__


def test_a_provider_shows_no_credential() -> None:
    shown = repr(build({"auth": {"credentials": {"username": "alice", "password": "hunter2"}}}))
    assert "alice" not in shown
    assert "hunter2" not in shown


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["hosts", "type", "credentials", "auth_error_code", "base_uri", "dl_url_params", "retries", "extract"]
blocks = anything | st.dictionaries(st.sampled_from(KEYS), anything)


@given(st.dictionaries(st.sampled_from(["title", "hosts", "auth", "download"]), blocks))
def test_whatever_stands_in_a_file_it_is_read_or_refused(settings: dict[str, Any]) -> None:
    try:
        assert isinstance(build(settings), Provider)
    except ConfigError as error:
        assert str(error).startswith("eofs.yml: peps")  # noqa: PT017 - either way is right


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0123", "0123"), ("1_000", "1_000"), ("12:30:45", "12:30:45"), ("2021-13-45", "2021-13-45"),
        ("1e3", "1e3"), ("yes", "yes"), ("007", "007"), ("0x1F", "0x1F"), ("'null'", "null"), ("a b c", "a b c"),
        ("null", None), ("~", None), ("", None), ('""', ""), ("!!int 3", 3),
    ],
)  # fmt: skip
def test_yaml_gives_back_what_stands_there(written: str, value: object) -> None:
    assert values.texts_of_yaml(f"password: {written}".encode()) == {"password": value}


@pytest.mark.parametrize(
    "content",
    [
        b"a: 1\npassword: !hunter2 x",
        b"a: 1\npassword: *hunter2",
        b"a: 1\npassword: @hunter2",
        b"a: 1\npassword: hunter2: x",
        b"a: 1\npassword: !!int hunter2",
        b"a: 1\npassword: !!timestamp 2021-13-45",
        b"password: [hunter2",
        b"a: 1\n--- \nb: hunter2",
        b"\xff\xfe\xff hunter2",
        b"hunter2: \x00",
        b"[" * 5000,
    ],
)
def test_what_is_not_yaml_is_refused_without_quoting_it(content: bytes) -> None:
    with pytest.raises(values.Unexpected) as wrong:
        values.texts_of_yaml(content)
    assert "hunter2" not in str(wrong.value)
    assert wrong.value.__context__ is None


def test_what_is_not_yaml_is_refused_with_its_line() -> None:
    with pytest.raises(values.Unexpected, match="line 2"):
        values.texts_of_yaml(b"a: 1\npassword: @x")
