"""A store of the kind of Amazon S3 on the loopback address, as strict as Amazon is: it verifies every signature.

`StrictStore.answer` is the store itself, without a network: as such it stands for Amazon's own hosts, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

import responses
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from confidential import secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from typing_extensions import Self

KEY, SECRET = "AKIAALICE00000000000", secret("the+secret/of+alice")
KEYS = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
_SCOPE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/s3/aws4_request, "
    r"SignedHeaders=(?P<names>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Bucket:
    """A bucket, and who may read it.

    Attributes:
        is_open: to everybody.
        bills: those who read it, who have to say that they know.
        failing: a status and an error for every signed request.
        page: objects on one page of a list.
        first_version: it knows the first version of lists only.
        etag: of every object, where it is not the MD5 of its bytes.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    is_open: bool = False
    bills: bool = False
    region: str = "us-east-1"
    failing: tuple[int, str] | None = None
    page: int = 1000
    first_version: bool = False
    etag: str | None = None


@dataclass(frozen=True)
class Asked:
    """One request, and how it was answered."""

    method: str
    bucket: str
    key: str
    host: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    status: int

    @property
    def signed(self) -> bool:
        """Tell whether it came with a signature."""
        return "authorization" in self.headers

    @property
    def region(self) -> str | None:
        """Return the region that it was signed for."""
        found = _SCOPE.fullmatch(self.headers.get("authorization", ""))
        return found["region"] if found else None


class StrictStore:
    """Buckets by their names; in ``with`` it listens at `url`.

    Attributes:
        token: the session token that has to come with each signature.
        asked: the requests in their order.
        elsewhere: the headers of those to other hosts, see `amazon`.
        also: may answer a path and headers in the place of the store.
    """

    def __init__(self, buckets: Mapping[str, Bucket], *, prefix: str = "", token: str | None = None) -> None:
        self.buckets = dict(buckets)
        self.token = token
        self.asked: list[Asked] = []
        self.elsewhere: list[Mapping[str, str]] = []
        self.prefix = prefix
        self.also: Callable[[str, Mapping[str, str]], Answer | None] = lambda _path, _headers: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}{prefix}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(5)
        self.close()

    def close(self) -> None:
        """Give the port back."""
        self._server.server_close()

    def conversation(self) -> list[tuple[str, str, int]]:
        """Return each request: whether it was signed, what for, and the answer's status."""
        return [("signed" if a.signed else "open", f"{a.bucket}/{a.key}".rstrip("/"), a.status) for a in self.asked]

    def answer(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        """Answer a request for an address with the bucket as its first part, or at the front of Amazon's host."""
        headers = {name.lower(): value for name, value in headers.items()}
        parts = urlsplit(url)
        amazon = re.fullmatch(r"(?:(.+)\.)?s3(?:\.([a-z0-9-]+))?\.amazonaws\.com", parts.netloc)
        path = parts.path if amazon else parts.path[len(self.prefix) :]
        bucket, _, key = (f"{amazon[1]}{path}" if amazon and amazon[1] else path.lstrip("/")).partition("/")
        query = parse_qs(parts.query)
        said = self._answer(method, url, bucket, unquote(key), query, headers, amazon and amazon[2])
        self.asked.append(Asked(method, bucket, unquote(key), parts.netloc, query, headers, said[0]))
        return said[0], said[1], said[2] if method == "GET" else b""

    def _answer(
        self, method: str, url: str, name: str, key: str, query: Mapping[str, list[str]], headers: Mapping[str, str],
        region: str | None,
    ) -> Answer:  # fmt: skip
        bucket = self.buckets.get(name)
        if bucket is None:
            return _error(404, "NoSuchBucket", "")
        if region and region != bucket.region:
            return _error(301, "PermanentRedirect", bucket.region)
        if "authorization" in headers:
            refusal = self._refusal(bucket, method, url, headers)
        else:
            refusal = None if bucket.is_open else (403, "AccessDenied")
        if refusal:
            return _error(*refusal, bucket.region if method == "HEAD" or refusal[0] == 400 else "")
        if not key:
            return _list(name, bucket, query)
        if key not in bucket.objects:
            return _error(404, "NoSuchKey", "")
        content = bucket.objects[key]
        return _object(content, bucket.etag or hashlib.md5(content).hexdigest(), headers.get("range"))

    def _refusal(self, bucket: Bucket, method: str, url: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        scope = _SCOPE.fullmatch(headers["authorization"])
        if scope is None:
            return 400, "InvalidArgument"
        signature = self._signature(method, url, headers, scope["names"].split(";"), scope["region"])
        pays = headers.get("x-amz-request-payer") == "requester"
        checks = [
            (scope["region"] == bucket.region, (400, "AuthorizationHeaderMalformed")),
            (scope["key"] == KEY, (403, "InvalidAccessKeyId")),
            (signature == scope["signature"], (403, "SignatureDoesNotMatch")),
            (headers.get("x-amz-security-token") == self.token, (403, "InvalidToken")),
            (bucket.failing is None, bucket.failing),
            (pays or not bucket.bills, (403, "AccessDenied")),
        ]
        return next((refusal for holds, refusal in checks if not holds), None)

    def _signature(self, method: str, url: str, headers: Mapping[str, str], names: list[str], region: str) -> str:
        signed = {name: headers[name] for name in names if name != "host"}
        assert {name for name in headers if name.startswith("x-amz-")} <= set(names)
        assert "host" in names
        request = AWSRequest(method, url, signed)
        request.context["timestamp"] = headers["x-amz-date"]
        signer = S3SigV4Auth(Credentials(KEY, SECRET, self.token), "s3", region)
        text = signer.string_to_sign(request, signer.canonical_request(request))
        return str(signer.signature(text, request))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                headers = dict(self.headers.items())
                said = store.also(self.path, headers)
                status, told, body = said or store.answer(
                    self.command, f"http://{self.headers['Host']}{self.path}", headers
                )
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **told}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 - http.server calls it so

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@contextlib.contextmanager
def amazon(buckets: Mapping[str, Bucket]) -> Iterator[StrictStore]:
    """Let a store stand for Amazon's own hosts, as far as requests goes; any other shows a page to log in."""
    store = StrictStore(buckets)

    def answer(request: Any) -> Answer:
        if not urlsplit(request.url).netloc.endswith(".amazonaws.com"):
            store.elsewhere.append(dict(request.headers))
            return 200, {"Content-Type": "text/html"}, b"<html>log in</html>"
        return store.answer(request.method, request.url, {"host": urlsplit(request.url).netloc, **request.headers})

    try:
        with responses.RequestsMock(assert_all_requests_are_fired=False) as net:
            for method in ("GET", "HEAD"):
                net.add_callback(method, re.compile(r"https://.*"), callback=answer)
            yield store
    finally:
        store.close()


def _error(status: int, code: str, region: str) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>No.</Message></Error>'
    headers = {"Content-Type": "application/xml", **({"x-amz-bucket-region": region} if region else {})}
    return status, headers, body.encode()


def _object(content: bytes, etag: str, wanted: str | None) -> Answer:
    headers = {
        "ETag": f'"{etag}"',
        "Accept-Ranges": "bytes",
        "x-amz-request-id": "1",
        "Content-Length": str(len(content)),
        "Content-Type": "binary/octet-stream",
    }
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
    if not found:
        return 200, headers, content
    size = len(content)
    start = int(found[1]) if found[1] else max(0, size - int(found[2]))
    stop = min(size, int(found[2]) + 1) if found[1] and found[2] else size
    if start >= size:
        return 416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"}, b""
    told = {"Content-Range": f"bytes {start}-{stop - 1}/{size}", "Content-Length": str(stop - start)}
    return 206, {**headers, **told}, content[start:stop]


def _list(name: str, bucket: Bucket, query: Mapping[str, list[str]]) -> Answer:
    prefix = query.get("prefix", [""])[0]
    keys = sorted(key for key in bucket.objects if key.startswith(prefix))
    after = query.get("marker" if bucket.first_version else "continuation-token", [""])[0]
    left = [key for key in keys if key > after]
    page, rest = left[: bucket.page], left[bucket.page :]
    quoted = not bucket.first_version and query.get("encoding-type") == ["url"]
    found = ((escape(quote(key) if quoted else key), len(bucket.objects[key])) for key in page)
    contents = "".join(f"<Contents><Key>{key}</Key><Size>{size}</Size></Contents>" for key, size in found)
    told = "<EncodingType>url</EncodingType>" if quoted else ""
    if rest and not bucket.first_version:
        told += f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>"
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{name}</Name><Prefix>{escape(prefix)}</Prefix>{told}"
        f"<IsTruncated>{'true' if rest else 'false'}</IsTruncated>{contents}</ListBucketResult>"
    )
    return 200, {"Content-Type": "application/xml"}, body.encode()
