"""A file that is partly here: a sparse local file with a map of the byte ranges that have arrived.

Everything that eofs serves is read through a `PartialFile`: archives while they arrive and when they are whole, and
archive members while they are inflated. Whoever fills it calls `write`; readers wait for just the bytes they need.

On disk, next to the final ``NAME``:

    NAME.part   the bytes, sparse; its length is the final size as soon as that is known
    NAME.map    which of them have arrived (`eofs.maps`), written after the bytes that it speaks of
    NAME        the whole file; appears by a rename once everything has arrived and was verified

The map tells two things apart: ranges that are on the disk for sure (``synced``) and ranges that were handed to the
kernel (``written``). After a crash of the program both are there; after a crash of the machine only the first. The
kernel's boot id tells which of the two it was.

Where the provider serves byte ranges, several `Job`s fill the file at once, each a range of its own; `next_job` says
which range is to be brought next: what somebody waits for, else, if all is wanted, what is missing.

Threads: one lock guards the ranges, the jobs and the failure; it is never held during input or output, nor while
another object is called; a second one keeps two threads from writing the map at once. `read` and `wait` are for any
number of threads; `write` for one thread a job; `begin`, `finish` and `restart` for the one that leads.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eofs.extents import Extents, Forgotten
from eofs.jobs import Want, Work
from eofs.maps import map_of, part_of, read_map, take_map_away, write_map
from eofs.nodes import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eofs.errors import EofsError
    from eofs.jobs import Job
    from eofs.model import Checksum
    from eofs.nodes import Caller

log = logging.getLogger(__name__)

POLL = 0.1  # seconds between two looks at whether a waiting program was interrupted
SYNC_EVERY = 64 << 20  # bytes between two fsyncs of a file under way: what a power cut may cost
SAVE_EVERY = 256 << 10  # bytes between two writes of the map, at least: what a kill may cost
SAVES = 1000  # and no more of them than so many, unless the file is very large


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
        self.checksum: Checksum | None = None  # the first that the provider sent with this version
        self.ranged = False  # the provider serves byte ranges of it
        self.mapped = True  # what has arrived is worth being gone on with after a restart
        self.forgotten = Forgotten()
        self._fd = fd
        self._extents = Extents()
        self._synced = Extents()
        self._unsaved = self._unsynced = 0
        self._failure: EofsError | None = None
        self._work = Work()
        lock = threading.Lock()
        self._news = threading.Condition(lock)  # for those who wait for bytes
        self._to_do = threading.Condition(lock)  # for the one who hands out what is to be brought
        self._saving = threading.Lock()
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

    @property
    def complete(self) -> bool:
        """Tell whether all bytes are here, verified or not."""
        with self._news:
            return self.size is not None and self._extents.covers(0, self.size)

    @property
    def wanted(self) -> bool:
        """Tell whether somebody waits for bytes that are not here."""
        with self._news:
            return bool(self._work.wants)

    def wait(self, start: int, stop: int, caller: Caller, until: int = 0) -> None:
        """Return when the bytes from `start` up to `stop` are here; `until` is how far the reader is going to read.

        Raises:
            EofsError: why they will not come; or the caller's own reason to stop waiting.
        """
        want = None
        try:
            while True:
                with self._news:
                    if self._work.note_reader(self._extents, start, stop, until):
                        self._to_do.notify()
                    if self._extents.covers(start, stop):
                        return
                    if self._failure:
                        raise self._failure
                    if want is None:
                        want = Want(start, stop, max(stop, until))
                        self._work.wants.append(want)
                        self._to_do.notify()
                    self._news.wait(POLL)
                caller.check()
        finally:
            if want:
                with self._news:
                    self._work.wants.remove(want)

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

    def read(self, offset: int, size: int, caller: Caller = NOBODY, until: int = 0, *, again: bool = True) -> bytes:
        """Return up to `size` bytes from `offset`, fewer only at the end of the file; waits until they are here.

        `until` tells how far the reader is going to read after that. Bytes that turn out wrong meanwhile are waited for
        `again`, or left for him to find out.
        """
        while not self.whole:
            mark = self.forgotten.mark
            end = self.wait_size(caller)
            stop = min(offset + size, end)
            self.wait(offset, stop, caller, min(until, end))
            data = os.pread(self._fd, max(0, stop - offset), offset)
            if not (again and self.forgotten.since(mark, offset, stop)):  # else it may have been gone when it was read
                return data
        return os.pread(self._fd, size, offset)

    # -- those that fill -----------------------------------------------------------------------------------------

    def begin(self, size: int | None, validator: str | None, checksum: Checksum | None = None) -> None:
        """Say how large the file will be, where that is known, and by what the provider tells its versions apart."""
        if size is not None:
            os.ftruncate(self._fd, size)
        with self._news:
            self.size, self.validator, self._failure = size, validator, None
            self.checksum = self.checksum or checksum
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
        if self.mapped and self._unsynced >= SYNC_EVERY:
            self.save(sync=True)
        elif self.mapped and self._unsaved >= max(SAVE_EVERY, min((self.size or 0) // SAVES, SYNC_EVERY // 16)):
            self.save(sync=False)

    def save(self, *, sync: bool) -> None:
        """Write the map; with `sync`, make sure first that what it speaks of would survive a power cut."""
        if sync:
            with self._news:
                here, mark = Extents(list(self._extents)), self.forgotten.mark
            self._unsynced = 0  # now, so that no other thread begins to do the same
            os.fdatasync(self._fd)
            with self._news:
                if self.forgotten.mark == mark:
                    self._synced = here
        self._write_map(afresh=sync)

    def _write_map(self, *, afresh: bool) -> None:
        with self._saving:
            with self._news:
                written, synced = list(self._extents), list(self._synced)
            self._unsaved = 0
            note = {"size": self.size, "validator": self.validator, "checksum": self.checksum, "ranged": self.ranged}
            write_map(self.path, {**note, "written": written, "synced": synced}, afresh=afresh)

    def next_job(self, *, least: int, fill: int, patience: float) -> Job | None:
        """Return the range to be brought next, to be given back with `end_job`.

        Args:
            least: how many bytes are brought at least where somebody waits for some.
            fill: how many bytes at a time are brought that nobody waits for; 0 for none.
            patience: seconds to wait for something to do.
        """
        with self._news:
            job = self._work.next_job(self._extents, self.size, least, fill)
            if not job:
                self._to_do.wait(patience)
                job = self._work.next_job(self._extents, self.size, least, fill)
            return job

    def end_job(self, job: Job) -> None:
        """Give a range back, brought or not."""
        with self._news:
            self._work.jobs.remove(job)
            self._to_do.notify()

    def jobs(self) -> list[Job]:
        """Return the ranges under way."""
        with self._news:
            return list(self._work.jobs)

    def reserve(self) -> None:
        """Take the room on the disk that the whole file needs; raises OSError where there is none."""
        if self.size:
            os.posix_fallocate(self._fd, 0, self.size)

    def finish(self, share: Callable[[int], None]) -> None:
        """Give the file, all of which is here and right, its final name; readers go on as they are.

        `share` is called with the descriptor, to turn its lock into that of a reader.
        """
        if self.size is None:
            self.begin(self.reaches(0), self.validator)
        os.fsync(self._fd)
        part_of(self.path).replace(self.path)
        share(self._fd)
        take_map_away(self.path)
        self.whole = True

    def restart(self) -> None:
        """Forget all that has arrived."""
        with self._news:
            self._extents, self._synced, self.size, self.validator = Extents(), Extents(), None, None
            self.checksum, self.ranged = None, False
            self._unsaved = self._unsynced = 0
            self.forgotten.add(0, sys.maxsize)
        map_of(self.path).unlink(missing_ok=True)
        os.ftruncate(self._fd, 0)

    def forget(self, start: int, stop: int) -> bool:
        """Forget bytes that turned out wrong; False where none come again: without ranges, or when all is verified."""
        with self._news:
            if not self.ranged or self.size is None or self._extents.covers(0, self.size):
                return False
            self._extents.remove(start, stop)
            self._synced.remove(start, stop)
            self.forgotten.add(start, stop)
            self._work.hopes.clear()  # who reads on does so from the wrong bytes
        self._write_map(afresh=True)
        return True

    def fail(self, failure: EofsError) -> None:
        """Tell all who wait, now or later, why their bytes do not come; the next `begin` takes it back."""
        with self._news:
            self._failure = failure
            self._news.notify_all()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def close(self) -> None:
        """Close the descriptor, and with it give up the lock; what has arrived is on the map."""
        try:
            if self.mapped and not self.whole and self._unsaved:
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
            self.size, self.validator, self.checksum = note["size"], note["validator"], note["checksum"]
            self.ranged = note["ranged"]
        else:
            map_of(self.path).unlink(missing_ok=True)  # it must not speak of the bytes that will come


@dataclass(frozen=True, slots=True)
class View:
    """A file as one caller sees it: what reads it need not know that bytes may have to be waited for."""

    file: PartialFile
    caller: Caller = NOBODY
    until: int = 0  # how far it is going to be read, so that one request can bring it all

    @property
    def size(self) -> int:
        """Return the file's size in bytes; waits until it is known."""
        return self.file.wait_size(self.caller)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`, fewer only at the end; waits until they are here."""
        return self.file.read(offset, size, self.caller, max(offset + size, self.until))
