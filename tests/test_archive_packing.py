"""Every way of packing comes out as it went in, in pieces that are never large, and damage is noticed."""

from __future__ import annotations

import bz2
import functools
import gzip
import importlib.util
import lzma
import random
import struct
import sys
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import inflate64
import pytest
from archives import Bytes, info, make_zip, raw_zip, unpack
from hypothesis import given, settings
from hypothesis import strategies as st

from eofs import archive
from eofs.archive import decoders, list_members, wrapping
from eofs.errors import Corrupt, EofsError, NotSupported, TooLarge
from eofs.model import Member

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEP = decoders.STEP
TEXT = b"".join(b"<pixel row='%d' value='%d'/>" % (row, row * row % 257) for row in range(40_000))  # more than a step


def deflate64(data: bytes) -> bytes:
    packer = inflate64.Deflater()
    packed: bytes = packer.deflate(data) + packer.flush()
    return packed


METHODS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "deflate64": (9, deflate64),
    "zstd": (93, zstd.compress),
    "zstd, its first number": (20, zstd.compress),
    "xz": (95, lambda data: lzma.compress(data, preset=0)),
}


def packed_zip(data: bytes, method: int, pack: Callable[[bytes], bytes]) -> bytes:
    """Return a zip that Python cannot write."""
    done = raw_zip(b"a", method=method, data=pack(data), size=len(data))
    wrong, right = (struct.pack("<L", zlib.crc32(each)) for each in (pack(data), data))
    return done.replace(wrong, right)


ZIPS: dict[str, Callable[[bytes], bytes]] = {
    "stored": lambda data: make_zip((info("a", zipfile.ZIP_STORED), data)),
    "deflated": lambda data: make_zip((info("a", zipfile.ZIP_DEFLATED), data)),
    "bzip2": lambda data: make_zip((info("a", zipfile.ZIP_BZIP2), data)),
    "lzma": lambda data: make_zip((info("a", zipfile.ZIP_LZMA), data)),
    **{name: functools.partial(packed_zip, method=method, pack=pack) for name, (method, pack) in METHODS.items()},
}
WRAPS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": zstd.compress,
}


def unwrapped(data: bytes) -> bytes:
    return b"".join(archive.unwrap(Bytes(data), wrapping(data) or "", "product"))


@pytest.mark.says("members that are stored, deflated, or packed by deflate64, bzip2, lzma, xz or zstd are read.")
@pytest.mark.parametrize("make", ZIPS.values(), ids=ZIPS)
def test_a_member_of_every_method_comes_out_as_it_went_in(make: Callable[[bytes], bytes]) -> None:
    for data in (b"", b"x", TEXT):
        source = Bytes(make(data))
        listing = list_members(source, "product")
        (member,) = listing.members
        assert (member.size, unpack(source, listing, member)) == (len(data), data)


@pytest.mark.parametrize("make", ZIPS.values(), ids=ZIPS)
@settings(max_examples=20)
@given(data=st.binary(max_size=2000), times=st.integers(1, 50))
def test_whatever_went_in_comes_out(make: Callable[[bytes], bytes], data: bytes, times: int) -> None:
    source = Bytes(make(data * times))
    listing = list_members(source, "product")
    assert unpack(source, listing, listing.members[0]) == data * times


@pytest.mark.parametrize("make", ZIPS.values(), ids=ZIPS)
def test_never_more_than_a_step_comes_out_at_a_time(make: Callable[[bytes], bytes]) -> None:
    bomb = bytes(12 * STEP)
    source = Bytes(make(bomb))
    (member,) = list_members(source, "product").members
    pieces = list(archive.unpack(source, archive.data_offset(source, "zip", member), member))
    assert max(map(len, pieces)) <= STEP
    assert b"".join(pieces) == bomb


@pytest.mark.parametrize("name", decoders.DECODERS)
def test_no_decoder_gives_much_more_than_it_is_asked_for(name: str) -> None:
    """Deflate64 is the one that cannot be held back in the middle of 256 bytes."""
    zeros = bytes(100_000_000)
    packed = {
        "deflated": lambda: zlib.compress(zeros)[2:],
        "gzip": lambda: gzip.compress(zeros),
        "bzip2": lambda: bz2.compress(zeros),
        "lzma": lambda: zip_lzma(zeros),
        "xz": lambda: lzma.compress(zeros),
        "zstd": lambda: zstd.compress(zeros),
        "deflate64": lambda: deflate64(zeros),
    }[name]()
    decoder = decoders.DECODERS[name].decoder()
    first = decoder.decompress(packed, STEP)
    assert len(first) <= (STEP if name != "deflate64" else 16 * STEP)
    assert not decoder.needs_input


def zip_lzma(data: bytes) -> bytes:
    made = make_zip((info("a", zipfile.ZIP_LZMA), data))
    (member,) = list_members(Bytes(made), "product").members
    return made[archive.data_offset(Bytes(made), "zip", member) :][: member.packed]


@pytest.mark.parametrize(
    "make", [ZIPS[name] for name in ZIPS if name != "stored"], ids=[n for n in ZIPS if n != "stored"]
)
def test_damage_is_corrupt_whatever_the_method(make: Callable[[bytes], bytes]) -> None:
    data = make(TEXT[:200_000])
    (member,) = list_members(Bytes(data), "product").members
    begin = archive.data_offset(Bytes(data), "zip", member)
    chance = random.Random(3)
    for _ in range(30):
        damaged = bytearray(data)
        for _ in range(2):
            damaged[begin + chance.randrange(member.packed)] ^= 1 << chance.randrange(8)
        if bytes(damaged) == data:
            continue
        with pytest.raises(Corrupt, match="a"):
            list(archive.unpack(Bytes(bytes(damaged)), begin, member))


def test_lzma_without_its_properties_is_corrupt() -> None:
    for packed in (b"", b"\x09\x04\x05", b"\x09\x04\x06\0" + bytes(20), b"\x09\x04\x05\0\xff" + bytes(20)):
        with pytest.raises(Corrupt):
            list(archive.unpack(Bytes(packed), 0, Member("a", 10, 0, 0, len(packed), "lzma")))


def test_a_decoder_that_is_missing_is_asked_for_by_the_name_of_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "DECODERS", {"deflated": decoders.DECODERS["deflated"]})
    for method, package in (("deflate64", "inflate64"), ("zstd", "backports.zstd")):
        with pytest.raises(
            NotSupported, match=f"a uses {method}, which takes the Python package {package}: pip install"
        ):
            archive.check_readable(Member("a", 1, 0, 0, 1, method))
    with pytest.raises(NotSupported, match=r"product uses zstd, which takes the Python package backports\.zstd"):
        unwrapped(zstd.compress(b"x"))


@pytest.mark.parametrize("missing", ["isal.isal_zlib", "inflate64", "backports.zstd"])
def test_without_an_optional_package_everything_else_works(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (missing, "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)  # it cannot be imported
    spec: Any = decoders.__spec__
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)
    lost = {"isal.isal_zlib": set(), "inflate64": {"deflate64"}, "backports.zstd": {"zstd"}}[missing]
    assert set(decoders.DECODERS) - set(alone.DECODERS) == lost
    assert b"".join(alone.unwrap(Bytes(gzip.compress(TEXT)), "gzip", "product")) == TEXT


# --- files that are packed as a whole ---


@pytest.mark.parametrize("name", WRAPS)
def test_a_packed_file_is_known_by_its_content_and_comes_out(name: str) -> None:
    for data in (b"", b"x", TEXT):
        packed = WRAPS[name](data)
        assert wrapping(packed) == name
        assert unwrapped(packed) == data


@pytest.mark.parametrize(
    "head",
    [b"", b"\x1f\x8b", b"\x1f\x8b\x08\xff", b"BZh9 is in this text", b"PK\3\4", b"\x89HDF", b"\xfd7z", bytes(512)],
)
def test_other_files_are_not_taken_for_packed_ones(head: bytes) -> None:
    assert wrapping(head) is None


@pytest.mark.parametrize("name", WRAPS)
def test_several_packed_files_in_a_row_are_one(name: str) -> None:
    pieces = [WRAPS[name](TEXT[at : at + 50_000]) for at in range(0, len(TEXT), 50_000)]
    assert unwrapped(b"".join(pieces)) == TEXT
    assert unwrapped(bytes(8).join([*pieces, b""])) == TEXT


@pytest.mark.parametrize("name", WRAPS)
def test_what_stands_behind_a_packed_file_is_left_out(name: str) -> None:
    assert unwrapped(WRAPS[name](TEXT) + b"something else") == TEXT


def test_zstd_frames_that_are_to_be_skipped_are_skipped() -> None:
    skipped = struct.pack("<LL", 0x184D2A50, 4) + b"note"
    packed = skipped + zstd.compress(b"one") + skipped + zstd.compress(b"two") + skipped
    assert wrapping(packed) == "zstd"
    assert unwrapped(packed) == b"onetwo"


@pytest.mark.parametrize("name", WRAPS)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.999])
def test_a_packed_file_that_is_cut_short_is_corrupt(name: str, part: float) -> None:
    packed = WRAPS[name](TEXT)
    with pytest.raises(Corrupt, match="product is cut short; it has to be fetched again"):
        unwrapped(packed[: int(part * len(packed))])


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])  # zstd need not have a checksum
def test_a_packed_file_that_is_damaged_is_corrupt(name: str) -> None:
    packed = bytearray(WRAPS[name](TEXT))
    packed[len(packed) // 2] ^= 4
    with pytest.raises(Corrupt, match="product"):
        unwrapped(bytes(packed))


@pytest.mark.parametrize("name", WRAPS)
def test_random_damage_gives_bytes_or_an_error_of_ours(name: str) -> None:
    chance = random.Random(4)
    packed = WRAPS[name](TEXT[:30_000])
    for _ in range(300):
        damaged = bytearray(packed)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(10, len(damaged))] ^= 1 << chance.randrange(8)
        try:
            unwrapped(bytes(damaged))
        except EofsError as error:
            assert isinstance(error, Corrupt)  # noqa: PT017 - most of them, not all, are noticed


def test_a_packed_file_of_a_thousand_times_its_size_is_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "RATIO_FROM", 10 * STEP)
    packed = lzma.compress(bytes(20 * STEP))
    came: list[int] = []

    def measured() -> Iterator[bytes]:
        for piece in archive.unwrap(Bytes(packed), "xz", "product"):
            came.append(len(piece))
            yield piece

    with pytest.raises(TooLarge, match="product unpacks to 1100 times its size and more"):
        list(measured())
    assert sum(came) <= 11 * STEP


def test_a_packed_file_is_read_in_order_and_only_once() -> None:
    source = Bytes(gzip.compress(random.Random(5).randbytes(2_000_000)))
    assert len(b"".join(archive.unwrap(source, "gzip", "product"))) == 2_000_000
    reads = [offset for offset, _ in source.reads]
    assert reads == sorted(set(reads))


def test_the_fast_inflater_is_used_where_it_is_installed() -> None:
    fast = importlib.import_module("isal.isal_zlib")
    assert decoders.crc32 is fast.crc32
    for level in (0, 1, 9):
        assert unwrapped(gzip.compress(TEXT, level)) == TEXT
