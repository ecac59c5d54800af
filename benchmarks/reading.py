"""What is done with a mounted file, timed from inside. All times are in seconds."""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PIECE = 1 << 20
_DROP = Path("/proc/sys/vm/drop_caches")


def forget(*folders: Path) -> None:
    """Drop what the kernel keeps of files: all, or where we may not, of those in `folders`."""
    os.sync()
    try:
        _DROP.write_text("3\n", encoding="ascii")
    except OSError:
        for folder in folders:
            for path in (path for path in (folder, *folder.rglob("*")) if path.is_file()):
                forget_pages(path)


def forget_pages(path: Path) -> None:
    """Drop what the kernel keeps of one file."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def first_byte(path: Path) -> float:
    """Return how long it takes to open a file and read its first byte."""
    begun = time.perf_counter()
    handle = os.open(path, os.O_RDONLY)
    try:
        if not os.read(handle, 1):
            raise OSError(0, f"{path.name} is empty")
        return time.perf_counter() - begun
    finally:
        os.close(handle)


def whole(path: Path, size: int | None = None) -> float:
    """Return how long it takes to read a file from front to end; `size` is what it must have."""
    piece = bytearray(_PIECE)
    begun = time.perf_counter()
    handle = os.open(path, os.O_RDONLY)
    try:
        total = 0
        while number := os.readv(handle, [piece]):
            total += number
    finally:
        os.close(handle)
    taken = time.perf_counter() - begun
    if size is not None and total != size:
        raise OSError(0, f"{path.name} has {total} bytes instead of {size}")
    return taken


def speed(paths: Sequence[Path], limit: float) -> float:
    """Return the MB/s at which files are read from front to end, each by a reader of its own, all at once.

    After `limit` seconds no more is read.
    """
    begun = time.perf_counter()
    with ThreadPoolExecutor(len(paths)) as readers:
        total = sum(readers.map(lambda path: _read_until(path, begun + limit), paths))
    return total / (time.perf_counter() - begun) / 1e6


def _read_until(path: Path, deadline: float) -> int:
    """Return how many bytes could be read."""
    piece, total = bytearray(_PIECE), 0
    handle = os.open(path, os.O_RDONLY)
    try:
        while time.perf_counter() < deadline and (number := os.readv(handle, [piece])):
            total += number
    finally:
        os.close(handle)
    return total


def randomly(path: Path, number: int, limit: float) -> float:
    """Return reads a second: up to `number` of 4 to 64 KB at random places, for at most `limit` seconds."""
    chance = random.Random(path.name)  # noqa: S311 - the same places for everybody
    size = path.stat().st_size
    done, taken, begun = 0, 0.0, time.perf_counter()
    handle = os.open(path, os.O_RDONLY)
    try:
        while done < number and taken < limit:
            os.pread(handle, chance.randint(1, 16) << 12, chance.randrange(0, size - (64 << 10)))
            done, taken = done + 1, time.perf_counter() - begun
    finally:
        os.close(handle)
    return done / taken


def tree(path: Path) -> tuple[float, int]:
    """Return how long it takes to list all files below a directory with their sizes, and how many they are."""
    begun = time.perf_counter()
    number = sum((Path(folder) / name).stat().st_size >= 0 for folder, _, names in os.walk(path) for name in names)
    return time.perf_counter() - begun, number
