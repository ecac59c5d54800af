"""Products in a store of the kind of Amazon S3, objects and folders, with a real server of its protocol: moto."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from engine_room import Room, content, md5sums
from moto.server import ThreadedMotoServer
from s3_server import KEY, KEYS, SECRET

from eofs import providers
from eofs.errors import Gone
from eofs.nodes import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eofs.model import Product

BAND = b"II*\0" + random.Random(1).randbytes(1_500_000)


class Real:
    """moto's server, and what is in it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.store = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET
        )
        self.links: list[str] = []
        self.assets: dict[str, str] = {}

    def put(self, bucket: str, objects: dict[str, bytes]) -> None:
        self.store.create_bucket(Bucket=bucket)
        for key, value in objects.items():
            self.store.put_object(Bucket=bucket, Key=key, Body=value)

    def result(self) -> dict[str, Any]:
        """Return a result with a product for each link; of STAC, where there are assets."""
        if self.assets:
            assets = {name: {"href": link} for name, link in self.assets.items()}
            item = {"type": "Feature", "stac_version": "1.0.0", "id": "scene", "properties": {}, "assets": assets}
            return {"type": "FeatureCollection", "features": [item]}
        features = [
            {"type": "Feature", "id": str(number), "properties": {"eodag_provider": "mine", "downloadLink": link}}
            for number, link in enumerate(self.links)
        ]
        return {"type": "FeatureCollection", "features": features}


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def real(moto: str) -> Iterator[Real]:
    found = Real(moto)
    yield found
    for bucket in found.store.list_buckets()["Buckets"]:
        pages = found.store.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"])
        for key in (each["Key"] for page in pages for each in page.get("Contents", ())):
            found.store.delete_object(Bucket=bucket["Name"], Key=key)
        found.store.delete_bucket(Bucket=bucket["Name"])


@pytest.fixture
def shelf(tmp_path: Path, real: Real) -> Iterator[Callable[..., tuple[Any, Product]]]:
    """Returns an engine, and the product that a link means."""
    rooms: list[Room] = []

    def opened(link: str = "", *, files: str = "none", **options: Any) -> tuple[Any, Product]:
        real.links = [link] if link else []
        rooms.append(room := Room(real, tmp_path / "cache"))  # type: ignore[arg-type]  # it has a result
        settings = {"auth": {"type": "s3", "s3_endpoint": real.url, "credentials": KEYS}, "download": {"files": files}}
        engine = room.start(speaks=providers.build("mine", settings, source=None), **options)
        return engine, next(iter(room.products.values()))

    yield opened
    for room in rooms:
        room.close()


def test_an_object_is_read_by_ranges(real: Real, shelf: Callable[..., Any]) -> None:
    real.put("data", {"x/band.tif": BAND * 8})
    engine, product = shelf("s3://data/x/band.tif", fetch="lazy")
    (found,) = engine.listing(product, NOBODY).members
    assert (found.path, found.size) == ("band.tif", len(BAND) * 8)
    reader = engine.open(product, found, NOBODY)
    assert reader.read(9_000_000, 100_000, NOBODY) == (BAND * 8)[9_000_000:9_100_000]
    reader.close()
    assert engine.status(product, "/x").downloaded < len(BAND) * 4


@pytest.mark.says("A folder of an object store (S3) shows the objects below it, under their names")
def test_a_folder_is_listed_and_read_object_by_object(real: Real, shelf: Callable[..., Any]) -> None:
    objects = {"t/S2.SAFE/manifest.safe": b"<xml/>", "t/S2.SAFE/GRANULE/B02.jp2": BAND, "t/S2.SAFE/AUX/": b""}
    real.put("data", {**objects, "t/S2.SAFE2/other": b"x", "t/S2.SAFE": b"of the folder's own name"})
    engine, product = shelf("s3://data/t/S2.SAFE", files="s3-objects")
    found = {each.path: each.size for each in engine.listing(product, NOBODY).members}
    assert found == {"manifest.safe": 6, "GRANULE/B02.jp2": len(BAND)}
    assert content(engine, product, "B02.jp2") == BAND
    assert engine.status(product, "/x").remote_location == "s3://data/t/S2.SAFE"


def test_a_link_that_ends_with_a_slash_is_the_same_folder(real: Real, shelf: Callable[..., Any]) -> None:
    real.put("data", {"c1/L8/LC08/LC08_B1.TIF": BAND})
    engine, product = shelf("s3://data/c1/L8/LC08/", files="s3-objects")
    assert [each.path for each in engine.listing(product, NOBODY).members] == ["LC08_B1.TIF"]


def test_a_folder_of_many_pages_is_listed_to_its_end(real: Real, shelf: Callable[..., Any]) -> None:
    real.put("data", {f"f/{number:04}.txt": b"%d" % number for number in range(1001)})
    engine, product = shelf("s3://data/f", files="s3-objects", fetch="lazy")
    members = engine.listing(product, NOBODY).members
    assert [each.path for each in members] == [f"{number:04}.txt" for number in range(1001)]
    assert content(engine, product, "1000.txt") == b"1000"


def test_odd_keys_are_listed_and_read(real: Real, shelf: Callable[..., Any]) -> None:
    keys = ["a b+c&d=e/g#h.tif", "100%41/é ü😀.txt", "o'brien (1)*!~.xml", '<&>".txt']
    real.put("data", {f"od d+/{key}": key.encode() for key in keys})
    engine, product = shelf("s3://data/od d+", files="s3-objects")
    sums = md5sums(engine, product)
    assert set(sums) == set(keys)
    assert {key: content(engine, product, key) for key in keys} == {key: key.encode() for key in keys}


def test_a_link_that_is_no_folder_is_the_object_itself(real: Real, shelf: Callable[..., Any]) -> None:
    real.put("data", {"naip/x.tif": BAND})
    engine, product = shelf("s3://data/naip/x.tif", files="s3-objects")
    assert [each.path for each in engine.listing(product, NOBODY).members] == ["x.tif"]
    assert content(engine, product, "x.tif") == BAND


def test_neither_folder_nor_object_is_gone(real: Real, shelf: Callable[..., Any]) -> None:
    real.put("data", {"a": b"1"})
    engine, product = shelf("s3://data/nothing", files="s3-objects")
    with pytest.raises(Gone):
        engine.listing(product, NOBODY)


def test_a_restart_asks_for_no_list_again(real: Real, shelf: Callable[..., Any]) -> None:
    real.put("data", {"t/a.txt": b"a", "t/b.txt": b"b"})
    engine, product = shelf("s3://data/t", files="s3-objects")
    assert content(engine, product, "a.txt") == b"a"
    real.store.delete_object(Bucket="data", Key="t/b.txt")
    again, product = shelf("s3://data/t", files="s3-objects")
    assert [each.path for each in again.listing(product, NOBODY).members] == ["a.txt", "b.txt"]


def test_an_asset_that_is_a_folder_is_listed_beside_the_others(real: Real, shelf: Callable[..., Any]) -> None:
    real.put("data", {"i/red.tif": BAND, "i/cube.zarr/.zattrs": b"{}", "i/cube.zarr/a/0.0": b"chunk"})
    real.assets = {"red": "s3://data/i/red.tif", "cube": "s3://data/i/cube.zarr/", "gone": "s3://data/i/nothing/"}
    engine, product = shelf()
    found = {each.path: each.size for each in engine.listing(product, NOBODY).members}
    assert found == {"red.tif": len(BAND), "cube.zarr/.zattrs": 2, "cube.zarr/a/0.0": 5}
    assert content(engine, product, "a/0.0") == b"chunk"
    again, product = shelf()
    assert {each.path: each.size for each in again.listing(product, NOBODY).members} == found


def test_an_item_that_is_one_folder_which_is_not_there_is_gone(real: Real, shelf: Callable[..., Any]) -> None:
    real.put("data", {"i/red.tif": BAND})
    real.assets = {"cube": "s3://data/i/cube.zarr/"}
    engine, product = shelf()
    with pytest.raises(Gone, match=r"nothing below s3://data/i/cube\.zarr/"):
        engine.listing(product, NOBODY)


def test_even_unextracted_a_folder_is_a_folder(real: Real, shelf: Callable[..., Any]) -> None:
    real.put("data", {"t/a.txt": b"a"})
    engine, product = shelf("s3://data/t", files="s3-objects", extract=False)
    assert [each.path for each in engine.listing(product, NOBODY).members] == ["a.txt"]
