"""What every format needs: a source of bytes, a listing, and names that stay inside their root."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from eofs.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eofs.model import Member

logger = logging.getLogger(__name__)

_NAME_MAX = 255  # bytes of one part of a path, on any file system
_ORDINARY = re.compile(r"(?:[\w-][\w.-]{0,99}/)*[\w-][\w.-]{0,99}", re.ASCII)  # nothing to clean: nearly all names
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udc7f\udd00-\udfff]")  # controls; surrogates that stand for no byte
_DRIVE = re.compile("[A-Za-z]:")
NUMBERED = re.compile(r" \(\d+\)[^/]*$")


class Source(Protocol):
    """The bytes of an archive. An `EofsError` that it raises passes through this module untouched."""

    @property
    def size(self) -> int:
        """Return the number of bytes."""

    def read(self, offset: int, size: int, /) -> bytes:
        """Return exactly `size` bytes from `offset` on, fewer only at the end; may wait for them."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What an archive holds: its format's name, its files, and the directories that it lists by themselves.

    Paths are cleaned, each once; `directories` are sorted, and need not be all that the members stand in.
    """

    format: str
    members: tuple[Member, ...]
    directories: tuple[str, ...] = ()


def exactly(source: Source, offset: int, size: int) -> bytes:
    """Return `size` bytes of `source`, or raise `Corrupt`."""
    data = source.read(offset, size)
    if len(data) != size:
        raise Corrupt(f"the archive is cut short at byte {offset + len(data)}; it has to be fetched again")
    return data


def clean(name: str) -> str:
    """Return `name` as a path that stays inside its root; empty where nothing of it is left."""
    if _ORDINARY.fullmatch(name):
        return name
    parts = [part for part in _UNFIT.sub("_", name.replace("\\", "/")).split("/") if part not in {"", ".", ".."}]
    while parts and _DRIVE.fullmatch(parts[0]):
        del parts[0]
    return "/".join(map(_cut, parts))


def _cut(part: str, mark: str = "") -> str:
    """Return `part`, with `mark` before its suffix, within 255 bytes; a hash stands for what is cut."""
    if not mark and len(_bytes(part)) <= _NAME_MAX:
        return part
    stem, dot, suffix = part.rpartition(".")
    if not stem or len(_bytes(suffix)) > 32:
        stem, dot, suffix = part, "", ""
    if len(_bytes(part + mark)) > _NAME_MAX:
        mark = f"-{hashlib.sha256(_bytes(part)).hexdigest()[:8]}{mark}"
        room = _NAME_MAX - len(_bytes(mark + dot + suffix))
        stem = _bytes(stem)[:room].decode("utf-8", "ignore")
    return stem + mark + dot + suffix


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def shown(path: str) -> str:
    """Return `path` fit for a message: bytes that are no text are escaped."""
    return path.encode("utf-8", "backslashreplace").decode()


def tree(format_name: str, members: Iterable[Member], directories: Iterable[str]) -> Listing:
    """Return the listing where each path stands for one thing: the last file, or the directory, bears it."""
    explicit = set(directories) - {""}
    files: dict[str, Member] = {}
    again = []
    for member in members:
        if member.path in files:
            again.append(member.path)
        files[member.path] = member
    paths = sorted([*files, *explicit])

    def is_directory(path: str) -> bool:
        below = path + "/"
        at = bisect.bisect_left(paths, below)
        return path in explicit or (at < len(paths) and paths[at].startswith(below))

    hidden = [path for path in files if is_directory(path)]
    for path in hidden:
        free = next(name for name in _numbered(path) if name not in files and not is_directory(name))
        files[free] = replace(files.pop(path), path=free)
    log_paths("files are there more than once; the last one counts", again)
    log_paths("files bear a directory's name; they are numbered", hidden)
    return Listing(format_name, tuple(files.values()), tuple(sorted(explicit)))


def _numbered(path: str) -> Iterable[str]:
    """Yield ``a/b (1).tif``, ``a/b (2).tif``… for ``a/b.tif``."""
    directory, slash, name = path.rpartition("/")
    for number in itertools.count(1):
        yield directory + slash + _cut(name, f" ({number})")


def log_paths(what: str, paths: list[str]) -> None:
    """Log how many `paths` there are of which this is true, and the first of them."""
    if paths:
        logger.info("archive: %d %s: %s", len(paths), what, shown(", ".join(paths[:3])))
