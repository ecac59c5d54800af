"""Tar: POSIX.1-2017 (pax, ustar), GNU's and old Unix' forms; GNU tar's manual, "Basic Tar Format", tells them apart.

There is no index: the list takes a pass over all headers, which jumps over the data.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from eofs.archive.listing import Headers, Listing, clean, clean_target, log_paths, tree
from eofs.errors import Corrupt, TooLarge
from eofs.model import Member

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from eofs.archive.listing import Source

logger = logging.getLogger(__name__)

BLOCK = 512
MAX_MEMBERS = 10_000_000
_EMPTY = range(2 * BLOCK, 20 * BLOCK + 1, BLOCK)  # bytes, all zero, of a tar without members
_EXTENSION_MAX = 1 << 20  # bytes of a header that only adds to the next one
_LAST = 0xFFFFFFFF * 10**9  # nanoseconds; no later time fits into every file system's inodes
_NO_DATA = b"123456"  # links, devices, directories, pipes, whatever the size says
_SPARSE = "tar's sparse layout"
_REAL = ("GNU.sparse.realsize", "GNU.sparse.size")  # how large a sparse file is
_RECORD = re.compile(rb"(\d{1,7}) ([^=]+)=")  # of pax: size of the record, key; then the value and an end of line
_DECIMAL = re.compile(rb"-?\d{1,19}(\.\d{0,30})?")
_Extension = dict[str, bytes]


class _Header(NamedTuple):
    """What a block says, or several of them together; `kind` is the type flag, `data` where the bytes begin."""

    name: bytes
    kind: int
    size: int
    mtime: int
    link: bytes
    data: int
    real: int | None = None  # the size of a sparse file


@dataclass(slots=True)
class _Found:
    """What a pass over the headers has come by."""

    members: list[Member] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    latest: dict[str, Member] = field(default_factory=dict)
    end: str = ""  # what was wrong where the pass ended


def is_tar(source: Source) -> bool:
    """Say whether a tar begins where the source does; one without members is zeros."""
    block = source.read(0, min(source.size, BLOCK))
    if any(block):
        return _sum_is_right(block)
    return source.size in _EMPTY and not any(source.read(0, source.size))


def list_tar(source: Source, _name: str) -> Listing:
    """Return what a tar holds.

    Raises:
        Corrupt: it is cut short or damaged.
        TooLarge: it has too many members.
    """
    found = _find(source)
    if found.end:
        raise _wrong(found.end)
    return _listing(found)


def list_what_is_whole(source: Source) -> Listing:
    """Return what a tar holds up to where it is cut short or damaged.

    Raises:
        Corrupt: nothing of it is whole.
        TooLarge: it has too many members.
    """
    found = _find(source)
    if not found.members and not found.directories:
        raise _wrong(found.end)
    logger.warning("archive: the tar is %s; %d files of it are whole", found.end, len(found.members))
    return _listing(found)


def _find(source: Source) -> _Found:
    found = _Found()
    for header in _headers(Headers(source), found):
        _take(header, found)
        if len(found.members) > MAX_MEMBERS:
            raise TooLarge(f"the tar archive has more than {MAX_MEMBERS} members, the most that eofs reads")
    return found


def _wrong(what: str) -> Corrupt:
    return Corrupt(f"the tar archive is {what}; it has to be fetched again")


def _listing(found: _Found) -> Listing:
    log_paths("links and devices are left out", found.left_out)
    listing = tree("tar", found.members, found.directories)
    return replace(listing, members=_same(listing.members))


def data_offset(_source: Source, member: Member) -> int:
    """Return where the bytes of `member` begin: its header has been read already."""
    return member.offset


def _take(header: _Header, found: _Found) -> None:
    path = clean(header.name.decode("utf-8", "surrogateescape"))
    if header.kind in b"5D" or (header.kind in b"0\0" and header.name.endswith(b"/")):
        found.directories.append(path)
        return
    member = _member(header, path or "_", found.latest)
    if member is None:
        found.left_out.append(path)
    elif member is not found.latest.get(member.path):
        found.members.append(member)
        found.latest[member.path] = member


def _member(header: _Header, path: str, known: Mapping[str, Member]) -> Member | None:
    if header.kind in b"12":
        return _link(header, path, known)
    if header.kind in _NO_DATA:
        return None
    if header.real is not None:
        return Member(path, header.real, header.mtime, header.data, header.size, _SPARSE)
    return Member(path, header.size, header.mtime, header.data, header.size)


def _link(header: _Header, path: str, known: Mapping[str, Member]) -> Member | None:
    """Return what a hard link (1) or a symbolic one (2) stands for."""
    target = header.link.decode("utf-8", "surrogateescape")
    if header.kind == ord("1"):
        twin = known.get(clean(target))
        return twin and (twin if twin.path == path else replace(twin, path=path))
    link = clean_target(target)
    return None if link is None else Member(path, 0, header.mtime, header.data, 0, link=link)


def _same(members: tuple[Member, ...]) -> tuple[Member, ...]:
    """Return the members with those marked that are the same file as another: no two begin at one byte otherwise."""
    first: dict[int, str] = {}
    paths = [first.setdefault(member.offset, member.path) for member in members]
    return tuple(
        member if path == member.path else replace(member, same_as=path)
        for member, path in zip(members, paths, strict=True)
    )


# -- headers -----------------------------------------------------------------------------------------------------------


def _headers(blocks: Headers, found: _Found) -> Iterator[_Header]:
    """Yield the headers, each with what the extensions before it add; note in `found` where they end too early."""
    at, for_all, for_next = 0, _Extension(), _Extension()
    while any(block := blocks.read(at, BLOCK)) or len(block) < BLOCK:  # zeros are the end
        header = _parse(block, at)
        if header is None:
            found.end = "cut short" if len(block) < BLOCK else "damaged"
            return
        behind = header.data + _padded(header.size)
        if header.kind in b"xXgLK":
            extension = _extension(header, blocks)
            if extension is None:
                found.end = "damaged or cut short"
                return
            (for_all if header.kind == ord("g") else for_next).update(extension)
        elif header.kind != ord("V"):  # a volume's name
            if header.kind == ord("S"):
                header = _sparse(header, block, blocks)
            if for_all or for_next:
                header = _extended(header, for_all | for_next)
            behind = header.data + (0 if header.kind in _NO_DATA else _padded(header.size))
            if behind > header.data and header.data + header.size > blocks.size:
                found.end = "cut short"
                return
            yield header
            for_next = _Extension()
        at = behind


def _parse(block: bytes, at: int) -> _Header | None:
    """Return what a block at `at` says, or None where it is no header."""
    if not _sum_is_right(block):
        return None
    size, mtime = _number(block[124:136]), _number(block[136:148]) or 0
    if size is None or size < 0:
        return None
    name, kind = _text(block[:100]), block[156]
    if block[345] and block[257:263] == b"ustar\0":
        name = _text(block[345:500]) + b"/" + name
    link = _text(block[157:257]) if kind in b"12" else b""
    return _Header(name, kind, size, min(max(mtime * 10**9, 0), _LAST), link, at + BLOCK)


def _sum_is_right(block: bytes) -> bool:
    """Say whether a block is a header: the sum of its bytes is in it, which some have taken as signed ones."""
    if len(block) < BLOCK:
        return False
    field = block[148:156]
    said, total = _number(field), sum(block) - sum(field) + 8 * ord(" ")
    return said == total or said == total - 256 * sum(octet > 127 for octet in block[:148] + block[156:])


def _number(octets: bytes) -> int | None:
    """Return a number in octal digits or, as GNU tar has it, in base 256; None where it is none."""
    if octets[0] in {0x80, 0xFF}:
        return int.from_bytes(octets[1:], "big") - (256 ** (len(octets) - 1) if octets[0] == 0xFF else 0)
    try:
        return int(octets.partition(b"\0")[0].strip() or b"0", 8)
    except ValueError:
        return None


def _text(octets: bytes) -> bytes:
    return octets.partition(b"\0")[0]


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


# -- what extends them -------------------------------------------------------------------------------------------------


def _sparse(header: _Header, block: bytes, blocks: Headers) -> _Header:
    """Return the header of a file in GNU's old sparse layout, behind which there may be more of its map."""
    real, data, more = _number(block[483:495]) or 0, header.data, block[482]
    while more:
        more = int.from_bytes(blocks.read(data, BLOCK)[504:505], "big")
        data += BLOCK
    return header._replace(data=data, real=real)


def _extension(header: _Header, blocks: Headers) -> _Extension | None:
    """Return what a header of its own says of the next one, by the names of pax; None where it cannot be read."""
    data = blocks.read(header.data, header.size) if header.size <= _EXTENSION_MAX else b""
    if len(data) != header.size:
        return None
    if header.kind in b"LK":
        return {"path" if header.kind == ord("L") else "linkpath": _text(data)}
    records = _Extension()
    while data.strip(b"\0"):
        record = _RECORD.match(data)
        size = int(record[1]) if record else 0
        if not record or record.end() > size or data[size - 1 : size] != b"\n":
            return None
        records[record[2].decode("utf-8", "replace")] = data[record.end() : size - 1]
        data = data[size:]
    return records


def _extended(header: _Header, extension: _Extension) -> _Header:
    """Return a header with what pax and GNU say in its place; what should be a number and is none says nothing."""
    sparse = next((extension[key] for key in _REAL if key in extension), None)
    return header._replace(
        name=extension.get("GNU.sparse.name") or extension.get("path") or header.name,
        link=extension.get("linkpath") or header.link,
        size=_decimal(extension.get("size", b""), header.size),
        mtime=_decimal(extension.get("mtime", b""), header.mtime, 10**9),
        real=header.real if sparse is None else _decimal(sparse, header.size),
    )


def _decimal(text: bytes, otherwise: int, unit: int = 1) -> int:
    """Return a decimal number as a whole number of parts of which `unit` make one; at least 0."""
    if not _DECIMAL.fullmatch(text):
        return otherwise
    return min(max(int(Decimal(text.decode()) * unit), 0), _LAST)
