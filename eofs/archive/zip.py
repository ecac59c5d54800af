"""Zip: PKWARE's APPNOTE.TXT 6.3.10; the extended timestamp is in Info-ZIP's proginfo/extrafld.txt."""

from __future__ import annotations

import calendar
import functools
import itertools
import re
import stat
import struct
import zipfile
from typing import TYPE_CHECKING

from eofs.archive.listing import NUMBERED, Listing, clean, exactly, log_paths, shown, tree
from eofs.errors import Corrupt, NotSupported, TooLarge
from eofs.model import Member

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eofs.archive.listing import Source

MAX_MEMBERS = 10_000_000
_MAX_ENTRY = 100  # bytes; what an entry of a zip's index takes on average, at most, near the limit of members
_END, _LOCAL = b"PK\x05\x06", b"PK\x03\x04"  # end of the index; header before a member's data
_END_SIZE, _LOCAL_SIZE = 22, 30
_TAIL = 0xFFFF + _END_SIZE + 20 + 56  # the longest comment, the end record, zip64's locator and record
_UTF8, _WAS_UTF8 = 0x800, 0x400  # flag of an entry; an unused flag that stands in for it, see `_zip_entries`
_ENCRYPTED = 0x2041  # traditional, strong, masked headers
_AES = 99
_FOREIGN = {1: "shrink", 6: "implode", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz", 98: "ppmd"}
_METHODS = {0: "stored", 8: "deflated", **{n: f"zip method {n} ({name})" for n, name in _FOREIGN.items()}}


class _File:
    """A source as the file that `zipfile` reads an index from.

    `tamed` takes the mark "this name is UTF-8" from every entry of the index and leaves another in its place.
    """

    def __init__(self, source: Source, *, tamed: bool = False) -> None:
        self._source = source
        self._position = 0
        self._tamed = tamed

    def seek(self, offset: int, whence: int = 0, /) -> int:
        position = offset + (0, self._position, self._source.size)[whence]
        if position < 0:
            raise OSError("seek to before the start")  # zipfile knows it as: there is no such record
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        left = max(self._source.size - self._position, 0)
        size = left if size < 0 else min(size, left)
        if size > MAX_MEMBERS * _MAX_ENTRY:
            raise TooLarge(f"the zip archive's index has {size} bytes; eofs reads at most {MAX_MEMBERS} members")
        data = self._source.read(self._position, size) if size else b""
        self._position += len(data)
        if self._tamed:
            return re.sub(rb"(?s)(PK\x01\x02.{5})(.)", lambda hit: hit[1] + _swap_mark(hit[2][0]), data)
        return data


def _swap_mark(flags: int) -> bytes:
    return bytes([flags & ~(_UTF8 >> 8) | _WAS_UTF8 >> 8]) if flags & _UTF8 >> 8 else bytes([flags])


def is_zip(source: Source) -> bool:
    """Say whether a zip ends, or at least one begins, where the source does."""
    tail = source.read(max(source.size - _TAIL, 0), min(source.size, _TAIL))
    end = tail.rfind(_END)
    comment = int.from_bytes(tail[end + 20 : end + _END_SIZE], "little")
    if end >= 0 and len(tail) == end + _END_SIZE + comment:
        return True
    return source.read(0, min(source.size, len(_LOCAL))) == _LOCAL


def _zip_entries(source: Source) -> tuple[list[zipfile.ZipInfo], int]:
    """Return the entries of a zip's index, and where in the source it begins.

    `zipfile` gives up the whole archive for one name that is marked as UTF-8 and is not. Then the marks are taken
    off, all names come as CP437, which loses no byte, and `_zip_name` looks at the bytes.
    """
    try:
        try:
            archive = zipfile.ZipFile(_File(source))
        except UnicodeDecodeError:
            archive = zipfile.ZipFile(_File(source, tamed=True))
        with archive:
            return archive.infolist(), archive.start_dir
    except NotImplementedError as error:
        raise NotSupported(f"the zip archive is of a kind that eofs cannot read: {error}") from error
    except (zipfile.BadZipFile, struct.error, ValueError, OverflowError) as error:
        raise Corrupt(
            f"the zip archive is cut short or its index is damaged ({error}); it has to be fetched again"
        ) from error


def list_zip(source: Source, _name: str) -> Listing:
    """Return what a zip holds; `eofs.archive.list_members` says what it raises."""
    entries, index = _zip_entries(source)
    if len(entries) > MAX_MEMBERS:
        raise TooLarge(f"the zip archive has {len(entries)} members; eofs reads at most {MAX_MEMBERS}")
    members, directories, links = [], [], []
    for entry in entries:
        name = _zip_name(entry)
        path = clean(name)
        if not 0 <= entry.header_offset <= index - _LOCAL_SIZE - entry.compress_size:
            raise Corrupt(f"{shown(path)} is not inside the zip archive; it has to be fetched again")
        if name.endswith(("/", "\\")):
            directories.append(path)
        elif stat.S_ISLNK(entry.external_attr >> 16):
            links.append(path)
        else:
            members.append(_zip_member(entry, path))
    log_paths("symbolic links are left out", links)
    listing = tree("zip", members, directories)
    _check_apart(listing.members)
    return listing


def _zip_member(entry: zipfile.ZipInfo, path: str) -> Member:
    number = entry.compress_type
    return Member(
        path=path or "_",
        size=entry.file_size,
        mtime=_zip_mtime(entry),
        offset=entry.header_offset,
        packed=entry.compress_size,
        method=_METHODS.get(number) or f"zip method {number}",
        crc=entry.CRC,
        encrypted=bool(entry.flag_bits & _ENCRYPTED) or number == _AES,
    )


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """Return the name of an entry: UTF-8 where it is marked so or happens to be, else CP437."""
    name = entry.orig_filename
    if name.isascii() or entry.flag_bits & _UTF8:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeDecodeError:
        return name.encode("cp437").decode("utf-8", "surrogateescape") if entry.flag_bits & _WAS_UTF8 else name


def _zip_mtime(entry: zipfile.ZipInfo) -> int:
    """Return the extended timestamp, else DOS time taken as UTC, in nanoseconds; within 1970 to 2106."""
    at, extra, seconds = 0, entry.extra, 0
    while at + 9 <= len(extra):
        tag, size, flags, seconds = struct.unpack_from("<HHBl", extra, at)
        if tag == 0x5455 and size >= 5 and flags & 1:
            break
        at += 4 + size
    else:
        seconds = _dos_seconds(entry.date_time)
    return min(max(seconds, 0), 0xFFFFFFFF) * 1_000_000_000


@functools.lru_cache(maxsize=1024)  # the members of one product share few times
def _dos_seconds(date_time: tuple[int, ...]) -> int:
    try:
        return calendar.timegm(date_time)
    except ValueError:  # month 0: nobody has set a time
        return calendar.timegm((1980, 1, 1, 0, 0, 0))


def _check_apart(members: Iterable[Member]) -> None:
    """Refuse members that share bytes, by which a small archive unpacks to petabytes (Fifield 2019)."""
    for one, other in itertools.pairwise(sorted(members, key=lambda member: member.offset)):
        if one.offset + _LOCAL_SIZE + one.packed > other.offset:
            paths = f"{shown(one.path)} and {shown(other.path)}"
            raise TooLarge(f"{paths} share their bytes; eofs refuses this as a likely archive bomb")


def data_offset(source: Source, member: Member) -> int:
    """Return where the packed bytes of `member` begin, behind its local header."""
    header = exactly(source, member.offset, _LOCAL_SIZE)
    name_size, extra_size = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    raw = exactly(source, member.offset + _LOCAL_SIZE, name_size)
    names = {clean(raw.decode("utf-8", "surrogateescape")) or "_", clean(raw.decode("cp437")) or "_"}
    # `tree` may have numbered the file, so its last part is held against nothing then
    directory = member.path.rpartition("/")[0] if NUMBERED.search(member.path) else None
    named = member.path in names or directory in {name.rpartition("/")[0] for name in names}
    begin = member.offset + _LOCAL_SIZE + name_size + extra_size
    if not header.startswith(_LOCAL) or not named or begin + member.packed > source.size:
        raise Corrupt(
            f"{shown(member.path)} is not where the zip archive's index says; the archive has to be fetched again"
        )
    return begin
