"""One token for each provider and process: fetched once, renewed in time, and never seen anywhere."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import responses
from confidential import PASSWORD, TOTP_SEED, secret
from engine_room import DEMO, Canned, LeapingClock, Room, aside, content, http, md5sums, pieces, together, until
from token_server import BASIC, CLIENT, JSON, NAME, SECRETS, TokenServer

from eofs import auth, signatures, tokens
from eofs.client import Client
from eofs.config import Network
from eofs.demo import Reply, ten_products
from eofs.errors import AccessRefused, EofsError, NotReady, ProviderFailed, Unreachable
from eofs.faults import PassingFault
from eofs.logins import Login
from eofs.nodes import NOBODY
from eofs.status import Activity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eofs.demo.replies import Request
    from eofs.model import Provider

ONLINE = "86440880-7f7d-50f0-87a7-ac1bc2bd8fbd"
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


PRODUCTS = [feature for feature in ten_products() if feature["properties"]["uid"] == ONLINE]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TokenServer]:
    with TokenServer(tmp_path / "store", products=PRODUCTS, megabytes=2) as running:
        yield running


@pytest.fixture
def room(server: TokenServer, tmp_path: Path) -> Iterator[Room]:
    room = Room(server, tmp_path / "cache")
    yield room
    room.close()


class At:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> float:
        return self.time


def login(speaks: Provider, now: Any = None) -> Login:
    return Login(speaks, Network(), stall_timeout=30, now=now or At())


def link(server: TokenServer, what: str = "x") -> str:
    return f"{server.url}/{what}"


def ask(client: Client, server: TokenServer) -> bytes:
    """Download the product."""
    feature = server.result()["features"][0]
    url = str(feature["properties"]["services"]["download"]["url"])
    response = client.get(auth.with_query(url, {"issuerId": "demo"}))
    with response:
        return b"".join(client.body(response))


def said_of(error: BaseException) -> str:
    text = f"{error}{error!r}"
    assert not [secret for secret in SECRETS if secret in text]
    return text


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("", ""),
        ("?st=1&page=2", "?st=1&page=2"),
        ("?st=2021-01-01&se=2021-01-02&sp=rl&sv=2024&sr=c&skoid=a&sktid=b&skt=c&ske=d&sks=b&skv=e&sig=x%3D", ""),
        ("?page=2&sr=c&sig=x&a=%26", "?page=2&a=%26"),
        ("?X-Amz-Algorithm=a&X-Amz-Date=b&X-Amz-Signature=c&versionId=3", "?versionId=3"),
    ],
    ids=["none", "no signature", "Azure", "among others", "S3"],
)
def test_an_address_that_was_saved_with_a_signature_is_signed_anew(query: str, left: str) -> None:
    assert signatures.unsigned(f"https://a.example/c/x.tif{query}") == f"https://a.example/c/x.tif{left}"


# -- one token ---------------------------------------------------------------------------------------------------------


@pytest.mark.says("A token is sent as `Authorization: Bearer …`")
def test_twenty_threads_make_one_token_request(server: TokenServer) -> None:
    asking = login(server.speaks())
    passes = together(20, lambda: asking.authorise(link(server)))
    assert {found.headers["Authorization"].partition("-")[0] for found in passes} == {"Bearer access"}
    assert len({found.headers["Authorization"] for found in passes}) == 1
    assert server.count_of("password") == len(server.asked) == 1
    asking.close()


def test_twenty_threads_learn_of_one_failure_with_an_error_each(server: TokenServer) -> None:
    release = [Reply(503, {"Retry-After": "7"}) for _ in range(20)]
    server.answers["/token"] = release
    asking = login(server.speaks())
    found = together(20, lambda: asking.authorise(link(server)))
    assert all(isinstance(fault, PassingFault) and fault.retry_after == 7 for fault in found)
    assert len({id(fault) for fault in found}) == 20
    asking.close()


@pytest.mark.says("There is one token for each provider and mount")
def test_downloads_share_the_token_of_their_client(server: TokenServer) -> None:
    client = Client(server.speaks(), Network(), connections=4, stall_timeout=30)
    bodies = together(6, lambda: ask(client, server))
    assert {hashlib.md5(body).hexdigest() for body in bodies} == {
        hashlib.md5(server.archive(ONLINE).read_bytes()).hexdigest()
    }
    assert len(server.asked) == 1
    assert set(server.shown) == {server.shown[0]}
    client.close()


@pytest.mark.says("It is renewed a minute before it ends, by its refresh token where there is one.")
@pytest.mark.parametrize(
    ("age", "grants"),
    [
        (539, ["password"]),
        (540, ["password", "refresh_token"]),
        (3599, ["password", "refresh_token"]),
        (3600, ["password", "password"]),
    ],
    ids=["good", "a minute before its end", "long over", "the refresh token is over, too"],
)
def test_a_token_is_renewed_a_minute_before_it_ends(server: TokenServer, age: float, grants: list[str]) -> None:
    clock = At()
    asking = login(server.speaks(), clock)
    first = asking.authorise(link(server))
    clock.time += age
    again = asking.authorise(link(server))
    assert [said["grant_type"] for _, said, _ in server.asked] == grants
    assert (again.headers == first.headers) is (len(grants) == 1)
    asking.close()


def test_a_token_that_is_short_lived_is_used_for_half_of_its_time(server: TokenServer) -> None:
    server.expires_in = 20
    clock = At()
    asking = login(server.speaks(), clock)
    for _ in range(4):
        asking.authorise(link(server))
        clock.time += 5
    assert len(server.asked) == 2
    asking.close()


@pytest.mark.parametrize("expires_in", [0, -1])
def test_a_token_that_is_over_at_once_is_used_once(server: TokenServer, expires_in: float) -> None:
    server.expires_in = expires_in
    asking = login(server.speaks())
    assert asking.authorise(link(server)).headers
    assert len(server.asked) == 1
    asking.close()


def test_a_refresh_token_that_is_refused_leads_to_a_log_in(server: TokenServer) -> None:
    clock = At()
    asking = login(server.speaks(), clock)
    asking.authorise(link(server))
    server.end_sessions()
    clock.time += 600
    asking.authorise(link(server))
    assert [said["grant_type"] for _, said, _ in server.asked] == ["password", "refresh_token", "password"]
    asking.close()


def test_a_refresh_that_meets_a_passing_fault_is_tried_again_and_not_logged_in_instead(server: TokenServer) -> None:
    clock = At()
    asking = login(server.speaks(), clock)
    asking.authorise(link(server))
    clock.time += 600
    server.answers["/token"] = [Reply(500)]
    with pytest.raises(PassingFault):
        asking.authorise(link(server))
    asking.authorise(link(server))
    assert [said["grant_type"] for _, said, _ in server.asked] == ["password", "refresh_token", "refresh_token"]
    asking.close()


def test_a_refresh_without_a_new_refresh_token_keeps_the_old_one(server: TokenServer) -> None:
    before = tokens.Token("a", refresh="old", refresh_ends=NOW + 9)
    body = json.dumps({"access_token": "b", "expires_in": "600"}).encode()
    found = tokens.read(server.speaks(), tokens.Answer(200, {}, body), NOW, before)
    assert found == tokens.Token("b", NOW + 540, "old", NOW + 9)


# -- a token that is refused -------------------------------------------------------------------------------------------


@pytest.mark.says("401 to a token")
def test_a_token_that_is_refused_is_renewed_and_the_request_made_again(server: TokenServer) -> None:
    client = Client(server.speaks(), Network(), connections=4, stall_timeout=30)
    ask(client, server)
    server.revoke()
    ask(client, server)
    assert [said["grant_type"] for _, said, _ in server.asked] == ["password", "refresh_token"]
    assert [request.status for request in server.requests if request.kind == "download"] == [200, 401, 200]
    client.close()


def test_a_token_that_many_see_refused_is_renewed_once(server: TokenServer) -> None:
    asking = login(server.speaks())
    used = [asking.authorise(link(server)) for _ in range(5)]
    assert [asking.refused(each, 401) for each in used] == [True] * 5
    fresh = together(5, lambda: asking.authorise(link(server)))
    assert not asking.refused(used[0], 200)
    assert asking.refused(used[0], 401)  # late news of the old one does not touch the new one
    assert asking.authorise(link(server)) == fresh[0]
    assert [said["grant_type"] for _, said, _ in server.asked] == ["password", "refresh_token"]
    asking.close()


@pytest.mark.says("a fresh one is got, and the request made once more")
def test_a_second_refusal_is_the_end(server: TokenServer) -> None:
    server.uses = 0
    client = Client(server.speaks(), Network(), connections=4, stall_timeout=30)
    with pytest.raises(AccessRefused, match="cdse refused the credentials") as refused:
        ask(client, server)
    said_of(refused.value)
    assert server.count(status=401) == 2
    client.close()


@pytest.mark.parametrize(("expires_in", "over"), [(600, False), (None, True)], ids=["rights", "its only sign"])
def test_403_is_about_rights_where_the_end_of_a_token_is_known(
    server: TokenServer, *, expires_in: float | None, over: bool
) -> None:
    server.expires_in = expires_in
    asking = login(server.speaks())
    assert asking.refused(asking.authorise(link(server)), 403) is over
    asking.close()


# -- the log-in refuses or fails ---------------------------------------------------------------------------------------


def said(status: int, body: bytes = b"", **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): text for name, text in headers.items()}, body)


@pytest.mark.parametrize(
    ("reply", "error", "sentence"),
    [
        (said(400, b'{"error": "invalid_grant"}'), AccessRefused, "cdse refused the credentials at the log-in (400"),
        (said(401), AccessRefused, "set EODAG__CDSE__AUTH__CREDENTIALS__USERNAME and"),
        (said(403, b"Forbidden"), AccessRefused, "cdse refused the credentials at the log-in (403"),
        (said(401, b'{"error": "invalid_client"}'), AccessRefused, "refused the client (401 Unauthorized); check cdse"),
        (said(400, b'{"error": "invalid_scope"}'), ProviderFailed, "cdse answers 400 Bad Request at the log-in; check"),
        (said(302, Location="http://127.0.0.1:9/"), ProviderFailed, "cdse answers 302 Found at the log-in"),
        (said(404), ProviderFailed, "cdse answers 404 Not Found at the log-in; check the addresses"),
        (said(200, b"<html>"), ProviderFailed, "cdse sent no token"),
        (said(200, b"[]"), ProviderFailed, "cdse sent no token"),
        (said(200, b'{"access_token": ""}'), ProviderFailed, "cdse sent no token"),
        (said(200, b'{"access_token": "a\\r\\nb"}'), ProviderFailed, "cdse sent no token"),
        (said(429, Retry_After="30"), NotReady, "cdse asks to slow down at the log-in"),
        (said(503), ProviderFailed, "cdse answers 503 Service Unavailable at the log-in"),
        (Reply(200, cut_after=-1), Unreachable, "127.0.0.1 (cdse) cannot be reached"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_what_the_log_in_may_answer(server: TokenServer, reply: Reply, error: type[EofsError], sentence: str) -> None:
    server.answers["/token"] = [reply]
    asking = login(server.speaks())
    with pytest.raises((EofsError, PassingFault)) as caught:
        asking.authorise(link(server))
    passing = isinstance(caught.value, PassingFault)
    found = caught.value.error if isinstance(caught.value, PassingFault) else caught.value
    assert type(found) is error
    assert sentence in str(found)
    said_of(found)
    assert passing is (reply.status in {429, 503} or reply.cut_after is not None)
    asking.close()


@pytest.mark.says("A log-in that is refused is not repeated for a minute.")
def test_a_wrong_password_is_tried_once_a_minute_at_most(server: TokenServer) -> None:
    clock = At()
    wrong = replace(server.speaks(), credentials={"username": NAME, "password": "wrong"})
    asking = login(wrong, clock)
    for _ in range(3):
        with pytest.raises(AccessRefused, match="refused the credentials at the log-in"):
            asking.authorise(link(server))
        clock.time += 29.9
    assert len(server.asked) == 1
    clock.time += 0.3
    with pytest.raises(AccessRefused):
        asking.authorise(link(server))
    assert len(server.asked) == 2
    asking.close()


@pytest.mark.says("A log-in that was refused still waits for its minute.")
def test_a_product_that_is_tried_again_does_not_try_a_refused_log_in_again(room: Room, server: TokenServer) -> None:
    wrong = replace(server.speaks(), credentials={"username": NAME, "password": "wrong"})
    engine, product = room.start(speaks=wrong), room.products[ONLINE]
    for _ in range(2):
        with pytest.raises(AccessRefused, match="refused the credentials at the log-in"):
            engine.listing(product, NOBODY)
        engine.upkeep.retry(product)
    assert len(server.asked) == 1


# -- who sees what -----------------------------------------------------------------------------------------------------


def test_a_token_goes_to_the_hosts_of_the_provider_only(server: TokenServer) -> None:
    asking = login(server.speaks())
    for url in ("https://elsewhere.example/x", "http://cdse.example/x", "https://127.0.0.1.evil.example/"):
        assert asking.authorise(url).url == url
        assert asking.authorise(url).headers == {}
    assert server.asked == []
    asking.close()


def test_without_credentials_nobody_is_asked(server: TokenServer) -> None:
    asking = login(replace(server.speaks(), credentials={"username": NAME}))
    assert asking.authorise(link(server)).headers == {}
    assert server.asked == []
    asking.close()


@pytest.mark.says("or over http at loopback addresses; redirects")
def test_credentials_are_not_sent_without_encryption(server: TokenServer) -> None:
    asking = login(server.speaks(token_uri="http://identity.example/token?x=1"))
    with pytest.raises(AccessRefused, match=r"without encryption, at identity\.example;"):
        asking.authorise(link(server))
    asking.close()


@pytest.mark.says("redirects of a log-in are not followed.")
def test_a_log_in_that_redirects_is_not_followed(server: TokenServer) -> None:
    with Canned(http(200)) as elsewhere:
        server.answers["/token"] = [Reply(307, {"Location": elsewhere.url})]
        asking = login(server.speaks())
        with pytest.raises(ProviderFailed):
            asking.authorise(link(server))
        assert elsewhere.asked == []
        asking.close()


@pytest.mark.says("or from where `oidc_config_url` says")
def test_the_provider_describes_where_to_log_in(server: TokenServer) -> None:
    clock = At()
    speaks = replace(server.speaks(), login={"oidc_config_url": f"{server.url}/about", "client_id": CLIENT})
    asking = login(speaks, clock)
    asking.authorise(link(server))
    clock.time += 600
    asking.authorise(link(server))
    assert [path for path, _, _ in server.asked] == ["/about", "/token", "/token"]
    asking.close()


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"token_endpoint": "https://evil.example/token"}', b'{"token_endpoint": "/token"}']
)
def test_a_log_in_elsewhere_than_the_provider_is_refused(server: TokenServer, body: bytes) -> None:
    server.answers["/about"] = [Reply(200, JSON, body)]
    asking = login(replace(server.speaks(), login={"oidc_config_url": f"{server.url}/about"}))
    with pytest.raises(ProviderFailed, match=r"does not say at .*/about where to log in.*cdse\.auth\.token_uri"):
        asking.authorise(link(server))
    asking.close()


@pytest.mark.parametrize("kind", ["oidc_password", "client_credentials", "token", "signed"])
def test_a_log_in_without_an_address_says_which_setting_is_missing(server: TokenServer, kind: str) -> None:
    asking = login(replace(server.speaks(kind), login={}))
    with pytest.raises(AccessRefused, match=r"not known where to log in to cdse; set cdse\.auth\."):
        asking.authorise(link(server))
    asking.close()


# -- one-time codes ----------------------------------------------------------------------------------------------------


@pytest.mark.says("`totp` is the secret of the one-time codes, in base32")
@pytest.mark.parametrize(
    ("now", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_one_time_codes_are_those_of_rfc_6238(now: float, code: str) -> None:
    assert tokens.code(DEMO, TOTP_SEED, now) == code
    assert tokens.code(DEMO, " gezd gnbv gy3t qojq gezd gnbv gy3t qojq ", now) == code
    assert tokens.code(DEMO, " 123456 ", now) == "123456"


@pytest.mark.parametrize("totp", ["hunter2!", "01890189018901", "12345", "!"])
def test_what_makes_no_one_time_codes_is_refused_and_not_shown(totp: str) -> None:
    with pytest.raises(AccessRefused, match="the totp of demo is neither") as refused:
        tokens.code(DEMO, totp, NOW)
    assert totp not in str(refused.value)


def with_totp(server: TokenServer, totp: str) -> Provider:
    return replace(server.speaks(), credentials={"username": NAME, "password": PASSWORD, "totp": totp})


def test_a_one_time_code_is_made_of_its_secret_and_never_sent_twice(server: TokenServer) -> None:
    clock = At()
    speaks = with_totp(server, TOTP_SEED)
    server.code = tokens.code(speaks, TOTP_SEED, NOW)
    asking = login(speaks, clock)
    first = asking.authorise(link(server))
    server.end_sessions()
    assert asking.refused(first, 401)
    clock.time += 20
    with pytest.raises(PassingFault) as early:
        asking.authorise(link(server))
    assert early.value.retry_after == 10
    clock.time += 10
    server.code = tokens.code(speaks, TOTP_SEED, clock.time)
    assert asking.authorise(link(server)).headers != first.headers
    assert all(TOTP_SEED not in request.body.decode() for _, _, request in server.asked)
    asking.close()


@pytest.mark.says("or a code that is good for one log-in.")
def test_a_code_that_was_typed_is_good_for_one_log_in(server: TokenServer) -> None:
    server.code = "123456"
    clock = At()
    asking = login(with_totp(server, "123456"), clock)
    asking.authorise(link(server))
    clock.time += 600
    asking.authorise(link(server))  # by the refresh token
    server.end_sessions()
    clock.time += 600
    with pytest.raises(AccessRefused, match="the one-time code of cdse has been used"):
        asking.authorise(link(server))
    assert server.count_of("password") == 1
    asking.close()


def test_a_code_that_was_typed_outlives_a_log_in_that_failed_for_a_while(server: TokenServer) -> None:
    server.code = "123456"
    server.answers["/token"] = [Reply(503)]
    asking = login(with_totp(server, "123456"))
    with pytest.raises(PassingFault):
        asking.authorise(link(server))
    assert asking.authorise(link(server)).headers
    asking.close()


def test_a_code_that_is_refused_is_said_to_be(server: TokenServer) -> None:
    server.code = "654321"
    asking = login(with_totp(server, "123456"))
    with pytest.raises(AccessRefused, match="refused the credentials or the one-time code"):
        asking.authorise(link(server))
    asking.close()


# -- the forms that providers want -------------------------------------------------------------------------------------


def form(server: TokenServer, name: str) -> Provider:
    """Return a provider that is configured as one that there is, but for its hosts."""
    url = server.url
    username = {"username": NAME, "password": PASSWORD}
    kinds: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
        "creodias": (
            "oidc_password",
            username,
            {"token_uri": f"{url}/token", "client_id": "P", "client_secret": "s", "token_provision": "qs"},
        ),
        "eumetsat": ("client_credentials", username, {"token_uri": f"{url}/token"}),
        "eumetsat as in eodag": (
            "token",
            username,
            {
                "auth_uri": f"{url}/token",
                "auth_tuple": ("username", "password"),
                "req_data": {"grant_type": "client_credentials"},
                "token_type": "json",
                "token_key": "access_token",
                "token_expiration_key": "expires_in",
            },
        ),
        "theia": ("token", {"ident": NAME, "pass": PASSWORD}, {"auth_uri": f"{url}/text"}),
        "wekeo": ("token", username, {"auth_uri": f"{url}/token", "token_type": "json", "req_format": "json"}),
        "old wekeo": (
            "token",
            username,
            {
                "auth_uri": f"{url}/token",
                "auth_tuple": ("username", "password"),
                "request_method": "get",
                "token_type": "json",
            },
        ),
        "usgs": (
            "token",
            username,
            {
                "auth_uri": f"{url}/token",
                "req_format": "json",
                "req_data": {"username": "{username}", "token": "{password}"},
                "token_type": "json",
                "token_key": "$.data",
                "headers": {"X-Auth-Token": "{token}"},
            },
        ),
    }  # fmt: skip
    kind, credentials, says = kinds[name]
    return replace(server.speaks(kind, **says), credentials=credentials)


USERNAME = {"username": NAME, "password": PASSWORD}


@pytest.mark.says(
    "a token from `token_uri`, or from where",
    "says; `client_id`, `client_secret`",
    "(key and secret) a token from `token_uri`",
    "a token from `auth_uri`: `request_method`, `req_data`, `req_format` (`form`, `json`), `auth_tuple`",
)
@pytest.mark.parametrize(
    ("name", "method", "said", "basic", "shown"),
    [
        ("creodias", "POST", {"grant_type": "password", "client_id": "P", "client_secret": "s", **USERNAME}, False, ""),
        ("eumetsat", "POST", {"grant_type": "client_credentials"}, True, "Bearer "),
        ("eumetsat as in eodag", "POST", {"grant_type": "client_credentials", **USERNAME}, True, "Bearer "),
        ("theia", "POST", {"ident": NAME, "pass": PASSWORD}, False, "Bearer "),
        ("wekeo", "POST", USERNAME, False, "Bearer "),
        ("old wekeo", "GET", {}, True, "Bearer "),
        ("usgs", "POST", {"username": NAME, "token": PASSWORD}, False, ""),
    ],
)
def test_each_form_of_a_token_request(
    server: TokenServer, name: str, method: str, said: dict[str, str], *, basic: bool, shown: str
) -> None:
    client = Client(form(server, name), Network(), connections=4, stall_timeout=30)
    assert ask(client, server) == server.archive(ONLINE).read_bytes()
    ((_, asked, request),) = server.asked
    assert (request.method, asked) == (method, said)
    assert (request.headers.get("authorization") == BASIC) is basic
    assert [text.partition("access-")[0] for text in server.shown] == [shown]
    client.close()


@pytest.mark.says(
    "or to a token of which nobody says how long it is good a fresh one is got, and the request made once more"
)
@pytest.mark.parametrize("status", [401, 403])
def test_a_token_of_no_known_end_that_is_refused_is_fetched_afresh_once(server: TokenServer, status: int) -> None:
    server.refusal = status
    client = Client(form(server, "theia"), Network(), connections=4, stall_timeout=30)
    ask(client, server)
    server.revoke()
    assert ask(client, server) == server.archive(ONLINE).read_bytes()
    server.uses = 0
    server.revoke()
    with pytest.raises(AccessRefused):
        ask(client, server)
    assert len(server.asked) == 3
    assert server.count(ONLINE, "download", status) == 3
    client.close()


@pytest.mark.says(
    "`auth_tuple`, `post_credentials`, `retrieve_headers`, `token_type`", 'as `headers: {X-Auth-Token: "{token}"}` says'
)
def test_what_a_token_service_is_told_can_be_chosen(server: TokenServer) -> None:
    says = {
        "auth_uri": f"{server.url}/token", "token_type": "json", "auth_tuple": ("username", "password"),
        "post_credentials": False, "req_data": {"scope": "all"}, "retrieve_headers": {"X-Who": "{username}"},
        "headers": {"X-Auth-Token": "{token}", "X-Also": "{username}"},
    }  # fmt: skip
    asking = login(server.speaks("token", **says))
    shown = asking.authorise(link(server)).headers
    ((_, asked, request),) = server.asked
    assert asked == {"scope": "all"}
    assert (request.headers["x-who"], request.headers["authorization"]) == (NAME, BASIC)
    assert "x-also" not in request.headers
    assert set(shown) == {"X-Auth-Token", "X-Also"}
    asking.close()


@pytest.mark.says("or with `token_provision: qs` in the query as `token_qs_key`.")
def test_a_token_may_go_in_the_query_under_a_name_of_its_own(server: TokenServer) -> None:
    asking = login(server.speaks(token_provision="qs", token_qs_key="t"))
    found = asking.authorise(link(server, "x?a=1"))
    assert found.url.startswith(link(server, f"x?a=1&t={secret('access')}-"))
    assert found.headers == {}
    asking.close()


@pytest.mark.says("Tokens are asked for over https")
@pytest.mark.parametrize(("url", "taken"), [("https://identity.example/token", True), ("http://id.example/", False)])
def test_a_token_is_asked_for_over_https(url: str, taken: bool) -> None:
    speaks = replace(DEMO, auth="oidc_password", credentials=USERNAME, login={"token_uri": url, "client_id": CLIENT})
    with responses.RequestsMock(assert_all_requests_are_fired=taken) as net:
        net.post(url, json={"access_token": secret("access"), "expires_in": 600})
        asking = login(speaks)
        if taken:
            assert asking.authorise("http://127.0.0.1/x").headers == {"Authorization": f"Bearer {secret('access')}"}
        else:
            with pytest.raises(AccessRefused, match="without encryption"):
                asking.authorise("http://127.0.0.1/x")
        assert len(net.calls) == taken
        asking.close()


def test_a_token_of_no_known_end_is_used_until_it_is_refused(server: TokenServer) -> None:
    clock = At()
    asking = login(form(server, "theia"), clock)
    first = asking.authorise(link(server))
    clock.time += 1e6
    assert asking.authorise(link(server)) == first
    assert asking.refused(first, 403)
    assert asking.authorise(link(server)) != first
    asking.close()


@pytest.mark.says("`token_key`, `token_expiration_key`, `refresh_uri`, `refresh_token_key`")
def test_a_token_may_be_renewed_at_an_address_of_its_own(server: TokenServer) -> None:
    clock = At()
    wekeo = form(server, "wekeo")
    more = {
        "refresh_uri": f"{server.url}/refresh",
        "refresh_token_key": "refresh_token",
        "token_expiration_key": "expires_in",
    }
    asking = login(replace(wekeo, login={**wekeo.login, **more}), clock)
    asking.authorise(link(server))
    clock.time += 600
    asking.authorise(link(server))
    assert [path for path, _, _ in server.asked] == ["/token", "/refresh"]
    assert set(server.asked[1][1]) == {"grant_type", "refresh_token"}
    asking.close()


def test_a_token_service_without_an_address_for_renewal_is_logged_in_to_again(server: TokenServer) -> None:
    clock = At()
    wekeo = form(server, "wekeo")
    more = {"refresh_token_key": "refresh_token", "token_expiration_key": "expires_in"}
    asking = login(replace(wekeo, login={**wekeo.login, **more}), clock)
    asking.authorise(link(server))
    clock.time += 600
    asking.authorise(link(server))
    assert [said for _, said, _ in server.asked] == [USERNAME, USERNAME]
    asking.close()


def test_every_kind_that_asks_is_there() -> None:
    asks = {name for name, kind in auth.KINDS.items() if kind.asks}
    assert asks == {*tokens.PRESUMED, "signed"}


# -- signed addresses --------------------------------------------------------------------------------------------------


def signing(server: TokenServer, more: str = "") -> Provider:
    provider = server.speaks("signed", auth_uri=f"{server.url}/sign?href={{url}}{more}", headers={"X-Key": "{apikey}"})
    return replace(provider, credentials={"apikey": "k"})


@pytest.mark.says("each address is signed by `auth_uri` (`…?href={url}`)")
def test_a_signature_of_a_container_is_good_for_all_in_it_until_a_minute_before_its_end(server: TokenServer) -> None:
    clock = At()
    asking = login(signing(server), clock)
    first = asking.authorise(link(server, "box/a?x=%2f")).url
    assert first.startswith(link(server, "box/a?x=%2f&sig=access-"))
    query = first.partition("&")[2]
    assert asking.authorise(link(server, "box/b/c")).url == link(server, f"box/b/c?{query}")
    assert len(server.asked) == 1
    asking.authorise(link(server, "crate/a"))
    assert len(server.asked) == 2
    clock.time = NOW + 539
    asking.authorise(link(server, "box/b"))
    assert len(server.asked) == 2
    clock.time = NOW + 540
    asking.authorise(link(server, "box/b"))
    assert len(server.asked) == 3
    assert {request.headers["x-key"] for _, _, request in server.asked} == {"k"}
    asking.close()


@pytest.mark.says("of those that `optional` names, what is there", "`signed_url_key`")
def test_a_signed_address_may_stand_under_another_name_and_a_key_may_be_optional(server: TokenServer) -> None:
    url = link(server, "box/a")
    server.answers["/sign"] = [Reply(200, JSON, json.dumps({"signed": f"{url}?sig=1"}).encode())]
    speaks = signing(server)
    says = {**speaks.login, "signed_url_key": "signed", "optional": ("apikey",)}
    asking = login(replace(speaks, credentials={}, login=says))
    assert asking.authorise(url).url == f"{url}?sig=1"
    assert "x-key" not in server.asked[0][2].headers
    asking.close()


def test_a_signature_of_one_file_is_good_for_that_one(server: TokenServer) -> None:
    asking = login(signing(server, "&one=1"))
    first = asking.authorise(link(server, "box/a"))
    assert asking.authorise(link(server, "box/a")) == first
    assert asking.authorise(link(server, "box/b")) != first
    assert len(server.asked) == 2
    asking.close()


@pytest.mark.says("401 or 403 to a signed address")
@pytest.mark.parametrize("status", [401, 403])
def test_a_signature_that_is_refused_is_asked_for_again(server: TokenServer, status: int) -> None:
    server.refusal = status
    client = Client(signing(server), Network(), connections=4, stall_timeout=30)
    ask(client, server)
    server.revoke()
    assert ask(client, server) == server.archive(ONLINE).read_bytes()
    assert len(server.asked) == 2
    server.uses = 0
    server.revoke()
    with pytest.raises(AccessRefused):
        ask(client, server)
    assert len(server.asked) == 3
    assert server.count(ONLINE, "download", status) == 3
    client.close()


@pytest.mark.parametrize("href", ["https://evil.example/a?sig=1", "", None, 7])
def test_a_signed_address_elsewhere_is_refused(server: TokenServer, href: object) -> None:
    server.answers["/sign"] = [Reply(200, JSON, json.dumps({"href": href}).encode())]
    asking = login(signing(server))
    with pytest.raises(ProviderFailed, match="cdse sent no signed address on a host of its own") as failed:
        asking.authorise(link(server))
    said_of(failed.value)
    asking.close()


@pytest.mark.parametrize(
    ("query", "stale"),
    [
        ("se=2027-01-15T08:45:00Z", NOW + 2640),
        ("se=2027-01-16", NOW + 57540),
        ("X-Amz-Date=20270115T080000Z&X-Amz-Expires=600", NOW + 540),
        ("Expires=1800000100", NOW + 50),
        ("sig=1", None),
        ("se=never", None),
        ("X-Amz-Date=20270115T080000Z", None),
    ],
)
def test_when_a_signed_address_is_renewed(query: str, stale: float | None) -> None:
    body = json.dumps({"href": f"http://127.0.0.1/a?{query}"}).encode()
    found = signatures.read(DEMO, tokens.Answer(200, {}, body), "http://127.0.0.1/a", NOW)
    assert (found.place, found.stale) == ("http://127.0.0.1/a", stale)


# -- Earthdata ---------------------------------------------------------------------------------------------------------


@pytest.mark.says("(or `auth_uri`) alone, a cookie for each host that redirects there")
def test_earthdata_is_logged_in_to_on_the_way_and_known_by_its_cookie_from_then_on() -> None:
    with Canned() as data, Canned() as urs:
        way = f"http://localhost:{urs.port}/oauth/authorize?state=1"
        back = f"{data.url}/login?code=1"
        data.answers = [
            http(302, Location=way),
            http(302, Location=f"{data.url}/a", Set_Cookie="session=1; Path=/"),
            http(200, b"bytes"),
            http(200, b"more"),
        ]
        urs.answers = [http(302, Location=back)]
        speaks = replace(
            DEMO,
            auth="earthdata",
            hosts=("127.0.0.1:*", "localhost:*"),
            login={"auth_uri": f"http://localhost:{urs.port}/"},
        )
        client = Client(speaks, Network(), connections=4, stall_timeout=30)
        for expected in (b"bytes", b"more"):
            with client.get(f"{data.url}/a") as response:
                assert b"".join(client.body(response)) == expected
        assert len(urs.asked) == 1
        assert "Authorization: Basic" in urs.asked[0]
        assert ["Authorization" in head for head in data.asked] == [False] * 4
        assert ["session=1" in head for head in data.asked] == [False, False, True, True]
        client.close()


# -- in the middle of something ----------------------------------------------------------------------------------------


@pytest.mark.says("A wait or a")
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "in order"])
def test_a_token_that_ends_while_an_order_is_waited_for_is_renewed(
    room: Room, server: TokenServer, *, ranges: bool
) -> None:
    clock = LeapingClock()
    server.ranges, server.clock, server.staging_seconds, server.uses = ranges, clock.now, 150, 1
    server.set_offline(ONLINE)
    engine = room.start(speaks=server.speaks(), clock=clock, wait=1, timeout=60, connections=1, fetch="lazy")
    product = room.products[ONLINE]
    assert content(engine, product, "manifest.safe")
    assert server.count(ONLINE, "download", 202) == 3
    assert server.count(ONLINE, "download", 401) == server.count_of("refresh_token") >= 3
    assert server.count_of("password") == 1
    assert room.status(engine, product).error is None


@pytest.mark.says("download in whose middle it ends goes on.")
def test_a_token_that_ends_amid_a_download_in_order_loses_no_byte(room: Room, server: TokenServer) -> None:
    server.end_known, server.uses = False, 1
    size = server.archive(ONLINE).stat().st_size
    server.script[ONLINE].extend([Reply(cut_after=size // 3), Reply(), Reply(cut_after=size // 3)])
    engine = room.start(speaks=server.speaks(), clock=LeapingClock())
    assert md5sums(engine, room.products[ONLINE]) == server.md5sums(ONLINE)
    assert server.bytes_sent(ONLINE) == size
    assert server.count(ONLINE, "download", 206) == server.count_of("refresh_token") == 2
    assert server.count_of("password") == 1


def test_a_token_that_ends_between_two_ranges_loses_no_byte(room: Room, server: TokenServer) -> None:
    engine = room.start(speaks=server.speaks(), clock=LeapingClock(), fetch="lazy")
    product = room.products[ONLINE]
    found: dict[str, str] = {}
    for member in engine.listing(product, NOBODY).members:
        until(lambda: room.status(engine, product).activity is Activity.IDLE)  # no token ends twice within one request
        server.revoke()
        found[member.path] = hashlib.md5(b"".join(pieces(engine.open(product, member, NOBODY)))).hexdigest()
    assert found == server.md5sums(ONLINE)
    assert server.count_of("password") == 1
    assert server.count_of("refresh_token") > 1


class Slow(TokenServer):
    """Breaks off each reply after a third of the product, where that can be taken up again."""

    def usual(self, request: Request) -> Reply:
        reply = super().usual(request)
        third = self.archive(ONLINE).stat().st_size // 3 + 1
        return replace(reply, cut_after=third) if self.ranges and reply.size > third else reply


def test_a_token_of_three_seconds_lasts_through_a_wait_and_a_download_of_ten_each(
    server: TokenServer, tmp_path: Path
) -> None:
    manners = {"ranges": {}, "in order": {"end_known": False}, "no ranges": {"ranges": False}}
    ways = [aside(take_ten_seconds_twice, server.store, tmp_path / name, how) for name, how in manners.items()]
    for way in ways:
        way.result(100)


def take_ten_seconds_twice(store: Path, cache: Path, manners: dict[str, Any]) -> None:
    """Bring a product from tape of a provider whose tokens are good for three seconds."""
    given = {"products": PRODUCTS, "megabytes": 2, "expires_in": 3, "punctual": True, "staging_seconds": 10, **manners}
    with Slow(store, **given) as server, contextlib.closing(Room(server, cache)) as room:
        server.set_offline(ONLINE)
        server.rate = server.archive(ONLINE).stat().st_size / 10
        engine = room.start(speaks=server.speaks(), wait=1 / 60, timeout=10, connections=1)
        product = room.products[ONLINE]
        assert md5sums(engine, product) == server.md5sums(ONLINE)
        assert room.status(engine, product).error is None
        assert server.count_of("password") == 1
        assert server.count_of("refresh_token") == len(server.asked) - 1 >= 2
        refused = [request.headers["authorization"] for request in server.requests if request.status == 401]
        assert len(refused) == len({*refused}) <= server.count_of("refresh_token")  # each learns that one has ended
        assert server.count(ONLINE, "download", 202) >= 2
        assert server.bytes_sent(ONLINE) < 1.5 * server.archive(ONLINE).stat().st_size


def test_a_log_in_that_fails_for_a_while_is_a_pause(room: Room, server: TokenServer) -> None:
    server.answers["/token"] = [Reply(503), Reply(429), Reply(200, cut_after=-1)]
    engine = room.start(speaks=replace(server.speaks(), retries=4), clock=LeapingClock(), timeout=60)
    assert md5sums(engine, room.products[ONLINE]) == server.md5sums(ONLINE)
    assert server.count_of("password") == 4


# -- what is seen of it ------------------------------------------------------------------------------------------------


@pytest.mark.says("and mount, in memory only.", "not into a log, a status file, a cache record")
@pytest.mark.parametrize("kind", ["oidc_password", "creodias", "signed"])
def test_no_password_token_or_signature_is_seen(
    room: Room, server: TokenServer, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.DEBUG, "eofs")
    speaks = {"oidc_password": server.speaks, "signed": lambda: signing(server)}.get(kind, lambda: form(server, kind))()
    server.script[ONLINE].extend([Reply(503), Reply(500), Reply(cut_after=1000)])
    engine = room.start(speaks=speaks, clock=LeapingClock())
    product = room.products[ONLINE]
    assert md5sums(engine, product) == server.md5sums(ONLINE)
    asking = login(speaks)
    shown = [caplog.text, repr(room.status(engine, product)), repr(speaks), repr(asking.authorise(link(server)))]
    asking.close()
    room.close()
    kept = [
        path.read_bytes().decode("latin-1")
        for path in room.directory.rglob("*")
        if path.suffix != ".zip" and path.is_file()
    ]
    assert not [secret for secret in SECRETS for text in [*shown, *kept] if secret in text]
