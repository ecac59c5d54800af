"""Sets of byte ranges, and the ranges of a file whose bytes turned out wrong."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Extents:
    """A set of byte ranges, kept sorted, disjoint and merged."""

    __slots__ = ("_starts", "_stops")

    def __init__(self, ranges: list[tuple[int, int]] | None = None) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in ranges or ():
            self.add(start, stop)

    def remove(self, start: int, stop: int) -> None:
        """Take the bytes from `start` up to, not including, `stop` out."""
        kept = [piece for a, b in self for piece in ((a, min(b, start)), (max(a, stop), b)) if piece[0] < piece[1]]
        self._starts, self._stops = [a for a, _ in kept], [b for _, b in kept]

    def gaps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the ranges between `start` and `stop` that are not in the set."""
        while start < stop:
            at = bisect.bisect_right(self._starts, start) - 1
            if at >= 0 and self._stops[at] > start:
                start = self._stops[at]
                continue
            end = min(stop, self._starts[at + 1]) if at + 1 < len(self._starts) else stop
            yield start, end
            start = end

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


class Forgotten:
    """The ranges of a file whose bytes were given up, one after the other; others may have come in their place.

    Threads: ranges are only added, each by one step.
    """

    __slots__ = ("_ranges",)

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def add(self, start: int, stop: int) -> None:
        """Note that the bytes from `start` up to, not including, `stop` were given up."""
        self._ranges.append((start, stop))

    @property
    def mark(self) -> int:
        """Return a mark in time for `since`."""
        return len(self._ranges)

    def since(self, mark: int, start: int, stop: int) -> bool:
        """Tell whether any of the bytes from `start` up to `stop` were given up after the mark was taken."""
        return any(first < stop and start < last for first, last in self._ranges[mark:])
