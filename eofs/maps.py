"""The map beside a file that is partly here: which of its bytes have arrived, and can be trusted to be there.

A map is JSON, one line each time that it is written; the last line that can be read counts. Adding a line costs next to
nothing, other than a new file in place of the old one, which file systems write to the disk at once.
"""

from __future__ import annotations

import functools
import json
import operator
import os
from pathlib import Path
from typing import Any

from eofs import checksums

LONGEST = 1 << 20  # bytes of a map, after which it is begun afresh


@functools.cache
def boot_id() -> str:
    """Return what tells one run of the machine from another; empty where that cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def part_of(path: Path) -> Path:
    """Return the name that a file of the cache has while it is not whole."""
    return path.with_name(path.name + ".part")


def either(path: Path) -> Path:
    """Return the name that a file of the cache has now."""
    return path if path.exists() else part_of(path)


def map_of(path: Path) -> Path:
    """Return the name of the map of a file that is not whole."""
    return path.with_name(path.name + ".map")


def write_map(path: Path, note: dict[str, Any], *, afresh: bool) -> None:
    """Write the map of a partly arrived file: what `read_map` returns, with ``written`` in place of ``ranges``.

    With `afresh` nothing is left of what it said before, whatever happens to the machine.
    """
    checksum = note["checksum"]
    said = checksums.to_text(checksum) if checksum else None
    # The end of the line before may be missing: what the machine was writing when it stopped.
    line = b"\n" + json.dumps({**note, "boot": boot_id(), "checksum": said}).encode("ascii")
    if afresh or not _added(map_of(path), line):
        fresh = map_of(path).with_suffix(".map~")
        fresh.write_bytes(line)
        fresh.replace(map_of(path))


def _added(path: Path, line: bytes) -> bool:
    """Add a line to a map, unless it is not there or has become too long."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return os.fstat(fd).st_size + len(line) <= LONGEST and os.write(fd, line) == len(line)
    finally:
        os.close(fd)


def take_map_away(path: Path) -> None:
    """Remove the map of a file that has just got its final name; both will outlast a power cut."""
    map_of(path).unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_map(path: Path) -> dict[str, Any]:
    """Return what the map of a partly arrived file can be trusted with, by the names that it has in the map.

    ``ranges`` are those that are here. A map that is missing or damaged says that nothing has arrived.
    """
    try:
        lines = map_of(path).read_bytes().splitlines()
    except OSError:
        lines = []
    for line in reversed(lines):
        try:
            return _read(line)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return {"ranges": [], "synced": [], "size": None, "validator": None, "checksum": None, "ranged": False}


def _read(line: bytes) -> dict[str, Any]:
    note = json.loads(line)
    size = None if note["size"] is None else operator.index(note["size"])
    written, synced = (_ranges(note[key], size) for key in ("written", "synced"))
    # Bytes that were only handed to the kernel are there as long as the machine has not been restarted.
    ranges = written if note["boot"] and note["boot"] == boot_id() else synced
    return {
        "ranges": ranges,
        "synced": synced,
        "size": size,
        "validator": note["validator"],
        "checksum": checksums.from_text(note.get("checksum") or ""),
        "ranged": bool(note.get("ranged")),
    }


def _ranges(pairs: Any, size: int | None) -> list[tuple[int, int]]:
    ranges = [(operator.index(start), operator.index(stop)) for start, stop in pairs]
    if any(not 0 <= start <= stop <= (stop if size is None else size) for start, stop in ranges):
        raise ValueError("a range that lies outside of the file")
    return ranges
