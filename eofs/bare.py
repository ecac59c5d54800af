"""Products that are one bare file: told by their first bytes, and named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from eofs import archive
from eofs.archive import Listing
from eofs.archive.listing import clean
from eofs.model import Member

if TYPE_CHECKING:
    from eofs.archive import Source
    from eofs.model import Product

HEAD = 512  # bytes that tell what a file is
_KINDS = (  # first bytes, usual suffix
    (b"\x89HDF\r\n\x1a\n", ".nc"),
    (b"CDF\x01", ".nc"),
    (b"CDF\x02", ".nc"),
    (b"CDF\x05", ".nc"),
    (b"GRIB", ".grib"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"II+\0", ".tif"),
    (b"MM\0+", ".tif"),
    (b"\0\0\0\x0cjP  ", ".jp2"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"PK\x03\x04", ".zip"),
    (b"PK\x05\x06", ".zip"),
)
_WRAPPINGS = {"gzip": ".gz", "bzip2": ".bz2", "xz": ".xz", "zstd": ".zst"}
_WRAPPED = {*_WRAPPINGS.values(), ".tgz", ".tbz", ".tbz2", ".txz", ".tzst"}
_ARCHIVES = {".zip", ".tar", *_WRAPPINGS.values()}
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,5}$")


def suffix(head: bytes) -> str:
    """Return the usual suffix of files that begin so; empty where that says nothing."""
    if wrapping := archive.wrapping(head):
        return _WRAPPINGS[wrapping]
    if head[257:262] == b"ustar":
        return ".tar"
    return next((suffix for first, suffix in _KINDS if head.startswith(first)), "")


def is_bare(head: bytes) -> bool:
    """Tell whether a file that begins so is certainly no archive, and can be read while it comes."""
    return suffix(head) not in {"", *_ARCHIVES}


def file_name(product: Product, head: bytes) -> str:
    """Return what the product is called as one file: by its title, its link, or its kind, whichever has a suffix.

    What is called ``.gz`` and does not begin so has been unwrapped, and is called so no more.
    """
    last = unquote(urlsplit(product.location or "").path).rpartition("/")[2]
    for name in (product.title, last):
        if _SUFFIX.search(name) and not name.upper().endswith((".SAFE", ".SEN3")):
            return _one_name(_unwrapped(name, head))
    return _one_name(product.title + suffix(head))


def _unwrapped(name: str, head: bytes) -> str:
    stem, dot, last = name.rpartition(".")
    if (dot + last).lower() not in _WRAPPED or archive.wrapping(head):
        return name
    return stem if _SUFFIX.search(stem) else stem + suffix(head)


def _one_name(name: str) -> str:
    return clean(re.sub(r"[/\\]", "_", name)) or "_"


def as_it_is(source: Source, name: str) -> Listing:
    """Return the list of files of a product that is served as it came: one file, archive or not."""
    return Listing("file", (Member(path=name, size=source.size, mtime=0, offset=0, packed=source.size),))
