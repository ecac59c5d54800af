"""Where a provider serves byte ranges: what is read comes first, and under `fetch=whole` the rest behind it."""

from __future__ import annotations

import random
import threading
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Mount
from engine_room import DEMO, IMPATIENT, Room, content, md5sums, member, pieces, stories, together, unsure, until

from eofs import jobs, ranges
from eofs.blocks import PartialFile
from eofs.demo import DemoProvider, Reply, Request, ten_products
from eofs.errors import Corrupt, NotReady
from eofs.fetch.window import SMALLEST
from eofs.nodes import NOBODY
from eofs.status import Activity, Local, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eofs.fetch import Engine
    from eofs.model import Product

MEGABYTES = 8
ONE = ten_products()[:1]
UID = ONE[0]["properties"]["uid"]
TAPE = [feature for feature in ten_products() if feature["properties"]["storageStatus"] == "OFFLINE"][:1]


class Meddling(DemoProvider):
    """A provider that does to each request what `meddle` says, as often as it is asked, where `stall_at` says so.

    With `knows_the_end` off it sends the whole file to who asks for the last bytes.
    """

    meddle: Reply | None = None
    stall_at: Callable[[int], bool] = staticmethod(lambda _: True)
    knows_the_end = True

    def answer(self, request: Request) -> Reply | None:
        begin = (request.range or "").removeprefix("bytes=").partition("-")[0]
        if request.kind == "download" and self.stall_at(int(begin or -1)):
            return self.meddle
        return None

    def usual(self, request: Request) -> Reply:
        if not self.knows_the_end and (request.range or "").startswith("bytes=-"):
            request = replace(request, headers={**request.headers, "range": ""})
        return super().usual(request)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eofs.slots.QUIET", 0.0)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Meddling]:
    with Meddling(tmp_path / "store", products=ONE, megabytes=MEGABYTES) as running:
        yield running


@pytest.fixture
def room(provider: Meddling, tmp_path: Path) -> Iterator[Room]:
    opened = Room(provider, tmp_path / "cache")
    yield opened
    opened.close()


@pytest.fixture
def came(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each write has brought into the cache.

    Not what the provider has sent: of a connection that is given up, the system throws away what nobody has read yet.
    """
    sizes, write = [], PartialFile.write

    def counted(file: PartialFile, offset: int, data: bytes) -> None:
        sizes.append(len(data))
        write(file, offset, data)

    monkeypatch.setattr(PartialFile, "write", counted)
    return sizes


def start(room: Room, fetch: str = "lazy", **options: Any) -> tuple[Engine, Product]:
    return room.start(fetch=fetch, speaks=replace(DEMO, retry_delay=0.001), **options), room.products[UID]


def asked(room: Room) -> list[str | None]:
    """What has been asked for, as it began; a provider writes down what has ended."""
    room.provider.wait_until(lambda: not room.provider.under_way)
    found = [request for request in room.provider.requests if request.kind == "download"]
    return [request.range for request in sorted(found, key=lambda request: request.time)]


def truth_of(provider: DemoProvider) -> dict[str, bytes]:
    with zipfile.ZipFile(provider.archive(UID)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def truth(room: Room) -> dict[str, bytes]:
    return truth_of(room.provider)


def sent(room: Room) -> int:
    """How many bytes the provider has sent, by requests that have ended."""
    asked(room)
    return room.provider.bytes_sent(UID)


def size_of(room: Room) -> int:
    return room.provider.archive(UID).stat().st_size


def put(path: Path, data: bytes) -> None:
    """Replace a file, of which others may be reading."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(data)
    fresh.replace(path)


def is_complete(room: Room, engine: Engine, product: Product) -> bool:
    return room.status(engine, product).local is Local.COMPLETE


both = pytest.mark.parametrize("fetch", ["lazy", "whole"])


@pytest.mark.says("The list of files of a zip is its last 128 KiB")
@both
def test_a_list_of_files_costs_one_small_request(room: Room, fetch: str) -> None:
    engine, product = start(room, fetch)
    assert {found.path for found in engine.listing(product, NOBODY).members} == set(truth(room))
    assert asked(room) == ["bytes=-131072"]
    assert room.provider.bytes_sent(UID) == 131072


@pytest.mark.says("its header in the archive and its first 128 KiB")
def test_a_small_file_costs_one_request_more_and_its_own_bytes(room: Room) -> None:
    engine, product = start(room)
    packed = member(engine, product, "MTD_MSIL1C.xml").packed
    before = sent(room)
    assert content(engine, product, "MTD_MSIL1C.xml") == next(
        data for name, data in truth(room).items() if name.endswith("MTD_MSIL1C.xml")
    )
    assert len(asked(room)) == 2
    assert sent(room) - before < packed + 2048


def test_three_bands_cost_themselves_and_at_most_two_percent(room: Room) -> None:
    engine, product = start(room)
    engine.listing(product, NOBODY)
    before, size, expected = sent(room), 0, truth(room)
    for band in ("_B02.jp2", "_B8A.jp2", "_TCI.jp2"):
        found = member(engine, product, band)
        assert content(engine, product, band) == expected[found.path]
        size += found.packed
    assert sent(room) - before <= 1.02 * size


def test_what_has_been_read_is_not_asked_for_again(room: Room) -> None:
    engine, product = start(room)
    first = content(engine, product, "_B03.jp2")
    before = len(asked(room))
    assert content(engine, product, "_B03.jp2") == first
    room.close()
    assert content(*start(room), "_B03.jp2") == first
    assert len(asked(room)) == before


@both
def test_a_product_that_is_read_whole_is_whole_and_every_byte_has_come_once(
    room: Room, came: list[int], fetch: str
) -> None:
    engine, product = start(room, fetch)
    assert md5sums(engine, product) == room.provider.md5sums(UID)
    until(lambda: is_complete(room, engine, product))
    assert sum(came) == size_of(room)


@pytest.mark.says("a read here or there brings itself.")
def test_reads_here_and_there_are_right_and_small(room: Room) -> None:
    engine, product = start(room)
    found = member(engine, product, "_B04.jp2")
    expected, chance = truth(room)[found.path], random.Random(4)
    reader = engine.open(product, found, NOBODY)
    before = sent(room)
    for _ in range(20):
        offset, size = chance.randrange(found.size), chance.randrange(1, 4096)
        assert reader.read(offset, size, NOBODY) == expected[offset : offset + size]
    reader.close()
    assert sent(room) - before < 20 * SMALLEST


@both
def test_while_nothing_is_read_nothing_is_brought_and_the_status_says_so(room: Room, fetch: str) -> None:
    engine, product = start(room, fetch)
    found = member(engine, product, "_B04.jp2")
    reader = engine.open(product, found, NOBODY)  # its header is read, and nothing else
    reader.close()
    until(lambda: room.status(engine, product).activity is Activity.IDLE)
    status = room.status(engine, product)
    assert (status.local, status.storageStatus) == (Local.PARTIAL, StorageStatus.ONLINE)
    assert status.downloaded == sent(room)
    assert len(asked(room)) == 2


def test_the_first_read_brings_the_rest_of_the_product_behind_it(room: Room, came: list[int]) -> None:
    engine, product = start(room, "whole")
    reader = engine.open(product, member(engine, product, "_B04.jp2"), NOBODY)
    assert reader.read(0, 1, NOBODY)
    reader.close()  # nobody reads any more, and it goes on
    until(lambda: is_complete(room, engine, product))
    assert sum(came) == size_of(room)
    until(lambda: room.status(engine, product).message == "complete")
    room.provider.stop()
    assert md5sums(engine, product) == room.provider.md5sums(UID)


def test_what_is_read_comes_before_what_only_fills(room: Room, provider: Meddling) -> None:
    hold = threading.Event()
    provider.stall_at = lambda start: start == 0  # what fills begins at the front
    provider.meddle = Reply(stall_after=1000, release=hold)
    engine, product = start(room, "whole")
    last = max(engine.listing(product, NOBODY).members, key=lambda found: found.offset)
    first = engine.open(product, last, NOBODY)
    first.read(0, 1, NOBODY)
    assert provider.wait_until(lambda: provider.under_way > 0)
    expected = truth(room)
    assert content(engine, product, last.path) == expected[last.path]
    assert content(engine, product, "_B12.jp2") == next(d for n, d in expected.items() if n.endswith("_B12.jp2"))
    assert not is_complete(room, engine, product)
    first.close()
    hold.set()
    until(lambda: is_complete(room, engine, product))


def test_several_connections_fill_and_one_is_left_for_who_reads(
    room: Room, provider: Meddling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "FILL", (1 << 20, 1 << 20, 1 << 20))
    monkeypatch.setattr(jobs, "NEAR", (1, 1))
    hold = threading.Event()
    engine, product = start(room, "whole", connections=4)
    reader = engine.open(product, member(engine, product, "_B04.jp2"), NOBODY)
    assert reader.read(0, 1, NOBODY)
    provider.meddle = Reply(stall_after=1000, release=hold)
    until(lambda: provider.under_way == 3)
    provider.meddle = None
    assert content(engine, product, "_TCI.jp2")
    hold.set()
    reader.close()
    until(lambda: is_complete(room, engine, product))
    assert provider.peak == 4


@pytest.mark.says("at a time to one provider; where")
@pytest.mark.parametrize("connections", [1, 2, 4])
def test_many_readers_never_use_more_connections_than_allowed(
    room: Room, provider: Meddling, came: list[int], monkeypatch: pytest.MonkeyPatch, connections: int
) -> None:
    monkeypatch.setattr(ranges, "FILL", (1 << 20, 1 << 20, 1 << 20))
    engine, product = start(room, "whole", connections=connections)
    right = provider.md5sums(UID)
    assert together(8, lambda: md5sums(engine, product)) == [right] * 8
    until(lambda: is_complete(room, engine, product))
    assert provider.peak <= connections
    assert sum(came) == size_of(room)


@both
def test_a_product_that_was_left_half_way_goes_on_without_asking_twice(room: Room, came: list[int], fetch: str) -> None:
    engine, product = start(room, fetch)
    content(engine, product, "_B02.jp2")
    room.close()
    engine, product = start(room, fetch)
    assert md5sums(engine, product) == room.provider.md5sums(UID)
    until(lambda: is_complete(room, engine, product))
    assert sum(came) == size_of(room)


@both
@pytest.mark.parametrize(
    "meddle",
    [Reply(cut_after=100_000), Reply(cut_after=1_000_000)],
    ids=["cut after 100 kB", "cut after 1 MB"],
)
def test_connections_that_break_all_the_time_cost_no_byte_twice(
    room: Room, provider: Meddling, came: list[int], meddle: Reply, fetch: str
) -> None:
    provider.meddle = meddle
    engine, product = start(room, fetch)
    found = member(engine, product, "_B02.jp2")
    assert content(engine, product, "_B02.jp2") == truth(room)[found.path]
    if fetch == "lazy":
        assert sum(came) == room.status(engine, product).downloaded
        assert sum(came) <= found.packed + 131072 + 2048
    else:
        until(lambda: is_complete(room, engine, product), 60)
        assert sum(came) == size_of(room)


def test_a_provider_that_serves_no_range_at_the_end_serves_the_others(
    room: Room, provider: Meddling, came: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "WORTH", 1 << 20)
    provider.knows_the_end = False
    engine, product = start(room)
    found = member(engine, product, "_B02.jp2")
    assert content(engine, product, "_B02.jp2") == truth(room)[found.path]
    assert provider.count(UID, status=206) >= 2
    assert sum(came) <= found.packed + 131072 + 2048


@pytest.mark.says("or reads while the product turns out to have been replaced")
@pytest.mark.says("who opens it again gets the right ones.")
def test_a_product_that_has_changed_is_said_to_have_and_comes_afresh_when_opened_again(
    room: Room, provider: Meddling
) -> None:
    engine, product = start(room)
    engine.listing(product, NOBODY)
    changed = Reply(headers={"ETag": '"another"'})
    provider.meddle = changed
    with pytest.raises(Corrupt, match="changed"):
        content(engine, product, "_B02.jp2")
    until(lambda: not stories())
    found = member(engine, product, "_B02.jp2")
    assert content(engine, product, "_B02.jp2") == truth(room)[found.path]
    provider.meddle = None


@pytest.mark.says("where the provider serves byte ranges")
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


@pytest.mark.says("CRC, broken archive) after one fresh try EIO")
@pytest.mark.says("A member that is read before that has its CRC compared when all of it is here for the first time.")
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


@both
@pytest.mark.parametrize("ending", ["_B04.jp2", "MTD_MSIL1C.xml"])
def test_who_does_not_wait_finds_the_file_when_he_comes_again(room: Room, fetch: str, ending: str) -> None:
    engine, product = start(room, fetch, block=False)
    until(lambda: comes(lambda: engine.listing(product, NOBODY)))
    found = member(engine, product, ending)
    with pytest.raises(NotReady, match=r"open it again|its status file says how far it is"):
        engine.open(product, found, NOBODY)
    until(lambda: comes(lambda: engine.open(product, found, NOBODY).close()))
    assert b"".join(pieces(engine.open(product, found, NOBODY))) == truth(room)[found.path]
    assert sent(room) <= (found.packed + 200_000 if fetch == "lazy" else size_of(room))


def comes(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except NotReady:
        return False
    return True


@both
@pytest.mark.parametrize("ending", ["_B04.jp2", "MTD_MSIL1C.xml"])
@pytest.mark.says("bytes that are on their way are waited for")
def test_who_opens_with_o_nonblock_waits_for_bytes_of_what_is_online(room: Room, fetch: str, ending: str) -> None:
    engine, product = start(room, fetch)
    found = member(engine, product, ending)
    assert b"".join(pieces(engine.open(product, found, IMPATIENT))) == truth(room)[found.path]


@both
def test_an_archive_whose_index_is_broken_is_brought_as_a_whole_and_read_without_it(
    room: Room, provider: Meddling, fetch: str
) -> None:
    archive, right = provider.archive(UID), provider.md5sums(UID)
    archive.write_bytes(archive.read_bytes()[:-1])
    engine, product = start(room, fetch)
    assert md5sums(engine, unsure(product)) == right
    assert is_complete(room, engine, product)


@pytest.mark.says("`lazy`: only the bytes that are read")
@pytest.mark.says("With `fetch=lazy` nothing comes but what is read.")
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


@pytest.mark.mount
def test_bytes_that_turned_out_wrong_are_not_served_again_from_the_kernels_memory(
    tmp_path: Path, provider: Meddling
) -> None:
    result, archive = provider.write_result(tmp_path / "result.geojson"), provider.archive(UID)
    good = archive.read_bytes()
    name, right = next((name, data) for name, data in truth_of(provider).items() if name.endswith("_B04.jp2"))
    with zipfile.ZipFile(archive) as file:
        at = file.getinfo(name).header_offset + 2000
    with Mount(tmp_path / "home", result, fetch="lazy") as mounted:
        [root] = mounted.root.glob("*/data/*.SAFE")
        path = root.parent / name
        put(archive, good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(OSError, match="Input/output error"):
            path.read_bytes()
        put(archive, good)
        assert path.read_bytes() == right
