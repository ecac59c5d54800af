"""Search results: GeoJSON of eodag 2 to 4, of STAC and of eodag-server, as products.

A result is read in two steps: `envelope` cuts its features out, `dialects` understands each of them. Footprints are
left for later (`footprint`, `area`). One odd feature never stops the others: it is left out, and said so.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eofs.catalog.dialects import read_product
from eofs.catalog.envelope import split, unpack
from eofs.catalog.geometry import area, footprint
from eofs.catalog.packing import pack
from eofs.errors import Empty, ResultError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eofs.model import Product

__all__ = ["SearchResult", "area", "footprint", "load", "read"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The products of one search.

    Attributes:
        source: what the user named; ``-`` for standard input.
        products: in the order of the source, each once.
        left_out: one sentence for each feature that could not be understood.
    """

    source: str
    products: tuple[Product, ...]
    left_out: tuple[str, ...]


def load(source: str | os.PathLike[str]) -> SearchResult:
    """Read the search result in a file, or in standard input where `source` is ``-``.

    Raises:
        ResultError: it cannot be read, is not GeoJSON, or holds no product.
    """
    name = os.fspath(source)
    try:
        data = _standard_input() if name == "-" else Path(name).read_bytes()
    except FileNotFoundError:
        raise ResultError(f"{name} does not exist; name the GeoJSON file of a search result") from None
    except IsADirectoryError:
        raise ResultError(f"{name} is a directory; name the GeoJSON file of a search result") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ResultError(f"{name!r} cannot be read ({reason}); check its name and permissions") from None
    return read(data, name)


def read(text: bytes, source: str = "the search result") -> SearchResult:
    """Read the search result in `text`: GeoJSON, gzipped or not.

    Raises:
        ResultError: it is not GeoJSON.
        Empty: it holds no product.
    """
    subject = "standard input" if source == "-" else source
    try:
        features = split(unpack(text))
    except ResultError as error:
        raise ResultError(f"{subject} {error}") from None
    if not features:
        raise Empty(f"{subject} holds no products; widen the search")
    with _no_collection():
        products, left_out = _read_all(features, subject)
    if not products:
        raise ResultError(f"no feature of {subject} could be understood: {left_out[0]}")
    return SearchResult(source, tuple(products), tuple(left_out))


def _read_all(features: list[bytes], subject: str) -> tuple[Iterable[Product], list[str]]:
    """Return the products, each once, and why features were left out."""
    products: dict[object, Product] = {}
    left_out: list[str] = []
    for place, (feature, packed) in enumerate(zip(features, pack(features), strict=True), start=1):
        try:
            product = read_product(feature, packed)
        except ResultError as error:
            left_out.append(f"feature {place} {error}")
            log.warning("%s: feature %d %s; it is left out", subject, place, error)
            continue
        if products.setdefault(_identity(product), product) is not product:
            log.info("%s: feature %d is %s once more; it counts once", subject, place, product.id)
    return products.values(), left_out


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Make very many objects without Python looking again and again which of them are garbage: none is."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _standard_input() -> bytes:
    binary = getattr(sys.stdin, "buffer", None)  # None where the program was started without one
    if binary is None:
        raise ResultError("standard input is closed; name the GeoJSON file of a search result")
    data: bytes = binary.read()
    return data


def _identity(product: Product) -> object:
    # Ids of STAC items are unique within their collection only, so what an item is made of counts too.
    return product.key, product.location, product.assets[:1]
