"""Reading again what is whole in the cache, and comparing it with what it was compared with when it came.

The disk may have lost or changed bytes since; or somebody has.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from eofs import archive, transfer
from eofs.blocks import View
from eofs.errors import Corrupt
from eofs.fetch.members import SMALL, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from eofs.blocks import PartialFile
    from eofs.cache import Cache
    from eofs.model import Product


def recheck(cache: Cache, path: Path, product: Product) -> None:
    """Read the whole file of a product at `path`, where there is one, and what has been unpacked of it.

    What is wrong is removed, so that it comes afresh. When it was used last stays as it is.

    Raises:
        Corrupt: something was wrong.
    """
    with _held(cache, path) as file:
        if file is None:
            return
        with _sound(cache, file, product.title if product.part_of else "its archive"):
            transfer.verify(file, product)
        for place, pieces in _unpacked(cache, path, product, file):
            with _held(cache, place) as copy:
                if copy:
                    with _sound(cache, copy, "what was unpacked of it"):
                        _compare(copy, pieces)


@contextlib.contextmanager
def _held(cache: Cache, path: Path) -> Iterator[PartialFile | None]:
    """Open a whole file of the cache, None where there is none."""
    try:
        before = path.stat()
    except FileNotFoundError:
        yield None
        return
    file = cache.open_whole(path)
    try:
        yield file
    finally:
        if file:
            cache.release(file)
            with contextlib.suppress(OSError):  # it has gone, or is another user's
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@contextlib.contextmanager
def _sound(cache: Cache, file: PartialFile, what: str) -> Iterator[None]:
    """Remove a file of the cache that turns out wrong."""
    try:
        yield
    except (Corrupt, OSError) as error:
        cache.discard(file)
        reason = error.strerror if isinstance(error, OSError) else "other bytes than when it came"
        raise Corrupt(f"{what} is damaged on the disk ({reason})") from error


def _unpacked(cache: Cache, path: Path, product: Product, file: PartialFile) -> Iterator[tuple[Path, Iterable[bytes]]]:
    """Yield where the members lie that are unpacked into files of their own, and what each has to hold."""
    view, beside = View(file), path.with_name("members")
    if not beside.is_dir():
        return
    if stamp := wrapped(view, view.size):
        yield beside / cache.member(product, stamp).name, archive.unwrap(view, stamp.method, product.title)
        return
    listing = archive.list_members(view, product.title)
    for member in listing.members:
        if member.method in archive.DECODERS and member.size > SMALL and not member.encrypted:
            yield beside / cache.member(product, member).name, transfer.unpack(view, listing.format, member)


def _compare(copy: PartialFile, pieces: Iterable[bytes]) -> None:
    offset = 0
    for piece in pieces:
        if copy.read(offset, len(piece)) != piece:
            break
        offset += len(piece)
    if offset != copy.size:
        raise Corrupt("it differs")
