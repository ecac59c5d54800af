"""The disk cache: where bytes lie, how many may, and which go first; and the records that outlive the program.

    CACHE/products/PROVIDER/UID/archive          the product as it was downloaded, whole and verified
                                archive.part     the same under way (see `eofs.blocks`)
                                members/…        large archive members, inflated
    CACHE/records/                               orders and quicklooks (diskcache)
    CACHE/lock                                   held while room is made

What is on the disk is asked of the disk: no account is kept beside it. The length of a file is what it counts in the
budget, also while it is under way; of one that is only brought where it is read, its blocks. Its access time says when
it was last used; what is pinned (`pins`) goes last. A file in use is locked with flock(2): shared by those who read a
whole file, exclusively by the one process that fills a partial one. So a file that another process uses is never
evicted, two processes never fetch the same thing, and a crash frees everything.

Threads: `Cache` guards the table of open files with one lock, under which files are opened, locked and closed, but
nothing waits. Room is made under a file lock, one process and thread at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING

from eofs import maps
from eofs.blocks import PartialFile
from eofs.cache.names import place_name
from eofs.cache.records import Records
from eofs.cache.units import Unit, evict, lock, units_in, unlink
from eofs.errors import CacheFull, ConfigError
from eofs.status import Local

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eofs.model import Member, Product

log = logging.getLogger(__name__)


class Cache:
    """The disk cache in `directory`, which is made if missing, with room for `limit` bytes."""

    def __init__(self, directory: Path, limit: int) -> None:
        self.directory = directory
        self.limit = limit
        self._products = directory / "products"
        try:
            _make(self._products)
            self._budget = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"the cache directory {directory} cannot be used: {error.strerror}; name another one with cache_dir"
            ) from error
        self.records = Records(directory / "records")
        self._current: dict[Path, PartialFile] = {}
        self._holders: dict[PartialFile, int] = {}
        self._lock = threading.Lock()
        self._making_room = threading.Lock()

    def close(self) -> None:
        """Close what is still open."""
        with self._lock:
            for file in self._holders:
                file.close()
            self._holders.clear()
            self._current.clear()
        self.records.close()
        os.close(self._budget)

    # -- where things lie ------------------------------------------------------------------------------------------

    def archive(self, product: Product) -> Path:
        """Return where the product's archive lies, or will."""
        return self._products / place_name(product.provider) / place_name(product.uid) / "archive"

    def member(self, product: Product, member: Member) -> Path:
        """Return where an archive member lies when it is inflated."""
        name = f"{member.path}\0{member.crc}\0{member.size}".encode("utf-8", "surrogateescape")
        return self.archive(product).with_name("members") / hashlib.sha256(name).hexdigest()[:32]

    def local(self, path: Path) -> tuple[Local, int, int | None]:
        """Return what the disk holds of a file: how far it is, the bytes that are here, the whole size if known."""
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            return Local.COMPLETE, size, size
        with self._lock:
            file = self._current.get(path)
        if file:
            arrived, whole = file.arrived, file.size
        else:
            note = maps.read_map(path)
            arrived, whole = sum(stop - start for start, stop in note["ranges"]), note["size"]
        return (Local.PARTIAL if arrived else Local.ABSENT), arrived, whole

    # -- files in use ----------------------------------------------------------------------------------------------

    def open(self, path: Path) -> PartialFile | None:
        """Open a file of the cache and keep it from being evicted until `release`.

        Returns:
            the file, whole or partial; a partial one may be filled by this process and no other. None while another
            process fills it.

        Raises:
            CacheFull: there is no room for even an empty file, or the cache cannot be written.
        """
        with self._lock, self.writing():
            return self._held(self._current.get(path) or _open_whole(path) or _claim(path))

    def open_whole(self, path: Path) -> PartialFile | None:
        """Open a file as `open` does, but only if it is whole; None where it is not."""
        with self._lock:
            file = self._current.get(path) or _open_whole(path)
            return self._held(file) if file and file.whole else None

    def hold(self, file: PartialFile) -> PartialFile:
        """Keep a file that somebody has open for one more user; returns it."""
        with self._lock:
            self._holders[file] += 1
        return file

    def finish(self, file: PartialFile) -> None:
        """Give a file that has been filled and verified its final name, and let other processes read it."""
        with self.writing():
            file.finish(lambda fd: fcntl.flock(fd, fcntl.LOCK_SH))

    def release(self, file: PartialFile) -> None:
        """Let go of a file; the last to do so closes it."""
        with self._lock:
            holders = self._holders.pop(file, 0)  # none, where it was closed with the cache
            if holders > 1:
                self._holders[file] = holders - 1
            if holders != 1:
                return
            if self._current.get(file.path) is file:
                del self._current[file.path]
            if file.whole:
                _use(file.fileno())
            elif not file.arrived:
                maps.map_of(file.path).unlink(missing_ok=True)
                unlink(maps.part_of(file.path), file.fileno())
            file.close()

    def discard(self, file: PartialFile) -> None:
        """Forget a whole file whose bytes turned out wrong; who has it open reads on, the next one starts afresh."""
        with self._lock:
            if self._current.get(file.path) is file:
                del self._current[file.path]
            unlink(file.path, file.fileno())

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Raise `CacheFull` in place of the OSError that says why a file of the cache cannot be written."""
        try:
            yield
        except OSError as error:
            raise CacheFull(
                f"the cache ({self.directory}) cannot be written: {error.strerror}; make room there, "
                "or name another one with cache_dir"
            ) from error

    def _held(self, file: PartialFile | None) -> PartialFile | None:
        if file:
            self._current[file.path] = file
            self._holders[file] = self._holders.get(file, 0) + 1
        return file

    # -- the budget ------------------------------------------------------------------------------------------------

    def units(self, product: Product | None = None) -> Iterator[Unit]:
        """Yield the files that the cache holds, of a product or of all."""
        return units_in(self.archive(product).parent if product else self._products)

    def used(self) -> int:
        """Return how many bytes the cache holds or has promised to files under way."""
        return sum(unit.size for unit in self.units()) + self.records.volume()

    @contextlib.contextmanager
    def room(self, path: Path, size: int) -> Iterator[None]:
        """Make room for a file of `size` bytes at `path`; inside the context nobody else can take it.

        Raises:
            CacheFull: all else that the cache holds is in use, or the file is larger than the cache.
        """
        self.must_fit(size)
        with self._making_room:
            fcntl.flock(self._budget, fcntl.LOCK_EX)
            try:
                self._evict_for(path, size)
                yield
            finally:
                fcntl.flock(self._budget, fcntl.LOCK_UN)

    def must_fit(self, size: int | None) -> None:
        """Refuse what cannot fit even in an empty cache.

        Raises:
            CacheFull: `size` is larger than the cache.
        """
        if size is not None and size > self.limit:
            raise CacheFull(f"the product needs {size:,} bytes and the cache may hold {self.limit:,}; raise cache_size")

    def _evict_for(self, path: Path, size: int) -> None:
        units = [unit for unit in self.units() if unit.path != path]
        used = sum(unit.size for unit in units) + self.records.volume()
        disk = self._disk_for(path)
        for unit in sorted(units, key=lambda unit: (unit.pinned, unit.used)):
            if used + size <= self.limit and size <= disk:
                return
            if self._evict(unit):
                used -= unit.size
                disk = self._disk_for(path)
        if used + size > self.limit:
            raise CacheFull(
                f"{size:,} bytes are needed, and {used:,} of the cache's {self.limit:,} are in use; "
                "close files or raise cache_size"
            )
        if size > disk:
            raise CacheFull(
                f"{size:,} bytes are needed, and the disk of {self.directory} has {disk:,} left; free some space"
            )

    def _disk_for(self, path: Path) -> int:
        """Return the bytes that a file at `path` can have on the disk: those that are free, and its own."""
        free = shutil.disk_usage(self.directory).free
        with contextlib.suppress(OSError):
            free += maps.either(path).stat().st_blocks * 512
        return free

    def _evict(self, unit: Unit) -> bool:
        if evict([unit]):
            return False
        log.info("evicted %s (%s bytes)", unit.path.relative_to(self._products), f"{unit.size:,}")
        return True


def _make(directory: Path) -> None:
    """Make a directory, and those that it stands in: what is new can be looked into by its user alone."""
    for each in reversed((directory, *directory.parents)):
        each.mkdir(mode=0o700, exist_ok=True)


def _open_whole(path: Path) -> PartialFile | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    # A lock that cannot be had, or a file without a name, means that it is being evicted at this moment.
    if not lock(fd, fcntl.LOCK_SH) or not os.fstat(fd).st_nlink:
        os.close(fd)
        return None
    _use(fd)
    return PartialFile(path, fd, whole=True)


def _claim(path: Path) -> PartialFile | None:
    _make(path.parent)
    fd = os.open(maps.part_of(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not lock(fd, fcntl.LOCK_EX) or not os.fstat(fd).st_nlink:
        os.close(fd)
        return None
    if path.exists():  # another process finishes it, or evicts it, at this moment
        unlink(maps.part_of(path), fd)
        os.close(fd)
        return None
    os.utime(fd)
    return PartialFile(path, fd, whole=False)


def _use(fd: int) -> None:
    """Note that a whole file is used now."""
    with contextlib.suppress(PermissionError):  # in a shared cache it may be another user's
        os.utime(fd, ns=(time.time_ns(), os.fstat(fd).st_mtime_ns))
