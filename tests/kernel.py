"""System calls that Python has no words for, with the kernel's own error as an OSError; numbers are those of Linux."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AT_FDCWD = -100
AT_EMPTY_PATH, AT_EACCESS, AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT = 0x1000, 0x200, 0x100, 0x800
OPENAT2, FACCESSAT2 = 437, 439  # the same on all machines, as all calls since Linux 5.1

_libc = ctypes.CDLL(None, use_errno=True)
_LONG = {"copy_file_range", "getdents64", "getxattr", "lgetxattr", "listxattr", "readahead", "syscall"}


def call(name: str, *arguments: object) -> int:
    """Make a system call through the C library; numbers are passed as longs. Raises OSError."""
    function = getattr(_libc, name)
    function.restype = ctypes.c_long if name in _LONG else ctypes.c_int
    found = int(function(*(ctypes.c_long(word) if isinstance(word, int) else word for word in arguments)))
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return found


@contextlib.contextmanager
def opened(path: Path | str, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Open a file or a directory for a while."""
    number = os.open(path, flags)
    try:
        yield number
    finally:
        os.close(number)


def openat2(path: Path, name: str, flags: int = 0, resolve: int = 0) -> None:
    """Open a name in a directory with openat2(2), and close it again."""
    with opened(path, os.O_DIRECTORY) as directory:
        how = (ctypes.c_uint64 * 3)(flags, 0, resolve)
        os.close(call("syscall", OPENAT2, directory, os.fsencode(name), how, ctypes.sizeof(how)))


def faccessat2(path: Path, mode: int, flags: int) -> None:
    """Ask whether a file may be used, by faccessat2(2)."""
    call("syscall", FACCESSAT2, AT_FDCWD, os.fsencode(path), mode, flags)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a directory; reading goes on behind it at `offset`."""

    name: str
    ino: int
    kind: int
    offset: int


def entries(directory: int, room: int = 1 << 15) -> list[Entry]:
    """Return what one getdents64(2) gives, in a buffer of so many bytes; nothing at the end."""
    buffer = ctypes.create_string_buffer(room)
    length = call("getdents64", directory, buffer, room)
    found, at = [], 0
    while at < length:
        ino, offset, size, kind = struct.unpack_from("=QqHB", buffer, at)
        name = buffer.raw[at + 19 : at + size].split(b"\0", 1)[0]
        found.append(Entry(os.fsdecode(name), ino, kind, offset))
        at += size
    return found


def all_entries(directory: int, room: int = 1 << 15) -> list[Entry]:
    """Return what there is of a directory from where it is read next."""
    found: list[Entry] = []
    while some := entries(directory, room):
        found += some
    return found


@dataclass(frozen=True, slots=True)
class Statx:
    """What statx(2) says."""

    mask: int
    ino: int
    size: int
    blocks: int
    mtime: int
    mode: int


def statx(path: Path, flags: int, mask: int) -> Statx:
    """Ask for the attributes that the mask names."""
    buffer = ctypes.create_string_buffer(256)
    call("statx", AT_FDCWD, os.fsencode(path), flags, mask, buffer)
    said, mode, ino, size, blocks = struct.unpack_from("=I24xHxxQQQ", buffer)
    return Statx(said, ino, size, blocks, struct.unpack_from("=q", buffer, 112)[0], mode)


class _Visit(ctypes.Structure):
    """The beginning of an FTSENT of <fts.h>."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("cycle", "parent", "link", "number", "pointer")),
        *((name, ctypes.c_char_p) for name in ("accpath", "path")),
    )


def walk(top: Path) -> set[str]:
    """Return a directory and what is below it, as fts(3) finds them when it is to call stat(2) as rarely as it can."""
    _libc.fts_open.restype, _libc.fts_read.restype = ctypes.c_void_p, ctypes.POINTER(_Visit)
    tops = (ctypes.c_char_p * 2)(os.fsencode(top), None)
    stream = ctypes.c_void_p(_libc.fts_open(tops, 0x0004 | 0x0008 | 0x0010, None))  # NOCHDIR, NOSTAT, PHYSICAL
    found = set()
    while visit := _libc.fts_read(stream):
        found.add(os.fsdecode(visit.contents.path))
    _libc.fts_close(stream)
    return found


def handle(path: Path) -> bytes:
    """Return the handle of a file, as name_to_handle_at(2) gives it to file servers."""
    buffer, mount = ctypes.create_string_buffer(8 + 128), ctypes.c_int()
    struct.pack_into("=I", buffer, 0, 128)
    call("name_to_handle_at", AT_FDCWD, os.fsencode(path), buffer, ctypes.byref(mount), 0)
    return bytes(buffer.raw)


def open_handle(mount: int, found: bytes) -> int:
    """Open a file by its handle, for reading; `mount` is any open file of the mount."""
    return call("open_by_handle_at", mount, ctypes.create_string_buffer(found, len(found)), os.O_RDONLY)
