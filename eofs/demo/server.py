"""A provider for trying out and for tests: PEPS' manners on the loopback address, with archives of its own making.

What PEPS does is told by its client peps_download (github.com/olivierhagolle/peps_download) and by eodag 2.x: the
download link wants HTTP Basic; a product on tape answers 202 with an empty body, which is the order, and 202 again
until it is on disk; quicklooks are open to all.

Threads: the connections' threads call `reply_to`. The lock makes an order and a scripted reply happen once; it is held
for a line or two. `rate`, `ranges` and `staging_seconds` may be changed at any time and count from the next request on.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence  # noqa: TC003 - annotations of a public dataclass must resolve
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from eofs.demo.book import Book
from eofs.demo.replies import Kind, Part, Reply, Request, file_reply
from eofs.demo.result import collection, listed, ten_products, title_of, uid_of
from eofs.demo.scene import file_stem
from eofs.demo.store import Archive, stock
from eofs.demo.wire import Listener
from eofs.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_QUICKLOOKS = Path(__file__).with_name("quicklooks")
_ONLINE = float("-inf")
_ON_TAPE = float("inf")


@dataclass(eq=False)
class DemoProvider(Book):
    """A provider on 127.0.0.1, running inside of ``with``; it can stop and start again on the same port.

    Attributes:
        store: the directory of the archives, made if missing; they stay there for the next time.
        products: GeoJSON features; `properties` wants ``title``, ``uid`` and ``storageStatus`` (absent: ONLINE).
        staging_seconds: from the order of a product to its being on disk.
        megabytes: the size of each product, see `write_safe`.
        deflated: deflate the bands of the archives.
        rate: bytes a second for each connection, or None for all that it takes.
        ranges: serve byte ranges.
        port: 0 for any.
        log: a file to which a line goes for each request: time, method, path, status, bytes of the body.
        clock: seconds; all of the provider's times are read from it.
        script: replies for the next requests to download a product, by its uid; each is used once, whoever asks.
    """

    store: Path
    _: KW_ONLY
    products: Sequence[Mapping[str, Any]] = field(default_factory=ten_products)
    username: str = "demo"
    password: str = field(default="demo", repr=False)
    staging_seconds: float = 6.0
    megabytes: float = 24
    deflated: bool = False
    rate: float | None = None
    ranges: bool = True
    port: int = 0
    log: Path | None = None
    clock: Callable[[], float] = time.time
    script: defaultdict[str, deque[Reply]] = field(default_factory=lambda: defaultdict(deque), init=False)

    def __post_init__(self) -> None:
        super().__init__()
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._features = {uid_of(feature): feature for feature in self.products}
        self._uids = {title_of(feature): uid for uid, feature in self._features.items()}
        self._archives: dict[str, Archive] = {}
        self._listener: Listener | None = None
        # When each product is on disk: long since, at a moment to come, or not before somebody orders it.
        self._ready: dict[str, float] = {
            uid: _ON_TAPE if feature["properties"].get("storageStatus") == "OFFLINE" else _ONLINE
            for uid, feature in self._features.items()
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Make the archives that are missing, and listen.

        Raises:
            ConfigError: the store or the log cannot be written, or the port is taken.
        """
        try:
            self._stock()
            self.open_log(self.log)
        except OSError as error:
            raise ConfigError(f"The demo provider cannot write its files: {error}.") from error
        self.stopping.clear()
        try:
            self._listener = Listener(self.port, self)
        except OSError as error:
            self.close_log()
            raise ConfigError(
                f"The demo provider cannot listen on port {self.port} ({error.strerror}); choose another, or 0 for any."
            ) from error
        self.port = self._listener.server_port

    def stop(self) -> None:
        """Stop listening and end all connections at once; the book stays."""
        self.stopping.set()
        if self._listener:
            self._listener.close()
            self._listener = None
        self.close_log()

    def _stock(self) -> None:
        self.store.mkdir(parents=True, exist_ok=True)
        by_stem = {file_stem(title): title for title in self._uids}
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            made = pool.map(
                lambda title: stock(self.store, title, megabytes=self.megabytes, deflated=self.deflated),
                by_stem.values(),
            )
            archives = dict(zip(by_stem, made, strict=True))
        self._archives = {uid: archives[file_stem(title_of(feature))] for uid, feature in self._features.items()}

    @property
    def url(self) -> str:
        """Return ``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> dict[str, str]:
        """Return what the provider wants to be shown: user name and password."""
        return {"username": self.username, "password": self.password}

    # The catalogue

    def result(self) -> dict[str, Any]:
        """Return the search result as the catalogue would give it now."""
        return collection(
            [
                listed(
                    feature,
                    url=self.url,
                    status=self.storage(uid),
                    archive=self._archives[uid],
                    upper=number % 2 == 0,
                )
                for number, (uid, feature) in enumerate(self._features.items())
            ]
        )

    def write_result(self, path: Path) -> Path:
        """Write the search result as a file and return its path."""
        path.write_text(json.dumps(self.result(), indent=1), encoding="utf-8")
        return path

    def archive(self, uid: str) -> Path:
        """Return the path of a product's archive.

        Raises:
            NotFound: there is no such product.
        """
        return self._archives[self._known(uid)].path

    def md5sums(self, uid: str) -> dict[str, str]:
        """Return the MD5 of each member of a product's archive, by its path in it."""
        return self._archives[self._known(uid)].md5sums()

    # Storage

    def storage(self, uid: str) -> str:
        """Return where a product is now: ``OFFLINE``, ``STAGING`` or ``ONLINE``."""
        ready = self._ready[self._known(uid)]
        if ready == _ON_TAPE:
            return "OFFLINE"
        return "ONLINE" if ready <= self.clock() else "STAGING"

    def set_offline(self, uid: str) -> None:
        """Put a product on tape: the next request for it is an order."""
        self._ready[self._known(uid)] = _ON_TAPE

    def set_online(self, uid: str) -> None:
        """Put a product on disk."""
        self._ready[self._known(uid)] = _ONLINE

    def put_on_tape(self, *uids: str) -> None:
        """Put these products on tape; all of them where none is named."""
        for uid in uids or self._features:
            self.set_offline(uid)

    def _order(self, uid: str) -> None:
        ready = self.clock() + self.staging_seconds
        with self._lock:
            if self._ready[uid] == _ON_TAPE:
                self._ready[uid] = ready

    def _known(self, uid: str) -> str:
        if uid not in self._features:
            raise NotFound(f"The demo provider has no product {uid}; its search result names those that it has.")
        return uid

    # The answers

    def answer(self, request: Request) -> Reply | None:  # noqa: ARG002 - for those who override it
        """Answer in place of the provider, or return None to let it answer. Asked first; made to be overridden."""
        return None

    def reply_to(self, request: Request) -> Reply:
        """Return the answer to a request: that of `answer`, of the script, or the usual one."""
        reply = self.answer(request)
        if reply is None and request.kind == "download":
            reply = self._scripted(request.uid or "")
        if reply is None:
            return self.usual(request)
        return reply.over(self.usual(request)) if reply.status is None else reply

    def _scripted(self, uid: str) -> Reply | None:
        with self._lock:
            replies = self.script.get(uid)
            return replies.popleft() if replies else None

    def usual(self, request: Request) -> Reply:
        """Return the answer of a provider that has nothing special in mind."""
        if request.method not in {"GET", "HEAD"}:
            return Reply(405, {"Allow": "GET, HEAD"})
        if request.kind == "quicklook" and request.uid:
            return self._quicklook(request)
        if request.kind == "download" or request.path == "/resto/api/users/connect":
            if not request.authorised:
                return Reply(401, {"WWW-Authenticate": 'Basic realm="demo"'})
            return self._download(request) if request.kind else Reply(200, _JSON, b'{"status": "success"}')
        return Reply(404)

    def route(self, path: str) -> tuple[Kind | None, str | None]:
        """Return what a path stands for, and the uid of the product in it if there is one."""
        match [unquote(part) for part in path.split("/")]:
            case ["", "resto", "collections", _, uid, "download"]:
                return "download", uid
            case ["", "quicklook", name] if name.endswith("_quicklook.jpg"):
                return "quicklook", self._uids.get(name.removesuffix("_quicklook.jpg"))
        return None, None

    def knows(self, username: str, password: str) -> bool:
        """Return whether these are the credentials."""
        return (username, password) == (self.username, self.password)

    def _quicklook(self, request: Request) -> Reply:
        feature = self._features[request.uid or ""]
        if feature["properties"].get("quicklook", "") is None:
            return Reply(404)
        path = _QUICKLOOKS / f"{title_of(feature)}.jpg"
        if not path.is_file():  # a product of a test's own making borrows a picture
            path = min(_QUICKLOOKS.glob("*.jpg"))
        return Reply(200, {"Content-Type": "image/jpeg"}, Part(path, 0, path.stat().st_size))

    def _download(self, request: Request) -> Reply:
        uid = request.uid or ""
        if uid not in self._features:
            return Reply(404)
        if not request.query.get("issuerId"):
            return Reply(400, {"Content-Type": "text/plain"}, b"issuerId is missing\n")
        if self.storage(uid) != "ONLINE":
            if request.method == "GET":
                self._order(uid)
            return Reply(202)
        archive = self._archives[uid]
        name = quote(archive.path.name)
        # RFC 6266: the form with a star is for names that are not plain ASCII
        form = "filename*=UTF-8''" if "%" in name else "filename="
        headers = {
            "Content-Type": "application/zip",
            "Content-Disposition": f"attachment; {form}{name}",
            "ETag": f'"{archive.md5}"',
        }
        return file_reply(request, archive.path, headers, ranges=self.ranges)


_JSON = {"Content-Type": "application/json"}
