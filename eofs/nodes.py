"""What the mount is made of, free of FUSE: directories, files, texts, links; and who asks for them.

A node is a value that knows how to answer; only a `Directory` marked lazy and a `File` may make their caller wait.
Each has a `mode`, its type and permissions, a `length` in bytes, and `names`, the number of names that it has.
"""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _nothing() -> None:
    """Never interrupt."""


def _nameless() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Caller:
    """The program that asks, as far as a wait has to know it.

    Attributes:
        check: called about ten times a second while the program waits; raises `eofs.errors.Interrupted` or
            `Cancelled` when the wait has to end.
        program: returns the process name; asked for only when it matters, since finding it out costs.
        patient: False for a program that asked not to be kept waiting (O_NONBLOCK).
    """

    check: Callable[[], None] = _nothing
    program: Callable[[], str] = _nameless
    patient: bool = True


NOBODY = Caller()
"""A caller that is never interrupted and has no name: eofs itself."""


class Reader(Protocol):
    """An open file."""

    def read(self, offset: int, size: int, caller: Caller) -> bytes:
        """Return up to `size` bytes from `offset`, fewer only at the end; may wait for bytes under way."""

    def close(self) -> None:
        """Let go of what the open file holds."""


@dataclass(frozen=True, slots=True)
class Held:
    """A reader of bytes in memory."""

    content: bytes

    def read(self, offset: int, size: int, caller: Caller) -> bytes:  # noqa: ARG002 - bytes in memory never wait
        """Return up to `size` bytes from `offset`."""
        return self.content[offset : offset + size]

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass(frozen=True, slots=True)
class Directory:
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
    mode: ClassVar[int] = stat.S_IFDIR | 0o555
    names: ClassVar[int] = 2

    def length(self, caller: Caller) -> int:  # noqa: ARG002 - as of all nodes
        """Return what a directory without much in it has on other file systems."""
        return 4096


@dataclass(frozen=True, slots=True)
class Text:
    """A file whose content is made when it is opened and may differ each time; never waits, never cached."""

    ino: int
    mtime: int
    content: Callable[[], bytes]
    mode: ClassVar[int] = stat.S_IFREG | 0o444
    names: ClassVar[int] = 1

    def length(self, caller: Caller) -> int:  # noqa: ARG002 - as of all nodes
        """Return the bytes that it would have if it were opened now."""
        return len(self.content())


@dataclass(frozen=True, slots=True)
class File:
    """A file that never changes once it is known.

    `size` returns bytes; it and `open` may wait.
    """

    ino: int
    mtime: int
    size: Callable[[Caller], int]
    open: Callable[[Caller], Reader]
    names: int = 1
    mode: ClassVar[int] = stat.S_IFREG | 0o444

    def length(self, caller: Caller) -> int:
        """Return its bytes; may wait."""
        return self.size(caller)


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link; `target` is relative to the link's own directory and stays in its product root."""

    ino: int
    mtime: int
    target: str
    mode: ClassVar[int] = stat.S_IFLNK | 0o777
    names: ClassVar[int] = 1

    def length(self, caller: Caller) -> int:  # noqa: ARG002 - as of all nodes
        """Return the bytes of the target."""
        return len(self.target.encode("utf-8", "surrogateescape"))


Node = Directory | Text | File | Link


def inode(*path: str) -> int:
    """Return the inode number of a path: the same in every mount, practically never the same for two paths."""
    digest = hashlib.blake2b("/".join(path).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    # 0 means "none" to some programs, 1 is the root's; the top bit would be a negative number to others.
    return int.from_bytes(digest, "big") >> 1 | 2
