"""A file that is partly here: a sparse local file with a map of the byte ranges that have arrived.

Everything that eofs serves is read through a `PartialFile`: archives while they arrive and when they are whole, and
archive members while they are inflated. Whoever fills it calls `write`; readers wait for just the bytes they need.

On disk, next to the final ``NAME``:

    NAME.part   the bytes, sparse; its length is the final size as soon as that is known
    NAME.map    which of them have arrived (JSON), written after the bytes that it speaks of
    NAME        the whole file; appears by a rename once everything has arrived and was verified

The map tells two things apart: ranges that are on the disk for sure (``synced``) and ranges that were handed to the
kernel (``written``). After a crash of the program both are there; after a crash of the machine only the first. The
kernel's boot id tells which of the two it was.

Threads: one lock guards the ranges and the failure; it is never held during input or output, nor while another
object is called. `write`, `save`, `finish` and `restart` are for the one thread that fills; `read` and `wait` are
for any number of threads.
"""

from __future__ import annotations

import bisect
import json
import logging
import operator
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eofs.nodes import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eofs.errors import EofsError
    from eofs.nodes import Caller

log = logging.getLogger(__name__)

POLL = 0.1  # seconds between two looks at whether a waiting program was interrupted
SYNC_EVERY = 64 << 20  # bytes between two fsyncs of a file under way: what a power cut may cost
SAVE_EVERY = 1 << 20  # bytes between two writes of the map: what a kill may cost


class Extents:
    """A set of byte ranges, kept sorted, disjoint and merged."""

    __slots__ = ("_starts", "_stops")

    def __init__(self, ranges: list[tuple[int, int]] | None = None) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in ranges or ():
            self.add(start, stop)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._starts, self._stops, strict=True)))

    @property
    def total(self) -> int:
        """Return the number of bytes in the set."""
        return sum(self._stops) - sum(self._starts)

    def add(self, start: int, stop: int) -> None:
        """Add the bytes from `start` up to, not including, `stop`."""
        if start >= stop:
            return
        first = bisect.bisect_left(self._stops, start)  # the first range that touches the new one, or follows it
        last = bisect.bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def reaches(self, start: int) -> int:
        """Return where the run of bytes from `start` ends; `start` itself where that byte is not here."""
        at = bisect.bisect_right(self._starts, start) - 1
        return max(start, self._stops[at]) if at >= 0 else start

    def covers(self, start: int, stop: int) -> bool:
        """Tell whether all bytes from `start` up to `stop` are here."""
        return start >= stop or self.reaches(start) >= stop


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class PartialFile:
    """One file of the cache, partly or wholly here.

    `fd` is an open descriptor of ``NAME`` or ``NAME.part`` that the cache has opened and locked; it belongs to this
    object, and `close` closes it.
    """

    def __init__(self, path: Path, fd: int, *, whole: bool) -> None:
        self.path = path
        self.whole = whole
        self.size: int | None = None
        self.validator: str | None = None
        self._fd = fd
        self._extents = Extents()
        self._synced = Extents()
        self._unsaved = self._unsynced = self._restarts = 0
        self._failure: EofsError | None = None
        self._news = threading.Condition()
        if whole:
            self.size = os.fstat(fd).st_size
            self._extents.add(0, self.size)
        else:
            self._load()

    # -- readers ---------------------------------------------------------------------------------------------------

    @property
    def arrived(self) -> int:
        """Return how many bytes are here."""
        with self._news:
            return self._extents.total

    def reaches(self, start: int) -> int:
        """Return where the run of bytes from `start` that are here ends."""
        with self._news:
            return self._extents.reaches(start)

    def wait(self, start: int, stop: int, caller: Caller) -> None:
        """Return when the bytes from `start` up to `stop` are here.

        Raises:
            EofsError: why they will not come; or the caller's own reason to stop waiting.
        """
        while True:
            with self._news:
                if self._extents.covers(start, stop):
                    return
                if self._failure:
                    raise self._failure
                self._news.wait(POLL)
            caller.check()

    def wait_size(self, caller: Caller) -> int:
        """Return the file's size in bytes, as soon as it is known."""
        while True:
            with self._news:
                if self.size is not None:
                    return self.size
                if self._failure:
                    raise self._failure
                self._news.wait(POLL)
            caller.check()

    def read(self, offset: int, size: int, caller: Caller = NOBODY) -> bytes:
        """Return up to `size` bytes from `offset`, fewer only at the end of the file; waits until they are here."""
        while not self.whole:
            restarts = self._restarts
            stop = min(offset + size, self.wait_size(caller))
            self.wait(offset, stop, caller)
            data = os.pread(self._fd, max(0, stop - offset), offset)
            if restarts == self._restarts:  # else what was waited for may have been gone when it was read
                return data
        return os.pread(self._fd, size, offset)

    # -- the one that fills ----------------------------------------------------------------------------------------

    def begin(self, size: int | None, validator: str | None) -> None:
        """Say how large the file will be, where that is known, and by what the provider tells its versions apart."""
        if size is not None:
            os.ftruncate(self._fd, size)
        with self._news:
            self.size, self.validator, self._failure = size, validator, None
            self._news.notify_all()

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` in its place and let the readers that wait for it go on."""
        view = memoryview(data)
        while view:
            done = os.pwrite(self._fd, view, offset)
            with self._news:
                self._extents.add(offset, offset + done)
                self._news.notify_all()
            view, offset = view[done:], offset + done
            self._unsaved += done
            self._unsynced += done
        if self._unsynced >= SYNC_EVERY:
            self.save(sync=True)
        elif self._unsaved >= SAVE_EVERY:
            self.save(sync=False)

    def save(self, *, sync: bool) -> None:
        """Write the map; with `sync`, make sure first that what it speaks of would survive a power cut."""
        with self._news:
            written = list(self._extents)
        if sync:
            os.fdatasync(self._fd)
            self._synced = Extents(written)
            self._unsynced = 0
        self._unsaved = 0
        note = {
            "boot": _boot_id(),
            "size": self.size,
            "validator": self.validator,
            "written": written,
            "synced": list(self._synced),
        }
        fresh = map_of(self.path).with_suffix(".map~")
        fresh.write_text(json.dumps(note), encoding="utf-8")
        fresh.replace(map_of(self.path))

    def finish(self, share: Callable[[int], None]) -> None:
        """Give the file, all of which is here and right, its final name; readers go on as they are.

        `share` is called with the descriptor, to turn its lock into that of a reader.
        """
        if self.size is None:
            self.begin(self.reaches(0), self.validator)
        os.fsync(self._fd)
        part_of(self.path).replace(self.path)
        share(self._fd)
        map_of(self.path).unlink(missing_ok=True)
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self.whole = True

    def restart(self) -> None:
        """Forget all that has arrived."""
        with self._news:
            self._extents, self._synced, self.size, self.validator = Extents(), Extents(), None, None
            self._unsaved = self._unsynced = 0
            self._restarts += 1
        map_of(self.path).unlink(missing_ok=True)
        os.ftruncate(self._fd, 0)

    def fail(self, failure: EofsError) -> None:
        """Tell all who wait, now or later, why their bytes do not come; the next `begin` takes it back."""
        with self._news:
            self._failure = failure
            self._news.notify_all()

    # -- life ------------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def close(self) -> None:
        """Close the descriptor, and with it give up the lock; what has arrived is on the map."""
        try:
            if not self.whole and self._unsaved:
                self.save(sync=False)
        except OSError as error:  # a full disk; the map written before this one still holds
            log.warning("what has arrived of %s could not be noted: %s", self.path, error.strerror)
        finally:
            os.close(self._fd)

    def _load(self) -> None:
        note = read_map(self.path)
        length = os.fstat(self._fd).st_size
        for extents, ranges in ((self._extents, note["ranges"]), (self._synced, note["synced"])):
            for start, stop in ranges:
                extents.add(start, min(stop, length))
        self._unsynced = self._extents.total - self._synced.total
        if self._extents.total:
            self.size, self.validator = note["size"], note["validator"]
        else:
            map_of(self.path).unlink(missing_ok=True)  # it must not speak of the bytes that will come


@dataclass(frozen=True, slots=True)
class View:
    """A file as one caller sees it: what reads it need not know that bytes may have to be waited for."""

    file: PartialFile
    caller: Caller = NOBODY

    @property
    def size(self) -> int:
        """Return the file's size in bytes; waits until it is known."""
        return self.file.wait_size(self.caller)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`, fewer only at the end; waits until they are here."""
        return self.file.read(offset, size, self.caller)


def part_of(path: Path) -> Path:
    """Return the name that a file of the cache has while it is not whole."""
    return path.with_name(path.name + ".part")


def map_of(path: Path) -> Path:
    """Return the name of the map of a file that is not whole."""
    return path.with_name(path.name + ".map")


def read_map(path: Path) -> dict[str, Any]:
    """Return what the map of a partly arrived file can be trusted with, by the names that it has in the map.

    ``ranges`` are those that are here. A map that is missing or damaged says that nothing has arrived.
    """
    try:
        note = json.loads(map_of(path).read_text(encoding="utf-8"))
        size = None if note["size"] is None else operator.index(note["size"])
        written, synced = (_ranges(note[key], size) for key in ("written", "synced"))
        # Bytes that were only handed to the kernel are there as long as the machine has not been restarted.
        ranges = written if note["boot"] and note["boot"] == _boot_id() else synced
        return {"ranges": ranges, "synced": synced, "size": size, "validator": note["validator"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {"ranges": [], "synced": [], "size": None, "validator": None}


def _ranges(pairs: Any, size: int | None) -> list[tuple[int, int]]:
    ranges = [(operator.index(start), operator.index(stop)) for start, stop in pairs]
    if any(not 0 <= start <= stop <= (stop if size is None else size) for start, stop in ranges):
        raise ValueError("a range that lies outside of the file")
    return ranges
