"""The map beside a file that is partly here: which of its bytes have arrived, and can be trusted to be there."""

from __future__ import annotations

import functools
import json
import operator
from pathlib import Path
from typing import Any

from eofs import checksums


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


def write_map(path: Path, note: dict[str, Any]) -> None:
    """Write the map of a partly arrived file: what `read_map` returns, with ``written`` in place of ``ranges``."""
    checksum = note["checksum"]
    text = json.dumps(
        {
            **note,
            "boot": boot_id(),
            "checksum": f"{checksum.algorithm}={checksum.digest}" if checksum else None,
        }
    )
    fresh = map_of(path).with_suffix(".map~")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(map_of(path))


def read_map(path: Path) -> dict[str, Any]:
    """Return what the map of a partly arrived file can be trusted with, by the names that it has in the map.

    ``ranges`` are those that are here. A map that is missing or damaged says that nothing has arrived.
    """
    try:
        note = json.loads(map_of(path).read_text(encoding="utf-8"))
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"ranges": [], "synced": [], "size": None, "validator": None, "checksum": None, "ranged": False}


def _ranges(pairs: Any, size: int | None) -> list[tuple[int, int]]:
    ranges = [(operator.index(start), operator.index(stop)) for start, stop in pairs]
    if any(not 0 <= start <= stop <= (stop if size is None else size) for start, stop in ranges):
        raise ValueError("a range that lies outside of the file")
    return ranges
