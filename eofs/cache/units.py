"""What the cache holds, file by file: whole, or partial with its map. Each can be evicted by itself.

Nobody asks who uses a file: its lock tells, and the kernel gives it back when a process ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eofs import maps
from eofs.cache.pins import is_pinned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Unit:
    """A file of the cache.

    Attributes:
        path: its name when it is whole.
        size: bytes that it counts in the budget.
        pinned: it is evicted after all that is not.
        used: when it was last used, in nanoseconds since the epoch.
    """

    path: Path
    size: int
    pinned: bool
    used: int


def units_in(directory: Path) -> Iterator[Unit]:
    """Yield the files below a directory of the cache."""
    for name in directory.rglob("*"):
        if name.suffix in {".map", ".map~"} or name.is_dir():
            continue
        with contextlib.suppress(OSError):
            stat = name.stat()
            path = name.with_suffix("") if name.suffix == ".part" else name
            yield Unit(path, _taken(path, stat), is_pinned(stat), stat.st_atime_ns)


def evict(units: Iterable[Unit]) -> Unit | None:
    """Remove files, all or none; returns one that is open somewhere, or another user's, and None if all are gone."""
    with contextlib.ExitStack() as at_the_end:
        locked = []
        for unit in units:
            try:
                fd = os.open(maps.either(unit.path), os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            except OSError:  # in a shared cache it may be another user's
                return unit
            at_the_end.callback(os.close, fd)
            if not lock(fd, fcntl.LOCK_EX):
                return unit
            locked.append((unit.path, fd))
        for path, fd in locked:
            if os.fstat(fd).st_nlink:
                maps.map_of(path).unlink(missing_ok=True)
                for name in (maps.part_of(path), path):
                    unlink(name, fd)
    return None


def lockers(path: Path) -> set[int]:
    """Return the numbers of the processes that have a file of the cache open, as far as this machine tells."""
    found = set()
    with contextlib.suppress(OSError):
        number = str(maps.either(path).stat().st_ino)
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            # 1: FLOCK  ADVISORY  READ 4711 fe:01:131092 0 EOF   (proc_locks(5)); some disks go by two numbers
            words = line.split()
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == number:
                found.add(int(words[4]))
    return found


def lock(fd: int, how: int) -> bool:
    """Lock an open file, shared or exclusively; tell whether that could be done at once."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlink(name: Path, fd: int) -> None:
    """Remove the file that `fd` has open, where `name` is its name: by now it may be that of a newer file."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(name.stat(), os.fstat(fd)):
            name.unlink()


def _taken(path: Path, stat: os.stat_result) -> int:
    """Return what a file counts in the budget: its length, or its blocks where it is brought here and there."""
    if stat.st_size > stat.st_blocks * 512 and maps.read_map(path)["ranged"]:
        return stat.st_blocks * 512
    return stat.st_size
