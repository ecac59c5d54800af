"""The shape of a product's directory, fed with callables; nothing here knows FUSE, HTTP or the disk.

TITLE/
├── quicklook.jpg
├── status
├── metadata.json
└── data/
└── TITLE.SAFE/     the product root: looking inside brings the product
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from eofs.archive.listing import log_paths, stays_inside
from eofs.layout import safe_name
from eofs.nodes import Directory, File, Held, Link, Text, inode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eofs.archive import Listing
    from eofs.model import Member, Product
    from eofs.nodes import Caller, Node, Reader
    from eofs.status import Status

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


class Branch:
    """What stands in one product's directory; it knows no other product, and outlasts its place among them.

    Args:
        path: of the directory, below the mount.
        number: its inode number; those up to six less are for what eofs itself puts in there.
        product: it is this one's.
        engine: brings what is looked at.
        mountpoint: absolute path, for the locations in the status file.
        started: nanoseconds since the epoch; the time of whatever has none of its own.

    Threads: two that come first both make what is then kept; either is as good.
    """

    def __init__(
        self, path: str, number: int, product: Product, engine: Bringer, mountpoint: str, started: int
    ) -> None:
        self._path = path
        self._number = number
        self._product = product
        self._engine = engine
        self._mountpoint = mountpoint
        self._started = started
        self._time = int(product.start.timestamp()) * 10**9 if product.start else started
        self._grown: tuple[Listing | None, Mapping[str, Node]] = (None, {})

    def directory(self) -> Directory:
        """Return the product's directory."""
        return Directory(
            self._number, self._time, lambda _: self._inside, attributes=lambda: extended(self._status().values())
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
            grown = grow(self._path, root_name(self._product), self._product, self._engine, listing)
            self._grown = listing, grown
        return grown

    def _status(self) -> Status:
        return self._engine.status(self._product, f"{self._mountpoint}/{self._path}/data/{root_name(self._product)}")


def extended(values: Mapping[str, object]) -> dict[str, bytes]:
    """Return the extended attributes that say the same as the lines of a status file."""
    texts = {key: "null" if value is None else str(value) for key, value in values.items()}
    return {f"user.eofs.{key}": text.encode("utf-8", "replace") for key, text in texts.items()}


def grow(above: str, root: str, product: Product, engine: Bringer, listing: Listing) -> Mapping[str, Node]:
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
            outside[path.rpartition("/")[2]] = _folder(inode(f"{above}/data/{root}/{path}"), mtime, inside)
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
        folder(parent)[last] = _file(inode(f"{above}/data/{root}/{same[cut:]}"), product, engine, member, names[same])
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
