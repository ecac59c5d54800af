"""A provider of loose files on the loopback address, as an object store is, with what may be odd about one."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self


@dataclass
class Served:
    """One file, and how it is served.

    Attributes:
        status: of the replies to GET; 200 stands for 206 as well.
        head: the status of the replies to HEAD, where it is another.
        length: whether they say how long the file is.
        etag: its validator.
        free: nothing is answered before it is set.
    """

    content: bytes
    status: int = 200
    head: int | None = None
    length: bool = True
    ranges: bool = True
    kind: str = "application/octet-stream"
    etag: str = '"1"'
    free: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.free.set()


@dataclass(frozen=True)
class Asked:
    """One request, and the bytes of its body that were sent."""

    method: str
    path: str
    range: str | None
    authorization: str | None
    sent: int


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what went wrong; a client that went away is not worth a word."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class AssetServer:
    """Serves files by their paths, in ``with``; `asked` holds the requests in the order in which they ended."""

    def __init__(self, files: Mapping[str, bytes | Served]) -> None:
        self.files = {name: each if isinstance(each, Served) else Served(each) for name, each in files.items()}
        self.changes: dict[str, Any] = {}  # of the item in `result`
        self.asked: list[Asked] = []
        self._most = self._now = 0
        self._lock = threading.Lock()
        self._server = _Listener(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for served in self.files.values():
            served.free.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def at_once(self) -> int:
        """Return how many requests were under way at a time, at most."""
        return self._most

    def requests(self, name: str = "", method: str = "GET") -> list[Asked]:
        """Return the requests of one method for one file, or for all."""
        with self._lock:
            return [asked for asked in self.asked if asked.method == method and asked.path.endswith(name)]

    def sent(self, name: str = "") -> int:
        """Return the bytes of bodies that were sent of one file, or of all."""
        return sum(asked.sent for asked in self.requests(name))

    def item(self, name: str = "scene", **changes: Any) -> dict[str, Any]:
        """Return an item of STAC whose assets are the files, by their names without suffix."""
        assets = {path.partition(".")[0]: {"href": f"{self.url}/{path}"} for path in self.files}
        item = {"type": "Feature", "stac_version": "1.0.0", "id": name, "properties": {}, "assets": assets}
        return {**item, **self.changes, **changes}

    def result(self) -> dict[str, Any]:
        """Return a search result of one item for all files."""
        return {"type": "FeatureCollection", "features": [self.item()]}

    # -- answering ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _under_way(self) -> Any:
        with self._lock:
            self._now += 1
            self._most = max(self._most, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def _note(self, asked: Asked) -> None:
        with self._lock:
            self.asked.append(asked)

    def _handler(self) -> Callable[..., BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path).lstrip("/")
                with server._under_way(), contextlib.suppress(ConnectionError):
                    self._answer(path, server.files.get(path))

            do_HEAD = do_GET  # noqa: N815 - http.server calls it so

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def _answer(self, path: str, served: Served | None) -> None:
                if served:
                    served.free.wait(20)
                status, headers, body = _reply(served, self.command, self.headers.get("Range"))
                sent = 0 if self.command == "HEAD" else len(body)
                # Before the bytes leave: who has read them finds them in the book.
                said = (self.headers.get("Range"), self.headers.get("Authorization"), sent)
                server._note(Asked(self.command, path, *said))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Connection", "close")
                    self.close_connection = True
                self.end_headers()
                if sent:
                    self.wfile.write(body)

        return Handler


def _reply(served: Served | None, method: str, wanted: str | None) -> tuple[int, dict[str, str], bytes]:
    if served is None:
        return 404, {"Content-Length": "0"}, b""
    status = served.status if method == "GET" or served.head is None else served.head
    if status != 200:
        return status, {"Content-Length": "0"}, b""
    content, headers = served.content, {"ETag": served.etag, "Content-Type": served.kind}
    part = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "") if served.ranges and method == "GET" else None
    if served.ranges:
        headers["Accept-Ranges"] = "bytes"
    if part:
        size = len(content)
        start = int(part[1]) if part[1] else max(0, size - int(part[2]))
        stop = min(size, int(part[2]) + 1) if part[1] and part[2] else size
        if start >= size:
            return 416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"}, b""
        status, content = 206, content[start:stop]
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    if served.length:
        headers["Content-Length"] = str(len(content))
    return status, headers, content
