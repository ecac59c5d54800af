"""What an archive holds and where; nothing here downloads, and nothing extracts by itself.

`list_members` reads the archive's own index, or its headers, through a `Source`; `data_offset` says where a member's
packed bytes begin; `unpack` unpacks them; `check_readable` refuses what must not or cannot be unpacked. A format is one
row of `FORMATS`, a way of packing one of `DECODERS`; both are known by the content and never by a name.

`wrapping` tells whether all of a file is packed, as a ``.tar.gz`` or an ``.nc.gz`` is; `unwrap` yields what is in it,
which is then a source of its own.

A source may be a file that is only partly here, where each read can be a remote request. So what was read of the front
and of the end is kept: to list a zip costs two reads, or three where its index is longer than 64 KiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eofs.archive import tar as tars
from eofs.archive import zip as zips
from eofs.archive.decoders import DECODERS, MAX_SIZE, RATIO_FROM, Packing, check_unpacks, unpack, unwrap, wrapping
from eofs.archive.listing import Listing, Source, clean, exactly, shown
from eofs.archive.zip import is_zip
from eofs.errors import Corrupt, NotSupported, TooLarge
from eofs.model import Member

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DECODERS",
    "FORMATS",
    "HEAD",
    "Format",
    "Listing",
    "Packing",
    "Source",
    "check_readable",
    "data_offset",
    "is_zip",
    "list_members",
    "unpack",
    "unwrap",
    "wrapping",
]

HEAD = 512  # bytes of the front, which tell most formats


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of archive.

    Attributes:
        recognises: says by its content whether a source is of this format.
        list: returns what a source of this format holds; its text is what a bare file is called.
        data_offset: returns where a member's packed bytes begin.
        mend: lists what is broken, as far as that is safe; raises `Corrupt` where it is not.
    """

    name: str
    recognises: Callable[[Source], bool]
    list: Callable[[Source, str], Listing]
    data_offset: Callable[[Source, Member], int]
    mend: Callable[[Source], Listing] | None = None


def list_members(source: Source, name: str, *, mend: bool = False) -> Listing:
    """Return what `source` holds; one file called `name` where it is no archive.

    With `mend`, a zip whose index is broken is listed all the same where that is safe, and of a tar that is cut short
    what is whole. Without, they are `Corrupt`: more often than not they have been cut short on their way only.

    Raises:
        Corrupt: the archive is cut short or its index is damaged.
        NotSupported: the archive is of a kind that eofs cannot read.
        TooLarge: the archive has too many members, or members that share their bytes.
    """
    kept = _Kept(source)
    row = next(row for row in FORMATS if row.recognises(kept))
    try:
        return row.list(kept, name)
    except Corrupt:
        if not (mend and row.mend):
            raise
        return row.mend(kept)


def data_offset(source: Source, format_name: str, member: Member) -> int:
    """Return where the packed bytes of `member` begin; `format_name` is its listing's `format`.

    Raises:
        Corrupt: another member, or none, is where the index says that this one is.
    """
    return next(row for row in FORMATS if row.name == format_name).data_offset(source, member)


def check_readable(member: Member) -> None:
    """Return when the bytes of `member` can be unpacked without harm.

    Raises:
        NotSupported: it is encrypted, or packed in a way that eofs does not know.
        TooLarge: it is larger than any file of a product, or than its packed bytes can become.
        Corrupt: it is stored as it is, yet with another size.
    """
    path = shown(member.path)
    if member.encrypted:
        raise NotSupported(f"{path} is encrypted; eofs cannot read it")
    best = 1
    if member.method != "stored":
        check_unpacks(path, member.method)
        best = DECODERS[member.method].best
    elif member.size != member.packed:
        raise Corrupt(f"{path} is stored as it is, but with two sizes; the archive has to be fetched again")
    if member.size > MAX_SIZE or (member.size > RATIO_FROM and member.size > best * member.packed):
        raise TooLarge(
            f"{path} claims to unpack from {member.packed} to {member.size} bytes; "
            "eofs refuses this as a likely archive bomb"
        )


class _Kept:
    """A source that keeps what was read of its end, in one piece, and the first bytes."""

    def __init__(self, source: Source) -> None:
        self.size = self._start = source.size
        self._source = source
        self._end = b""
        self._head = b""

    def read(self, offset: int, size: int, /) -> bytes:
        stop = min(offset + size, self.size)
        if stop <= HEAD < self._start:
            self._head = self._head or exactly(self._source, 0, min(HEAD, self.size))
            return self._head[offset:stop]
        if stop < self._start:
            return exactly(self._source, offset, size)
        if offset < self._start:
            self._end = exactly(self._source, offset, self._start - offset) + self._end
            self._start = offset
        return self._end[offset - self._start : stop - self._start]


def _list_file(source: Source, name: str) -> Listing:
    member = Member(path=clean(name) or "_", size=source.size, mtime=0, offset=0, packed=source.size)
    return Listing("file", (member,))


FORMATS: tuple[Format, ...] = (
    # The zip first: it is told by its end, which is here before anything else.
    Format("zip", zips.is_zip, zips.list_zip, zips.data_offset, zips.list_without_index),
    Format("tar", tars.is_tar, tars.list_tar, tars.data_offset, tars.list_what_is_whole),
    Format("file", lambda _source: True, _list_file, lambda _source, member: member.offset),
)
