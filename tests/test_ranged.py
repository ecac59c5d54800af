"""Only the bytes that are read: what `fetch=lazy` asks a provider for, whatever the provider's manners."""

from __future__ import annotations

import random
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from conftest import Mount
from engine_room import DEMO, Room, content, md5sums, member, until

from eofs.blocks import PartialFile
from eofs.demo import DemoProvider, Reply, Request, ten_products
from eofs.errors import Corrupt
from eofs.nodes import NOBODY
from eofs.status import Activity, Local, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from eofs.fetch import Engine
    from eofs.model import Product

MEGABYTES = 8
ONE = ten_products()[:1]
UID = ONE[0]["properties"]["uid"]
TAPE = [feature for feature in ten_products() if feature["properties"]["storageStatus"] == "OFFLINE"][:1]


class Meddling(DemoProvider):
    """A provider that does to each request what `meddle` says, as often as it is asked."""

    meddle: Reply | None = None

    def answer(self, request: Request) -> Reply | None:
        return self.meddle if request.kind == "download" else None


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Meddling]:
    with Meddling(tmp_path / "store", products=ONE, megabytes=MEGABYTES) as running:
        yield running


@pytest.fixture
def room(provider: Meddling, tmp_path: Path) -> Iterator[Room]:
    opened = Room(provider, tmp_path / "cache")
    yield opened
    opened.close()


def start(room: Room) -> tuple[Engine, Product]:
    return room.start(fetch="lazy", speaks=replace(DEMO, retry_delay=0.001)), room.products[UID]


def asked(room: Room) -> list[str | None]:
    return [request.headers.get("range") for request in room.provider.requests if request.kind == "download"]


def truth_of(provider: DemoProvider) -> dict[str, bytes]:
    with zipfile.ZipFile(provider.archive(UID)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def truth(room: Room) -> dict[str, bytes]:
    return truth_of(room.provider)


def test_a_list_of_files_costs_one_small_request(room: Room) -> None:
    engine, product = start(room)
    assert {found.path for found in engine.listing(product, NOBODY).members} == set(truth(room))
    assert asked(room) == ["bytes=-131072"]
    assert room.provider.bytes_sent(UID) == 131072


def test_a_small_file_costs_one_request_more_and_its_own_bytes(room: Room) -> None:
    engine, product = start(room)
    packed = member(engine, product, "MTD_MSIL1C.xml").packed
    before = room.provider.bytes_sent(UID)
    assert content(engine, product, "MTD_MSIL1C.xml") == next(
        data for name, data in truth(room).items() if name.endswith("MTD_MSIL1C.xml")
    )
    assert len(asked(room)) == 2
    assert room.provider.bytes_sent(UID) - before < packed + 2048


def test_three_bands_cost_themselves_and_at_most_two_percent(room: Room) -> None:
    engine, product = start(room)
    engine.listing(product, NOBODY)
    before, size, expected = room.provider.bytes_sent(UID), 0, truth(room)
    for band in ("_B02.jp2", "_B8A.jp2", "_TCI.jp2"):
        found = member(engine, product, band)
        assert content(engine, product, band) == expected[found.path]
        size += found.packed
    assert room.provider.bytes_sent(UID) - before <= 1.02 * size


def test_what_has_been_read_is_not_asked_for_again(room: Room) -> None:
    engine, product = start(room)
    first = content(engine, product, "_B03.jp2")
    before = len(asked(room))
    assert content(engine, product, "_B03.jp2") == first
    room.close()
    assert content(*start(room), "_B03.jp2") == first
    assert len(asked(room)) == before


def test_a_product_that_is_read_whole_is_whole_and_every_byte_has_come_once(room: Room) -> None:
    engine, product = start(room)
    assert md5sums(engine, product) == room.provider.md5sums(UID)
    until(lambda: room.status(engine, product).local is Local.COMPLETE)
    assert room.provider.bytes_sent(UID) == room.provider.archive(UID).stat().st_size


def test_reads_here_and_there_are_right_and_small(room: Room) -> None:
    engine, product = start(room)
    found = member(engine, product, "_B04.jp2")
    expected, chance = truth(room)[found.path], random.Random(4)
    reader = engine.open(product, found, NOBODY)
    before = room.provider.bytes_sent(UID)
    for _ in range(20):
        offset, size = chance.randrange(found.size), chance.randrange(1, 4096)
        assert reader.read(offset, size, NOBODY) == expected[offset : offset + size]
    reader.close()
    assert room.provider.bytes_sent(UID) - before < 20 * 4096


def test_while_nothing_is_read_nothing_is_brought_and_the_status_says_so(room: Room) -> None:
    engine, product = start(room)
    content(engine, product, "manifest.safe")
    until(lambda: room.status(engine, product).activity is Activity.IDLE)
    status = room.status(engine, product)
    assert (status.local, status.storageStatus) == (Local.PARTIAL, StorageStatus.ONLINE)
    assert status.downloaded == room.provider.bytes_sent(UID)


@pytest.mark.parametrize(
    "meddle",
    [Reply(cut_after=100_000), Reply(cut_after=1_000_000)],
    ids=["cut after 100 kB", "cut after 1 MB"],
)
def test_connections_that_break_all_the_time_cost_no_byte_twice(
    room: Room, provider: Meddling, monkeypatch: pytest.MonkeyPatch, meddle: Reply
) -> None:
    came, write = [], PartialFile.write

    def counted(file: PartialFile, offset: int, data: bytes) -> None:
        came.append(len(data))
        write(file, offset, data)

    # Not what the provider has sent: of a connection that breaks, the system throws away what nobody has read yet.
    monkeypatch.setattr(PartialFile, "write", counted)
    provider.meddle = meddle
    engine, product = start(room)
    found = member(engine, product, "_B02.jp2")
    assert content(engine, product, "_B02.jp2") == truth(room)[found.path]
    assert sum(came) == room.status(engine, product).downloaded
    assert sum(came) <= found.packed + 131072 + 2048


def test_a_provider_without_ranges_sends_the_whole_and_every_byte_is_right(room: Room, provider: Meddling) -> None:
    provider.ranges = False
    engine, product = start(room)
    assert md5sums(engine, product) == provider.md5sums(UID)
    assert provider.count(UID, "download") == 1


def test_a_provider_that_stops_serving_ranges_sends_the_whole_and_every_byte_is_right(
    room: Room, provider: Meddling
) -> None:
    engine, product = start(room)
    engine.listing(product, NOBODY)
    provider.ranges = False
    assert md5sums(engine, product) == provider.md5sums(UID)


def test_a_product_on_tape_is_ordered_once_and_then_read_in_parts(tmp_path: Path) -> None:
    with Meddling(tmp_path / "store", products=TAPE, megabytes=MEGABYTES, staging_seconds=0.3) as provider:
        room = Room(provider, tmp_path / "cache")
        try:
            engine, [product] = room.start(fetch="lazy"), list(room.products.values())
            assert content(engine, product, "INSPIRE.xml")
            assert provider.count(status=202) >= 1
            assert provider.bytes_sent() < 200_000
        finally:
            room.close()


def test_a_member_whose_crc_is_wrong_is_fetched_afresh_once_and_then_corrupt(room: Room, provider: Meddling) -> None:
    engine, product = start(room)
    found = member(engine, product, "_B09.jp2")
    archive = provider.archive(UID)
    good = archive.read_bytes()
    at = good.index(b"PK\3\4", found.offset) + 2000
    archive.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    with pytest.raises(Corrupt, match="came twice with another CRC"):
        content(engine, product, "_B09.jp2")
    archive.write_bytes(good)
    assert content(engine, product, "_B09.jp2") == truth(room)[found.path]


@pytest.mark.mount
def test_a_lazy_mount_serves_every_file_and_only_what_is_read(tmp_path: Path, provider: Meddling) -> None:
    result = provider.write_result(tmp_path / "result.geojson")
    with Mount(tmp_path / "home", result, fetch="lazy") as mounted:
        [root] = mounted.root.glob("*/data/*.SAFE")
        names = sorted(path for path in root.rglob("*") if path.is_file())
        assert len(names) == len(truth_of(provider))
        assert provider.bytes_sent(UID) == 131072
        for path in names:
            assert path.read_bytes() == truth_of(provider)[str(path.relative_to(root.parent))]
    assert provider.bytes_sent(UID) == provider.archive(UID).stat().st_size
