"""What an archive holds and where; nothing here downloads, and nothing extracts by itself.

`list_members` reads the archive's own index through a `Source`; `data_offset` says where a member's packed bytes
begin; `DECODERS` unpack them; `check_readable` refuses what must not or cannot be unpacked. A format is one row of
`FORMATS`, known by its content and never by its name.

A source may be a file that is only partly here, where each read can be a remote request. So the end of an archive,
once read, is kept: the index of a zip costs one read, or two where it is longer than 64 KiB.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from eofs.archive import zip as zips
from eofs.archive.listing import Listing, Source, clean, exactly, shown
from eofs.errors import Corrupt, NotSupported, TooLarge
from eofs.model import Member

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "DECODERS",
    "FORMATS",
    "Decoder",
    "Format",
    "Listing",
    "Source",
    "check_readable",
    "data_offset",
    "list_members",
]

MAX_SIZE = 1 << 40  # bytes of one member, unpacked
MAX_RATIO = 1100  # deflate cannot do better than 1032
RATIO_FROM = 100_000_000  # bytes; below it no ratio does harm


class Decoder(Protocol):
    """Unpacks one member from front to end, as `zlib.decompressobj` does; raises `zlib.error` on wrong bytes."""

    @property
    def eof(self) -> bool:
        """Say whether the packed bytes have come to their end."""

    @property
    def unconsumed_tail(self) -> bytes:
        """Return what `max_length` left over of the last `data`."""

    def decompress(self, data: bytes, /, max_length: int = 0) -> bytes:
        """Return what comes out of `data`, at most `max_length` bytes; 0 means no limit."""


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of archive.

    Attributes:
        recognises: says by its content whether a source is of this format.
        list: returns what a source of this format holds; its text is what a bare file is called.
        data_offset: returns where a member's packed bytes begin.
    """

    name: str
    recognises: Callable[[Source], bool]
    list: Callable[[Source, str], Listing]
    data_offset: Callable[[Source, Member], int]


DECODERS: Mapping[str, Callable[[], Decoder]] = {"deflated": lambda: zlib.decompressobj(-zlib.MAX_WBITS)}


def list_members(source: Source, name: str) -> Listing:
    """Return what `source` holds; one file called `name` where it is no archive.

    Raises:
        Corrupt: the archive is cut short or its index is damaged.
        NotSupported: the archive wants a newer version of its format.
        TooLarge: the archive has too many members, or members that share their bytes.
    """
    kept = _Kept(source)
    return next(row for row in FORMATS if row.recognises(kept)).list(kept, name)


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
    if member.method != "stored" and member.method not in DECODERS:
        raise NotSupported(f"{path} uses {member.method}; eofs cannot unpack it")
    if member.size > MAX_SIZE or (member.size > RATIO_FROM and member.size > MAX_RATIO * member.packed):
        raise TooLarge(
            f"{path} claims to unpack from {member.packed} to {member.size} bytes; "
            "eofs refuses this as a likely archive bomb"
        )
    if member.method == "stored" and member.size != member.packed:
        raise Corrupt(f"{path} is stored as it is, but with two sizes; the archive has to be fetched again")


class _Kept:
    """A source that keeps what was read of its end, in one piece."""

    def __init__(self, source: Source) -> None:
        self.size = self._start = source.size
        self._source = source
        self._end = b""

    def read(self, offset: int, size: int, /) -> bytes:
        stop = min(offset + size, self.size)
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
    Format("zip", zips.is_zip, zips.list_zip, zips.data_offset),
    Format("file", lambda _source: True, _list_file, lambda _source, member: member.offset),
)
