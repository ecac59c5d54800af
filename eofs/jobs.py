"""Who waits for which bytes of a file, who is bringing which, and what is to be brought next."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eofs.extents import Extents

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LINGER = 1.0  # seconds during which somebody who has read is taken to read on
SOON = 0.1  # seconds; what a job brings within so many is waited for rather than asked for by itself
NEAR = 512 << 10, 8 << 20  # bytes; what comes within fewer comes soon, what comes behind more does not
READERS = 8  # that are taken to read on at a time


@dataclass(slots=True, eq=False)
class Want:
    """What somebody reads: the bytes from `start` up to `stop`, and probably those up to `until` after that.

    `touched` is when he began to, in seconds of the monotonic clock.
    """

    start: int
    stop: int
    until: int
    touched: float = field(default_factory=time.monotonic)


@dataclass(slots=True, eq=False)
class Job:
    """A range that somebody is bringing. Times are in seconds of the monotonic clock.

    Attributes:
        start: where it begins.
        stop: where it ends; may be taken back while it is under way.
        until: how far somebody is going to read; beyond, and where it is 0, the job only fills.
        at: the byte that comes next.
        reader: how far what it brings has been read.
        begun: when the first byte came, or the job was made.
        touched: when somebody read last, or waited for it.
    """

    start: int
    stop: int
    until: int
    at: int
    reader: int
    begun: float
    touched: float

    @property
    def urgent(self) -> bool:
        """Tell whether somebody waits for what comes next, or did a moment ago."""
        return self.at < self.until and time.monotonic() - self.touched < LINGER

    def brings_soon(self, offset: int) -> bool:
        """Tell whether the byte at `offset` comes sooner than if it were asked for by itself."""
        least, most = NEAR
        speed = (self.at - self.start) / max(0.001, time.monotonic() - self.begun)
        return self.at <= offset < min(self.stop, self.at + min(max(least, int(speed * SOON)), most))

    def serve(self, start: int, stop: int, until: int) -> None:
        """Somebody reads from `start` up to `stop`, and is going to read up to `until`."""
        if start <= self.stop and until > self.start:
            self.until, self.touched = max(self.until, min(until, self.stop)), time.monotonic()
            self.reader = max(self.reader, min(stop, self.stop))


class Work:
    """What is to be brought of one file, and who is at it.

    Threads: the lock of the file guards it.
    """

    def __init__(self) -> None:
        self.wants: list[Want] = []
        self.jobs: list[Job] = []
        self.hopes: list[Want] = []

    def note_reader(self, here: Extents, start: int, stop: int, until: int) -> bool:
        """Somebody reads from `start` up to `stop`, and is going to read up to `until`.

        Returns whether there is something new to be brought, though he does not wait for it yet.
        """
        for job in self.jobs:
            job.serve(start, stop, until)
        if here.reaches(stop) >= until:
            return False
        hope = Want(start, stop, until)
        others = [h for h in self.hopes if not h.start <= start <= h.until and hope.touched - h.touched < LINGER]
        self.hopes = [hope, *others[: READERS - 1]]
        return True

    def next_job(self, here: Extents, size: int | None, least: int, fill: int) -> Job | None:
        """Return the range to be brought next, as `choose` does."""
        now = time.monotonic()
        hopes = [hope for hope in self.hopes if now - hope.touched < LINGER]
        found = choose(here, self.wants, hopes, self.jobs, size, least, fill)
        if not found:
            return None
        start, stop, until = found
        self.jobs.append(Job(start, stop, until, at=start, reader=start, begun=now, touched=now))
        return self.jobs[-1]


def choose(
    here: Extents,
    wants: Sequence[Want],
    hopes: Sequence[Want],
    jobs: Sequence[Job],
    size: int | None,
    least: int,
    fill: int,
) -> tuple[int, int, int] | None:
    """Return the range to be brought next, and how far somebody is going to read; None where there is nothing to do.

    What is waited for comes first, as far as its reader is going to read and at least `least` bytes; what another job
    would bring much later is taken over from it. Then what readers hope to find when they get there. Then, at most
    `fill` bytes at a time, what is missing of the `size` bytes of the file.
    """
    for want in wants:
        start = here.reaches(want.start)
        if start >= want.stop or any(job.brings_soon(start) for job in jobs):
            continue
        _, stop = next(here.gaps(start, max(want.until, min(start + least, size or 0))))
        for job in jobs:
            if job.at <= start < job.stop:
                job.stop = start
            elif start < job.at:
                stop = min(stop, max(job.at, start + 1))
        return start, stop, want.until
    taken = Extents([(job.at, job.stop) for job in jobs])
    for hope in hopes:
        start, stop = next(_missing(here, taken, hope.start, hope.until), (hope.until, hope.until))
        # Not before half of what is hoped for has been read: a request is worth its while.
        if 2 * (hope.until - start) >= hope.until - hope.start and start < stop:
            return start, stop, stop
    if fill and size is not None:
        for start, stop in _missing(here, taken, 0, size):
            return start, min(stop, start + fill), 0
    return None


def _missing(here: Extents, taken: Extents, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges from `start` up to `stop` that are not here, and that nobody brings."""
    for gap in here.gaps(start, stop):
        yield from taken.gaps(*gap)
