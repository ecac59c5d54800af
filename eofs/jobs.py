"""Who waits for which bytes of a file, who is bringing which, and what is to be brought next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eofs.extents import Extents

if TYPE_CHECKING:
    from collections.abc import Sequence

NEAR = 2 << 20  # bytes; what a job brings within so many is waited for rather than asked for by itself


@dataclass(slots=True, eq=False)
class Want:
    """What somebody waits for: the bytes from `start` up to `stop`, and probably those up to `until` after that."""

    start: int
    stop: int
    until: int


@dataclass(slots=True, eq=False)
class Job:
    """A range that somebody is bringing.

    Attributes:
        start: where it begins.
        stop: where it ends; may be taken back while it is under way.
        wanted: somebody waits for it; else it only fills.
        at: the byte that comes next.
        reader: how far what it brings has been read.
        touched: when that was last, in seconds of the monotonic clock.
    """

    start: int
    stop: int
    wanted: bool
    at: int
    reader: int
    touched: float


def choose(
    here: Extents, wants: Sequence[Want], jobs: Sequence[Job], size: int | None, fill: int
) -> tuple[int, int, bool] | None:
    """Return the range to be brought next, and whether somebody waits for it; None where there is nothing to do.

    What is waited for comes first, as far as its reader is going to read; then, at most `fill` bytes at a time, what
    is missing of the `size` bytes of the file. What another job would bring much later is taken over from it.
    """
    for want in wants:
        start = here.reaches(want.start)
        if start >= want.stop or any(job.at <= start < min(job.stop, job.at + NEAR) for job in jobs):
            continue
        _, stop = next(here.gaps(start, want.until))
        for job in jobs:
            if job.at <= start < job.stop:
                job.stop = start
            elif start < job.at:
                stop = min(stop, max(job.at, start + 1))
        return start, stop, True
    if fill and size is not None:
        taken = Extents([(job.at, job.stop) for job in jobs])
        for gap in here.gaps(0, size):
            for start, stop in taken.gaps(*gap):
                return start, min(stop, start + fill), False
    return None
