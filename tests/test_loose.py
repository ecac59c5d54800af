"""Products that come as loose files: their names, what listing and reading them asks for, what goes wrong."""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from asset_server import AssetServer, Served
from conftest import Mount, error_of, ls
from engine_room import CRAWLER, IMPATIENT, LeapingClock, Room, aside, content, member, stories, until
from nodes_server import ENTRIES, NODES, NodesServer

from eofs import catalog, tree
from eofs.demo import ten_products
from eofs.errors import (
    AccessRefused,
    Changed,
    Corrupt,
    EofsError,
    Gone,
    Interrupted,
    NotAllowed,
    NotReady,
    NotSupported,
)
from eofs.fetch.window import SMALLEST
from eofs.model import Asset, Provider
from eofs.nodes import NOBODY, Caller
from eofs.parts import parts_of
from eofs.status import Activity, Local, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eofs.fetch import Engine
    from eofs.model import Product

OPEN = Provider(name="127.0.0.1", retries=1, retry_delay=0.001)
TIFF = b"II*\0"
BANDS = {f"B0{band}.tif": TIFF + random.Random(band).randbytes(1_000_000) for band in range(1, 5)}
NOWHERE = "http://127.0.0.1:1"  # nobody listens there


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Callable[..., Room]]:
    """Returns rooms for asset servers, all on one cache."""
    rooms: list[Room] = []

    def opened(server: Any) -> Room:
        rooms.append(Room(server, tmp_path / "cache"))
        return rooms[-1]

    yield opened
    for room in rooms:
        room.close()


@pytest.fixture
def bands() -> Iterator[AssetServer]:
    with AssetServer(BANDS) as server:
        yield server


def start(room: Room, **options: Any) -> tuple[Engine, Product]:
    return room.start(**{"speaks": OPEN, "fetch": "lazy", **options}), next(iter(room.products.values()))


def names(engine: Engine, product: Product) -> list[str]:
    return [found.path for found in engine.listing(product, NOBODY).members]


def assets(server: AssetServer, **changes: Any) -> dict[str, dict[str, Any]]:
    """The assets of the server's item, each with these changes; a callable makes a change from the file's name."""
    found: dict[str, dict[str, Any]] = server.item()["assets"]
    for (name, served), asset in zip(server.files.items(), found.values(), strict=True):
        asset |= {key.replace("__", ":"): change(name, served) for key, change in changes.items()}
    return found


def sized(server: AssetServer) -> dict[str, dict[str, Any]]:
    return assets(server, file__size=lambda _, served: len(served.content))


# -- names


def scene(**changes: Any) -> Product:
    return catalog.read(json.dumps({"type": "Feature", "id": "scene", "properties": {}, **changes}).encode()).products[
        0
    ]


@pytest.mark.says("A product made of assets (STAC) shows a file for each, as it is, under the last name in its link")
@pytest.mark.parametrize(
    ("hrefs", "paths"),
    [
        (["https://h/a/B04.tif"], ["B04.tif"]),
        (["https://h/a/B04.tif?sig=a%2Fb&x=1#y"], ["B04.tif"]),
        (["s3://bucket/a/B04.jp2"], ["B04.jp2"]),
        (["https://h/a/caf%C3%A9%20(1).tif"], ["café (1).tif"]),
        (["https://h/a/..%2F..%2Fetc"], ["etc"]),
        (["https://h/o/a%2Fb%2FB04.tif?alt=media"], ["B04.tif"]),
        (["https://h/R10m/B02.jp2", "https://h/R20m/B02.jp2"], ["B02.jp2", "B02~2.jp2"]),
        (["https://h/1/data", "https://h/2/data"], ["data", "data~2"]),
        (["https://h/1/.x", "https://h/2/.x"], [".x", ".x~2"]),
        (["https://h/B02.jp2", "https://h/B02.jp2"], ["B02.jp2"]),
        (["https://h/Products(1)/$value"], ["0"]),
        (["https://h/?id=1"], ["0"]),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_a_file_bears_the_last_name_in_its_link(hrefs: list[str], paths: list[str]) -> None:
    found = [Asset(str(place), href, size=1) for place, href in enumerate(hrefs)]
    named = list(parts_of(scene(), found, {}).files)
    assert named == paths
    assert list(parts_of(scene(), found[::-1], {}).files) == named


@pytest.mark.says("Of two of one name, the second by their keys gets `~2` before its suffix.")
def test_a_file_stands_where_the_result_says_and_never_in_the_way_of_another() -> None:
    found = [
        Asset("a", "https://h/1.tif", size=1, path="X/IMG/1.tif"),
        Asset("b", "https://h/IMG", size=1, path="X/IMG"),
        Asset("c", "https://h/2.tif", size=1, path="/../X//2.tif"),
    ]
    assert list(parts_of(scene(), found, {}).files) == ["X/2.tif", "X/IMG/1.tif", "X/IMG~2"]


@pytest.mark.says("Web pages, map services and links to other items are no files of the product.")
def test_what_is_no_file_of_the_product_is_not_shown() -> None:
    product = scene(
        assets={
            "red": {"href": "https://h/red.tif"},
            "thumbnail": {"href": "https://h/t.jpg", "roles": ["thumbnail"], "type": "image/jpeg"},
            "index": {"href": "https://h/page", "type": "text/html"},
            "tilejson": {"href": "https://h/api/tilejson.json?item=1", "roles": ["tiles"], "type": "application/json"},
            "rendered_preview": {"href": "https://h/api/preview.png", "roles": ["overview"], "type": "image/png"},
            "item": {"href": "https://h/collections/c/items/i"},
            "folder": {"href": "https://h/folder/"},
            "nothing": {"title": "no link"},
        }
    )
    assert [asset.key for asset in product.assets] == ["red", "thumbnail"]


def test_a_product_of_files_is_called_by_its_title_alone() -> None:
    title = "S2B_MSIL1C_20201231T105349_N0209_R051_T31TCK_20201231T120402"
    loose = scene(properties={"title": title}, assets={"red": {"href": "https://h/red.tif"}})
    packed = scene(properties={"title": title, "downloadLink": "https://h/x.zip"})
    assert (tree.root_name(loose), tree.root_name(packed)) == (title, f"{title}.SAFE")


def test_items_of_one_id_in_two_collections_are_two_products_of_the_cache() -> None:
    one, two = (scene(collection=name, assets={"red": {"href": "https://h/red.tif"}}) for name in ("l1c", "l2a"))
    assert one.key != two.key
    assert one.id == two.id


def test_real_items_have_the_names_of_their_files() -> None:
    folder = os.environ.get("EOFS_SAMPLE_RESULTS")
    if not folder:
        pytest.skip("not here: EOFS_SAMPLE_RESULTS names no folder of real search results")
    for product in catalog.load(Path(folder) / "stac/lpcloud_hls.json").products:
        files = parts_of(product, product.assets, {}).files
        assert len(files) == len(product.assets)
        assert {path.rpartition(".")[2] for path in files} == {"tif", "jpg", "xml"}
    (level1,) = catalog.load(Path(folder) / "stac/earth_search.json").products
    assert {"B02.jp2", "TCI.jp2", "preview.jpg", "metadata.xml", "tileInfo.json"} < parts_of(
        level1, level1.assets, {}
    ).files.keys()


# -- listing


@pytest.mark.says(
    "Of a product of loose files, a look inside asks for the sizes that the result does not say, by one HEAD each"
)
def test_sizes_are_asked_for_by_one_head_each(shelf: Callable[..., Room], bands: AssetServer) -> None:
    engine, product = start(shelf(bands))
    found = {each.path: each.size for each in engine.listing(product, NOBODY).members}
    assert found == {name: len(content) for name, content in BANDS.items()}
    assert sorted(asked.path for asked in bands.requests(method="HEAD")) == sorted(BANDS)
    assert bands.requests(method="GET") == []


def test_sizes_are_asked_for_all_at_once_within_the_connections(shelf: Callable[..., Room], bands: AssetServer) -> None:
    for served in bands.files.values():
        served.free.clear()
    engine, product = start(shelf(bands), connections=3)
    listing = aside(engine.listing, product, NOBODY)
    until(lambda: bands.at_once == 3)
    for served in bands.files.values():
        served.free.set()
    assert len(listing.result(60).members) == 4
    assert bands.at_once == 3


def test_many_who_look_ask_once(shelf: Callable[..., Room], bands: AssetServer) -> None:
    gate = bands.files["B01.tif"].free
    gate.clear()
    engine, product = start(shelf(bands))
    looks = [aside(engine.listing, product, NOBODY) for _ in range(8)]
    until(lambda: len(bands.requests(method="HEAD")) == 3)
    gate.set()
    assert len({id(look.result(60)) for look in looks}) == 1
    assert len(bands.asked) == 4


def test_sizes_that_the_result_says_are_not_asked_for(shelf: Callable[..., Room], bands: AssetServer) -> None:
    bands.changes = {"assets": sized(bands)}
    engine, product = start(shelf(bands))
    assert names(engine, product) == sorted(BANDS)
    assert product.size == sum(map(len, BANDS.values()))
    assert bands.asked == []


@pytest.mark.parametrize(
    "served",
    [
        Served(BANDS["B01.tif"], head=405),
        Served(BANDS["B01.tif"], head=403),
        Served(BANDS["B01.tif"], head=501, ranges=False),
        Served(BANDS["B01.tif"], length=False),
        Served(BANDS["B01.tif"], length=False, ranges=False),
    ],
    ids=["no HEAD", "signed for GET", "no HEAD, no ranges", "no length", "neither length nor ranges"],
)
def test_a_server_of_few_manners_is_asked_in_another_way(shelf: Callable[..., Room], served: Served) -> None:
    with AssetServer({"B01.tif": served}) as server:
        engine, product = start(shelf(server))
        assert member(engine, product, "B01.tif").size == len(served.content)
        assert content(engine, product, "B01.tif") == served.content


@pytest.mark.says("A file that is not there (404) or refused is left out, and the log says so")
def test_files_that_are_not_there_or_refused_are_left_out_and_the_log_says_so(
    shelf: Callable[..., Room], caplog: pytest.LogCaptureFixture
) -> None:
    files = {"B01.tif": Served(BANDS["B01.tif"]), "gone.tif": Served(b"", 404), "mine.tif": Served(b"", 403)}
    with AssetServer(files) as server:
        engine, product = start(shelf(server))
        assert names(engine, product) == ["B01.tif"]
        asked = len(server.asked)
        assert names(engine, product) == ["B01.tif"]
        assert len(server.asked) == asked
    said = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert [text.split()[0] for text in sorted(said)] == ["scene/gone.tif", "scene/mine.tif"]


@pytest.mark.parametrize(("status", "error"), [(404, Gone), (403, AccessRefused)])
def test_where_no_file_can_be_had_the_reason_is_said(
    shelf: Callable[..., Room], status: int, error: type[EofsError]
) -> None:
    with AssetServer({"a.tif": Served(b"", status), "b.tif": Served(b"", status)}) as server:
        room = shelf(server)
        engine, product = start(room)
        with pytest.raises(error):
            engine.listing(product, NOBODY)
        asked = len(server.asked)
        with pytest.raises(error):  # remembered for a while
            engine.listing(product, NOBODY)
        assert len(server.asked) == asked
        status_file = room.status(engine, product)
        assert status_file.activity is Activity.FAILED
        assert status_file.error


def test_a_file_that_was_out_of_reach_is_there_when_it_is_asked_for_again(shelf: Callable[..., Room]) -> None:
    clock = LeapingClock()
    with AssetServer({"B01.tif": Served(BANDS["B01.tif"]), "late.tif": Served(b"late", 503)}) as server:
        engine, product = start(shelf(server), clock=clock)
        assert names(engine, product) == ["B01.tif"]
        server.files["late.tif"].status = 200
        assert names(engine, product) == ["B01.tif"]
        clock.time += 60
        assert names(engine, product) == ["B01.tif", "late.tif"]


def test_an_empty_file_is_empty_and_asks_for_nothing(shelf: Callable[..., Room]) -> None:
    with AssetServer({"B01.tif": Served(BANDS["B01.tif"]), "empty.txt": Served(b"")}) as server:
        room = shelf(server)
        engine, product = start(room)
        assert content(engine, product, "empty.txt") == b""
        content(engine, product, "B01.tif")
        until(lambda: room.status(engine, product).local is Local.COMPLETE)


@pytest.mark.says("A reply that is a web page or JSON is data where the file calls itself so.")
def test_text_that_calls_itself_so_is_data_and_a_page_in_place_of_data_is_not(shelf: Callable[..., Room]) -> None:
    page = b"<!DOCTYPE html><html>"
    files = {
        "tileInfo.json": Served(b"{}", kind="application/json"),
        "index.html": Served(page, kind="text/html"),
        "B01.tif": Served(page, kind="text/html"),
    }
    with AssetServer(files) as server:
        engine, product = start(shelf(server))
        assert names(engine, product) == ["index.html", "tileInfo.json"]
        assert content(engine, product, "tileInfo.json") == b"{}"
        assert content(engine, product, "index.html") == page


def test_a_crawler_gets_what_needs_no_question(shelf: Callable[..., Room], bands: AssetServer) -> None:
    engine, product = start(shelf(bands))
    with pytest.raises(AccessRefused):
        engine.listing(product, CRAWLER)
    assert bands.asked == []
    found = member(engine, product, "B01.tif")
    asked = len(bands.asked)
    assert engine.listing(product, CRAWLER).members
    with pytest.raises(AccessRefused):
        engine.open(product, found, CRAWLER)
    assert len(bands.asked) == asked


def test_who_does_not_want_to_wait_does_not_and_it_comes_all_the_same(
    shelf: Callable[..., Room], bands: AssetServer
) -> None:
    bands.files["B01.tif"].free.clear()
    engine, product = start(shelf(bands))
    with pytest.raises(NotReady):
        engine.listing(product, IMPATIENT)
    bands.files["B01.tif"].free.set()
    until(lambda: len(bands.asked) == 4)
    assert len(engine.listing(product, NOBODY).members) == 4
    assert len(engine.listing(product, IMPATIENT).members) == 4
    assert len(bands.asked) == 4


def test_who_is_interrupted_stops_waiting_and_the_question_goes_on(
    shelf: Callable[..., Room], bands: AssetServer
) -> None:
    def check() -> None:
        raise Interrupted("interrupted")

    bands.files["B01.tif"].free.clear()
    engine, product = start(shelf(bands))
    with pytest.raises(Interrupted):
        engine.listing(product, Caller(check))
    bands.files["B01.tif"].free.set()
    assert len(engine.listing(product, NOBODY).members) == 4
    assert len(bands.asked) == 4


# -- reading


def test_reads_here_and_there_bring_themselves(shelf: Callable[..., Room]) -> None:
    data = random.Random(9).randbytes(2_000_000)
    with AssetServer({"data.h5": data}) as server:
        engine, product = start(shelf(server))
        reader = engine.open(product, member(engine, product, "data.h5"), NOBODY)
        for offset in (900_000, 30_000, 500_000):
            assert reader.read(offset, 4096, NOBODY) == data[offset : offset + 4096]
        reader.close()
        assert server.sent() == 16_384 + 3 * SMALLEST


def test_windows_of_an_image_cost_a_request_for_each_of_their_rows_of_tiles(shelf: Callable[..., Room]) -> None:
    image = TIFF + random.Random(9).randbytes(40_000_000)
    with AssetServer({"B05.tif": image}) as server:
        engine, product = start(shelf(server))
        reader = engine.open(product, member(engine, product, "B05.tif"), NOBODY)
        reader.read(0, 16_384, NOBODY)
        read = 16_384
        for start_of_row in (20_000_000, 22_000_000, 30_000_000, 32_000_000):
            # As the kernel reads for a program that reads a megabyte: some pages, then 128 KB and 128 KB more.
            for offset, size in [(0, 8192), *((8192 + (step << 17), 1 << 17) for step in range(8))]:
                at = start_of_row // 4096 * 4096 + offset
                assert reader.read(at, size, NOBODY) == image[at : at + size]
                read += size
        reader.close()
        assert len(server.requests("B05.tif")) == 5
        assert server.sent() == read


def test_only_the_files_that_are_read_are_brought_where_nothing_else_is_wanted(
    shelf: Callable[..., Room], bands: AssetServer
) -> None:
    room = shelf(bands)
    engine, product = start(room)
    assert content(engine, product, "B02.tif") == BANDS["B02.tif"]
    until(lambda: room.status(engine, product).activity is Activity.IDLE)
    found = room.status(engine, product)
    assert (found.local, found.downloaded) == (Local.PARTIAL, len(BANDS["B02.tif"]))
    assert found.size == sum(map(len, BANDS.values()))
    assert bands.sent() == len(BANDS["B02.tif"])


@pytest.mark.says("with `fetch=whole` the first one for the rest of the product, a file after the other")
def test_the_first_read_of_a_file_brings_the_rest_of_the_product(
    shelf: Callable[..., Room], bands: AssetServer
) -> None:
    room = shelf(bands)
    engine, product = start(room, fetch="whole")
    reader = engine.open(product, member(engine, product, "B03.tif"), NOBODY)
    assert not bands.requests("B01.tif")
    assert reader.read(500_000, 10, NOBODY) == BANDS["B03.tif"][500_000:500_010]
    until(lambda: room.status(engine, product).local is Local.COMPLETE)
    reader.close()
    assert bands.sent() == sum(map(len, BANDS.values()))
    assert room.status(engine, product).location == "file:///mnt/data/product"
    until(lambda: room.status(engine, product).activity is Activity.IDLE)


def test_the_files_that_nobody_reads_come_one_after_the_other(shelf: Callable[..., Room], bands: AssetServer) -> None:
    bands.changes = {"assets": sized(bands)}
    bands.files["B01.tif"].free.clear()
    room = shelf(bands)
    engine, product = start(room, fetch="whole")
    content(engine, product, "B04.tif")
    until(lambda: room.status(engine, product).downloaded == len(BANDS["B04.tif"]))
    assert not bands.requests("B02.tif")
    assert not bands.requests("B03.tif")
    bands.files["B01.tif"].free.set()
    until(lambda: room.status(engine, product).local is Local.COMPLETE)


def test_all_of_a_product_is_brought_by_one_request_for_each_small_file_and_by_several_at_a_time(
    shelf: Callable[..., Room],
) -> None:
    files = {f"{number:02}.xml": random.Random(number).randbytes(20_000 + number) for number in range(30)}
    with AssetServer({**files, "large.tif": TIFF + bytes(3_000_000)}) as server:
        for served in server.files.values():
            served.free.clear()
        server.changes = {"assets": sized(server)}
        engine, product = start(shelf(server), fetch="whole")
        brought: list[Path] = []
        asking = aside(lambda: brought.extend(engine.bring(product, NOBODY, contextlib.nullcontext(), pin=False)))
        until(lambda: server.at_once == 4)
        for served in server.files.values():
            served.free.set()
        asking.result(60)
        small = [ask for ask in server.asked if ask.path.endswith(".xml")]
        assert sorted(ask.path.lstrip("/") for ask in small) == sorted(files)
        assert {ask.range for ask in small} == {f"bytes=0-{(1 << 20) - 1}"}
        assert sorted(path.stat().st_size for path in brought) == sorted([*map(len, files.values()), 3_000_004])
        assert not engine._client(product.provider).slots.pressed  # nothing was taken for a reader's wish


@pytest.mark.says("A product that is larger than the cache is brought only where it is read.")
def test_a_product_larger_than_the_cache_is_brought_where_it_is_read_only(
    shelf: Callable[..., Room], bands: AssetServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    engine, product = start(shelf(bands), fetch="whole", limit=3_000_000)
    assert content(engine, product, "B02.tif") == BANDS["B02.tif"]
    until(lambda: any("only what is read" in record.getMessage() for record in caplog.records))
    assert bands.sent() == bands.sent("B02.tif")


def test_what_has_come_is_served_without_network_after_a_restart(
    shelf: Callable[..., Room], bands: AssetServer
) -> None:
    room = shelf(bands)
    engine, product = start(room, fetch="whole")
    content(engine, product, "B01.tif")
    until(lambda: room.status(engine, product).local is Local.COMPLETE)
    room.close()
    bands.files.clear()
    asked = len(bands.asked)
    engine, product = start(room)
    assert {name: content(engine, product, name) for name in names(engine, product)} == BANDS
    assert engine.listing(product, CRAWLER).members
    assert len(bands.asked) == asked


@pytest.mark.says("Each loose file is a file of the cache: by itself it is resumed, verified and evicted.")
def test_a_download_goes_on_after_a_restart(shelf: Callable[..., Room], bands: AssetServer) -> None:
    room = shelf(bands)
    engine, product = start(room)
    reader = engine.open(product, member(engine, product, "B01.tif"), NOBODY)
    reader.read(400_000, 10_000, NOBODY)
    until(lambda: room.status(engine, product).activity is Activity.IDLE)
    reader.close()
    room.close()
    engine, product = start(room)
    assert content(engine, product, "B01.tif") == BANDS["B01.tif"]
    assert bands.sent() == len(BANDS["B01.tif"])


@pytest.mark.says("verified and evicted.")
def test_a_file_is_evicted_by_itself(shelf: Callable[..., Room], bands: AssetServer) -> None:
    room = shelf(bands)
    engine, product = start(room, limit=3_500_000)
    for name, data in BANDS.items():
        assert content(engine, product, name) == data
        until(lambda: not stories())
    assert room.status(engine, product).downloaded == 3 * len(BANDS["B01.tif"])
    for name in ("B02.tif", "B03.tif", "B04.tif", "B01.tif"):
        assert content(engine, product, name) == BANDS[name]
    assert {name: bands.sent(name) // len(data) for name, data in BANDS.items()} == {
        **dict.fromkeys(BANDS, 1),
        "B01.tif": 2,
    }


def test_a_server_without_ranges_sends_the_file_as_it_is(shelf: Callable[..., Room]) -> None:
    with AssetServer({name: Served(data, ranges=False) for name, data in BANDS.items()}) as server:
        engine, product = start(shelf(server))
        assert content(engine, product, "B03.tif") == BANDS["B03.tif"]
        assert server.sent() == len(BANDS["B03.tif"])


def test_a_file_that_is_an_archive_is_served_as_it_is(shelf: Callable[..., Room], tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/readme").write_text("read me")
    packed = Path(shutil.make_archive(str(tmp_path / "made"), "zip", tmp_path / "x")).read_bytes()
    with AssetServer({"more.zip": packed, "B01.tif": BANDS["B01.tif"]}) as server:
        engine, product = start(shelf(server))
        assert names(engine, product) == ["B01.tif", "more.zip"]
        assert content(engine, product, "more.zip") == packed


def test_files_on_tape_are_ordered_and_waited_for(shelf: Callable[..., Room]) -> None:
    with AssetServer({"B01.tif": Served(BANDS["B01.tif"], 202)}) as server:
        server.changes = {"properties": {"order:status": "orderable"}}
        room = shelf(server)
        engine, product = start(room)
        assert room.status(engine, product).storageStatus is StorageStatus.OFFLINE
        listing = aside(engine.listing, product, NOBODY)
        until(lambda: room.status(engine, product).activity is Activity.WAITING)
        assert room.status(engine, product).storageStatus is StorageStatus.STAGING
        assert (room.status(engine, product).order or "").startswith("placed ")
        server.files["B01.tif"].status = 200
        assert [found.size for found in listing.result(60).members] == [len(BANDS["B01.tif"])]
        assert content(engine, product, "B01.tif") == BANDS["B01.tif"]
        assert room.status(engine, product).storageStatus is StorageStatus.ONLINE


def test_files_on_tape_are_not_ordered_where_that_is_switched_off(shelf: Callable[..., Room]) -> None:
    with AssetServer({"B01.tif": Served(BANDS["B01.tif"], 202)}) as server:
        server.changes = {"properties": {"order:status": "orderable"}}
        engine, product = start(shelf(server), order="never")
        with pytest.raises(NotAllowed):
            engine.listing(product, NOBODY)
        assert server.requests(method="GET") == []


# -- what goes wrong


def test_the_failure_of_a_file_shows_in_the_status_and_harms_no_other(shelf: Callable[..., Room]) -> None:
    with AssetServer(BANDS) as server:
        room = shelf(server)
        engine, product = start(room)
        found = member(engine, product, "B02.tif")
        server.files["B02.tif"].status = 404
        with pytest.raises(Gone):
            engine.open(product, found, NOBODY)
        assert content(engine, product, "B01.tif") == BANDS["B01.tif"]
        until(lambda: room.status(engine, product).activity is Activity.FAILED)
        assert "no longer has" in (room.status(engine, product).error or "")


@pytest.mark.says("It is EIO at once for who has read some of them already")
def test_wrong_bytes_are_not_taken_for_whole(shelf: Callable[..., Room]) -> None:
    with AssetServer({"B01.tif": BANDS["B01.tif"]}) as server:
        server.changes = {"assets": assets(server, file__checksum=lambda *_: "1220" + "0" * 64)}
        room = shelf(server)
        engine, product = start(room, fetch="whole")
        reader = engine.open(product, member(engine, product, "B01.tif"), NOBODY)
        reader.read(0, 10, NOBODY)
        until(lambda: room.status(engine, product).error)
        with pytest.raises(Corrupt):
            reader.read(500_000, 10, NOBODY)
        reader.close()
        assert room.status(engine, product).local is not Local.COMPLETE


@pytest.mark.says("opened again, it has the right one.")
@pytest.mark.says("One that has another size than was said is EIO once")
def test_a_size_that_the_result_has_wrong_is_mended(shelf: Callable[..., Room]) -> None:
    with AssetServer({"B01.tif": BANDS["B01.tif"]}) as server:
        server.changes = {"assets": assets(server, file__size=lambda *_: 77)}
        room = shelf(server)
        engine, product = start(room)
        with pytest.raises(Changed, match="and not 77"):
            engine.open(product, member(engine, product, "B01.tif"), NOBODY)
        assert member(engine, product, "B01.tif").size == len(BANDS["B01.tif"])
        assert content(engine, product, "B01.tif") == BANDS["B01.tif"]
        room.close()
        assert content(*start(room), "B01.tif") == BANDS["B01.tif"]


# -- where else


@pytest.mark.says("Where one is refused, gone, out of reach or silent, the next one is asked")
@pytest.mark.parametrize("first", [f"{NOWHERE}/B01.tif", "s3://bucket/B01.tif", "gone", "refused", "silent"])
@pytest.mark.parametrize("knows", [True, False], ids=["sizes in the result", "sizes asked for"])
def test_an_alternate_is_taken_where_the_first_link_is_of_no_use(
    shelf: Callable[..., Room], first: str, knows: bool
) -> None:
    odd = {"refused.tif": Served(b"", 403), "silent.tif": Served(b"")}
    with AssetServer({"B01.tif": BANDS["B01.tif"], **odd}) as server:
        server.files["silent.tif"].free.clear()
        asset = {
            "href": first if "/" in first else f"{server.url}/{first}.tif",
            "alternate": {"mirror": {"href": f"{server.url}/B01.tif"}},
            **({"file:size": len(BANDS["B01.tif"])} if knows else {}),
        }
        server.changes = {"assets": {"red": asset}}
        room = shelf(server)
        engine, product = start(room, stall_timeout=0.5 if first == "silent" else 30.0)
        name = "B01.tif" if "/" in first else f"{first}.tif"
        assert content(engine, product, name) == BANDS["B01.tif"]
        before = len(server.asked)
        until(lambda: room.status(engine, product).local is Local.COMPLETE)
        assert len(server.asked) == before


@pytest.mark.says("the next one is asked, and first from then on.")
def test_the_address_that_was_of_use_is_asked_first_from_then_on(shelf: Callable[..., Room]) -> None:
    with AssetServer({"B01.tif": Served(BANDS["B01.tif"]), "old.tif": Served(b"", 404)}) as server:
        mirror = {"mirror": {"href": f"{server.url}/B01.tif"}}
        server.changes = {
            "assets": {"red": {"href": f"{server.url}/old.tif", "alternate": mirror, "file:size": 1000004}}
        }
        room = shelf(server)
        for offset in (0, 900_000):
            engine, product = start(room)
            engine.open(product, member(engine, product, "old.tif"), NOBODY).read(offset, 10, NOBODY)
            room.close()
        assert len(server.requests("old.tif")) == 1


def test_a_file_that_cannot_be_asked_for_is_listed_where_its_size_is_known_and_refused(
    shelf: Callable[..., Room],
) -> None:
    with AssetServer({"B01.tif": BANDS["B01.tif"]}) as server:
        server.changes = {
            "assets": {
                **server.item()["assets"],
                "jp2": {"href": "ftp://h/B01.jp2", "file:size": 5},
                "more": {"href": "ftp://h/B02.jp2"},
            }
        }
        engine, product = start(shelf(server))
        assert names(engine, product) == ["B01.jp2", "B01.tif"]
        with pytest.raises(NotSupported, match="ftp"):
            engine.open(product, member(engine, product, "B01.jp2"), NOBODY)


def test_credentials_go_to_the_hosts_of_the_provider_alone(shelf: Callable[..., Room], bands: AssetServer) -> None:
    with AssetServer({"B09.tif": BANDS["B01.tif"]}) as elsewhere:
        away = {"href": f"{elsewhere.url}/B09.tif"}
        bands.changes = {"assets": {**bands.item()["assets"], "B09": away}}
        port = bands.url.rpartition(":")[2]
        mine = replace(
            OPEN, hosts=(f"127.0.0.1:{port}",), auth="basic", credentials={"username": "alice", "password": "secret"}
        )
        engine, product = start(shelf(bands), speaks=mine)
        content(engine, product, "B09.tif")
        content(engine, product, "B01.tif")
    assert {asked.authorization for asked in elsewhere.asked} == {None}
    assert all(asked.authorization for asked in bands.asked)


def test_a_signed_link_stands_in_no_file_of_the_cache(
    shelf: Callable[..., Room], bands: AssetServer, tmp_path: Path
) -> None:
    bands.changes = {"assets": {"red": {"href": f"{bands.url}/B01.tif?sig=S3CR3T"}}}
    room = shelf(bands)
    engine, product = start(room)
    assert content(engine, product, "B01.tif") == BANDS["B01.tif"]
    assert "S3CR3T" not in room.status(engine, product).text()
    room.close()
    written = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert written
    assert [path for path in written if b"S3CR3T" in path.read_bytes()] == []


# -- files that a provider lists


ONLINE, TAPE = ten_products()[2], ten_products()[5]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[NodesServer]:
    with NodesServer(tmp_path / "store", products=[ONLINE, TAPE], megabytes=1) as running:
        yield running


def pick(room: Room, feature: Any) -> Product:
    return room.products[feature["properties"]["uid"]]


@pytest.mark.says(
    "`download: {files: …}` names how a provider that makes its archives on the fly lists a "
    "product's files and serves each by itself"
)
@pytest.mark.says("a product that is ONLINE is shown and read so")
def test_the_files_of_an_archive_are_read_without_it_where_the_provider_lists_them(
    shelf: Callable[..., Room], nodes: NodesServer
) -> None:
    room = shelf(nodes)
    engine, product = room.start(speaks=NODES, fetch="lazy"), pick(room, ONLINE)
    sizes = nodes.sizes(product.uid)
    assert {found.path: found.size for found in engine.listing(product, NOBODY).members} == sizes
    path = next(path for path in sizes if path.endswith("_B04.jp2"))
    assert content(engine, product, path) == nodes.content(product.uid, path)
    assert room.status(engine, product).downloaded == sizes[path]
    assert nodes.asked("zip") == []


def test_entries_whose_sizes_nobody_says_are_asked_for_theirs(shelf: Callable[..., Room], tmp_path: Path) -> None:
    with NodesServer(tmp_path / "store", products=[ONLINE], megabytes=1, entries=True) as server:
        room = shelf(server)
        engine, product = room.start(speaks=ENTRIES, fetch="lazy"), pick(room, ONLINE)
        sizes = server.sizes(product.uid)
        assert {found.path: found.size for found in engine.listing(product, NOBODY).members} == sizes
        room.close()
        server.listed = False
        engine = room.start(speaks=ENTRIES, fetch="lazy")
        assert len(engine.listing(product, NOBODY).members) == len(sizes)
        assert server.asked("zip") == []


@pytest.mark.says("Which of the two stays as it is while mounted.")
def test_where_the_list_fails_the_archive_is_read_and_the_choice_stays(
    shelf: Callable[..., Room], nodes: NodesServer, caplog: pytest.LogCaptureFixture
) -> None:
    nodes.listed = False
    room = shelf(nodes)
    engine, product = room.start(speaks=NODES), pick(room, ONLINE)
    assert {found.path for found in engine.listing(product, NOBODY).members} == set(nodes.sizes(product.uid))
    assert any("its archive is read instead" in record.getMessage() for record in caplog.records)
    nodes.listed = True
    path = next(found.path for found in engine.listing(product, NOBODY).members if found.path.endswith("_B04.jp2"))
    assert content(engine, product, path) == nodes.content(product.uid, path)
    assert len(nodes.asked("zip")) == 1
    assert nodes.asked("file") == []


def test_a_product_on_tape_is_ordered_as_an_archive(shelf: Callable[..., Room], nodes: NodesServer) -> None:
    nodes.staging_seconds = 0.01
    room = shelf(nodes)
    engine, product = room.start(speaks=NODES), pick(room, TAPE)
    assert {found.path for found in engine.listing(product, NOBODY).members} == set(nodes.sizes(product.uid))
    assert nodes.asked("list") == []


@pytest.mark.parametrize(
    "options", [{"extract": False}, {"speaks": replace(NODES, files=None)}], ids=["one file", "off"]
)
def test_the_archive_is_read_where_that_is_wanted(
    shelf: Callable[..., Room], nodes: NodesServer, options: dict[str, Any]
) -> None:
    room = shelf(nodes)
    engine, product = room.start(**{"speaks": NODES, **options}), pick(room, ONLINE)
    engine.listing(product, NOBODY)
    assert nodes.asked("list") == []
    assert len(nodes.asked("zip")) == 1


# -- the mount


@pytest.mark.says("A host that nobody knows is asked without logging in.")
@pytest.mark.mount
def test_a_mounted_product_of_files_is_copied_byte_for_byte(tmp_path: Path, bands: AssetServer) -> None:
    bands.changes = {"properties": {"datetime": "2021-03-01T10:00:00Z"}}
    result = tmp_path / "result.json"
    result.write_text(json.dumps(bands.result()))
    with Mount(tmp_path, result) as mount:
        product = mount.root / "scene"
        root = product / "data" / "scene"
        assert bands.asked == []
        assert ls(root) == sorted(BANDS)
        assert bands.requests(method="GET") == []
        assert {path.stat().st_size for path in root.iterdir()} == {len(BANDS["B01.tif"])}
        assert {asked.authorization for asked in bands.asked} == {None}
        assert root.joinpath("B01.tif").stat().st_mtime == 1614592800
        shutil.copytree(root, tmp_path / "copy")
        assert filecmp.cmpfiles(root, tmp_path / "copy", list(BANDS), shallow=False)[0] == list(BANDS)
        until(lambda: os.getxattr(product, "user.eofs.local") == b"complete")
        assert os.getxattr(product, "user.eofs.size") == str(sum(map(len, BANDS.values()))).encode()
        assert bands.sent() == sum(map(len, BANDS.values()))


@pytest.mark.mount
def test_a_mounted_product_whose_files_are_refused_says_why(tmp_path: Path) -> None:
    with AssetServer({"B01.tif": Served(b"", 403)}) as server:
        result = tmp_path / "result.json"
        result.write_text(json.dumps(server.result()))
        with Mount(tmp_path, result) as mount:
            root = mount.root / "scene" / "data" / "scene"
            assert error_of(ls, root) == "EACCES"
            assert "activity: failed" in (mount.root / "scene" / "status").read_text()
