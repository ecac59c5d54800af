"""Ways of packing: one row each, for members of an archive and for whole files alike.

No decoder gives more than a piece at a time, however much the packed bytes would become.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from eofs.archive.listing import shown
from eofs.errors import Corrupt, NotSupported, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from eofs.archive.listing import Source
    from eofs.model import Member

STEP = 1 << 20  # bytes that come out at a time, at most
MAX_SIZE = 1 << 40  # bytes of one file, unpacked
MAX_RATIO = 1100  # of a whole file; no product is packed better, and gzip cannot
RATIO_FROM = 100_000_000  # bytes; below it no ratio does harm
_MEMORY = 512 << 20  # bytes that a decoder may take to itself
_PACKED_STEP = 256 << 10  # bytes of a whole packed file that are read at a time


def _first(*modules: str) -> Any:
    """Return the first of these modules that is installed, or None."""
    for module in modules:
        try:
            return importlib.import_module(module)
        except ImportError:
            continue
    return None


_inflate = _first("isal.isal_zlib", "zlib")  # ISA-L inflates twice as fast, and more
_zstd = _first("compression.zstd", "backports.zstd")
_inflate64 = _first("inflate64")
crc32: Callable[..., int] = _inflate.crc32
_FAULTS = (OSError, EOFError, ValueError, _inflate.error, lzma.LZMAError, *((_zstd.ZstdError,) if _zstd else ()))


class Decoder(Protocol):
    """Unpacks a stream from front to end, as `bz2.BZ2Decompressor` does."""

    @property
    def eof(self) -> bool:
        """Say whether the packed bytes have come to their end."""

    @property
    def needs_input(self) -> bool:
        """Say whether all that can come out of what it was given has come out."""

    @property
    def unused_data(self) -> bytes:
        """Return what stands behind the end of the packed bytes."""

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        """Return what comes out of `data` and of what was given before, about `max_length` bytes at most."""


@dataclass(frozen=True, slots=True)
class Packing:
    """One way of packing; nothing can become more than `best` times smaller by it."""

    decoder: Callable[[], Decoder]
    best: int


class _Inflate:
    """Deflate, with the way of bounding the output that the others have."""

    def __init__(self, window_bits: int) -> None:
        self._decoder = _inflate.decompressobj(window_bits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._decoder.unused_data)

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        unpacked: bytes = self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)
        self.needs_input = not self._decoder.unconsumed_tail and len(unpacked) < max_length
        return unpacked


class _Inflate64:
    """Deflate64, whose package cannot bound the output; 256 bytes of it become 7 MB at most, so it gets no more."""

    unused_data = b""

    def __init__(self) -> None:
        self._decoder = _inflate64.Inflater()
        self._left = memoryview(b"")

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def needs_input(self) -> bool:
        return not self._left

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        self._left = memoryview(bytes(self._left) + data)
        pieces, size = [], 0
        while self._left and size < max_length and not self.eof:
            pieces.append(self._decoder.inflate(bytes(self._left[:256])))
            size += len(pieces[-1])
            self._left = self._left[256:]
        return b"".join(pieces)


class _ZipLzma:
    """LZMA as zip holds it (APPNOTE.TXT 5.8): version, size of the properties, properties, data without a size."""

    def __init__(self) -> None:
        self._head = b""
        self._decoder: lzma.LZMADecompressor | None = None

    @property
    def eof(self) -> bool:
        return self._decoder is not None and self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return self._decoder is None or self._decoder.needs_input

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data if self._decoder else b""

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        if self._decoder is None:
            self._head += data
            if len(self._head) < 9:
                return b""
            if self._head[2:4] != b"\5\0":
                raise lzma.LZMAError("unknown properties")
            self._decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE, _MEMORY)
            data = self._head[4:9] + b"\xff" * 8 + self._head[9:]
        return self._decoder.decompress(data, max_length)


DECODERS: Mapping[str, Packing] = {
    "deflated": Packing(lambda: _Inflate(-15), 1_100),
    "gzip": Packing(lambda: _Inflate(31), 1_100),
    "bzip2": Packing(bz2.BZ2Decompressor, 1_500_000),
    "lzma": Packing(_ZipLzma, 10_000),
    "xz": Packing(lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _MEMORY), 10_000),
    **({"deflate64": Packing(_Inflate64, 30_000)} if _inflate64 else {}),
    **({"zstd": Packing(_zstd.ZstdDecompressor, 50_000)} if _zstd else {}),
}
"""Ways of packing, as far as what unpacks them is installed."""

_WRAPPINGS: Mapping[str, re.Pattern[bytes]] = {  # how whole files begin that are packed
    "gzip": re.compile(rb"\x1f\x8b\x08[\x00-\x1f]"),
    "bzip2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
}
_PACKAGES = {"deflate64": "inflate64", "zstd": "backports.zstd"}
_LONGEST_MARK = 10  # bytes; what `_WRAPPINGS` want to see


def wrapping(head: bytes) -> str | None:
    """Return by what a whole file that begins with `head` is packed: ``gzip``, ``bzip2``, ``xz``, ``zstd``, or None."""
    return next((name for name, begins in _WRAPPINGS.items() if begins.match(head)), None)


def check_unpacks(what: str, method: str) -> None:
    """Return when there is a decoder for `method`.

    Raises:
        NotSupported: `what` is packed in a way that eofs does not know, or has no package for.
    """
    if method in DECODERS:
        return
    if package := _PACKAGES.get(method):
        raise NotSupported(f"{what} uses {method}, which takes the Python package {package}: pip install {package}")
    raise NotSupported(f"{what} uses {method}; eofs cannot unpack it")


def unpack(source: Source, start: int, member: Member) -> Iterator[bytes]:
    """Yield the bytes of an archive member whose packed bytes begin at `start`, at most `STEP` at a time.

    The last of them come when it is known that all are right.

    Raises:
        Corrupt: size or CRC are not what the archive says, or the packed bytes are damaged.
    """
    stop, path = start + member.packed, shown(member.path)
    packed = (source.read(at, min(STEP, stop - at)) for at in range(start, stop, STEP))
    crc, size, last = 0, 0, b""
    for data in packed if member.method == "stored" else _decode(DECODERS[member.method].decoder(), packed, path):
        crc, size = crc32(data, crc), size + len(data)
        if size > member.size:
            break
        if last:
            yield last
        last = data
    if size != member.size or (member.crc is not None and crc != member.crc):
        raise Corrupt(f"{path} does not have the size and CRC that its archive says")
    yield last


def unwrap(source: Source, kind: str, name: str) -> Iterator[bytes]:
    """Yield what is in a file called `name` that is packed as a whole by `kind`, at most `STEP` bytes at a time.

    Such a file may be several in a row, each packed by itself (bgzip, pbzip2), with zeros behind them. What else stands
    behind them is left out, as gzip(1) does.

    Raises:
        Corrupt: it is damaged, or cut short.
        TooLarge: it looks like an archive bomb.
        NotSupported: what unpacks it is not installed.
    """
    check_unpacks(name, kind)
    pieces, size = _Pieces(source), 0
    while _WRAPPINGS[kind].match(pieces.ahead()):
        decoder = DECODERS[kind].decoder()
        for data in _decode(decoder, pieces, name):
            size += len(data)
            if size > MAX_SIZE or (size > RATIO_FROM and size > MAX_RATIO * pieces.position):
                raise TooLarge(f"{name} unpacks to {MAX_RATIO} times its size and more; eofs refuses an archive bomb")
            yield data
        if not decoder.eof:
            raise Corrupt(f"{name} is cut short; it has to be fetched again")
        pieces.back(decoder.unused_data)


class _Pieces:
    """A source in pieces, from front to end, `position` bytes of which have been read; some can be put back."""

    def __init__(self, source: Source) -> None:
        self.position = 0
        self._source = source
        self._back = b""

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._back or self._read():
            self._back = b""
            yield piece

    def back(self, data: bytes) -> None:
        self._back = data

    def ahead(self) -> bytes:
        """Return what comes next, long enough to tell what it is; zeros are skipped."""
        while len(left := self._back.lstrip(b"\0")) < _LONGEST_MARK and (piece := self._read()):
            self._back = left + piece
        self._back = left
        return left

    def _read(self) -> bytes:
        data = self._source.read(self.position, _PACKED_STEP)
        self.position += len(data)
        return data


def _decode(decoder: Decoder, packed: Iterable[bytes], name: str) -> Iterator[bytes]:
    for piece in packed:
        data = piece
        while True:
            try:
                unpacked = decoder.decompress(data, STEP)
            except _FAULTS as error:
                raise Corrupt(f"the packed bytes of {name} are damaged ({error})") from error
            for at in range(0, len(unpacked), STEP):
                yield unpacked[at : at + STEP]
            if decoder.eof:
                return
            if decoder.needs_input:
                break
            data = b""
