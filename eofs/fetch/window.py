"""Reading a part of a file of the cache: an archive member that is stored as it is, or a file as a whole."""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eofs import bare, transfer
from eofs.blocks import View
from eofs.errors import Corrupt
from eofs.nodes import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from eofs.blocks import PartialFile
    from eofs.nodes import Caller, Reader

ORDER = 512 << 10  # bytes that a read may be out of order, and still be one of a reader that reads on
LARGE = 64 << 10  # bytes; the kernel asks for less only where a program reads here and there
LEAST = 256 << 10  # bytes that a reader is taken to read on, who has read on; a third of what he has read, if more
FRONT = 512 << 10  # bytes; who reads so many from the front of a file is taken to read all of it
SMALLEST = 24 << 10  # bytes that are asked for at least: a jump costs a round trip, and so many cost no more than one
SUM = 1 << 20  # bytes that go into the CRC with each read
USUAL = 4 << 20  # bytes, at most, that who went elsewhere is taken to read there, for he did so twice before


@dataclass(slots=True)
class Window:
    """A reader of `size` bytes of a file of the cache from `start` on; keeps the file from being evicted.

    Attributes:
        let_go: called with the file when the reader is closed.
        name: what the bytes are called in an error: the file, and its provider.
        crc: the CRC-32 of all of them, where it is known and the file as a whole has not been verified.
        usual: how many bytes are read in one place, as far as that can be told.
    """

    file: PartialFile
    start: int
    size: int
    let_go: Callable[[PartialFile], None]
    name: str
    crc: int | None = None
    usual: int = 0
    _next: int = 0  # where a reader that reads on and on would read next
    _since: int = 0  # where it has begun to read on
    _run: int = 0  # how far it read on where it did so last
    _until: int = 0  # as far as it was taken to read from there
    _given: bool = False  # something has been read
    _verified: bool = False
    _mark: int = field(init=False)
    _sum: int = 0  # the CRC of what comes before `_summed`
    _summed: int = field(init=False)
    _summing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._mark, self._summed = self.file.forgotten.mark, self.start

    def place(self) -> Place | None:
        """Return where the bytes lie, if the file is whole."""
        if not self.file.whole or self._has_changed():
            return None
        return Place(self.file.fileno(), self.start, self.size)

    def read(self, offset: int, size: int, caller: Caller) -> bytes:
        """Return up to `size` bytes from `offset`, fewer only at the end; may wait for bytes under way.

        Raises:
            Corrupt: all bytes are here and do not have the CRC that they should have; or those that have been read
                before turned out wrong, or are no longer what the provider holds.
        """
        self._must_not_have_changed()
        size = max(0, min(size, self.size - offset))
        until = self.start + min(self.size, self._expected(offset, size))
        data = self.file.read(self.start + offset, size, caller, until, again=False)
        if not (self.crc is None or self._verified or self.file.whole) and not self._is_right(caller):
            data = self.file.read(self.start + offset, size, caller)
        self._given = True
        self._must_not_have_changed()
        return data

    def close(self) -> None:
        """Let go of the file."""
        self.let_go(self.file)

    def _expected(self, offset: int, size: int) -> int:
        """Return how far the reader is probably going to read: as far as before, and farther if he reads on."""
        # The kernel reads ahead in parallel, so what is read in order comes only roughly in order.
        near = ORDER if size >= LARGE else 0
        before, self._next = self._next, offset + size
        if offset > 0 and abs(offset - before) <= near:
            if offset <= self._until:  # a little beyond is the kernel's doing
                return max(self._until, offset + size)
            run = offset - self._since
            return offset + size + max(LEAST, run // 3) if self._since or run < FRONT else self.size
        last, self._run = self._run, before - self._since if self._since else 0  # the front is no example
        expected = max(size, self.usual, SMALLEST, min(last or self._run, self._run, USUAL)) if offset else size
        self._since, self._until = offset, offset + expected
        return self._until

    def _must_not_have_changed(self) -> None:
        if self._has_changed():
            raise Corrupt(f"{self.name} changed while it was read; open it again")

    def _has_changed(self) -> bool:
        return self.file.forgotten.since(self._mark, self.start, self.start + self.size)

    def _is_right(self, caller: Caller) -> bool:
        """Go on with the CRC a little, so that there is no pause at the end; once all bytes are here, compare it.

        Returns whether no byte was wrong; those that were are fetched afresh once, unless some have been read.
        """
        stop, is_right = self.start + self.size, True
        while True:
            with self._summing:
                here = min(self.file.reaches(self._summed), stop)
                until = here if self.file.reaches(self.start) >= stop else min(here, self._summed + SUM)
                for data in transfer.steps(View(self.file, caller), self._summed, until):
                    self._sum = zlib.crc32(data, self._sum)
                self._summed = until
                if until < stop:
                    return is_right
                if self._sum == self.crc:
                    self._verified = True
                    return is_right
                self._sum, self._summed = 0, self.start
                if not self.file.forget(self.start, stop) or self._given:
                    raise Corrupt(f"{self.name} came with another CRC than its archive says; open it again")
                if not is_right:
                    raise Corrupt(f"{self.name} came twice with another CRC than its archive says; tell the provider")
                self._mark, is_right = self.file.forgotten.mark, False
            self.file.wait(self.start, stop, caller, stop)


@dataclass(frozen=True, slots=True)
class Following:
    """A reader of a product that is still coming: as long as it is open, what it reads is brought.

    Attributes:
        on_read: called before each read.
        let_go: called when it is closed.
    """

    reader: Reader
    on_read: Callable[[], None]
    let_go: Callable[[], None]

    def place(self) -> None:
        """Nowhere: each read has to be noticed."""

    def read(self, offset: int, size: int, caller: Caller) -> bytes:
        """Return up to `size` bytes from `offset`; waits for them."""
        self.on_read()
        return self.reader.read(offset, size, caller)

    def close(self) -> None:
        """Let go of the file, and of the story that brings it."""
        self.reader.close()
        self.let_go()


def is_readable_in_order(file: PartialFile) -> bool:
    """Tell whether the product is one bare file, whose bytes can be served as they come: its first bytes show it."""
    return file.size is not None and file.reaches(0) >= bare.HEAD and bare.is_bare(file.read(0, bare.HEAD))
