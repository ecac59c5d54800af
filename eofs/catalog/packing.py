"""The features' own texts, packed: hardly anybody asks for one again, and together they are nearly all of a result.

Features resemble each other, so that many in one bundle take a tenth of their size, where each by itself takes a third.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from itertools import accumulate, repeat
from typing import TYPE_CHECKING

import msgspec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BUNDLE = 64 << 10  # bytes of features that are packed together; unpacking them takes a tenth of a millisecond
_LEVEL = 1  # packs more than 500 MB a second


class PackedFeature(msgspec.Struct, frozen=True, gc=False):
    """One feature of a bundle: `bytes` gives its text, `len` the size of that."""

    bundle: bytes
    start: int
    stop: int

    def __bytes__(self) -> bytes:
        return _unpacked(self.bundle)[self.start : self.stop]

    def __len__(self) -> int:
        return self.stop - self.start


def pack(features: Iterable[bytes]) -> Iterator[PackedFeature]:
    """Return the features, each packed with those around it."""
    compressor = zstd.ZstdCompressor(_LEVEL)
    for texts in _bundles(features):
        bundle = compressor.compress(b"".join(texts), compressor.FLUSH_FRAME)
        ends = [*accumulate(map(len, texts), initial=0)]
        yield from map(PackedFeature, repeat(bundle), ends, ends[1:])


def _bundles(features: Iterable[bytes]) -> Iterator[list[bytes]]:
    texts: list[bytes] = []
    size = 0
    for text in features:
        texts.append(text)
        size += len(text)
        if size >= BUNDLE:
            yield texts
            texts, size = [], 0
    yield texts


@lru_cache(maxsize=4)
def _unpacked(bundle: bytes) -> bytes:
    """Return the texts of a bundle; the last few are kept for who asks for one feature after the other."""
    return zstd.decompress(bundle)
