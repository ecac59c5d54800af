"""Reading the members of an archive that is in the cache, or on its way there.

A stored member is a window of the archive. A small deflated one is unpacked in memory; a large one once into a file
of the cache, whose readers follow the inflater: each byte is served as soon as it is there. An archive that is packed
as a whole (``.tar.gz``) is such a file too, in which its members are windows; its size is known at its end.

Threads: one lock guards the unpacked small members and the set of files being inflated; nothing waits under it.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
from typing import TYPE_CHECKING

import cachetools

from eofs import archive, transfer
from eofs.blocks import POLL, PartialFile, View
from eofs.errors import Changed, Corrupt, EofsError, unforeseen
from eofs.fetch.window import Window
from eofs.model import Member
from eofs.nodes import Caller, Held

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eofs.archive import Source
    from eofs.cache import Cache
    from eofs.model import Product
    from eofs.nodes import Reader

log = logging.getLogger(__name__)

SMALL = 1 << 20  # bytes; members up to this size are unpacked in memory
FIRST = 128 << 10  # bytes of a member that come with its header: as much as the kernel reads first
HEADER = 1 << 10  # bytes before a member's data that its header and name take, at most, practically
ALL = (0, sys.maxsize)  # where all of an archive reaches
MEMORY = 32 << 20  # bytes of small members kept in memory


def _view(file: PartialFile, caller: Caller, member: Member) -> View:
    """Return a view that brings the beginning of a member together with its header, by one request."""
    return View(file, caller, member.offset + HEADER + min(member.packed, FIRST))


def reach(member: Member) -> tuple[int, int]:
    """Return from where to where a member with its header reaches in the archive, at most."""
    return member.offset, member.offset + HEADER + member.packed


def wrapped(source: Source, size: int) -> Member | None:
    """Return what an archive of `size` bytes is one packed member of, as a whole; None where it is no such archive."""
    head = source.read(0, archive.HEAD)
    kind = archive.wrapping(head)
    # Another version of the product begins otherwise: the times of its files are there, packed or not.
    return Member(hashlib.sha256(head).hexdigest(), size, 0, 0, 0, method=kind) if kind else None


class Members:
    """Opens archive members."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._small: cachetools.LRUCache[Path, bytes] = cachetools.LRUCache(MEMORY, getsizeof=len)
        self._inflating: set[Path] = set()
        self._lock = threading.Lock()

    def open(self, product: Product, file: PartialFile, format_name: str, member: Member, caller: Caller) -> Reader:
        """Open a member of the product whose archive is `file`; the reader takes over the caller's hold on it.

        Raises:
            NotSupported: it is encrypted, or packed in an unknown way.
            TooLarge: it looks like an archive bomb.
            Corrupt: it is damaged.
        """
        try:
            archive.check_readable(member)
            try:
                return self._open(product, file, format_name, member, caller)
            except Changed:
                raise
            except Corrupt as error:
                if not file.forget(*reach(member)):
                    raise
                log.warning("%s; it is fetched afresh", error)
                return self._open(product, file, format_name, member, caller)
        except Changed:
            raise
        except Corrupt as error:
            raise self.damaged(product, file, error, reach(member)) from error
        finally:
            self._cache.release(file)

    def _open(self, product: Product, file: PartialFile, format_name: str, member: Member, caller: Caller) -> Reader:
        name = f"{member.path} from {product.served_by}"
        if member.method == "stored":
            start = archive.data_offset(_view(file, caller, member), format_name, member)
            return Window(self._cache.hold(file), start, member.size, self._cache.release, name, member.crc)
        if member.size <= SMALL:
            return Held(self._unpacked(product, file, format_name, member, caller))
        inflated = self._inflated(product, file, format_name, member, caller)
        return Window(inflated, 0, member.size, self._cache.release, name)

    def _unpacked(self, product: Product, file: PartialFile, format_name: str, member: Member, caller: Caller) -> bytes:
        key = self._cache.member(product, member)
        with self._lock:
            if (content := self._small.get(key)) is not None:
                return content
        content = b"".join(transfer.unpack(_view(file, caller, member), format_name, member))
        with self._lock:
            self._small[key] = content
        return content

    def _inflated(
        self, product: Product, file: PartialFile, format_name: str, member: Member, caller: Caller
    ) -> PartialFile:
        path = self._cache.member(product, member)
        packed = View(file, until=member.offset + HEADER + member.packed)
        pieces = transfer.unpack(packed, format_name, member)
        return self._filled(product, file, path, pieces, member.size, reach(member), caller)

    def extract(
        self, product: Product, file: PartialFile, format_name: str, member: Member, caller: Caller
    ) -> Iterator[bytes]:
        """Yield the bytes of a member of the product whose archive is `file`; raises as `open` does."""
        try:
            archive.check_readable(member)
            yield from transfer.unpack(_view(file, caller, member), format_name, member)
        except Changed:
            raise
        except Corrupt as error:
            raise self.damaged(product, file, error, reach(member)) from error

    def unwrapped(self, product: Product, file: PartialFile, caller: Caller) -> PartialFile:
        """Return what is in `file`, held for the caller, if all of it is packed; else `file` itself.

        What is returned takes over the caller's hold on `file`. It may still be coming.

        Raises:
            NotSupported: what unpacks it is not installed.
        """
        try:
            stamp = wrapped(View(file, caller), file.size or 0)
            if stamp is None:
                return self._cache.hold(file)
            pieces = archive.unwrap(View(file), stamp.method, product.title)
            return self._filled(product, file, self._cache.member(product, stamp), pieces, None, ALL, caller)
        finally:
            self._cache.release(file)

    def _filled(
        self,
        product: Product,
        file: PartialFile,
        path: Path,
        pieces: Iterator[bytes],
        size: int | None,
        reach: tuple[int, int],
        caller: Caller,
    ) -> PartialFile:
        """Return the file of the cache at `path`, held; where it is not there, a thread fills it with `pieces`.

        `reach` is from where to where in the archive they come from.
        """
        while (inflated := self._cache.open(path)) is None:  # another process inflates it
            threading.Event().wait(POLL)
            caller.check()
        with self._lock:
            ours = not inflated.whole and path not in self._inflating
            if ours:
                self._inflating.add(path)
        if ours:
            try:
                if inflated.arrived:  # else who waits for it would be told that it has changed
                    inflated.restart()
                self._begin(inflated, size, file.size or 0)
            except EofsError as error:
                inflated.fail(error)
                self._stop_inflating(path)
                self._cache.release(inflated)
                raise
            work = (product, self._cache.hold(file), self._cache.hold(inflated), pieces, reach)
            threading.Thread(target=self._inflate, args=work, name="inflate", daemon=True).start()
        return inflated

    def _inflate(
        self,
        product: Product,
        file: PartialFile,
        inflated: PartialFile,
        pieces: Iterator[bytes],
        reach: tuple[int, int],
    ) -> None:
        offset = 0
        try:
            with self._cache.writing():
                for data in pieces:
                    end = offset + len(data)
                    if inflated.size is None and offset // transfer.GROWTH != end // transfer.GROWTH:
                        with self._cache.room(inflated.path, end + transfer.GROWTH):
                            pass
                    inflated.write(offset, data)
                    offset = end
            self._cache.finish(inflated)
        except Corrupt as error:
            inflated.fail(self.damaged(product, file, error, reach))
        except EofsError as error:
            inflated.fail(error)
        except Exception as error:
            log.exception("a fault in eofs")
            inflated.fail(unforeseen(error))
        finally:
            self._stop_inflating(inflated.path)
            self._cache.release(inflated)
            self._cache.release(file)

    def _begin(self, inflated: PartialFile, size: int | None, at_least: int) -> None:
        inflated.mapped = False  # it is inflated from its beginning, whatever of it is here
        with self._cache.writing(), self._cache.room(inflated.path, at_least if size is None else size):
            inflated.begin(size, None)

    def _stop_inflating(self, path: Path) -> None:
        with self._lock:
            self._inflating.discard(path)

    def damaged(self, product: Product, file: PartialFile, error: Corrupt, reach: tuple[int, int] = ALL) -> Corrupt:
        """Give up an archive that is damaged, or a part of one that is still coming: the next open fetches it afresh.

        Returns the error with the names of the product and its provider.
        """
        log.error("%s: %s", product.title, error)
        if file.whole:
            self._cache.discard(file)
        elif not file.forget(*reach):
            return Corrupt(f"{product.title} from {product.served_by} is damaged: {error}")
        return Corrupt(
            f"{product.title} from {product.served_by} is damaged: {error}; opened again, it is fetched afresh"
        )
