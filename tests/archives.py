"""What the tests of archives share: sources in memory, and archives as no program writes them."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eofs import archive

if TYPE_CHECKING:
    from eofs.archive import Listing
    from eofs.model import Member

NOON = (2021, 3, 4, 12, 0, 0)


@dataclass
class Bytes:
    """A source in memory that notes what is asked of it; `hole` stands for zeros that are not in memory."""

    data: bytes
    hole: int = 0
    reads: list[tuple[int, int]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.hole + len(self.data)

    def read(self, offset: int, size: int, /) -> bytes:
        self.reads.append((offset, size))
        start = offset - self.hole
        return b"\0" * min(max(-start, 0), size) + self.data[max(start, 0) : max(start + size, 0)]


def info(name: str, method: int = zipfile.ZIP_DEFLATED, **attributes: Any) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, NOON)
    entry.compress_type = method
    for key, value in attributes.items():
        setattr(entry, key, value)
    return entry


def make_zip(*entries: tuple[zipfile.ZipInfo | str, bytes], comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.comment = comment
        for entry, data in entries:
            zipped.writestr(info(entry) if isinstance(entry, str) else entry, data)
    return file.getvalue()


def raw_zip(*names: bytes, flags: int = 0, method: int = 0, data: bytes = b"x", **central: int) -> bytes:
    """Write a zip by hand; `central` overrides fields of its index."""
    body, index = b"", b""
    for name in names:
        crc = zlib.crc32(data)
        sizes = (central.get("packed", len(data)), central.get("size", len(data)))
        index += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, flags, method, 0, 0x5000 | 1 << 5 | 1, crc, *sizes, len(name),
            0, 0, 0, 0, 0, central.get("offset", len(body)),
        ) + name  # fmt: skip
        body += struct.pack("<4s5H3L2H", b"PK\3\4", 20, flags, method, 0, 0, crc, *sizes, len(name), 0)
        body += name + data
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(names), len(names), len(index), len(body), 0)
    return body + index + end


def unpack(source: Bytes, listing: Listing, member: Member) -> bytes:
    archive.check_readable(member)
    return b"".join(archive.unpack(source, archive.data_offset(source, listing.format, member), member))


class Pipe(io.BytesIO):
    """A file that cannot seek, for which `zipfile` writes data descriptors."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation
