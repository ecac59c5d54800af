"""Stores of the kind of Amazon S3: how a bucket is asked, what is signed, and what a refusal means."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import responses
import s3_server
from confidential import secret
from engine_room import Canned, http
from s3_server import KEY, KEYS, SECRET, Bucket, StrictStore

from eofs import catalog, providers
from eofs.client import Client
from eofs.config import Network
from eofs.errors import AccessRefused, EofsError, Gone, NotAllowed, NotSupported, ProviderFailed
from eofs.faults import PassingFault
from eofs.links import address_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eofs.model import Provider

SESSION, WRONG = secret("session-of-alice"), secret("wrong")
BAND = bytes(range(256)) * 4000
ODD = ["a b+c&d=e/f?g#h.tif", "100%41/é ü😀.txt", "o'brien (1)*!~.xml", "a//b.txt", "back\\slash.txt"]


def speaks(store: StrictStore | None = None, keys: dict[str, str] | None = None, **more: Any) -> Provider:
    """Return a provider whose store it is, or one at Amazon's."""
    at = {"s3_endpoint": store.url} if store else {}
    settings = {"auth": {"type": "s3", "credentials": KEYS if keys is None else keys, **at, **more}}
    return providers.build("mine", settings, source="eofs.yml")


@contextlib.contextmanager
def client(provider: Provider) -> Iterator[Client]:
    made = Client(provider, Network(), connections=4, stall_timeout=20.0)
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def conversing(
    buckets: dict[str, Bucket], keys: dict[str, str] | None = None, **more: Any
) -> Iterator[tuple[StrictStore, Client]]:
    """Run a store, and who asks it."""
    with StrictStore(buckets) as store, client(speaks(store, keys, **more)) as asking:
        yield store, asking


def get(asking: Client, link: str, **how: Any) -> bytes:
    """Ask for what is at an ``s3://`` link."""
    with contextlib.closing(asking.get(at(link, asking.provider), **how)) as response:
        return b"".join(asking.body(response))


def at(link: str, provider: Provider) -> str:
    (product,) = catalog.read(json.dumps(result(link)).encode()).products
    return address_of(link, product, provider)


def result(link: str, **properties: Any) -> dict[str, Any]:
    """Return a search result of one product."""
    properties = {"title": "scene", "eodag_provider": "mine", "downloadLink": link, **properties}
    return {"type": "FeatureCollection", "features": [{"type": "Feature", "id": "scene", "properties": properties}]}


# -- with a signature, or without --------------------------------------------------------------------------------------


@pytest.mark.says("It is asked for without a signature first.")
def test_what_is_open_to_everybody_is_asked_for_without_a_signature() -> None:
    with conversing({"open-data": Bucket({"band.tif": BAND}, is_open=True)}) as (store, asking):
        assert get(asking, "s3://open-data/band.tif", start=10, stop=20) == BAND[10:20]
        assert asking.size(at("s3://open-data/band.tif", asking.provider)) == len(BAND)
    assert store.conversation() == [("open", "open-data/band.tif", 206), ("open", "open-data/band.tif", 200)]


@pytest.mark.says(
    "`aws_access_key_id`, `aws_secret_access_key`",
    "requests to an object store are signed, see below",
    "Where that is refused, it is signed, with the keys of the configuration",
    "What was of use for a bucket is remembered",
)
def test_what_is_not_is_signed_for_and_from_then_on_at_once() -> None:
    with conversing({"private": Bucket({"a": b"1", "b": b"2"})}) as (store, asking):
        assert [get(asking, f"s3://private/{key}") for key in "ab"] == [b"1", b"2"]
        assert asking.size(at("s3://private/a", asking.provider)) == 1
    assert [(how, status) for how, _, status in store.conversation()] == [
        ("open", 403),
        ("signed", 200),
        ("signed", 200),
        ("signed", 200),
    ]


@pytest.mark.says("the key is taken to the letter.")
@pytest.mark.parametrize("key", ODD)
def test_a_signature_holds_for_any_key(key: str) -> None:
    with conversing({"private": Bucket({key: b"here"})}) as (_, asking):
        assert get(asking, f"s3://private/{key}") == b"here"


@pytest.mark.says("and so is the region that it names.")
def test_a_signature_is_for_the_region_that_the_bucket_names() -> None:
    with conversing({"private": Bucket({"a": b"1"}, region="waw4-1")}) as (store, asking):
        assert get(asking, "s3://private/a") == get(asking, "s3://private/a") == b"1"
    assert [(asked.region, asked.status) for asked in store.asked] == [
        (None, 403),
        ("us-east-1", 400),
        ("waw4-1", 200),
        ("waw4-1", 200),
    ]


def test_an_object_that_is_not_there_is_gone_and_needs_no_second_question() -> None:
    with conversing({"private": Bucket({"a": b"1"})}) as (store, asking):
        get(asking, "s3://private/a")
        with pytest.raises(Gone):
            get(asking, "s3://private/b")
    assert store.conversation()[2:] == [("signed", "private/b", 404)]


# -- at Amazon's own hosts ---------------------------------------------------------------------------------------------


@pytest.fixture
def amazon() -> Iterator[StrictStore]:
    with s3_server.amazon({}) as store:
        yield store


def hosts(store: StrictStore) -> list[tuple[str, str | None, int]]:
    return [(asked.host.removesuffix(".amazonaws.com"), asked.region, asked.status) for asked in store.asked]


def test_the_region_of_a_bucket_is_learned_before_the_first_signature(amazon: StrictStore) -> None:
    amazon.buckets["my-data"] = Bucket({"a": b"1", "b": b"2"}, region="eu-central-1")
    with client(speaks()) as asking:
        assert [get(asking, f"s3://my-data/{key}") for key in "ab"] == [b"1", b"2"]
    assert hosts(amazon) == [
        ("my-data.s3", None, 403),
        ("my-data.s3", None, 403),  # of the bucket: where is it?
        ("my-data.s3.eu-central-1", "eu-central-1", 200),
        ("my-data.s3.eu-central-1", "eu-central-1", 200),
    ]
    assert [asked.method for asked in amazon.asked] == ["GET", "HEAD", "GET", "GET"]


def test_who_is_sent_to_another_region_goes_there(amazon: StrictStore) -> None:
    amazon.buckets["my-data"] = Bucket({"a": b"1"}, is_open=True, region="us-west-2")
    with (
        client(speaks()) as asking,
        contextlib.closing(asking.get("https://my-data.s3.eu-west-1.amazonaws.com/a")) as response,
    ):
        assert b"".join(asking.body(response)) == b"1"
    assert hosts(amazon) == [("my-data.s3.eu-west-1", None, 301), ("my-data.s3.us-west-2", None, 200)]


def test_a_bucket_whose_name_has_dots_stands_in_the_path(amazon: StrictStore) -> None:
    amazon.buckets["my.data"] = Bucket({"a": b"1"}, region="eu-central-1")
    with client(speaks()) as asking:
        assert get(asking, "s3://my.data/a") == b"1"
    assert [host for host, *_ in hosts(amazon)] == ["s3", "s3", "s3.eu-central-1"]


def test_a_region_that_is_no_name_leads_nowhere(amazon: StrictStore) -> None:
    amazon.buckets["my-data"] = Bucket({"a": b"1"}, region="x.evil.example/")
    with client(speaks()) as asking, pytest.raises(EofsError):
        get(asking, "s3://my-data/a")
    assert {host for host, *_ in hosts(amazon)} == {"my-data.s3"}


@pytest.mark.says("A bucket of Amazon that refuses a signature is EPERM: it may bill who reads it.")
def test_nothing_is_paid_for_that_the_user_has_not_agreed_to_pay(amazon: StrictStore) -> None:
    amazon.buckets["usgs-landsat"] = Bucket({"a": b"1"}, bills=True)
    with client(speaks()) as asking:
        with pytest.raises(NotAllowed, match="Amazon may bill you; set requester_pays: true to agree") as refused:
            get(asking, "s3://usgs-landsat/a")
        assert "403 AccessDenied" in str(refused.value)
        with pytest.raises(NotAllowed):
            asking.size(at("s3://usgs-landsat/a", asking.provider))
    assert not [asked for asked in amazon.asked if "x-amz-request-payer" in asked.headers]


@pytest.mark.says("see below; `requester_pays`", "`requester_pays: true`, in the provider's `auth`")
def test_who_has_agreed_to_pay_says_so_where_he_signs(amazon: StrictStore) -> None:
    amazon.buckets["usgs-landsat"] = Bucket({"a": b"1"}, bills=True)
    with client(speaks(requester_pays=True)) as asking:
        assert get(asking, "s3://usgs-landsat/a") == b"1"
    assert [asked.headers.get("x-amz-request-payer") for asked in amazon.asked] == [None, None, "requester"]


def test_a_provider_of_another_store_signs_nothing_at_amazons(amazon: StrictStore) -> None:
    amazon.buckets["my-data"] = Bucket({"a": b"1"})
    elsewhere = speaks(s3_endpoint="https://minio.example")
    with client(elsewhere) as asking, pytest.raises(AccessRefused, match=r"add it to mine\.auth\.hosts"):
        asking.get("https://my-data.s3.amazonaws.com/a")
    assert [asked.signed for asked in amazon.asked] == [False]


def test_nothing_is_signed_for_a_store_without_encryption_that_the_user_has_not_named_so() -> None:
    with responses.RequestsMock() as net, client(speaks(s3_endpoint="http://minio.example")) as asking:
        net.get("http://minio.example/my-data/a", status=403)
        with pytest.raises(AccessRefused, match=r"add its host to mine\.auth\.hosts \(as http://"):
            get(asking, "s3://my-data/a")
        assert ["Authorization" in call.request.headers for call in net.calls] == [False]


# -- where keys come from, and where they go ---------------------------------------------------------------------------


def with_profile(home: Path) -> None:
    (home / "aws").mkdir()
    text = f"[default]\naws_access_key_id = nobody\naws_secret_access_key = x\n[alice]\naws_access_key_id = {KEY}\n"
    (home / "aws/credentials").write_text(f"{text}aws_secret_access_key = {SECRET}\n", encoding="utf-8")


@pytest.mark.says("`aws_profile`")
def test_keys_come_from_a_profile(tmp_path: Path) -> None:
    with_profile(tmp_path)
    with (
        StrictStore({"private": Bucket({"a": b"1"})}) as store,
        client(speaks(store, {"aws_profile": "alice"})) as asking,
    ):
        assert get(asking, "s3://private/a") == b"1"


@pytest.mark.says("else with those that boto3 finds: variables")
def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with conversing({"private": Bucket({"a": b"1"})}, {}) as (_, asking):
        assert get(asking, "s3://private/a") == b"1"


@pytest.mark.says("`~/.aws`")
def test_keys_come_from_the_default_profile(tmp_path: Path) -> None:
    (tmp_path / "aws").mkdir()
    text = f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "aws/credentials").write_text(text, encoding="utf-8")
    with conversing({"private": Bucket({"a": b"1"})}, {}) as (_, asking):
        assert get(asking, "s3://private/a") == b"1"


GIVEN = {"AccessKeyId": KEY, "SecretAccessKey": SECRET, "Expiration": "2999-01-01T00:00:00Z"}


@pytest.mark.says("the role of the machine")
def test_at_amazon_keys_come_from_the_role_of_the_machine(amazon: StrictStore, monkeypatch: pytest.MonkeyPatch) -> None:
    amazon.buckets["my-data"], amazon.token = Bucket({"a": b"1"}), SESSION
    with (
        Canned(http(200, json.dumps({**GIVEN, "Token": SESSION}).encode())) as machine,
        client(speaks(keys={})) as asking,
    ):
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{machine.url}/role")
        assert get(asking, "s3://my-data/a") == b"1"


@pytest.mark.says("single sign-on")
def test_at_amazon_keys_come_from_single_sign_on(
    tmp_path: Path, amazon: StrictStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    utils = pytest.importorskip("botocore.credentials")
    amazon.buckets["my-data"], amazon.token = Bucket({"a": b"1"}), SESSION
    (tmp_path / "aws").mkdir()
    start = "https://alice.awsapps.com/start"
    said = f"sso_start_url = {start}\nsso_region = eu-west-1\nsso_account_id = 123456789012\nsso_role_name = reader\n"
    (tmp_path / "aws/config").write_text(f"[default]\nregion = eu-west-1\n{said}", encoding="utf-8")
    monkeypatch.setattr(utils.SSOProvider, "_SSO_TOKEN_CACHE_DIR", str(tmp_path / "sso"))
    (tmp_path / "sso").mkdir()
    logged_in = {
        "startUrl": start,
        "region": "eu-west-1",
        "accessToken": "token-of-alice",
        "expiresAt": GIVEN["Expiration"],
    }
    name = hashlib.sha1(start.encode()).hexdigest()
    (tmp_path / f"sso/{name}.json").write_text(json.dumps(logged_in), encoding="utf-8")
    role = {"accessKeyId": KEY, "secretAccessKey": SECRET, "sessionToken": SESSION, "expiration": 32503680000000}
    with Canned(http(200, json.dumps({"roleCredentials": role}).encode())) as portal, client(speaks(keys={})) as asking:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", portal.url)
        assert get(asking, "s3://my-data/a") == b"1"
        assert "token-of-alice" in portal.asked[0]


@pytest.mark.says("`aws_session_token`")
def test_a_session_token_of_the_configuration_is_sent() -> None:
    store = StrictStore({"private": Bucket({"a": b"1"})}, token=SESSION)
    with store, client(speaks(store, {**KEYS, "aws_session_token": SESSION})) as asking:
        assert get(asking, "s3://private/a") == b"1"


@pytest.mark.says("a session that Amazon gave is for Amazon alone.")
def test_what_amazon_gave_to_this_machine_is_not_shown_to_another_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION)
    with (
        conversing({"private": Bucket({"a": b"1"})}, {}) as (store, asking),
        pytest.raises(AccessRefused, match="there are no credentials for mine"),
    ):
        get(asking, "s3://private/a")
    assert not [asked for asked in store.asked if asked.signed]


def test_without_keys_it_is_said_which_are_wanted() -> None:
    with (
        conversing({"private": Bucket({"a": b"1"})}, {}) as (store, asking),
        pytest.raises(AccessRefused, match="no credentials for mine; write aws_access_key_id and aws_secret"),
    ):
        get(asking, "s3://private/a")
    assert store.conversation() == [("open", "private/a", 403)]


def test_half_a_pair_of_keys_is_said_to_be_half() -> None:
    with (
        conversing({}, {"aws_access_key_id": KEY}) as (_, asking),
        pytest.raises(AccessRefused, match="no aws_secret_access_key for mine"),
    ):
        asking.must_have_credentials(at("s3://private/a", asking.provider))


def test_a_profile_that_is_not_there_is_named() -> None:
    with (
        conversing({"private": Bucket()}, {"aws_profile": "bob"}) as (_, asking),
        pytest.raises(AccessRefused, match=r"of the profile 'bob' for mine cannot be had \(ProfileNotFound\)"),
    ):
        get(asking, "s3://private/a")


@pytest.mark.says("S3 that wants a signature, without botocore EOPNOTSUPP")
@pytest.mark.says("It takes `pip install 'eofs-fuse[s3]'`, unless the bucket is open.")
def test_without_boto3_what_is_open_is_read_and_what_is_not_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("botocore", "botocore.session", "botocore.credentials"):
        monkeypatch.setitem(sys.modules, name, None)
    store = StrictStore({"open-data": Bucket({"a": b"1"}, is_open=True), "private": Bucket()})
    with store, client(speaks(store)) as asking:
        assert get(asking, "s3://open-data/a") == b"1"
        with pytest.raises(NotSupported, match=re.escape("pip install 'eofs-fuse[s3]'")):
            get(asking, "s3://private/a")


def test_boto3_is_not_loaded_before_the_first_signature() -> None:
    with StrictStore({"open-data": Bucket({"a": b"1"}, is_open=True)}) as store:
        program = (
            "import sys; from eofs import cli, providers\n"
            "from eofs.client import Client; from eofs.config import Network\n"
            f"settings = {{'auth': {{'type': 's3', 's3_endpoint': '{store.url}'}}}}\n"
            "asking = Client(providers.build('m', settings, source=None), Network(), connections=1, stall_timeout=5)\n"
            f"assert asking.get('{store.url}/open-data/a').status_code == 200\n"
            "print([name for name in sys.modules if name.startswith('boto')])"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("failing", "error", "sentence"),
    [
        ((403, "RequestTimeTooSkewed"), AccessRefused, "finds the clock of this machine wrong"),
        ((403, "InvalidObjectState"), ProviderFailed, "has archived it"),
        ((400, "ExpiredToken"), AccessRefused, "refused the credentials (400 ExpiredToken); check them, or get new"),
        ((403, "AccessDenied"), AccessRefused, "was refused private (403 AccessDenied); check the credentials"),
        ((403, "not <a> code"), AccessRefused, "was refused private (403 Forbidden); check the credentials"),
        ((400, "InvalidRequest"), ProviderFailed, "answers 400 Bad Request"),
    ],
)  # fmt: skip
def test_what_a_refusal_means(failing: tuple[int, str], error: type[EofsError], sentence: str) -> None:
    with (
        conversing({"private": Bucket({"a": b"1"}, failing=failing)}) as (_, asking),
        pytest.raises(error, match=re.escape(sentence)),
    ):
        get(asking, "s3://private/a")


def test_a_store_that_asks_to_slow_down_is_asked_again_later() -> None:
    failing = Bucket({"a": b"1"}, failing=(503, "SlowDown"))
    with conversing({"private": failing}) as (_, asking), pytest.raises(PassingFault):
        get(asking, "s3://private/a")


def test_keys_that_are_wrong_are_refused_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "eofs")
    wrong = {**KEYS, "aws_secret_access_key": WRONG}
    with conversing({"private": Bucket({"a": b"1"})}, wrong) as (_, asking):
        with pytest.raises(AccessRefused, match="refused the credentials") as refused:
            get(asking, "s3://private/a")
        shown = f"{refused.value}{asking.provider}{caplog.text}"
    assert [secret for secret in (WRONG, KEY, "Signature=") if secret in shown] == []


def test_a_signature_does_not_follow_a_redirect() -> None:
    with StrictStore({"open-data": Bucket({"a": b"1"}, is_open=True)}) as other, StrictStore({}) as store:
        seen: list[Any] = []

        def elsewhere(_path: str, headers: Any) -> Any:
            seen.append(headers)
            signed = "Authorization" in headers
            return (307, {"Location": f"{other.url}/open-data/a"}, b"") if signed else (403, {}, b"")

        store.also = elsewhere
        with client(speaks(store)) as asking:
            assert get(asking, "s3://private/a") == b"1"
    assert [("Authorization" in headers) for headers in seen] == [False, True]
    assert [asked.signed for asked in other.asked] == [False]


def test_an_unknown_providers_bucket_is_asked_as_anybody_may(amazon: StrictStore) -> None:
    amazon.buckets["copernicus-dem-30m"] = Bucket({"a.tif": b"1"}, is_open=True, region="eu-central-1")
    amazon.buckets["my-data"] = Bucket()
    nobody = providers.build("copernicus-dem-30m", {}, source=None)
    with client(nobody) as asking:
        assert get(asking, "s3://copernicus-dem-30m/a.tif") == b"1"
        with pytest.raises(AccessRefused, match=r"my-data is not open to everybody \(403 Forbidden\), and no provider"):
            get(asking, "s3://my-data/a")
