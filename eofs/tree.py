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
import operator
import re
from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

from eofs.archive.listing import log_paths, stays_inside
from eofs.model import Product
from eofs.nodes import DIRECTORY, Crowd, Directory, File, Held, Link, Text, inode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from eofs.archive import Listing
    from eofs.model import Member
    from eofs.nodes import Caller, Node, Reader
    from eofs.status import Status

TREES = 512  # products whose grown tree is kept in memory
NAME_MAX = 255  # bytes of one name, on every Linux file system
_UNFIT = re.compile(r"[/\x00-\x1f\x7f-\x9f]")
_SUFFIXES = (  # the suffix that the archives of a mission give to their top directory
    (re.compile(r"S[12][A-Z]_"), ".SAFE"),
    (re.compile(r"S3[A-Z]_"), ".SEN3"),
)
_SAID = operator.attrgetter(*(field.name for field in fields(Product) if field.name != "feature"))


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


class Products(Crowd):
    """The product directories by name, made when they are asked for: there may be a hundred thousand.

    Those that were looked at last are kept, with what stands in them: every path leads through them. A value: what a
    newer search result shows is another one.

    Args:
        named: all that is to be shown, as `name_all` names it.
        engine: brings what is looked at.
        mountpoint: absolute path, for the locations in the status files.
        started: nanoseconds since the epoch; the time of whatever has none of its own.
    """

    def __init__(self, named: Mapping[str, Product], engine: Bringer, mountpoint: str, started: int) -> None:
        # The numbers up to six less than that of a product's directory are for what eofs itself puts in there.
        self._products = {name: (inode(name) | 7, product) for name, product in named.items()}
        self._engine = engine
        self._mountpoint = mountpoint
        self._started = started
        self._directory = functools.lru_cache(TREES)(self._make_directory)

    def __iter__(self) -> Iterator[str]:
        return iter(self._products)

    def __len__(self) -> int:
        return len(self._products)

    def entries(self) -> Iterable[tuple[str, int, int]]:
        """Return the name, mode and inode number of each."""
        return ((name, DIRECTORY, number) for name, (number, _) in self._products.items())

    def __getitem__(self, name: str) -> Directory:
        return self._directory(name)

    def product(self, name: str) -> Product | None:
        """Return the product whose directory has this name."""
        return self._products.get(name, (0, None))[1]

    def followed_by(self, named: Mapping[str, Product]) -> Products:
        """Return what is to be shown in the place of these."""
        return Products(named, self._engine, self._mountpoint, self._started)

    def root(self, about: Mapping[str, str]) -> Directory:
        """Return the root of the mount; `about` is what its extended attributes ``user.eofs.…`` say."""
        return Directory(inode("/"), self._started, self.children, attributes=lambda: _extended(about))

    def children(self, caller: Caller) -> Products:  # noqa: ARG002 - as of all directories
        """Return what the root holds."""
        return self

    def _make_directory(self, name: str) -> Directory:
        number, product = self._products[name]
        return _Branch(name, number, product, self._engine, f"{self._mountpoint}/{name}", self._started).directory()


class _Branch:
    """What stands in one product's directory; it knows no other product, and outlasts its place among them.

    Threads: two that come first both make what is then kept; either is as good.
    """

    def __init__(self, name: str, number: int, product: Product, engine: Bringer, place: str, started: int) -> None:
        self._name = name
        self._number = number
        self._product = product
        self._engine = engine
        self._place = place
        self._started = started
        self._time = int(product.start.timestamp()) * 10**9 if product.start else started
        self._grown: tuple[Listing | None, Mapping[str, Node]] = (None, {})

    def directory(self) -> Directory:
        """Return the product's directory."""
        return Directory(
            self._number, self._time, lambda _: self._inside, attributes=lambda: _extended(self._status().values())
        )

    @functools.cached_property
    def _inside(self) -> Mapping[str, Node]:
        number, mtime, product, engine = self._number, self._time, self._product, self._engine
        children: dict[str, Node] = {
            "status": Text(number - 1, self._started, lambda: self._status().text().encode("utf-8", "replace")),
            "metadata.json": File(
                number - 2, mtime, lambda _: len(product.feature), lambda _: Held(bytes(product.feature), lasts=False)
            ),
            "data": Directory(number - 3, mtime, lambda _: self._data),
        }
        if picture := engine.quicklook_name(product):
            children[picture] = File(
                number - 4,
                mtime,
                lambda caller: len(engine.quicklook(product, caller)),
                lambda caller: Held(engine.quicklook(product, caller)),
            )
        return children

    @functools.cached_property
    def _data(self) -> Mapping[str, Node]:
        return {root_name(self._product): Directory(self._number - 5, self._time, self._root, lazy=True)}

    def _root(self, caller: Caller) -> Mapping[str, Node]:
        listing = self._engine.listing(self._product, caller)
        known, grown = self._grown
        if known is not listing:
            grown = grow(self._name, root_name(self._product), self._product, self._engine, listing)
            self._grown = listing, grown
        return grown

    def _status(self) -> Status:
        return self._engine.status(self._product, f"{self._place}/data/{root_name(self._product)}")


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


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of names when others are shown.

    Attributes:
        new: they were not there before.
        gone: they are not there any more.
        renewed: the same product has other links, another status…; with what it was before.
        replaced: another product has the name.
    """

    new: set[str]
    gone: set[str]
    renewed: dict[str, Product]
    replaced: set[str]

    @property
    def names(self) -> set[str]:
        """Return all of them."""
        return self.new | self.gone | self.renewed.keys() | self.replaced

    def __str__(self) -> str:
        return f"{len(self.new)} new, {len(self.gone)} gone, {len(self.renewed) + len(self.replaced)} changed"


def changes(before: Products, named: Mapping[str, Product]) -> Changes:
    """Return what becomes of the names that are shown when those of `named` are.

    What a feature says beyond what eofs knows of a product does not count: it is read anew each time.
    """
    names = set(before)
    other = {
        name: old for name, product in named.items() if (old := before.product(name)) and _SAID(old) != _SAID(product)
    }
    renewed = {name: old for name, old in other.items() if old.key == named[name].key}
    return Changes(named.keys() - names, names - named.keys(), renewed, other.keys() - renewed.keys())


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
