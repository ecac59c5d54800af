"""What every format needs: a source of bytes, a listing, and names that stay inside their root."""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from eofs.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from eofs.model import Member

logger = logging.getLogger(__name__)

_NAME_MAX = 255  # bytes of one part of a path, on any file system
_ORDINARY = re.compile(r"(?:[\w-][\w.-]{0,99}/)*[\w-][\w.-]{0,99}", re.ASCII)  # nothing to clean: nearly all names
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udc7f\udd00-\udfff]")  # controls; surrogates that stand for no byte
_DRIVE = re.compile("[A-Za-z]:")
_TARGET_MAX = 4095  # bytes of a symbolic link's target, on Linux
_STEP, _STEP_MAX = 16 << 10, 1 << 20  # bytes of a read, see `Headers`
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


class Headers:
    """Headers that lie scattered over a source, each before its data: few reads, and little of the data in them.

    A read takes a little more than it is asked for, and more each time as long as headers are close to each other.
    """

    def __init__(self, source: Source) -> None:
        self.size = source.size
        self._source = source
        self._start = 0
        self._data = b""
        self._step = _STEP

    def read(self, offset: int, size: int, /) -> bytes:
        """Return `size` bytes from `offset` on, fewer only at the end."""
        end = self._start + len(self._data)
        if offset < self._start or offset + size > end:
            near = self._start <= offset < end + _STEP
            self._step = min(2 * self._step, _STEP_MAX) if near else _STEP
            self._start, self._data = offset, self._source.read(offset, max(size, self._step))
        at = offset - self._start
        return self._data[at : at + size]


def clean(name: str) -> str:
    """Return `name` as a path that stays inside its root; empty where nothing of it is left."""
    if _ORDINARY.fullmatch(name):
        return name
    parts = [part for part in _UNFIT.sub("_", name.replace("\\", "/")).split("/") if part not in {"", ".", ".."}]
    while parts and _DRIVE.fullmatch(parts[0]):
        del parts[0]
    return "/".join(map(_cut, parts))


def clean_target(target: str) -> str | None:
    """Return where a symbolic link leads, its names cleaned as those of members; None where that is nowhere here."""
    parts = [part for part in target.replace("\\", "/").split("/") if part not in {"", "."}]
    if not target or target.startswith(("/", "\\")) or (parts and _DRIVE.fullmatch(parts[0])):
        return None
    cleaned = "/".join(_cut(_UNFIT.sub("_", part)) for part in parts) or "."
    return cleaned if len(_bytes(cleaned)) <= _TARGET_MAX else None


def stays_inside(path: str, target: str, links: Container[str]) -> bool:
    """Tell whether a symbolic link at `path` that leads to `target` stays in the root that both are seen from.

    `links` are the paths of all links. Once a target goes through one of them, only the kernel knows where a ``..``
    behind it leads; so there must be none.
    """
    at = path.split("/")[:-1]
    through = False
    for part in target.split("/"):
        if part == "..":
            if through or not at:
                return False
            at.pop()
        elif part not in {"", "."}:
            at.append(part)
            through = through or "/".join(at) in links
    return True


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
    inner = set(explicit)
    for path in {path.rpartition("/")[0] for path in (*files, *explicit)}:
        while path and path not in inner:
            inner.add(path)
            path = path.rpartition("/")[0]  # noqa: PLW2901 - up to the root
    hidden = [path for path in files if path in inner]
    for path in hidden:
        free = next(name for name in _numbered(path) if name not in files and name not in inner)
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
