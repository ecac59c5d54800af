"""Zip: PKWARE's APPNOTE.TXT 6.3.10; the extended timestamp is in Info-ZIP's proginfo/extrafld.txt.

The index is read here and not by Python's `zipfile`, which takes three times as long for it, gives up a whole archive
for one name that is not what its mark says, and knows no way round a broken index.
"""

from __future__ import annotations

import calendar
import functools
import itertools
import logging
import operator
import re
import stat
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from eofs.archive import decoders
from eofs.archive.listing import NUMBERED, Headers, Listing, clean, clean_target, exactly, log_paths, shown, tree
from eofs.errors import Corrupt, NotSupported, TooLarge
from eofs.model import Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eofs.archive.listing import Source

logger = logging.getLogger(__name__)

MAX_MEMBERS = 10_000_000
_MAX_ENTRY = 100  # bytes; what an entry of a zip's index takes on average, at most, near the limit of members
_LOCAL = struct.Struct("<4s2xHHHHLLLHH")  # header before a member's data; sizes of the name and extra fields at its end
_CENTRAL = struct.Struct("<4s4xHHHHLLLHHH4xLL")  # entry of the index
_END = struct.Struct("<4sHHHHLLH")  # end of the index
_END64 = struct.Struct("<4s8x4xLLQQQQ")  # its zip64 kin, and where that one is
_LOCATOR = struct.Struct("<4sLQL")
_TAIL = 0xFFFF + _END.size + _LOCATOR.size + _END64.size  # the end records and the longest comment
_FULL, _FULL16 = 0xFFFFFFFF, 0xFFFF  # what zip64's extra field says instead
_UTF8, _DESCRIPTOR = 0x800, 0x8
_ENCRYPTED = 0x2041  # traditional, strong, masked headers
_AES = 99
_KNOWN = {0: "stored", 8: "deflated", 9: "deflate64", 12: "bzip2", 14: "lzma", 20: "zstd", 93: "zstd", 95: "xz"}
_FOREIGN = {1: "shrink", 6: "implode", 96: "jpeg", 97: "wavpack", 98: "ppmd"}
_METHODS = {**_KNOWN, **{number: f"zip method {number} ({name})" for number, name in _FOREIGN.items()}}
_LINK_MAX = 4095  # bytes of a symbolic link's target
_READ_AT_ONCE = {"stored", "deflated"}  # how the target of a link is packed; nobody takes pains with it


class _Entry(NamedTuple):
    """What the index, or a local header, says of a member; `stamp` is DOS' date and time."""

    name: bytes
    flags: int
    method: int
    stamp: int
    crc: int
    packed: int
    size: int
    extra: bytes
    attributes: int
    offset: int


class _Index(NamedTuple):
    """Where the index is, how many entries it should have, and by how much the offsets in it have to be shifted."""

    start: int
    size: int
    entries: int
    shift: int


def is_zip(source: Source) -> bool:
    """Say whether a zip ends, or at least one begins, where the source does."""
    if _find_end(source.read(max(source.size - _TAIL, 0), min(source.size, _TAIL)))[1]:
        return True
    return source.read(0, min(source.size, 4)) == b"PK\3\4"


def list_zip(source: Source, _name: str) -> Listing:
    """Return what a zip holds; `eofs.archive.list_members` says what it raises."""
    index = _find_index(source)
    if index.size > MAX_MEMBERS * _MAX_ENTRY:
        raise TooLarge(f"the zip archive's index has {index.size} bytes; eofs reads at most {MAX_MEMBERS} members")
    return _list(source, _central_entries(exactly(source, index.start, index.size), index.shift), index.start)


def list_without_index(source: Source) -> Listing:
    """Return what a zip holds whose index is broken, by the headers that stand before each member's data.

    It is safe where they say everything, each stands right behind the data of the one before, and the index, or what
    is left of it, right behind the last.

    Raises:
        Corrupt: it is not safe.
    """
    entries = _local_entries(source)
    logger.warning("archive: the zip's index is broken; %d files were found without it", len(entries))
    return _list(source, entries, source.size)


def data_offset(source: Source, member: Member) -> int:
    """Return where the packed bytes of `member` begin, behind its local header."""
    header = exactly(source, member.offset, _LOCAL.size)
    name_size, extra_size = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    raw = exactly(source, member.offset + _LOCAL.size, name_size)
    names = {clean(raw.decode("utf-8", "surrogateescape")) or "_", clean(raw.decode("cp437")) or "_"}
    # `tree` may have numbered the file, so its last part is held against nothing then
    directory = member.path.rpartition("/")[0] if NUMBERED.search(member.path) else None
    named = member.path in names or directory in {name.rpartition("/")[0] for name in names}
    begin = member.offset + _LOCAL.size + name_size + extra_size
    if not header.startswith(b"PK\3\4") or not named or begin + member.packed > source.size:
        raise Corrupt(
            f"{shown(member.path)} is not where the zip archive's index says; the archive has to be fetched again"
        )
    return begin


# -- the index ---------------------------------------------------------------------------------------------------------


def _damaged(what: str) -> Corrupt:
    return Corrupt(f"the zip archive is cut short or its index is damaged ({what}); it has to be fetched again")


def _find_index(source: Source) -> _Index:
    before = max(source.size - _TAIL, 0)
    tail = exactly(source, before, source.size - before)
    end, _ = _find_end(tail)
    if end < 0:
        raise _damaged("it has no end record")
    _, disk, first_disk, _, count, size, offset, _ = _END.unpack_from(tail, end)
    parts = {disk, first_disk} - {_FULL16}
    end += before
    if (where := _find_zip64(source, end)) is not None:
        end = where
        _, disk, first_disk, _, count, size, offset = _END64.unpack(exactly(source, end, _END64.size))
        parts = {disk, first_disk}
    if parts - {0}:
        raise NotSupported("the zip archive is one of several parts; eofs cannot read it")
    if size > end:
        raise _damaged("it is shorter than its index")
    return _Index(end - size, size, count, end - size - offset)


def _find_end(tail: bytes) -> tuple[int, bool]:
    """Return where the end record begins, -1 where there is none, and whether its comment ends with the source."""
    ends = [hit.start() for hit in re.finditer(b"PK\5\6", tail) if hit.start() + _END.size <= len(tail)]
    fitting = [
        end for end in ends if end + _END.size + int.from_bytes(tail[end + 20 : end + 22], "little") == len(tail)
    ]
    return (fitting or ends or [-1])[-1], bool(fitting)


def _find_zip64(source: Source, end: int) -> int | None:
    """Return where zip64's end record is, if there is one."""
    if end < _LOCATOR.size:
        return None
    mark, _, offset, _ = _LOCATOR.unpack(exactly(source, end - _LOCATOR.size, _LOCATOR.size))
    if mark != b"PK\6\7":
        return None
    # right before its locator, whatever stands before the archive; what makes the record longer is rare
    for where in (end - _LOCATOR.size - _END64.size, offset):
        if 0 <= where <= end - _END64.size and exactly(source, where, 4) == b"PK\6\6":
            return where
    raise _damaged("its zip64 end record is missing")


def _central_entries(index: bytes, shift: int) -> Iterator[_Entry]:
    at = 0
    while len(index) - at >= _CENTRAL.size:
        mark, flags, method, time, date, crc, packed, size, name, extra, comment, attributes, offset = (
            _CENTRAL.unpack_from(index, at)
        )
        if mark != b"PK\1\2":
            break
        at += _CENTRAL.size
        more = index[at + name : at + name + extra]
        if _FULL in (size, packed, offset):
            size, packed, offset = _zip64(more, size, packed, offset)
        yield _Entry(
            index[at : at + name], flags, method, date << 16 | time, crc, packed, size, more, attributes, offset + shift
        )
        at += name + extra + comment
    if at != len(index) and index[at : at + 4] != b"PK\5\5":  # a signature of the whole index
        raise _damaged("an entry is none")


def _local_entries(source: Source) -> list[_Entry]:
    """Return what the headers before the members' data say, if that is safe; see `list_without_index`."""
    headers, entries, at = Headers(source), list[_Entry](), 0
    while len(head := headers.read(at, _LOCAL.size)) == _LOCAL.size and head.startswith(b"PK\3\4"):
        _, flags, method, time, date, crc, packed, size, name, extra = _LOCAL.unpack(head)
        if flags & _DESCRIPTOR or len(entries) == MAX_MEMBERS:
            break
        more = headers.read(at + _LOCAL.size, name + extra)
        if _FULL in (size, packed):
            size, packed = _zip64(more[name:], size, packed)
        entries.append(_Entry(more[:name], flags, method, date << 16 | time, crc, packed, size, more[name:], 0, at))
        at += _LOCAL.size + name + extra + packed
    try:
        index = _find_index(source)
        safe = index.entries in {len(entries), len(entries) & _FULL16} and at == index.start
    except (Corrupt, NotSupported):
        safe = False
    if not entries or not (safe or head.startswith(b"PK\1\2")):
        raise _damaged("and what stands before its members does not say all of them")
    return entries


def _zip64(extra: bytes, *said: int) -> tuple[int, ...]:
    """Return sizes and offset as the extra field of zip64 says them, where the header has no room."""
    field = _extra(extra, 1)
    if field is None:
        return said
    values = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
    try:
        return tuple(next(values) if value == _FULL else value for value in said)
    except RuntimeError as error:  # what StopIteration becomes in there
        raise _damaged("a zip64 field is too short") from error


def _extra(extra: bytes, wanted: int) -> bytes | None:
    """Return the extra field with the tag `wanted`."""
    at = 0
    while at + 4 <= len(extra):
        tag, size = struct.unpack_from("<HH", extra, at)
        if tag == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return None


# -- members -----------------------------------------------------------------------------------------------------------


def _list(source: Source, entries: Iterable[_Entry], end: int) -> Listing:
    """Return the listing of what `entries` say, all of which has to lie before `end`."""
    members, directories, links = list[Member](), list[str](), list[Member]()
    for entry in entries:
        name = _name(entry)
        path = clean(name)
        if not 0 <= entry.offset <= end - _LOCAL.size - entry.packed:
            raise Corrupt(f"{shown(path)} is not inside the zip archive; it has to be fetched again")
        if name.endswith(("/", "\\")):
            directories.append(path)
        elif stat.S_ISLNK(entry.attributes >> 16):
            links.append(_member(entry, path))
        else:
            members.append(_member(entry, path))
        if len(members) > MAX_MEMBERS:
            raise TooLarge(f"the zip archive has more than {MAX_MEMBERS} members, the most that eofs reads")
    targets = [(link, _target(source, link)) for link in links]
    log_paths("symbolic links are left out", [link.path for link, target in targets if target is None])
    members += [replace(link, link=target) for link, target in targets if target is not None]
    listing = tree("zip", members, directories)
    _check_apart(listing.members)
    return listing


def _member(entry: _Entry, path: str) -> Member:
    return Member(
        path or "_",
        entry.size,
        _mtime(entry),
        entry.offset,
        entry.packed,
        _METHODS.get(entry.method) or f"zip method {entry.method}",
        entry.crc,
        encrypted=bool(entry.flags & _ENCRYPTED) or entry.method == _AES,
    )


def _target(source: Source, link: Member) -> str | None:
    """Return where a symbolic link leads, which is its content; None where it cannot be read or leads out."""
    if link.encrypted or link.size > _LINK_MAX or link.packed > 2 * _LINK_MAX or link.method not in _READ_AT_ONCE:
        return None
    try:
        content = b"".join(decoders.unpack(source, data_offset(source, link), link))
    except Corrupt:
        return None
    return clean_target(content.decode("utf-8", "surrogateescape"))


def _name(entry: _Entry) -> str:
    """Return the name of an entry: UTF-8 where it is marked so or happens to be, else CP437; no byte is lost."""
    try:
        return entry.name.decode()
    except UnicodeDecodeError:
        return entry.name.decode("utf-8", "surrogateescape") if entry.flags & _UTF8 else entry.name.decode("cp437")


def _mtime(entry: _Entry) -> int:
    """Return the extended timestamp, else DOS time taken as UTC, in nanoseconds; within 1970 to 2106."""
    field = entry.extra and _extra(entry.extra, 0x5455)
    if field and field[0] & 1 and len(field) >= 5:
        return max(int.from_bytes(field[1:5], "little", signed=True), 0) * 10**9
    return _dos_time(entry.stamp)


@functools.lru_cache(maxsize=1024)  # the members of one product share few times
def _dos_time(stamp: int) -> int:
    date = (stamp >> 25) + 1980, stamp >> 21 & 15, stamp >> 16 & 31
    try:
        seconds = calendar.timegm((*date, stamp >> 11 & 31, stamp >> 5 & 63, (stamp & 31) * 2))
    except ValueError:  # month 0: nobody has set a time
        seconds = calendar.timegm((1980, 1, 1, 0, 0, 0))
    return min(seconds, 0xFFFFFFFF) * 10**9


def _check_apart(members: Iterable[Member]) -> None:
    """Refuse members that share bytes, by which a small archive unpacks to petabytes (Fifield 2019)."""
    for one, other in itertools.pairwise(sorted(members, key=operator.attrgetter("offset"))):
        if one.offset + _LOCAL.size + one.packed > other.offset:
            paths = f"{shown(one.path)} and {shown(other.path)}"
            raise TooLarge(f"{paths} share their bytes; eofs refuses this as a likely archive bomb")
