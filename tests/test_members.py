"""Archives that are packed as a whole are unwrapped once, into a file of the cache, within its budget."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import sys
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from engine_room import until

from eofs import archive, bare, transfer
from eofs.archive import decoders
from eofs.blocks import PartialFile, View
from eofs.cache import Cache
from eofs.errors import CacheFull, Corrupt, EofsError, Interrupted, NotSupported, TooLarge, Unreachable
from eofs.fetch.members import Members
from eofs.model import Product
from eofs.nodes import NOBODY, Caller
from eofs.status import StorageStatus

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PRODUCT = Product(
    id="P", uid="P", title="LC08_L1TP", provider="usgs", status=StorageStatus.ONLINE, location=None, quicklook=None,
    size=None, checksum=None, collection=None, start=None, cloud_cover=None, feature=b"{}",
)  # fmt: skip
BAND = random.Random(6).randbytes(1_500_000)
NETCDF = b"\x89HDF\r\n\x1a\n" + BAND
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": zstd.compress,
}


def make_tar() -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as made:
            for name, data in (("B1.TIF", BAND), ("MTL.txt", b"GROUP = L1_METADATA\n")):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                made.addfile(entry, io.BytesIO(data))
        return file.getvalue()


TAR = make_tar()


class Shelf:
    """A cache with the archive of one product in it."""

    def __init__(self, directory: Path) -> None:
        self.cache = Cache(directory, 1 << 30)
        self.members = Members(self.cache)

    def begin(self, product: Product = PRODUCT) -> PartialFile:
        """Return the product's archive, of which nothing is here yet."""
        file = self.cache.open(self.cache.archive(product))
        assert file
        return file

    def fill(self, data: bytes, product: Product = PRODUCT) -> PartialFile:
        """Return the product's archive, held."""
        file = self.begin(product)
        file.restart()
        file.begin(len(data), None)
        file.write(0, data)
        self.cache.finish(file)
        return file

    def contents(self, file: PartialFile) -> dict[str, bytes]:
        """Read all that is in an archive; takes over the hold on it."""
        view = View(file)
        listing = archive.list_members(view, bare.file_name(PRODUCT, view.read(0, bare.HEAD)))
        found = {}
        for member in listing.members:
            reader = self.members.open(PRODUCT, self.cache.hold(file), listing.format, member, NOBODY)
            found[member.path] = reader.read(0, member.size, NOBODY)
            reader.close()
        self.cache.release(file)
        return found


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path / "cache")
    yield made
    until(lambda: not inflaters() and not made.cache._holders)  # no file is held for ever
    made.cache.close()


def inflaters() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "inflate"]


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_a_packed_tar_is_read_as_a_tar(shelf: Shelf, pack: Callable[[bytes], bytes]) -> None:
    file = shelf.members.unwrapped(PRODUCT, shelf.fill(pack(TAR)), NOBODY)
    assert shelf.contents(file) == {"B1.TIF": BAND, "MTL.txt": b"GROUP = L1_METADATA\n"}


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_a_packed_single_file_is_shown_as_what_it_is(shelf: Shelf, pack: Callable[[bytes], bytes]) -> None:
    file = shelf.members.unwrapped(PRODUCT, shelf.fill(pack(NETCDF)), NOBODY)
    assert shelf.contents(file) == {"LC08_L1TP.nc": NETCDF}


def test_a_packed_zip_is_read_as_a_zip(shelf: Shelf) -> None:
    with io.BytesIO() as made:
        with zipfile.ZipFile(made, "w") as zipped:
            zipped.writestr("a/b.tif", BAND)
        file = shelf.members.unwrapped(PRODUCT, shelf.fill(gzip.compress(made.getvalue())), NOBODY)
    assert shelf.contents(file) == {"a/b.tif": BAND}


def test_a_twice_packed_file_is_unpacked_once(shelf: Shelf) -> None:
    file = shelf.members.unwrapped(PRODUCT, shelf.fill(gzip.compress(gzip.compress(b"x"))), NOBODY)
    assert list(shelf.contents(file)) == ["LC08_L1TP.gz"]


def test_a_packed_file_of_nothing_is_an_empty_file(shelf: Shelf) -> None:
    file = shelf.members.unwrapped(PRODUCT, shelf.fill(gzip.compress(b"")), NOBODY)
    assert shelf.contents(file) == {"LC08_L1TP": b""}


@pytest.mark.parametrize("data", [TAR, NETCDF, b"", b"\x1f"], ids=["tar", "netCDF", "nothing", "one byte"])
def test_what_is_not_packed_stays_the_file_that_it_is(shelf: Shelf, data: bytes) -> None:
    file = shelf.fill(data)
    same = shelf.members.unwrapped(PRODUCT, file, NOBODY)
    assert same is file
    shelf.cache.release(same)


def test_it_is_unwrapped_once_for_all_who_ask_and_for_later(shelf: Shelf, tmp_path: Path) -> None:
    shelf.cache.release(shelf.fill(gzip.compress(TAR)))
    asked = threading.Barrier(8)

    def ask(_: int) -> PartialFile:
        asked.wait(60)
        return shelf.members.unwrapped(PRODUCT, shelf.begin(), NOBODY)

    with ThreadPoolExecutor(8) as askers:
        files = list(askers.map(ask, range(8)))
    assert len(set(files)) == 1
    assert all(shelf.contents(file)["B1.TIF"] == BAND for file in files)
    until(lambda: not inflaters())
    again = shelf.members.unwrapped(PRODUCT, shelf.begin(), NOBODY)
    assert again.whole
    assert inflaters() == []
    shelf.cache.release(again)
    assert len(list((tmp_path / "cache").rglob("members/*"))) == 1


def test_another_version_of_the_archive_is_another_file(shelf: Shelf) -> None:
    for data in (b"one" * 1000, b"two" * 1000):
        archive_file = shelf.fill(gzip.compress(data))
        held = shelf.cache.hold(archive_file)
        assert shelf.contents(shelf.members.unwrapped(PRODUCT, archive_file, NOBODY)) == {"LC08_L1TP": data}
        shelf.cache.discard(held)
        shelf.cache.release(held)


def half_unwrapped(shelf: Shelf, data: bytes) -> tuple[PartialFile, PartialFile]:
    """Return an archive of which half is here, and what is in it."""
    coming = shelf.begin()
    coming.begin(len(data), None)
    coming.write(0, data[:600_000])
    return coming, shelf.members.unwrapped(PRODUCT, shelf.cache.hold(coming), NOBODY)


def test_an_archive_that_is_still_coming_is_unwrapped_as_it_comes(shelf: Shelf) -> None:
    data = gzip.compress(TAR)
    coming, file = half_unwrapped(shelf, data)
    until(lambda: file.reaches(0) >= 300_000)
    coming.write(600_000, data[600_000:])
    assert shelf.contents(file)["B1.TIF"] == BAND
    shelf.cache.release(coming)


def test_an_archive_that_does_not_come_tells_who_waits_for_what_is_in_it(shelf: Shelf) -> None:
    data = gzip.compress(TAR)
    coming, file = half_unwrapped(shelf, data)
    coming.fail(Unreachable("the provider went away"))
    with pytest.raises(Unreachable, match="went away"):
        shelf.contents(shelf.cache.hold(file))
    for held in (file, file, coming):
        shelf.cache.release(held)


def test_who_waits_for_what_is_in_it_can_be_interrupted(shelf: Shelf) -> None:
    coming = shelf.begin()
    coming.begin(1_000_000, None)
    coming.write(0, gzip.compress(TAR)[:600_000])
    file = shelf.members.unwrapped(PRODUCT, shelf.cache.hold(coming), NOBODY)

    def check() -> None:
        raise Interrupted("interrupted")

    with pytest.raises(Interrupted):
        archive.list_members(View(file, Caller(check)), "product")
    coming.fail(Unreachable("the test is over"))
    shelf.cache.release(file)
    shelf.cache.release(coming)


DAMAGED = bytearray(gzip.compress(TAR))
DAMAGED[len(DAMAGED) // 2] ^= 1


@pytest.mark.parametrize("data", [bytes(DAMAGED), gzip.compress(TAR)[:-9]], ids=["damaged", "cut short"])
def test_a_damaged_archive_is_given_up_so_that_it_is_fetched_afresh(shelf: Shelf, data: bytes) -> None:
    file = shelf.members.unwrapped(PRODUCT, shelf.fill(data), NOBODY)
    with pytest.raises(Corrupt, match=r"LC08_L1TP.*opened again, it is fetched afresh"):
        shelf.contents(shelf.cache.hold(file))
    assert not shelf.cache.archive(PRODUCT).exists()
    for _ in range(2):
        shelf.cache.release(file)
    fresh = shelf.members.unwrapped(PRODUCT, shelf.fill(gzip.compress(TAR)), NOBODY)
    assert shelf.contents(fresh)["B1.TIF"] == BAND


def test_the_limit_of_the_cache_holds_while_a_file_of_unknown_size_grows(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "GROWTH", 1 << 20)
    other = replace(PRODUCT, uid="other")
    shelf.cache.release(shelf.fill(bytes(3_000_000), other))
    packed = gzip.compress(bytes(20_000_000))
    shelf.cache.limit = 8_000_000
    file = shelf.members.unwrapped(PRODUCT, shelf.fill(packed), NOBODY)
    with pytest.raises(CacheFull):
        shelf.contents(shelf.cache.hold(file))
    assert not shelf.cache.archive(other).exists()  # what was used least recently has gone first
    assert shelf.cache.used() <= shelf.cache.limit
    for _ in range(2):
        shelf.cache.release(file)


def test_a_bomb_is_refused(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "RATIO_FROM", 5_000_000)
    file = shelf.members.unwrapped(PRODUCT, shelf.fill(lzma.compress(bytes(20_000_000))), NOBODY)
    with pytest.raises(TooLarge, match="archive bomb"):
        shelf.contents(shelf.cache.hold(file))
    for _ in range(2):
        shelf.cache.release(file)


def test_what_no_package_unpacks_is_said(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    without = {name: row for name, row in decoders.DECODERS.items() if name != "zstd"}
    monkeypatch.setattr(decoders, "DECODERS", without)
    file = shelf.members.unwrapped(PRODUCT, shelf.fill(zstd.compress(TAR)), NOBODY)
    with pytest.raises(NotSupported, match=r"zstd, which takes the Python package backports\.zstd"):
        shelf.contents(shelf.cache.hold(file))
    for _ in range(2):
        shelf.cache.release(file)


@pytest.mark.parametrize(
    ("title", "link", "head", "name"),
    [
        ("S5P_L2.nc.gz", "", NETCDF, "S5P_L2.nc"),
        ("S5P_L2.nc.gz", "", gzip.compress(NETCDF), "S5P_L2.nc.gz"),
        ("dem.tif.zst", "", b"II*\0", "dem.tif"),
        ("P", "https://x/a/dem.tif.bz2", b"II*\0", "dem.tif"),
        ("P", "https://x/a/dem.gz", b"II*\0", "dem.tif"),
        ("P", "https://x/a/P.tgz", NETCDF, "P.nc"),
        ("P", "https://x/a/P.tgz", gzip.compress(TAR), "P.tgz"),
        ("P", "https://x/a/$value", gzip.compress(TAR), "P.gz"),
        ("P", "https://x/a/$value", TAR, "P.tar"),
        ("P", "https://x/a/$value", zstd.compress(TAR), "P.zst"),
        ("P.GZ", "", b"text", "P"),
    ],
)
def test_a_file_that_has_been_unwrapped_is_not_called_packed(title: str, link: str, head: bytes, name: str) -> None:
    assert bare.file_name(replace(PRODUCT, title=title, location=link), head[: bare.HEAD]) == name


@pytest.mark.parametrize("data", [TAR, *(pack(NETCDF) for pack in PACKERS.values())])
def test_what_is_packed_or_a_tar_is_not_bare(data: bytes) -> None:
    assert not bare.is_bare(data[: bare.HEAD])


def test_an_error_of_the_unwrapped_file_is_one_of_ours(shelf: Shelf) -> None:
    chance = random.Random(7)
    packed = gzip.compress(TAR[:5000])
    for _ in range(30):
        damaged = bytearray(packed)
        damaged[chance.randrange(10, len(damaged))] ^= 1 << chance.randrange(8)
        file = shelf.members.unwrapped(PRODUCT, shelf.fill(bytes(damaged)), NOBODY)
        held = shelf.cache.hold(file)
        with pytest.raises(EofsError):
            shelf.contents(file)
        shelf.cache.release(held)
        shelf.cache.release(held)
        until(lambda: not shelf.cache._holders)
