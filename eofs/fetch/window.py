"""Reading a part of a file of the cache: an archive member that is stored as it is, or a file as a whole."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eofs import bare, transfer
from eofs.blocks import View
from eofs.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Callable

    from eofs.blocks import PartialFile
    from eofs.nodes import Caller, Reader

ORDER = 512 << 10  # bytes that a read may be out of order, and still be one of a reader that reads on
LARGE = 64 << 10  # bytes; the kernel asks for less only where a program reads here and there


@dataclass(slots=True)
class Window:
    """A reader of `size` bytes of a file of the cache from `start` on; keeps the file from being evicted.

    Attributes:
        let_go: called with the file when the reader is closed.
        name: what the user knows the bytes as.
        crc: the CRC-32 of all of them, where it is known and the file as a whole has not been verified.
    """

    file: PartialFile
    start: int
    size: int
    let_go: Callable[[PartialFile], None]
    name: str
    crc: int | None = None
    _next: int = 0  # where a reader that reads on and on would read next
    _verified: bool = False

    def read(self, offset: int, size: int, caller: Caller) -> bytes:
        """Return up to `size` bytes from `offset`, fewer only at the end; may wait for bytes under way.

        Raises:
            Corrupt: all bytes are here and do not have the CRC that they should have, also when fetched afresh.
        """
        size = max(0, min(size, self.size - offset))
        # The kernel reads ahead in parallel, so what is read in order comes only roughly in order.
        near = ORDER if size >= LARGE else 0
        reads_on = offset > 0 and abs(offset - self._next) <= near
        self._next = offset + size
        until = self.start + (self.size if reads_on else offset + size)
        data = self.file.read(self.start + offset, size, caller, until)
        if self.crc is None or self._verified or self.file.whole or not self._is_all_here():
            return data
        self._verify(caller)
        return self.file.read(self.start + offset, size, caller)

    def close(self) -> None:
        """Let go of the file."""
        self.let_go(self.file)

    def _is_all_here(self) -> bool:
        return self.file.reaches(self.start) >= self.start + self.size

    def _verify(self, caller: Caller) -> None:
        """Compare the CRC once all bytes are here; wrong ones are fetched afresh once."""
        stop = self.start + self.size
        for _ in range(2):
            crc = 0
            for data in transfer.steps(View(self.file, caller, stop), self.start, stop):
                crc = zlib.crc32(data, crc)
            if crc == self.crc:
                self._verified = True
                return
            self.file.forget(self.start, stop)
        raise Corrupt(f"{self.name} came twice with another CRC than its archive says; tell the provider")


@dataclass(frozen=True, slots=True)
class Following:
    """A reader of a product that is still coming: as long as it is open, what it reads is brought."""

    reader: Reader
    let_go: Callable[[], None]

    def read(self, offset: int, size: int, caller: Caller) -> bytes:
        """Return up to `size` bytes from `offset`; waits for them."""
        return self.reader.read(offset, size, caller)

    def close(self) -> None:
        """Let go of the file, and of the story that brings it."""
        self.reader.close()
        self.let_go()


def is_readable_in_order(file: PartialFile) -> bool:
    """Tell whether the product is one bare file, whose bytes can be served as they come: its first bytes show it."""
    return file.size is not None and file.reaches(0) >= bare.HEAD and bare.is_bare(file.read(0, bare.HEAD))
