"""HTTP/1.1 on a socket: reads requests, sends replies, and misbehaves where a reply says so.

Threads: one accepts, one more serves each connection. Only the accepting thread knows the connections, and `close`
when that one has ended, so there is no lock. `close` shuts their sockets down, which wakes whoever reads or sends;
whoever waits for anything else waits on `provider.stopping`.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import socket
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from eofs.demo.replies import Reply, Request

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from eofs.demo.replies import Kind

_PIECE = 1 << 16


class Provider(Protocol):
    """What a conversation needs to know of the provider."""

    stopping: threading.Event
    rate: float | None

    def clock(self) -> float:
        """Return the time, in seconds."""

    def route(self, path: str) -> tuple[Kind | None, str | None]:
        """Return what a path stands for, and the uid of the product in it."""

    def knows(self, username: str, password: str) -> bool:
        """Return whether these are the credentials."""

    def reply_to(self, request: Request) -> Reply:
        """Return the answer."""

    def begin(self) -> None:
        """Take note that a request is under way."""

    def end(self, request: Request) -> None:
        """Write a request down that has ended."""


class Listener(ThreadingHTTPServer):
    """The listening socket on the loopback address, and all connections that came from it."""

    request_queue_size = 128

    def __init__(self, port: int, provider: Provider) -> None:
        self.provider = provider
        self._open: dict[threading.Thread, Any] = {}
        super().__init__(("127.0.0.1", port), Conversation)
        self._accepting = threading.Thread(
            target=self.serve_forever, args=(0.02,), name="eofs-demo-listener", daemon=True
        )
        self._accepting.start()

    def server_bind(self) -> None:
        """Bind; without asking a resolver for the host's name, as `HTTPServer` would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, and remember both."""
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="eofs-demo", daemon=True
        )
        self._open = {old: peer for old, peer in self._open.items() if old.is_alive()}
        self._open[thread] = request
        thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what went wrong; a client that went away is not worth a word."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def close(self) -> None:
        """Stop listening, end all connections at once, wait for their threads."""
        self.shutdown()
        self._accepting.join()
        self.server_close()
        for connection in self._open.values():
            with contextlib.suppress(OSError):  # the client was quicker
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._open:
            thread.join(timeout=10)


class _Entry:
    """A request under way: written down once, when it ends."""

    def __init__(self, provider: Provider, request: Request) -> None:
        self._provider, self.request = provider, request
        self.status = self.sent = 0
        self._written = False

    def __enter__(self) -> Self:
        self._provider.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Write it down, unless that was done."""
        if not self._written:
            self._written = True
            self._provider.end(replace(self.request, status=self.status, sent=self.sent))


class Conversation(BaseHTTPRequestHandler):
    """One connection: requests and their answers, one after the other."""

    server: Listener
    protocol_version = "HTTP/1.1"
    server_version = "eofs-demo"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer one request of any method."""
        provider = self.server.provider
        with _Entry(provider, self._request()) as entry:
            try:
                self._send(provider.reply_to(entry.request), entry)
            except ConnectionError:
                self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server calls them so

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
        """Say nothing: the provider keeps its own log."""

    def _request(self) -> Request:
        url = urlsplit(self.path)
        provider = self.server.provider
        kind, uid = provider.route(url.path)
        return Request(
            method=self.command,
            path=url.path,
            query=dict(parse_qsl(url.query)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
            authorised=provider.knows(*_basic(self.headers.get("Authorization"))),
            time=provider.clock(),
            kind=kind,
            uid=uid,
        )

    def _send(self, reply: Reply, entry: _Entry) -> None:
        """Send what is to be sent of an answer.

        The request is written down just before its last bytes leave, so that whoever has read the answer finds it
        in the book.
        """
        if reply.stall_after is not None and reply.stall_after < 0:
            self._stall(reply)
        if reply.cut_after is not None and reply.cut_after < 0:
            raise ConnectionAbortedError
        total = reply.size if reply.cut_after is None else min(reply.size, reply.cut_after)
        total = 0 if self.command == "HEAD" else total
        entry.status = reply.status or 200
        if not total:
            entry.end()
        self._send_head(reply, entry.status)
        begun, rate = time.monotonic(), self.server.provider.rate
        for piece in reply.pieces(total, _PIECE if rate is None else max(1, min(_PIECE, int(rate / 20)))):
            if entry.sent == reply.stall_after:
                self._stall(reply)
            entry.sent += len(piece)
            if entry.sent == total:
                entry.end()
            self.connection.sendall(piece)
            if rate is not None:
                self._pause(begun + entry.sent / rate - time.monotonic())
        if self.command != "HEAD" and (total < reply.size or reply.length not in {None, total}):
            self.close_connection = True

    def _send_head(self, reply: Reply, status: int) -> None:
        self.send_response(status)
        length = reply.size if reply.length is None else reply.length
        said = {"Content-Length": str(length)} if length >= 0 else {}
        for name, value in {**said, **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _stall(self, reply: Reply) -> None:
        while not (reply.release and reply.release.is_set()):
            self._pause(0.02)
            with contextlib.suppress(BlockingIOError):  # it is there, and silent
                if not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    raise ConnectionAbortedError

    def _pause(self, seconds: float) -> None:
        if seconds > 0 and self.server.provider.stopping.wait(seconds):
            raise ConnectionAbortedError


def _basic(header: str | None) -> tuple[str, str]:
    """Return user name and password of an ``Authorization: Basic`` header (RFC 7617), empty where there are none."""
    scheme, _, token = (header or "").partition(" ")
    try:
        text = base64.b64decode(token.strip(), validate=True).decode() if scheme.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    username, _, password = text.partition(":")
    return username, password
