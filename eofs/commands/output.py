"""Products as plain files in a directory of the user's: ``DIR/TITLE/…``, as eodag lays them out.

A product appears under its name by one rename, when all of it is there. Until then it grows in ``.TITLE.part`` beside
that; the directory is locked with flock(2), so two programs never write the same product, and what a killed one has
left behind is made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eofs.archive.listing import stays_inside
from eofs.blocks import POLL
from eofs.errors import EofsError
from eofs.layout import safe_name

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from eofs.fetch import Engine
    from eofs.model import Product
    from eofs.nodes import Caller


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that is to stand in the directory of a product: a file, a directory, or a symbolic link.

    Attributes:
        path: relative, without ``..``.
        pieces: the bytes of a file, in order; None for all else.
        mtime: nanoseconds since the epoch; 0 where it is not known.
        link: where a symbolic link leads.
    """

    path: str
    pieces: Iterator[bytes] | None = None
    mtime: int = 0
    link: str | None = None


def entries(engine: Engine, product: Product, caller: Caller) -> Generator[Entry, None, None]:
    """Yield what a product is made of; the links come last, so that nothing is ever written through one."""
    listing = engine.listing(product, caller)
    yield from map(Entry, listing.directories)
    for member, pieces in engine.extract(product, caller):
        if member.link is None:
            yield Entry(member.path, pieces, member.mtime)
    links = {member.path: member.link for member in listing.members if member.link is not None}
    yield from (Entry(path, link=link) for path, link in links.items() if stays_inside(path, link, links))


def find(directory: Path, name: str, *, extracted: bool) -> Path | None:
    """Return where a product stands in `directory`, None where it does not yet."""
    if extracted:
        return top_of(directory / name) if (directory / name).is_dir() else None
    with contextlib.suppress(FileNotFoundError):
        names = (path for path in directory.iterdir() if path.name.startswith(name) and path.is_file())
        return next((path for path in names if name in {path.name, path.stem}), None)
    return None


def write(directory: Path, name: str, content: Iterable[Entry], caller: Caller, *, extracted: bool) -> Path:
    """Write a product into `directory` and return where it stands; nobody ever sees a part of it.

    `extracted` says whether it stands in a directory of its own, or is one file.

    Raises:
        EofsError: it cannot be written there, or `content` cannot be had.
    """
    try:
        with _workshop(directory, safe_name(f".{name}.part", name), caller) as workshop:
            there = find(directory, name, extracted=extracted)  # another program may have been quicker
            if there:
                return there
            for entry in content:
                _put(workshop, entry, caller)
            made = workshop if extracted else next(workshop.iterdir())
            final = directory / (name if extracted else made.name)
            made.replace(final)
            return top_of(final) if extracted else final
    except OSError as error:
        raise EofsError(f"{directory} cannot be written: {error.strerror}; make room there, or name another") from error


def top_of(directory: Path) -> Path:
    """Return the only directory in `directory`, as ``TITLE.SAFE`` is, else the directory itself."""
    inside = list(directory.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else directory


def _put(workshop: Path, entry: Entry, caller: Caller) -> None:
    path = workshop / entry.path
    if entry.link is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(entry.link)
    elif entry.pieces is None:
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for piece in entry.pieces:
                caller.check()
                file.write(piece)
        if entry.mtime:
            os.utime(path, ns=(entry.mtime, entry.mtime))


@contextlib.contextmanager
def _workshop(directory: Path, name: str, caller: Caller) -> Iterator[Path]:
    """Make an empty directory for us alone; what is left in it goes."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    while True:
        path.mkdir(exist_ok=True)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if _is_ours(path, fd):
            break
        os.close(fd)
        caller.check()
        time.sleep(POLL)
    try:
        for left in path.iterdir():
            _remove(left)
        yield path
    finally:
        _remove(path)
        os.close(fd)


def _is_ours(path: Path, fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(path.stat(), os.fstat(fd))  # else it was renamed or removed meanwhile
    except (BlockingIOError, FileNotFoundError):
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
