"""Reading the members of an archive that is in the cache, or on its way there.

A stored member is a window of the archive. A small deflated one is unpacked in memory; a large one once into a file
of the cache, whose readers follow the inflater: each byte is served as soon as it is there.

Threads: one lock guards the unpacked small members and the set of files being inflated; nothing waits under it.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cachetools

from eofs import archive, transfer
from eofs.blocks import POLL, PartialFile, View
from eofs.errors import Corrupt, EofsError
from eofs.nodes import Caller, Held

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eofs.cache import Cache
    from eofs.model import Member, Product
    from eofs.nodes import Reader

log = logging.getLogger(__name__)

SMALL = 1 << 20  # bytes; members up to this size are unpacked in memory
MEMORY = 32 << 20  # bytes of small members kept in memory


@dataclass(frozen=True, slots=True)
class Window:
    """A reader of `size` bytes of a file of the cache from `start` on; keeps the file from being evicted."""

    file: PartialFile
    start: int
    size: int
    let_go: Callable[[PartialFile], None]

    def read(self, offset: int, size: int, caller: Caller) -> bytes:
        """Return up to `size` bytes from `offset`, fewer only at the end; may wait for bytes under way."""
        return self.file.read(self.start + offset, max(0, min(size, self.size - offset)), caller)

    def close(self) -> None:
        """Let go of the file."""
        self.let_go(self.file)


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
            if member.method == "stored":
                start = archive.data_offset(View(file, caller), format_name, member)
                return Window(self._cache.hold(file), start, member.size, self._cache.release)
            if member.size <= SMALL:
                return Held(self._unpacked(product, file, format_name, member, caller))
            return self._inflated(product, file, format_name, member, caller)
        except Corrupt as error:
            raise self._damaged(product, file, error) from error
        finally:
            self._cache.release(file)

    def _unpacked(self, product: Product, file: PartialFile, format_name: str, member: Member, caller: Caller) -> bytes:
        key = self._cache.member(product, member)
        with self._lock:
            if (content := self._small.get(key)) is not None:
                return content
        content = b"".join(transfer.unpack(View(file, caller), format_name, member))
        with self._lock:
            self._small[key] = content
        return content

    def _inflated(
        self, product: Product, file: PartialFile, format_name: str, member: Member, caller: Caller
    ) -> Reader:
        path = self._cache.member(product, member)
        while (inflated := self._cache.open(path)) is None:  # another process inflates it
            threading.Event().wait(POLL)
            caller.check()
        with self._lock:
            ours = not inflated.whole and path not in self._inflating
            if ours:
                self._inflating.add(path)
        if ours:
            try:
                inflated.restart()
                with self._cache.room(path, member.size):
                    inflated.begin(member.size, None)
            except BaseException:
                self._stop_inflating(path)
                self._cache.release(inflated)
                raise
            holds = self._cache.hold(file), self._cache.hold(inflated)
            work = (product, *holds, format_name, member)
            threading.Thread(target=self._inflate, args=work, name="inflate", daemon=True).start()
        return Window(inflated, 0, member.size, self._cache.release)

    def _inflate(
        self, product: Product, file: PartialFile, inflated: PartialFile, format_name: str, member: Member
    ) -> None:
        offset = 0
        try:
            for data in transfer.unpack(View(file), format_name, member):
                inflated.write(offset, data)
                offset += len(data)
            self._cache.finish(inflated)
        except Corrupt as error:
            inflated.fail(self._damaged(product, file, error))
        except EofsError as error:
            inflated.fail(error)
        except OSError as error:
            inflated.fail(transfer.full(error, self._cache))
        except Exception as error:
            log.exception("a fault in eofs")
            inflated.fail(EofsError(f"a fault in eofs ({type(error).__name__}); its log says more"))
        finally:
            self._stop_inflating(inflated.path)
            self._cache.release(inflated)
            self._cache.release(file)

    def _stop_inflating(self, path: Path) -> None:
        with self._lock:
            self._inflating.discard(path)

    def _damaged(self, product: Product, file: PartialFile, error: Corrupt) -> Corrupt:
        """Give up a whole archive that has gone bad on disk, so that the next open fetches it afresh."""
        if file.whole:
            self._cache.discard(file)
        log.error("%s: %s", product.title, error)
        return Corrupt(f"{error}; opened again, {product.title} is fetched afresh")
