"""What the tests of the HTTP conversation and of the engine share: a provider's side, clocks, an engine on a cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import struct
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eofs import catalog
from eofs.cache import Cache
from eofs.client import Client
from eofs.config import Network
from eofs.fetch import Engine
from eofs.model import Provider
from eofs.nodes import NOBODY, Caller
from eofs.options import Options

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from typing_extensions import Self

    from eofs.demo import DemoProvider
    from eofs.model import Member, Product
    from eofs.nodes import Reader
    from eofs.status import Status

DEMO = Provider(
    name="demo",
    hosts=("127.0.0.1:*",),
    auth="basic",
    credentials={"username": "demo", "password": "demo"},
    dl_url_params={"issuerId": "demo"},
    retries=2,
    retry_delay=1.0,
)
IMPATIENT = Caller(patient=False)
CRAWLER = Caller(program=lambda: "updatedb")
BARE = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 4000  # the first bytes of a NetCDF file, and a megabyte


class LeapingClock:
    """Whoever waits by it is at the end of the wait at once; `pauses` are the seconds that were waited for."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.pauses: list[float] = []
        self._lock = threading.Lock()

    def now(self) -> float:
        return self.time

    def wait(self, event: threading.Event, seconds: float) -> bool:
        with self._lock:
            self.time += seconds
            self.pauses.append(seconds)
        return event.is_set()


class HandClock:
    """Whoever waits by it waits until the hand has been moved far enough."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.ends: list[float] = []
        self._moved = threading.Condition()

    def now(self) -> float:
        return self.time

    def wait(self, event: threading.Event, seconds: float) -> bool:
        with self._moved:
            end = self.time + seconds
            self.ends.append(end)
            while self.time < end and not event.is_set():
                self._moved.wait(0.01)
            self.ends.remove(end)
        return event.is_set()

    def move(self, seconds: float) -> None:
        with self._moved:
            self.time += seconds
            self._moved.notify_all()

    def until_waiting(self, waits: int = 1) -> None:
        """Return when so many waits end later than now."""
        until(lambda: sum(end > self.time for end in list(self.ends)) >= waits)


class Canned:
    """A server on a port of its own that gives one answer a connection, byte by byte as it was told; the last stays.

    An answer of None is a reset. `asked` holds the heads of the requests; with `secure` it speaks TLS. Answers wait
    until `free` is set, as it is from the beginning.
    """

    def __init__(self, *answers: bytes | None, secure: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.free = threading.Event()
        self.free.set()
        self._secure = secure
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"{'https' if secure else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(30)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self._answer(connection)

    def _answer(self, plain: socket.socket) -> None:
        plain.settimeout(30)
        connection = self._secure.wrap_socket(plain, server_side=True) if self._secure else plain
        head = b""
        while b"\r\n\r\n" not in head:
            if not (piece := connection.recv(65536)):
                return
            head += piece
        self.asked.append(head.decode("latin-1"))
        self.free.wait(60)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        connection.close()


def http(status: int, body: bytes = b"", length: int | None = None, **headers: str) -> bytes:
    """The bytes of a reply; `length` is what Content-Length says, -1 for none at all."""
    lines = [f"HTTP/1.1 {status} Said So", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if length != -1:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Room:
    """An engine on a cache directory; `start` opens it, `close` leaves it as a program that ends."""

    def __init__(self, provider: DemoProvider, directory: Path) -> None:
        self.provider = provider
        self.directory = directory
        found = catalog.read(json.dumps(provider.result()).encode()).products
        self.products = {product.uid: product for product in found}
        self._open: list[tuple[Engine, Cache]] = []

    def start(
        self,
        *,
        speaks: Provider | Callable[[str], Provider] = DEMO,
        clock: Any = None,
        limit: int = 1 << 30,
        tell: Callable[..., None] = lambda *_: None,
        **options: Any,
    ) -> Engine:
        """Open an engine; those that are open stay so. `speaks` is every provider, or returns one by name or host."""
        chosen = Options(cache_dir=self.directory, **{"wait": 0.002, "timeout": 0.5, "stall_timeout": 30.0, **options})
        self.cache = Cache(self.directory, limit)

        def client_for(name: str) -> Client:
            provider = speaks if isinstance(speaks, Provider) else speaks(name)
            return Client(provider, Network(), connections=chosen.connections, stall_timeout=chosen.stall_timeout)

        engine = Engine(self.cache, chosen, client_for, clock, tell)
        self._open.append((engine, self.cache))
        return engine

    def close(self) -> None:
        """Close every engine that is open."""
        while self._open:
            engine, cache = self._open.pop()
            engine.close()
            until(lambda: not stories())
            cache.close()

    def status(self, engine: Engine, product: Product) -> Status:
        return engine.status(product, "/mnt/data/product")


def stories() -> list[str]:
    """The names of the threads that bring products or members."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("story ", "inflate"))]


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until `condition` holds; fail when it does not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not come about"
        time.sleep(0.005)


def aside(ask: Callable[..., Any], *args: Any) -> Future[Any]:
    """Call a function in a thread of its own."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(ask(*args))
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)

    threading.Thread(target=run, name="asking", daemon=True).start()
    return future


def together(times: int, ask: Callable[[], Any]) -> list[Any]:
    """Call a function in so many threads at once; return what each returned or raised."""
    barrier = threading.Barrier(times)

    def run() -> Any:
        barrier.wait(60)
        return ask()

    futures = [aside(run) for _ in range(times)]
    return [future.exception(60) or future.result() for future in futures]


def pieces(reader: Reader, step: int = 1 << 18) -> Iterator[bytes]:
    """Read an open file from front to end, and close it."""
    offset = 0
    try:
        while piece := reader.read(offset, step, NOBODY):
            yield piece
            offset += len(piece)
    finally:
        reader.close()


def member(engine: Engine, product: Product, ending: str, caller: Caller = NOBODY) -> Member:
    """Return the first file of a product whose path ends so."""
    return next(found for found in engine.listing(product, caller).members if found.path.endswith(ending))


def content(engine: Engine, product: Product, ending: str, caller: Caller = NOBODY) -> bytes:
    """Read one file of a product."""
    return b"".join(pieces(engine.open(product, member(engine, product, ending, caller), caller)))


def md5sums(engine: Engine, product: Product) -> dict[str, str]:
    """Read a whole product."""
    return {
        found.path: hashlib.md5(b"".join(pieces(engine.open(product, found, NOBODY)))).hexdigest()
        for found in engine.listing(product, NOBODY).members
    }


def unsure(product: Product, **changes: Any) -> Product:
    """Return the product as a result describes it that gives neither checksum nor size."""
    return replace(product, **{"checksum": None, "size": None, **changes})
