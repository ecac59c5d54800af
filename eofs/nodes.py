"""What the mount is made of, free of FUSE: directories, files, texts, links; and who asks for them.

A node is a value that knows how to answer; only a `Directory` marked lazy and a `File` may make their caller wait.
Each has a `mode`, its type and permissions, a `length` in bytes, and `names`, the number of names that it has.
Nodes are made anew for each question, so they are named tuples: those take a quarter of the time.
"""

from __future__ import annotations

import hashlib
import os
import stat
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DIRECTORY = stat.S_IFDIR | 0o555
PIECE = 1 << 20  # bytes that the disk is asked for at a time


def _nothing() -> None:
    """Never interrupt."""


def _nameless() -> str:
    return ""


def _numberless() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Caller:
    """The program that asks, as far as a wait has to know it.

    Attributes:
        check: called some times a second while the program waits; raises `eofs.errors.Interrupted` or
            `Cancelled` when the wait has to end.
        program: returns the process name; asked for only when it matters, since finding it out costs.
        patient: False for a program that asked not to be kept waiting (O_NONBLOCK).
        process: returns the process' number, 0 where it has none; asked for as rarely as `program`.
    """

    check: Callable[[], None] = _nothing
    program: Callable[[], str] = _nameless
    patient: bool = True
    process: Callable[[], int] = _numberless


NOBODY = Caller()
"""A caller that is never interrupted and has no name: eofs itself."""


@dataclass(slots=True)
class Place:
    """Where bytes lie, and stay as they are: `size` bytes from `start` on of a file, open with this descriptor.

    The disk is asked for a piece and the one after it when a piece is read for the first time. Left to itself, the
    kernel reads an archive's members badly: it takes several readers of one descriptor for one that jumps about.

    Threads: any number may read; two that come to a piece at once both ask for it, which does no harm.
    """

    file: int
    start: int
    size: int
    _asked_for: set[int] = field(default_factory=set)

    def read_into(self, room: memoryview, offset: int) -> int:
        """Fill `room` with the bytes from `offset` on; returns how many they are, fewer only at the end."""
        room = room[: max(0, self.size - offset)]
        piece = offset // PIECE
        if piece not in self._asked_for:
            self._asked_for.add(piece)
            first = piece * PIECE
            length = max(0, min(2 * PIECE, self.size - first))
            os.posix_fadvise(self.file, self.start + first, length, os.POSIX_FADV_WILLNEED)
        return os.preadv(self.file, [room], self.start + offset)


class Reader(Protocol):
    """An open file."""

    def place(self) -> Place | None:
        """Return where all its bytes lie; they may then be read there until `close`. None where it must be asked."""

    def read(self, offset: int, size: int, caller: Caller) -> bytes:
        """Return up to `size` bytes from `offset`, fewer only at the end; may wait for bytes under way."""

    def close(self) -> None:
        """Let go of what the open file holds."""


class Usage(Protocol):
    """What `df` shows."""

    def used(self) -> int:
        """Return the bytes in the cache."""

    @property
    def limit(self) -> int:
        """Return the bytes that the cache may hold."""

    def products(self) -> int:
        """Return how many products there are."""


@dataclass(frozen=True, slots=True)
class Held:
    """A reader of bytes in memory.

    Attributes:
        lasts: whoever opens the file another time gets the same; else the kernel keeps nothing of it.
    """

    content: bytes
    lasts: bool = True

    def place(self) -> None:
        """Nowhere in a file."""

    def read(self, offset: int, size: int, caller: Caller) -> bytes:  # noqa: ARG002 - bytes in memory never wait
        """Return up to `size` bytes from `offset`."""
        return self.content[offset : offset + size]

    def close(self) -> None:
        """Nothing to let go of."""


class Directory(NamedTuple):
    """A directory.

    Attributes:
        ino: inode number.
        mtime: nanoseconds since the epoch.
        children: the nodes by name; may wait only where `lazy`.
        lazy: looking inside costs: an order, a wait, a download.
        attributes: extended attributes (``user.…``) and their values, or None where there are none.
    """

    ino: int
    mtime: int
    children: Callable[[Caller], Mapping[str, Node]]
    lazy: bool = False
    attributes: Callable[[], Mapping[str, bytes]] | None = None
    mode: int = DIRECTORY
    names: int = 1  # 2 would say that no directory is in it, and fts(3) would go no further

    def length(self, caller: Caller) -> int:  # noqa: ARG002 - as of all nodes
        """Return what a directory without much in it has on other file systems."""
        return 4096


class Text(NamedTuple):
    """A file whose content is made when it is opened and may differ each time; never waits, never cached."""

    ino: int
    mtime: int
    content: Callable[[], bytes]
    mode: int = stat.S_IFREG | 0o444
    names: int = 1

    def length(self, caller: Caller) -> int:  # noqa: ARG002 - as of all nodes
        """Return the bytes that it would have if it were opened now."""
        return len(self.content())


class File(NamedTuple):
    """A file that never changes once it is known.

    `size` returns bytes; it and `open` may wait.
    """

    ino: int
    mtime: int
    size: Callable[[Caller], int]
    open: Callable[[Caller], Reader]
    names: int = 1
    mode: int = stat.S_IFREG | 0o444

    def length(self, caller: Caller) -> int:
        """Return its bytes; may wait."""
        return self.size(caller)


class Link(NamedTuple):
    """A symbolic link; `target` is relative to the link's own directory and stays in its product root."""

    ino: int
    mtime: int
    target: str
    mode: int = stat.S_IFLNK | 0o777
    names: int = 1

    def length(self, caller: Caller) -> int:  # noqa: ARG002 - as of all nodes
        """Return the bytes of the target."""
        return len(self.target.encode("utf-8", "surrogateescape"))


Node = Directory | Text | File | Link


class Crowd(Mapping[str, Node]):
    """Nodes by name that are too many to be made for a mere listing."""

    @abstractmethod
    def entries(self) -> Iterable[tuple[str, int, int]]:
        """Return the name, mode and inode number of each."""


def entries(children: Mapping[str, Node]) -> Iterable[tuple[str, int, int]]:
    """Return the name, mode and inode number of each of a directory's children."""
    if isinstance(children, Crowd):
        return children.entries()
    return [(name, node.mode, node.ino) for name, node in children.items()]


def inode(path: str) -> int:
    """Return the inode number of a path: the same in every mount, practically never the same for two paths."""
    digest = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    # 0 means "none" to some programs, 1 is the root's; the top bit would be a negative number to others.
    return int.from_bytes(digest, "big") >> 1 | 2
