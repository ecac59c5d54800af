"""Where products stand in a mount: their paths, by a template such as ``{collection}/{start:%Y/%m}/{title}``.

All products are equally deep, so no product can be where a folder of others is.
"""

from __future__ import annotations

import hashlib
import operator
import re
import string
from dataclasses import dataclass, field
from datetime import timezone
from typing import TYPE_CHECKING

from eofs.providers.values import Unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from eofs.model import Product

    Piece = Callable[[Product], str]  # what a template puts into a name

NAME_MAX = 255  # bytes of one name, on every Linux file system
UNKNOWN = "unknown"  # stands for what a result does not say
_UNFIT = re.compile(r"[/\x00-\x1f\x7f-\x9f]")
_PATH = "a path such as {collection}/{start:%Y/%m}/{title}"
_DATE = "%Y-%m-%d"
_TIMES = re.compile(r"\{start:([^{}]*)\}")
_FORM = re.compile(r"([^%{}]|%[aAbBdfFGHIjmMpSTuUVwWyY%])+")  # what strftime(3) makes the same of everywhere
_TEXTS = ("title", "id", "provider", "collection")


@dataclass(frozen=True, slots=True)
class Layout:
    """How the paths of products are made.

    Attributes:
        written: the template.
        folders: of each directory above the product's own, what it is called.
        name: what the product's own is called, not yet made fit for a file system.
    """

    written: str
    folders: tuple[Piece, ...] = field(compare=False, repr=False)
    name: Piece = field(compare=False, repr=False)

    @property
    def levels(self) -> int:
        """Return how many parts a product's path has."""
        return len(self.folders) + 1

    def folder(self, product: Product) -> str:
        """Return the path of the directory that holds the product's, a slash at its end; empty for the mount itself."""
        if not self.folders:
            return ""
        names = (called(product) for called in self.folders)
        return "".join(f"{safe_name(name, name)}/" for name in names)


def read_layout(written: str) -> Layout:
    """Return the layout that a template describes.

    Fields in braces stand for what a product says, ``{start:…}`` for its time in UTC, as strftime(3) writes it. Only a
    slash of the template itself, or of such a form, begins another part.

    Raises:
        Unexpected: it cannot be meant.
    """
    path = _TIMES.sub(lambda time: "/".join(form and f"{{start:{form}}}" for form in time[1].split("/")), written)
    if {"", ".", ".."} & {*written.split("/"), *path.split("/")}:
        raise Unexpected(f"{_PATH}, which is relative and has no empty parts")
    parts = [_fields(part) for part in path.split("/")]
    if not any(name in {"title", "id"} for _, name, _ in parts[-1]):
        raise Unexpected("{title} or {id} in its last part, by which products are told apart")
    *folders, name = (_joined(list(_pieces(part))) for part in parts)
    return Layout(written, tuple(folders), name)


def _fields(part: str) -> list[tuple[str, str | None, str]]:
    """Return the fields of one part of a path: the text before each, its name if there is one, and its form."""
    try:
        found = list(string.Formatter().parse(part))
    except ValueError:
        raise Unexpected(_PATH) from None
    for _, name, form, conversion in found:
        if not (name is None or name == "start" or (name in _TEXTS and not form)) or conversion:
            raise Unexpected(f"no fields but {{{'}, {'.join(_TEXTS)}}}, {{start}} and {{start:%Y/%m}}")
        if form and (not _FORM.fullmatch(form) or not form.isprintable()):
            raise Unexpected("%Y, %m, %d, %j, %H, %M and the like behind {start:")
    return [(literal, name, form or _DATE) for literal, name, form, _ in found]


def _pieces(fields: list[tuple[str, str | None, str]]) -> Iterator[Piece]:
    for literal, name, form in fields:
        if literal:
            yield _as_it_is(literal)
        if name is not None:
            yield _time(form) if name == "start" else _text(name)


def _joined(pieces: list[Piece]) -> Piece:
    return pieces[0] if len(pieces) == 1 else lambda product: "".join(piece(product) for piece in pieces)


def _as_it_is(literal: str) -> Piece:
    return lambda _: literal


def _text(name: str) -> Piece:
    said = operator.attrgetter(name)
    return lambda product: said(product) or UNKNOWN


def _time(form: str) -> Piece:
    return lambda product: product.start.astimezone(timezone.utc).strftime(form) if product.start else UNKNOWN


FLAT = read_layout("{title}")
"""All products next to each other."""


def name_all(products: Iterable[Product], layout: Layout = FLAT) -> dict[str, Product]:
    """Return the products by the paths of their directories: the same paths whatever the order they come in."""
    named: dict[str, Product] = {}
    again: dict[str, list[Product]] = {}
    for product in products:
        path = layout.folder(product) + safe_name(layout.name(product), product.id)
        if named.setdefault(path, product) is not product:
            again.setdefault(path, [named[path]]).append(product)
    for path, several in again.items():
        named[path] = min(several, key=_rank)
    rest = [product for path, several in again.items() for product in several if product is not named[path]]
    for product in sorted(rest, key=_rank):
        named[_free(named, layout.folder(product), f"{layout.name(product)}-{product.id}", product.id)] = product
    return {path: named[path] for path in sorted(named)}


def _rank(product: Product) -> tuple[object, ...]:
    """Return what says which of several products of one name comes first."""
    return product.id, product.provider, product.uid, product.location or "", bytes(product.feature)


def _free(named: dict[str, Product], folder: str, wanted: str, product_id: str) -> str:
    path, number = folder + safe_name(wanted, product_id), 1
    while path in named:
        number += 1
        path = folder + safe_name(f"{wanted}~{number}", f"{product_id}~{number}")
    return path


def safe_name(name: str, mark: str) -> str:
    """Return a name that a file system can hold: no ``/``, no control characters, at most 255 bytes.

    What is too long is cut, with a hash of `mark` at its end, which a product's id is.
    """
    name = _UNFIT.sub("_", name)
    if name in {"", ".", ".."}:
        name = "_" * max(1, len(name))
    octets = name.encode("utf-8", "surrogateescape")
    if len(octets) <= NAME_MAX:
        return name
    end = "-" + hashlib.sha256(mark.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return octets[: NAME_MAX - len(end)].decode("utf-8", "ignore") + end
