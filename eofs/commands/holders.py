"""Who uses what is in a mount: other processes, as proc(5) shows them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def holders(place: str) -> list[str]:
    """Return who has a file open below `place`, or its working directory or root there, as ``name (number)``."""
    return _processes(
        lambda process: any(_is_below(link, place) for link in (process / "cwd", process / "root", *_files(process)))
    )


def readers(place: str) -> list[str]:
    """Return who has a file below `place` open, or mapped into memory, as ``name (number)``."""
    return _processes(
        lambda process: any(_is_below(link, place) for link in _files(process)) or f" {place}/" in _maps(process)
    )


def called(number: int | str) -> str:
    """Return what a process is called, as ``name (number)``."""
    try:
        name = Path(f"/proc/{number}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # it has just ended
        name = "process"
    return f"{name} ({number})"


def _processes(is_meant: Callable[[Path], bool]) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                if is_meant(process):
                    found.append(called(process.name))
    return found


def _files(process: Path) -> list[Path]:
    return list((process / "fd").iterdir())


def _maps(process: Path) -> str:
    return (process / "maps").read_text(encoding="utf-8", errors="surrogateescape")


def _is_below(link: Path, place: str) -> bool:
    with contextlib.suppress(OSError):
        target = str(link.readlink())
        return target == place or target.startswith(f"{place}/")
    return False
