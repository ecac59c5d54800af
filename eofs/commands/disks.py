"""Whether a disk can hold a cache: found out by doing what the cache does, as names of file systems tell too little."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH = 1 << 20  # bytes of the file that is tried


def disk_faults(directory: Path) -> list[str]:
    """Return what is against a cache in `directory`, which need not be there yet; nothing where it can be used."""
    try:
        there = next(folder for folder in (directory, *directory.parents) if os.path.lexists(folder))
        with tempfile.TemporaryDirectory(prefix=".eofs-doctor-", dir=there) as place:
            return [what for what, works in _TRIES.items() if not _works(works, Path(place))]
    except OSError as error:
        return [f"it cannot be used: {error.strerror}"]


def _works(what: Callable[[Path], bool], place: Path) -> bool:
    try:
        return what(place)
    except (OSError, sqlite3.Error):
        return False


def _sparse(place: Path) -> bool:
    """Tell whether what has not been written takes no room."""
    with (place / "sparse").open("wb") as file:
        file.truncate(LENGTH)
        return os.fstat(file.fileno()).st_blocks * 512 < LENGTH


def _locks(place: Path) -> bool:
    """Tell whether a file that is locked cannot be locked by somebody else."""
    path = place / "locked"
    with path.open("wb") as first, path.open("rb") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _reserves(place: Path) -> bool:
    with (place / "reserved").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, LENGTH)
        return os.fstat(file.fileno()).st_size == LENGTH


def _records(place: Path) -> bool:
    """Tell whether a data base can be opened as diskcache does: with a log beside it, which is mapped into memory."""
    with closing(sqlite3.connect(place / "records.db")) as base:
        [mode] = base.execute("PRAGMA journal_mode = wal").fetchone()
        base.execute("CREATE TABLE t (x)")
        return str(mode) == "wal"


def _pins(place: Path) -> bool:
    path = place / "pinned"
    path.touch()
    path.chmod(0o600 | stat.S_ISVTX)
    return bool(path.stat().st_mode & stat.S_ISVTX)


_TRIES: dict[str, Callable[[Path], bool]] = {
    "its disk knows no sparse files": _sparse,
    "its disk knows no locks (flock)": _locks,
    "its disk cannot take a file of 1 MB": _reserves,
    "its disk can hold no data base (SQLite)": _records,
    "its disk keeps no permissions of files": _pins,
}
