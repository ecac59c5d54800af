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

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from eofs.nodes import Directory, File, Held, Text, inode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eofs.archive import Listing
    from eofs.model import Member, Product
    from eofs.nodes import Caller, Node, Reader
    from eofs.status import Status

NAME_MAX = 255  # bytes of one name, on every Linux file system
_UNFIT = re.compile(r"[/\x00-\x1f\x7f]")
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


class _Products(Mapping[str, Directory]):
    """The product directories by name, made when they are asked for: there may be a hundred thousand."""

    def __init__(self, products: dict[str, Product], engine: Bringer, mountpoint: str, started: int) -> None:
        self._products = products
        self._branch = (engine, mountpoint, started)

    def __getitem__(self, name: str) -> Directory:
        return _product_directory(name, self._products[name], *self._branch)

    def __iter__(self) -> Iterator[str]:
        return iter(self._products)

    def __len__(self) -> int:
        return len(self._products)


def _product_directory(name: str, product: Product, engine: Bringer, mountpoint: str, started: int) -> Directory:
    mtime = int(product.start.timestamp()) * 10**9 if product.start else started
    root = root_name(product)
    location = f"{mountpoint}/{name}/data/{root}"
    picture = engine.quicklook_name(product)

    def root_children(caller: Caller) -> Mapping[str, Node]:
        return grow(name, root, product, engine, engine.listing(product, caller))

    product_root = Directory(inode(name, "data", root), mtime, root_children, lazy=True)
    data = {root: product_root}
    children: dict[str, Node] = {
        "status": Text(
            inode(name, "status"), started, lambda: engine.status(product, location).text().encode("utf-8", "replace")
        ),
        "metadata.json": File(
            inode(name, "metadata.json"), mtime, lambda _: len(product.feature), lambda _: Held(product.feature)
        ),
        "data": Directory(inode(name, "data"), mtime, lambda _: data),
    }
    if picture:
        children[picture] = File(
            inode(name, picture),
            mtime,
            lambda caller: len(engine.quicklook(product, caller)),
            lambda caller: Held(engine.quicklook(product, caller)),
        )

    def attributes() -> dict[str, bytes]:
        return _extended(engine.status(product, location).values())

    return Directory(inode(name), mtime, lambda _: children, attributes=attributes)


def _extended(values: Mapping[str, object]) -> dict[str, bytes]:
    """Return the extended attributes that say the same as the lines of a status file."""
    texts = {key: "null" if value is None else str(value) for key, value in values.items()}
    return {f"user.eofs.{key}": text.encode("utf-8", "replace") for key, text in texts.items()}


def grow(name: str, root: str, product: Product, engine: Bringer, listing: Listing) -> Mapping[str, Node]:
    """Return what the product root holds: the archive's tree as it is, directories made up where it lists none.

    A single top-level directory of the product root's own name is the product root.
    """
    top: dict[str, Node] = {}
    folders: dict[str, dict[str, Node]] = {"": top}
    tops = {path.partition("/")[0] for path in (*(m.path for m in listing.members), *listing.directories)}
    cut = len(root) + 1 if tops == {root} and all("/" in m.path for m in listing.members) else 0

    def folder(path: str) -> dict[str, Node]:
        if path not in folders:
            parent, _, last = path.rpartition("/")
            inside = folders[path] = {}
            mtime = int(product.start.timestamp()) * 10**9 if product.start else 0
            folder(parent)[last] = Directory(inode(name, "data", root, path), mtime, lambda _: inside)
        return folders[path]

    for path in listing.directories:
        folder(path[cut:])
    for member in listing.members:
        parent, _, last = member.path[cut:].rpartition("/")
        folder(parent)[last] = _file(name, root, product, engine, member)
    return top


def _file(name: str, root: str, product: Product, engine: Bringer, member: Member) -> File:
    return File(
        inode(name, "data", root, "member", member.path),
        member.mtime,
        lambda _: member.size,
        lambda caller: engine.open(product, member, caller),
    )


def root_name(product: Product) -> str:
    """Return the name of the product root: the title, with the mission's suffix where it has one."""
    title = safe_name(product.title, product.id)
    for mission, suffix in _SUFFIXES:
        if mission.match(title) and not title.upper().endswith(suffix):
            return safe_name(title + suffix, product.id)
    return title


def name_all(products: Iterable[Product]) -> dict[str, Product]:
    """Return the products under the names of their directories: the same names whatever the order they come in."""
    names: dict[str, Product] = {}
    again: list[Product] = []
    for product in sorted(products, key=lambda p: (p.id, p.provider, p.uid, p.location or "")):
        name = safe_name(product.title, product.id)
        if name in names:
            again.append(product)
        else:
            names[name] = product
    for product in again:
        names[_free(names, f"{product.title}-{product.id}", product.id)] = product
    return dict(sorted(names.items()))


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
