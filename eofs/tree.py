"""The shape of the mount, in one function fed with callables; nothing here knows FUSE, HTTP or the disk.

MOUNTPOINT/
└── TITLE/
├── quicklook.jpg
├── status
├── metadata.json
└── data/
└── TITLE.SAFE/     the product root: looking inside brings the product
"""

from __future__ import annotations

import functools
import hashlib
import re
import threading
from collections import Counter
from typing import TYPE_CHECKING, Protocol

import cachetools

from eofs.archive.listing import log_paths, stays_inside
from eofs.nodes import DIRECTORY, Crowd, Directory, File, Held, Link, Text, inode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from eofs.archive import Listing
    from eofs.model import Member, Product
    from eofs.nodes import Caller, Node, Reader
    from eofs.status import Status

TREES = 512  # products whose grown tree is kept in memory
NAME_MAX = 255  # bytes of one name, on every Linux file system
_UNFIT = re.compile(r"[/\x00-\x1f\x7f-\x9f]")
_SUFFIXES = (  # the suffix that the archives of a mission give to their top directory
    (re.compile(r"S[12][A-Z]_"), ".SAFE"),
    (re.compile(r"S3[A-Z]_"), ".SEN3"),
)


class Bringer(Protocol):
    """What the tree asks of the engine."""

    def status(self, product: Product, product_root: str) -> Status:
        """Return where the product stands."""

    def listing(self, product: Product, caller: Caller) -> Listing:
        """Return what the product holds; may wait."""

    def open(self, product: Product, member: Member, caller: Caller) -> Reader:
        """Open one of its files; may wait."""

    def quicklook(self, product: Product, caller: Caller) -> bytes:
        """Return its quicklook; may wait for one request."""

    def quicklook_name(self, product: Product) -> str | None:
        """Return what its quicklook is called, or None where it has none."""


def build(
    products: Iterable[Product], engine: Bringer, mountpoint: str, started: int, about: Mapping[str, str]
) -> Directory:
    """Return the root of the mount.

    Args:
        products: all that is to be shown.
        engine: brings what is looked at.
        mountpoint: absolute path, for the locations in the status files.
        started: nanoseconds since the epoch; the time of whatever has none of its own.
        about: what the root's extended attributes ``user.eofs.…`` say of the mount.
    """
    shown = _Products(name_all(products), engine, mountpoint, started)
    return Directory(inode("/"), started, lambda _: shown, attributes=lambda: _extended(about))


class _Products(Crowd):
    """The product directories by name, made when they are asked for: there may be a hundred thousand.

    Those that were looked at last are kept, with what stands in them: every path leads through them.

    Threads: one lock guards the trees that have been grown; nothing is called under it.
    """

    def __init__(self, products: dict[str, Product], engine: Bringer, mountpoint: str, started: int) -> None:
        # The numbers up to six less than that of a product's directory are for what eofs itself puts in there.
        self._products = {name: (inode(name) | 7, product) for name, product in products.items()}
        self._engine = engine
        self._mountpoint = mountpoint
        self._started = started
        self._directory = functools.lru_cache(TREES)(self._make_directory)
        self._inside = functools.lru_cache(TREES)(self._make_inside)
        self._data = functools.lru_cache(TREES)(self._make_data)
        self._grown: cachetools.LRUCache[str, tuple[Listing, Mapping[str, Node]]] = cachetools.LRUCache(TREES)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[str]:
        return iter(self._products)

    def __len__(self) -> int:
        return len(self._products)

    def entries(self) -> Iterable[tuple[str, int, int]]:
        """Return the name, mode and inode number of each."""
        return ((name, DIRECTORY, number) for name, (number, _) in self._products.items())

    def __getitem__(self, name: str) -> Directory:
        return self._directory(name)

    def _make_directory(self, name: str) -> Directory:
        number, product = self._products[name]
        return Directory(
            number,
            self._time(product),
            lambda _: self._inside(name),
            attributes=lambda: _extended(self._status(name, product).values()),
        )

    def _make_inside(self, name: str) -> Mapping[str, Node]:
        number, product = self._products[name]
        mtime = self._time(product)
        children: dict[str, Node] = {
            "status": Text(
                number - 1, self._started, lambda: self._status(name, product).text().encode("utf-8", "replace")
            ),
            "metadata.json": File(
                number - 2, mtime, lambda _: len(product.feature), lambda _: Held(bytes(product.feature))
            ),
            "data": Directory(number - 3, mtime, lambda _: self._data(name)),
        }
        if picture := self._engine.quicklook_name(product):
            children[picture] = File(
                number - 4,
                mtime,
                lambda caller: len(self._engine.quicklook(product, caller)),
                lambda caller: Held(self._engine.quicklook(product, caller)),
            )
        return children

    def _make_data(self, name: str) -> Mapping[str, Node]:
        number, product = self._products[name]
        root = root_name(product)
        inside = Directory(
            number - 5, self._time(product), lambda caller: self._root(name, root, product, caller), lazy=True
        )
        return {root: inside}

    def _root(self, name: str, root: str, product: Product, caller: Caller) -> Mapping[str, Node]:
        listing = self._engine.listing(product, caller)
        with self._lock:
            known, grown = self._grown.get(name, (None, {}))
        if known is not listing:
            grown = grow(name, root, product, self._engine, listing)
            with self._lock:
                self._grown[name] = (listing, grown)
        return grown

    def _status(self, name: str, product: Product) -> Status:
        return self._engine.status(product, f"{self._mountpoint}/{name}/data/{root_name(product)}")

    def _time(self, product: Product) -> int:
        return int(product.start.timestamp()) * 10**9 if product.start else self._started


def _extended(values: Mapping[str, object]) -> dict[str, bytes]:
    """Return the extended attributes that say the same as the lines of a status file."""
    texts = {key: "null" if value is None else str(value) for key, value in values.items()}
    return {f"user.eofs.{key}": text.encode("utf-8", "replace") for key, text in texts.items()}


def grow(name: str, root: str, product: Product, engine: Bringer, listing: Listing) -> Mapping[str, Node]:
    """Return what the product root holds: the archive's tree as it is, directories made up where it lists none.

    A single top-level directory of the product root's own name is the product root. Symbolic links that lead out of it
    are left out.
    """
    top: dict[str, Node] = {}
    folders: dict[str, dict[str, Node]] = {"": top}
    tops = {path.partition("/")[0] for path in (*(m.path for m in listing.members), *listing.directories)}
    cut = len(root) + 1 if tops == {root} and all("/" in m.path for m in listing.members) else 0

    mtime = int(product.start.timestamp()) * 10**9 if product.start else 0

    def folder(path: str) -> dict[str, Node]:
        missing = []
        while path not in folders:
            missing.append(path)
            path = path.rpartition("/")[0]
        inside = folders[path]
        for path in reversed(missing):
            outside, inside = inside, {}
            folders[path] = inside
            outside[path.rpartition("/")[2]] = _folder(inode(f"{name}/data/{root}/{path}"), mtime, inside)
        return inside

    for path in listing.directories:
        folder(path[cut:])
    links = {member.path[cut:] for member in listing.members if member.link is not None}
    names = Counter(member.same_as or member.path for member in listing.members)
    astray = []
    for member in listing.members:
        path, same = member.path[cut:], member.same_as or member.path
        if member.link is not None and not stays_inside(path, member.link, links):
            astray.append(path)
            continue
        parent, _, last = path.rpartition("/")
        folder(parent)[last] = _file(inode(f"{name}/data/{root}/{same[cut:]}"), product, engine, member, names[same])
    log_paths("symbolic links lead out of their product; they are left out", astray)
    return top


def _folder(ino: int, mtime: int, inside: Mapping[str, Node]) -> Directory:
    return Directory(ino, mtime, lambda _: inside)


def _file(ino: int, product: Product, engine: Bringer, member: Member, names: int) -> File | Link:
    if member.link is not None:
        return Link(ino, member.mtime, member.link)
    return File(
        ino,
        member.mtime,
        lambda _: member.size,
        lambda caller: engine.open(product, member, caller),
        names,
    )


def root_name(product: Product) -> str:
    """Return the name of the product root: the title, with the suffix of the mission's archives where it is one."""
    title = safe_name(product.title, product.id)
    for mission, suffix in () if product.assets else _SUFFIXES:
        if mission.match(title) and not title.upper().endswith(suffix):
            return safe_name(title + suffix, product.id)
    return title


def name_all(products: Iterable[Product]) -> dict[str, Product]:
    """Return the products under the names of their directories: the same names whatever the order they come in."""
    named: dict[str, Product] = {}
    again: dict[str, list[Product]] = {}
    for product in products:
        name = safe_name(product.title, product.id)
        if named.setdefault(name, product) is not product:
            again.setdefault(name, [named[name]]).append(product)
    for name, several in again.items():
        named[name] = min(several, key=_rank)
    rest = [product for name, several in again.items() for product in several if product is not named[name]]
    for product in sorted(rest, key=_rank):
        named[_free(named, f"{product.title}-{product.id}", product.id)] = product
    return {name: named[name] for name in sorted(named)}


def _rank(product: Product) -> tuple[object, ...]:
    """Return what says which of several products of one name comes first."""
    return product.id, product.provider, product.uid, product.location or "", bytes(product.feature)


def _free(names: dict[str, Product], wanted: str, product_id: str) -> str:
    name, number = safe_name(wanted, product_id), 1
    while name in names:
        number += 1
        name = safe_name(f"{wanted}~{number}", f"{product_id}~{number}")
    return name


def safe_name(name: str, product_id: str) -> str:
    """Return a name that a file system can hold: no ``/``, no control characters, at most 255 bytes.

    What is too long is cut, with a hash of the product's id at its end.
    """
    name = _UNFIT.sub("_", name)
    if name in {"", ".", ".."}:
        name = "_" * max(1, len(name))
    octets = name.encode("utf-8", "surrogateescape")
    if len(octets) <= NAME_MAX:
        return name
    mark = "-" + hashlib.sha256(product_id.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return octets[: NAME_MAX - len(mark)].decode("utf-8", "ignore") + mark
