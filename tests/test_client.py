"""The HTTP conversation: what each reply means, who sees a credential, what is said of it."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import requests
import responses
from confidential import secret
from engine_room import DEMO, Canned, http
from hypothesis import given
from hypothesis import strategies as st
from responses import matchers

from eofs import __version__, catalog, config
from eofs.client import Client
from eofs.config import Network
from eofs.demo import DemoProvider, Reply, ten_products
from eofs.errors import (
    AccessRefused,
    Cancelled,
    EofsError,
    Gone,
    NotReady,
    NotSupported,
    ProviderFailed,
    Stalled,
    Unreachable,
)
from eofs.faults import LONGEST_BACK_OFF, MAX_REDIRECTS, PassingFault, Staging, back_off, retry_after
from eofs.links import download_url, plain
from eofs.model import Product, Provider
from eofs.replies import reply
from eofs.status import StorageStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UID = "86440880-7f7d-50f0-87a7-ac1bc2bd8fbd"
PATH = f"/resto/collections/S2ST/{UID}/download?issuerId=demo"
SECRET = secret("pä55-w0rd:of-alice")
BASIC = "Basic " + base64.b64encode(f"alice:{SECRET}".encode()).decode()
ALICE = replace(DEMO, name="peps", credentials={"username": "alice", "password": SECRET})
DATA = http(200, b"data", ETag='"1"')


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoProvider]:
    products = [feature for feature in ten_products() if feature["properties"]["uid"] == UID]
    with DemoProvider(tmp_path_factory.mktemp("store"), products=products, megabytes=0.3) as running:
        yield running


@contextlib.contextmanager
def client(provider: Provider = DEMO, network: Network | None = None, stall: float = 30.0) -> Iterator[Client]:
    made = Client(provider, network or Network(), connections=4, stall_timeout=stall)
    try:
        yield made
    finally:
        made.close()


def fault(url: str, provider: Provider = DEMO, network: Network | None = None, stall: float = 30.0) -> Exception:
    """What comes of asking for an address and reading the reply to its end."""
    with client(provider, network, stall) as asking, pytest.raises((EofsError, PassingFault, Staging)) as caught:
        got(asking, url)
    return caught.value


def got(asking: Client, url: str) -> bytes:
    with contextlib.closing(asking.get(url)) as response:
        return b"".join(asking.body(response))


def product(location: str | None, **changes: Any) -> Product:
    named = {"id": "P", "uid": "P", "title": "P", "provider": "peps", "status": StorageStatus.ONLINE}
    rest = dict.fromkeys(["quicklook", "size", "checksum", "collection", "start", "cloud_cover"])
    return Product(**{**named, **rest, "location": location, "feature": b"{}", **changes})


# -- what each reply means -------------------------------------------------------------------------------------------

HTML, JSON = {"Content-Type": "text/html; charset=utf-8"}, {"Content-Type": "application/json"}
FINAL = [
    (Reply(400), ProviderFailed, "400 Bad Request"),
    (Reply(401), AccessRefused, "check them"),
    (Reply(403), AccessRefused, "your rights"),
    (Reply(407), AccessRefused, "407"),
    (Reply(404), Gone, "no longer has the product"),
    (Reply(410), Gone, "410 Gone"),
    (Reply(405), ProviderFailed, "405"),
    (Reply(451), ProviderFailed, "451"),
    (Reply(299), ProviderFailed, "299"),
    (Reply(300), ProviderFailed, "300"),
    (Reply(302), ProviderFailed, "302"),
    (Reply(304), ProviderFailed, "304"),
    (Reply(200, HTML, b"<html>log in</html>"), AccessRefused, "web page instead of the data"),
    (Reply(200, {"Content-Type": "application/xhtml+xml"}, b"<html/>"), AccessRefused, "web page"),
    (Reply(200, {"Content-Type": "TEXT/HTML"}, b"<html/>"), AccessRefused, "web page"),
    (Reply(200, JSON, b'{"error": 1}'), ProviderFailed, "a message instead of the data"),
    (Reply(200, {"Content-Type": "application/problem+json"}, b"{}"), ProviderFailed, "a message"),
]
PASSING = [
    (Reply(429), NotReady, "slow down"),
    (Reply(408), ProviderFailed, "408"),
    (Reply(425), ProviderFailed, "425"),
    (Reply(500), ProviderFailed, "500 Internal Server Error"),
    (Reply(502), ProviderFailed, "502"),
    (Reply(503), ProviderFailed, "503"),
    (Reply(504), ProviderFailed, "504"),
    (Reply(599), ProviderFailed, "599"),
]


def named(value: object) -> str | None:
    return f"{value.status} {value.headers.get('Content-Type', '')}".strip() if isinstance(value, Reply) else None


@pytest.mark.parametrize(("answer", "error", "says"), FINAL, ids=named)
def test_a_reply_that_another_try_would_not_change_is_final(
    provider: DemoProvider, answer: Reply, error: type[EofsError], says: str
) -> None:
    provider.script[UID].append(answer)
    caught = fault(provider.url + PATH)
    assert type(caught) is error
    assert says in str(caught)


@pytest.mark.parametrize(("answer", "error", "says"), PASSING, ids=named)
def test_a_reply_that_may_pass_says_so(
    provider: DemoProvider, answer: Reply, error: type[EofsError], says: str
) -> None:
    provider.script[UID].append(answer)
    caught = fault(provider.url + PATH)
    assert isinstance(caught, PassingFault)
    assert type(caught.error) is error
    assert says in str(caught)
    assert caught.retry_after is None


@pytest.mark.parametrize(
    "answer",
    [Reply(202), Reply(202, body=b"on its way"), Reply(204), Reply(200)],
    ids=["202", "202 text", "204", "200 0"],
)
def test_an_accepted_or_empty_reply_means_that_the_product_is_on_its_way(provider: DemoProvider, answer: Reply) -> None:
    provider.script[UID].append(answer)
    assert isinstance(fault(provider.url + PATH), Staging)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("said", "seconds"), [("17", 17), (None, None), ("soon", None)])
def test_the_pause_that_a_provider_asks_for_is_passed_on(
    provider: DemoProvider, status: int, said: str | None, seconds: float | None
) -> None:
    provider.script[UID].append(Reply(status, {"Retry-After": said} if said else {}))
    caught = fault(provider.url + PATH)
    assert isinstance(caught, PassingFault)
    assert caught.retry_after == seconds


def test_the_pause_may_be_a_date(provider: DemoProvider) -> None:
    provider.script[UID].append(Reply(429, {"Retry-After": email.utils.formatdate(time.time() + 60, usegmt=True)}))
    caught = fault(provider.url + PATH)
    assert isinstance(caught, PassingFault)
    assert caught.retry_after == pytest.approx(60, abs=50)


def test_data_are_data_even_where_their_kind_is_json(provider: DemoProvider) -> None:
    headers = {**JSON, "Content-Disposition": "attachment; filename=x.json"}
    provider.script[UID].append(Reply(200, headers, b"{}"))
    with client() as asking:
        assert got(asking, provider.url + PATH) == b"{}"


def test_a_message_may_be_json_where_one_was_asked_for(provider: DemoProvider) -> None:
    provider.script[UID].append(Reply(200, JSON, b"[]"))
    with client() as asking, contextlib.closing(asking.message(provider.url + PATH)) as response:
        assert b"".join(asking.body(response)) == b"[]"
    assert provider.requests[-1].headers["accept"] == "application/json"


def test_a_further_code_of_the_provider_can_mean_that_one_has_to_log_in(provider: DemoProvider) -> None:
    provider.script[UID].append(Reply(418))
    assert isinstance(fault(provider.url + PATH, replace(DEMO, auth_error_codes=frozenset({418}))), AccessRefused)


def test_a_range_is_asked_for_with_what_tells_the_version(provider: DemoProvider) -> None:
    before = provider.count()
    with client() as asking:
        with contextlib.closing(asking.get(provider.url + PATH)) as response:
            etag = reply(response).validator
        with contextlib.closing(asking.get(provider.url + PATH, start=100, validator=etag)) as response:
            head = reply(response)
            rest = b"".join(asking.body(response))
    archive = provider.archive(UID).read_bytes()
    expected = {(None, None), ("bytes=100-", etag)}
    assert provider.wait_until(
        lambda: expected <= {(asked.range, asked.headers.get("if-range")) for asked in provider.requests[before:]}
    )
    assert (head.start, head.size, head.validator) == (100, len(archive), etag)
    assert rest == archive[100:]


@pytest.mark.says("416 all of it is asked for")
def test_a_range_that_is_not_there_is_asked_for_again_as_a_whole(provider: DemoProvider) -> None:
    before = provider.count()
    with client() as asking, contextlib.closing(asking.get(provider.url + PATH, start=1 << 40)) as response:
        assert response.status_code == 200
    expected = {(f"bytes={1 << 40}-", 416), (None, 200)}
    assert provider.wait_until(
        lambda: expected <= {(asked.range, asked.status) for asked in provider.requests[before:]}
    )


@pytest.mark.parametrize(
    ("headers", "head"),
    [
        ({"ETag": '"a"', "Last-Modified": "yesterday"}, (0, 4, '"a"')),
        ({"ETag": 'W/"a"', "Last-Modified": "yesterday"}, (0, 4, "yesterday")),
        ({"ETag": 'W/"a"'}, (0, 4, 'W/"a"')),
        ({}, (0, 4, None)),
        ({"Content-Encoding": "identity"}, (0, 4, None)),
        ({"Content-Encoding": "gzip"}, (0, None, None)),
    ],
)
def test_the_head_of_a_reply_tells_size_and_version(headers: dict[str, str], head: tuple[object, ...]) -> None:
    response = requests.Response()
    response.status_code = 200
    response.headers.update({"Content-Length": "4", **headers})
    found = reply(response)
    assert (found.start, found.size, found.validator) == head


@pytest.mark.parametrize(
    "said", ["", "bytes", "bytes */500", "bytes -5/500", "pages 1-2/3", "bytes ²-3/4", "bytes x-y/z"]
)
def test_a_range_that_cannot_be_read_is_a_fault_that_may_pass(said: str) -> None:
    response = requests.Response()
    response.status_code = 206
    response.headers["Content-Range"] = said
    with pytest.raises(PassingFault):
        reply(response)


# -- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.says("301, 302, 303, 307, 308 followed by hand")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(provider: DemoProvider, status: int) -> None:
    with Canned(http(status, Location=provider.url + PATH)) as first, client() as asking:
        assert got(asking, first.url) == provider.archive(UID).read_bytes()


@pytest.mark.parametrize(
    ("location", "path"),
    [("other", "/a/other"), ("/other?x=1", "/other?x=1"), ("../b#part", "/b"), ("/%C3%A9 b", "/%C3%A9%20b")],
)
def test_a_redirect_may_be_relative(location: str, path: str) -> None:
    with Canned(http(302, Location=location), DATA) as server, client() as asking:
        asking.get(f"{server.url}/a/b").close()
        assert server.asked[1].startswith(f"GET {path} HTTP")


@pytest.mark.says("ten times at most")
def test_ten_redirects_are_followed_and_no_more() -> None:
    hops = [http(302, Location=f"/{number}") for number in range(MAX_REDIRECTS)]
    with Canned(*hops, DATA) as server, client() as asking:
        asking.get(server.url).close()
        assert len(server.asked) == MAX_REDIRECTS + 1
    with Canned(http(302, Location="/again")) as server:
        assert isinstance(caught := fault(server.url), ProviderFailed)
        assert "redirects without end" in str(caught)
        assert len(server.asked) == MAX_REDIRECTS + 1


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/passwd", "s3://bucket/x", "http://[bad/"])
def test_a_redirect_to_what_is_not_http_is_refused(location: str) -> None:
    with Canned(http(302, Location=location)) as server:
        assert isinstance(fault(server.url), NotSupported)


def test_the_range_is_asked_for_behind_a_redirect_too() -> None:
    with Canned(http(302, Location="/b"), http(206, b"ta", Content_Range="bytes 2-3/4")) as server, client() as asking:
        asking.get(server.url, start=2, validator='"1"').close()
        assert all("Range: bytes=2-" in asked and 'If-Range: "1"' in asked for asked in server.asked)


# -- credentials -----------------------------------------------------------------------------------------------------


def test_credentials_go_to_the_provider() -> None:
    with Canned(DATA) as server, client(ALICE) as asking:
        asking.get(server.url).close()
        assert f"Authorization: {BASIC}" in server.asked[0]


@pytest.mark.says("credentials go to the provider's own hosts only")
@pytest.mark.says("not along a redirect")
def test_credentials_do_not_go_along_a_redirect_to_another_host() -> None:
    with Canned(http(401)) as other, Canned(http(302, Location=f"{other.url}/x")) as first:
        caught = fault(first.url, replace(ALICE, hosts=(f"127.0.0.1:{first.port}",)))
        assert "Authorization" in first.asked[0]
        assert "Authorization" not in other.asked[0]
    assert isinstance(caught, AccessRefused)
    assert "the credentials of peps are not sent there" in str(caught)
    assert "peps.auth.hosts" in str(caught)


def test_credentials_go_along_a_redirect_to_another_host_of_the_provider() -> None:
    with Canned(DATA) as other, Canned(http(302, Location=other.url)) as first, client(ALICE) as asking:
        asking.get(first.url).close()
        assert "Authorization" in other.asked[0]


def test_credentials_come_back_with_a_redirect_home() -> None:
    with Canned(b"") as first, Canned(b"") as other:
        first.answers = [http(302, Location=other.url), DATA]
        other.answers = [http(302, Location=f"{first.url}/data")]
        with client(replace(ALICE, hosts=(f"127.0.0.1:{first.port}",))) as asking:
            asking.get(first.url).close()
        assert ["Authorization" in asked for asked in [*first.asked, *other.asked]] == [True, True, False]


@pytest.mark.says("not to a link in the result that points elsewhere")
@pytest.mark.parametrize("status", [401, 403])
def test_credentials_do_not_go_to_a_link_that_points_elsewhere(status: int) -> None:
    with Canned(http(status)) as server:
        caught = fault(server.url, replace(ALICE, hosts=("peps.cnes.fr",)))
        assert "Authorization" not in server.asked[0]
    assert isinstance(caught, AccessRefused)
    assert "as it is not one of its hosts" in str(caught)


def test_the_netrc_of_the_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login mallory password wrong\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    with Canned(DATA) as server:
        for speaks in (ALICE, replace(ALICE, credentials={}), replace(ALICE, hosts=())):
            with client(speaks) as asking:
                asking.get(server.url).close()
        assert BASIC in server.asked[0]
        assert "Authorization" not in server.asked[1] + server.asked[2]


def test_missing_credentials_are_refused_with_the_names_of_the_variables() -> None:
    with client(replace(ALICE, credentials={"username": "alice"})) as asking:
        with pytest.raises(AccessRefused, match="no password for peps; set EODAG__PEPS__AUTH__CREDENTIALS__PASSWORD"):
            asking.must_have_credentials("http://127.0.0.1:80/x")
        asking.must_have_credentials("https://elsewhere.example/open-to-all")
    with client(ALICE) as asking:
        asking.must_have_credentials("http://127.0.0.1:80/x")


def test_a_cookie_goes_back_to_its_host_only() -> None:
    with Canned(http(302, Location="/b", Set_Cookie="session=1; Path=/"), DATA) as server, client() as asking:
        asking.get(server.url).close()
        with pytest.raises(PassingFault):
            asking.get("http://localhost:9/")
        assert "session=1" in server.asked[1]
        prepared = asking._session.prepare_request(requests.Request("GET", "http://localhost:9/"))
        assert "Cookie" not in prepared.headers


# -- the request -----------------------------------------------------------------------------------------------------


def test_eofs_says_who_it_is_and_wants_the_bytes_as_they_are() -> None:
    with Canned(DATA) as server, client() as asking:
        asking.get(server.url).close()
        assert f"User-Agent: eofs/{__version__}\r\n" in server.asked[0]
        assert "Accept-Encoding: identity\r\n" in server.asked[0]


def test_the_proxy_of_the_network_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Canned(DATA) as proxy:
        network = Network(proxies={"http": proxy.url})
        with client(DEMO, network) as asking:
            asking.get("http://provider.example/x").close()
        assert proxy.asked[0].startswith("GET http://provider.example/x HTTP")
        assert "Authorization" not in proxy.asked[0]


def test_a_proxy_of_the_environment_is_not_used_behind_the_back_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with Canned(DATA) as server, Canned(http(500)) as proxy, client() as asking:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("no_proxy", "")
        asking.get(server.url).close()
        assert not proxy.asked


# -- faults of the network -------------------------------------------------------------------------------------------


def passing(caught: Exception, error: type[EofsError]) -> str:
    assert isinstance(caught, PassingFault)
    assert type(caught.error) is error
    assert str(caught) == str(caught.error)
    return str(caught)


def test_a_refused_connection_may_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "127.0.0.1 (demo) cannot be reached: Connection refused" in passing(
        fault(f"http://127.0.0.1:{port}/"), Unreachable
    )


@pytest.mark.parametrize("answer", [None, b"", b"\x16\x03\x01 nonsense\r\n\r\n"])
def test_a_connection_that_breaks_before_the_reply_may_pass(answer: bytes | None) -> None:
    with Canned(answer) as server:
        passing(fault(server.url), Unreachable)


def test_a_connection_that_breaks_in_the_reply_may_pass() -> None:
    with Canned(http(200, b"da", length=4)) as server:
        passing(fault(server.url), Unreachable)
    with Canned(http(200, b"9\r\nda", length=-1, Transfer_Encoding="chunked")) as server:
        passing(fault(server.url), Unreachable)


@pytest.mark.says("the provider cannot be reached (DNS")
def test_a_name_that_cannot_be_resolved_may_pass() -> None:
    text = passing(fault("http://no-such-host.invalid/x?token=hidden"), Unreachable)
    assert "no-such-host.invalid (demo) cannot be reached: " in text
    assert "hidden" not in text


@pytest.mark.parametrize("after", [-1, 100])
def test_a_provider_that_goes_silent_has_stalled(provider: DemoProvider, after: int) -> None:
    provider.script[UID].append(Reply(stall_after=after))
    begun = time.monotonic()
    text = passing(fault(provider.url + PATH, stall=0.3), Stalled)
    assert time.monotonic() - begun > 0.25
    assert "sent nothing for 0.3 s" in text


def test_bytes_can_be_had_as_soon_as_they_are_there(provider: DemoProvider) -> None:
    provider.script[UID].append(Reply(stall_after=1000))
    with client() as asking, contextlib.closing(asking.get(provider.url + PATH)) as response:
        assert len(next(asking.body(response))) == 1000


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("not here: openssl, to make a certificate")
    key, certificate = (tmp_path_factory.mktemp("tls") / name for name in ("key.pem", "certificate.pem"))
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *words.split(), *names], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


@pytest.mark.says("a certificate that cannot be trusted")
def test_a_certificate_that_cannot_be_trusted_is_final(self_signed: tuple[ssl.SSLContext, Path]) -> None:
    with Canned(DATA, secure=self_signed[0]) as server:
        caught = fault(server.url)
        assert not server.asked
    assert isinstance(caught, Unreachable)
    assert "the certificate of 127.0.0.1 (demo) cannot be trusted" in str(caught)


def test_the_certificates_of_the_network_are_trusted(self_signed: tuple[ssl.SSLContext, Path]) -> None:
    context, certificate = self_signed
    with Canned(DATA, secure=context) as server, client(ALICE, Network(ca_bundle=str(certificate))) as asking:
        asking.get(server.url).close()
        assert BASIC in server.asked[0]


def test_a_provider_can_be_spoken_to_without_looking_at_its_certificate(
    self_signed: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    with Canned(DATA, secure=self_signed[0]) as server, client(replace(DEMO, ssl_verify=False)) as asking:
        with pytest.warns(match="Unverified HTTPS request"):
            asking.get(server.url).close()
        assert server.asked


def hung_up(words: bytes) -> Exception:
    """What comes of a TLS handshake with a server that says these words and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with listening.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(words)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            return fault(f"https://127.0.0.1:{listening.getsockname()[1]}/")
        finally:
            thread.join(60)


def test_a_tls_connection_that_is_hung_up_may_pass() -> None:
    assert "certificate" not in passing(hung_up(b""), Unreachable)


def test_a_server_that_does_not_speak_tls_is_final() -> None:
    caught = hung_up(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert isinstance(caught, Unreachable)
    assert "certificate" not in str(caught)


@responses.activate
@pytest.mark.parametrize(
    ("raised", "error", "passes"),
    [
        (requests.exceptions.SSLError(ssl.SSLCertVerificationError("expired")), Unreachable, False),
        (requests.exceptions.ConnectTimeout("alice"), Unreachable, True),
        (requests.exceptions.ReadTimeout("alice"), Stalled, True),
        (requests.exceptions.ProxyError("http://alice@proxy"), Unreachable, True),
        (requests.exceptions.ChunkedEncodingError("alice"), Unreachable, True),
        (requests.exceptions.InvalidURL("alice"), NotSupported, False),
        (ConnectionResetError(104, "Connection reset by peer"), Unreachable, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_whatever_requests_raises_is_one_of_our_errors(raised: Exception, error: type[EofsError], passes: bool) -> None:
    responses.get("https://peps.cnes.fr/x", body=raised)
    caught = fault("https://peps.cnes.fr/x?key=alice", ALICE)
    assert isinstance(caught, PassingFault) == passes
    assert type(caught.error if isinstance(caught, PassingFault) else caught) is error
    assert "alice" not in str(caught)


# -- no secret is told -----------------------------------------------------------------------------------------------


@pytest.mark.says(", an error.")
def test_no_error_and_no_log_line_holds_a_secret(provider: DemoProvider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="eofs")
    texts = []
    for answer in [*(row[0] for row in FINAL + PASSING), Reply(cut_after=-1), Reply(cut_after=9)]:
        provider.script[UID].append(answer)
        address = f"http://bob:hidden1@127.0.0.1:{provider.port}{PATH}&token=hidden2"
        try:
            texts.append(str(fault(address, replace(ALICE, credentials={**ALICE.credentials, "token": "hidden3"}))))
        finally:
            provider.script[UID].clear()
    text = " ".join([*texts, caplog.text, repr(ALICE)])
    assert not [secret for secret in (SECRET, BASIC.split()[1], "hidden", "bob") if secret in text]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://alice:secret@host:8443/a/b?sig=secret#secret", "https://host:8443/a/b"),
        ("https://a@b:secret@host/a", "https://host/a"),
        ("s3://bucket/key?x=secret", "s3://bucket/key"),
        ("https://host/a;v=1", "https://host/a;v=1"),
        ("http://[bad/secret?x", None),
        ("", None),
        (None, None),
    ],
)
def test_an_address_is_shown_without_user_password_and_query(url: str | None, shown: str | None) -> None:
    assert plain(url) == shown


@given(st.text(), st.text(st.characters(exclude_characters="/?#\\", exclude_categories=["Cc", "Cs", "Z"])))
def test_no_query_and_no_user_is_ever_shown(query: str, user: str) -> None:
    assert plain(f"https://{user}@host/path?{query}") in {"https://host/path", None}


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "provider", "address"),
    [
        ("https://h/a", {}, "https://h/a"),
        ("https://h/a", {"dl_url_params": {"issuerId": "peps"}}, "https://h/a?issuerId=peps"),
        ("https://h/a?x=1", {"dl_url_params": {"issuerId": "peps"}}, "https://h/a?x=1&issuerId=peps"),
        ("https://h/a?issuerId=&x=1", {"dl_url_params": {"issuerId": "peps"}}, "https://h/a?x=1&issuerId=peps"),
        ("https://h/a?x=1&x=2&y", {"dl_url_params": {"z": "3"}}, "https://h/a?x=1&x=2&y=&z=3"),
        (
            "https://h/a?X-Amz-Signature=a%2Fb&x=1&x=2&y&z=%20~",
            {},
            "https://h/a?X-Amz-Signature=a%2Fb&x=1&x=2&y&z=%20~",
        ),
        ("%(base_uri)s/a", {"base_uri": "https://h/api/"}, "https://h/api/a"),
        ("https://h/%(base_uri)s/a", {}, "https://h/%(base_uri)s/a"),
    ],
)
def test_the_address_of_a_product(location: str, provider: dict[str, Any], address: str) -> None:
    assert download_url(product(location), Provider(name="p", **provider)) == address


@pytest.mark.parametrize(
    ("location", "says"),
    [
        (None, "no download link"),
        ("", "no download link"),
        ("Not Available", "no download link"),
        ("%(base_uri)s/a", "no download link"),
        ("s3:///key", "s3://…) is not served by this version"),
        ("ftp://h/a", "ftp://"),
        ("file:///etc/passwd", "file://"),
        ("https:///a", "https://"),
        ("http://[bad/a", "its link cannot be read"),
    ],
)
def test_a_product_without_a_usable_address_is_not_supported(location: str | None, says: str) -> None:
    with pytest.raises(NotSupported, match=r"^P cannot be fetched") as caught:
        download_url(product(location), Provider(name="p"))
    assert says in str(caught.value)


# -- pauses and connections ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_the_seconds_of_retry_after(said: str | None, seconds: float | None) -> None:
    assert retry_after({} if said is None else {"Retry-After": said}) == seconds


@given(
    st.one_of(st.text(), st.from_regex(r"[A-Z][a-z]{2}, \d+ (Jan|Feb) \d+ \d+:\d+:\d+ (GMT|[+-]\d+)", fullmatch=True))
)
def test_no_retry_after_is_too_odd(said: str) -> None:
    seconds = retry_after({"Retry-After": said})
    assert seconds is None or seconds >= 0


@given(
    tries=st.integers(1, 100_000),
    delay=st.floats(0, 1000),
    asked=st.none() | st.floats(0, 1e6),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_pauses_grow_up_to_a_limit_and_are_never_shorter_than_asked_for(
    tries: int, delay: float, asked: float | None, chance: float
) -> None:
    pause = back_off(tries, delay, asked, chance=lambda: chance)
    assert pause >= (asked or 0)
    assert pause <= max(LONGEST_BACK_OFF, asked or 0)
    assert pause >= min(delay, LONGEST_BACK_OFF) / 2
    assert back_off(tries + 1, delay, asked, chance=lambda: chance) >= pause


@pytest.mark.says("after pauses that double")
@pytest.mark.parametrize("chance", [0.0, 0.5])
def test_pauses_double(chance: float) -> None:
    pauses = [back_off(tries, 1.0, None, chance=lambda: chance) for tries in range(1, 8)]
    assert pauses == [pauses[0] * 2**tries for tries in range(7)]


@pytest.mark.says("where the provider's own limit is smaller, that holds")
@pytest.mark.parametrize(("own", "option", "at_a_time"), [(2, 5, 2), (5, 2, 2), (0, 3, 1)])
def test_the_smaller_limit_of_connections_holds(own: int, option: int, at_a_time: int) -> None:
    limited = Client(replace(DEMO, max_connections=own), Network(), connections=option, stall_timeout=1)

    def give_up() -> None:
        raise Cancelled("enough")

    with contextlib.closing(limited), contextlib.ExitStack() as held:
        for _ in range(at_a_time):
            held.enter_context(limited.connection(give_up))
        with pytest.raises(Cancelled, match="enough"):
            held.enter_context(limited.connection(give_up))
        held.close()
        with limited.connection(give_up):  # all were given back
            pass


# -- PEPS ------------------------------------------------------------------------------------------------------------


@pytest.mark.says("Where asking for the bytes is the order (PEPS)")
@responses.activate
def test_peps_is_asked_as_its_own_client_asks_it(tmp_path: Path) -> None:
    variables = {
        "HOME": str(tmp_path),
        "EODAG__PEPS__AUTH__CREDENTIALS__USERNAME": "alice",
        "EODAG__PEPS__AUTH__CREDENTIALS__PASSWORD": SECRET,
    }
    peps = config.load({}, environ=variables).provider("peps")
    link = f"https://peps.cnes.fr/resto/collections/S2ST/{UID}/download"
    result = (
        b'{"type": "FeatureCollection", "features": [{"type": "Feature", "id": "P", "geometry": null, "properties": '
    )
    result += (
        b'{"title": "P", "eodag_provider": "peps", "storageStatus": "OFFLINE", "downloadLink": "%s"}}]}' % link.encode()
    )
    (found,) = catalog.read(result).products
    match = [
        matchers.query_param_matcher({"issuerId": "peps"}),
        matchers.header_matcher({"Authorization": BASIC}),
    ]
    responses.get(link, status=202, match=match)
    responses.get(link, body=b"PK", headers={"Content-Type": "application/zip"}, match=match)
    with client(peps) as asking:
        url = download_url(found, peps)
        asking.must_have_credentials(url)
        with pytest.raises(Staging):
            asking.get(url)
        assert got(asking, url) == b"PK"
    assert len(responses.calls) == 2
