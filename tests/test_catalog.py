"""Search results of every dialect, sound and odd, as products."""

from __future__ import annotations

import contextlib
import gc
import gzip
import io
import json
import logging
import os
import sys
import tracemalloc
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eofs import catalog
from eofs.catalog import values
from eofs.errors import ResultError
from eofs.model import Asset, Checksum, Product
from eofs.status import StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "data" / "results"
DIALECTS = sorted(RESULTS.glob("*.geojson"))
SQUARE = {"type": "Polygon", "coordinates": [[[1, 43], [2, 43], [2, 44], [1, 44], [1, 43]]]}
MD5 = "0cc175b9c0f1b6a831c399e269772661"


def products(dialect: str) -> dict[str, Product]:
    return {product.id: product for product in catalog.load(RESULTS / f"{dialect}.geojson").products}


def feature(**properties: object) -> dict[str, Any]:
    return {"type": "Feature", "id": "A", "geometry": SQUARE, "properties": {"eodag_provider": "p", **properties}}


def collection(*features: object) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def read_one(*features: object) -> Product:
    (product,) = catalog.read(collection(*features)).products
    return product


# --- the dialects


@pytest.mark.parametrize("path", DIALECTS, ids=lambda path: path.stem)
def test_every_feature_of_every_dialect_becomes_a_product_in_the_order_of_the_file(path: Path) -> None:
    result = catalog.load(path)
    expected = [feature["id"] for feature in json.loads(path.read_bytes())["features"]]
    assert [product.id for product in result.products] == expected
    assert result.left_out == ()
    assert result.source == str(path)


@pytest.mark.parametrize("path", DIALECTS, ids=lambda path: path.stem)
def test_a_product_keeps_its_feature_byte_for_byte(path: Path) -> None:
    text = path.read_bytes()
    for product in catalog.read(text).products:
        feature = bytes(product.feature)
        assert feature in text
        assert len(product.feature) == len(feature)
        assert json.loads(feature)["id"] == product.id


def test_a_product_of_eodag_2_has_all_that_its_feature_says() -> None:
    title = "S2A_MSIL1C_20210101T105441_N0209_R051_T31TCJ_20210102T121145"
    product = products("eodag-2")[title]
    assert product == Product(
        id=title,
        uid="00000002-aaaa",
        title=title,
        provider="peps",
        status=StorageStatus.OFFLINE,
        location="https://peps.example/resto/collections/S2ST/00000002-aaaa/download",
        quicklook=f"https://peps.example/quicklook/{title}.jpg",
        size=600000002,
        checksum=Checksum("md5", "968d851d76a1ac54da8093b6f313d0eb"),
        collection="S2_MSI_L1C",
        start=datetime(2021, 1, 1, 10, 54, 41, 24000, tzinfo=timezone.utc),
        cloud_cover=12.5,
        feature=product.feature,
    )


@pytest.mark.parametrize(
    ("dialect", "id_", "expected"),
    [
        ("eodag-2", "S2A_ONDA", {"title": "S2A_ONDA.SAFE", "size": 826330728, "cloud_cover": 45.86}),
        ("eodag-2", "S2A_MUNDI", {"size": 169156288, "cloud_cover": 1.3154, "quicklook": None}),
        ("eodag-2", "S2B_SOBLOO", {"size": None, "checksum": None}),
        ("eodag-2", "SENTINEL2A_THEIA", {"status": StorageStatus.ONLINE, "collection": "S2_MSI_L2A_MAJA"}),
        ("eodag-2", "minimal", {"provider": "peps", "uid": "minimal", "title": "S1A_MINIMAL", "start": None}),
        ("eodag-3", "S2A_CREO", {"size": 819294132, "quicklook": "https://creodias.example/t.jpg"}),
        ("eodag-3", "S2A_CREO", {"location": "%(base_uri)s/download/creo-1", "assets": ()}),
        ("eodag-3", "S2A_EOS", {"location": "s3://sentinel-s2-l1c/tiles/30/T/YP/2020/1/14/0"}),
        ("eodag-4.0", "S2A_V40", {"provider": "peps", "uid": "v40-1", "status": StorageStatus.OFFLINE}),
        ("eodag-4.0", "S2A_V40", {"size": 414702484, "collection": "S2_MSI_L1C", "cloud_cover": 0.0}),
        ("eodag-4.1", "S2A_V41", {"provider": "cop_dataspace", "collection": "S2_MSI_L1C"}),
        ("eodag-4.1", "S2A_V41", {"size": 730000001, "checksum": Checksum("md5", MD5)}),
        ("eodag-4.1", "S2A_ES", {"uid": "S2_MSI_L2A_COG/S2A_ES", "provider": "earth_search"}),
        ("eodag-4.1", "S2A_GEODES", {"checksum": Checksum("md5", MD5), "size": 77, "assets": ()}),
        ("stac", "S2B_31TCJ_0_L2A", {"title": "S2B_MSIL2A_20240206T131259.SAFE", "provider": "cogs.example"}),
        ("stac", "S2B_31TCJ_0_L1C", {"title": "S2B_31TCJ_0_L1C", "provider": "earth-search.example"}),
        ("stac", "S2B_31TCJ_0_L1C", {"quicklook": "s3://sentinel-s2-l1c/tiles/preview.jpg"}),
        ("stac", "BUCKET", {"provider": "copernicus-dem-30m", "status": StorageStatus.OFFLINE}),
        ("stac", "CDSE", {"provider": "download.example", "size": 730000002, "assets": ()}),
        ("stac", "CDSE", {"location": "https://download.example/odata/v1/Products(c1)/$value"}),
        ("stac", "CDSE", {"quicklook": "https://datahub.example/Assets(q)/$value"}),
        ("eodag-server", "served-archive", {"provider": "cop_dataspace", "assets": ()}),
        ("eodag-server", "served-archive", {"location": "https://catalogue.example/odata/v1/Products(s1)/$value"}),
        ("eodag-server", "served-assets", {"provider": "earth_search", "location": None}),
    ],
)  # fmt: skip
def test_what_a_provider_says_in_its_own_way_is_understood(dialect: str, id_: str, expected: dict[str, object]) -> None:
    product = products(dialect)[id_]
    assert {name: getattr(product, name) for name in expected} == expected


def test_a_stac_item_is_made_of_all_its_assets_that_have_a_link() -> None:
    red, visual, thumbnail = products("stac")["S2B_31TCJ_0_L2A"].assets
    assert red == Asset(
        key="red",
        href="https://cogs.example/B04.tif",
        size=1000,
        checksum=Checksum("sha256", "ab" * 32),
        roles=("data", "reflectance"),
        media_type="image/tiff; application=geotiff",
    )
    assert (visual.key, thumbnail.key) == ("visual", "thumbnail")


def test_the_quicklook_of_a_stac_item_is_a_picture_and_no_geotiff() -> None:
    assert products("stac")["S2B_31TCJ_0_L2A"].quicklook == "https://cogs.example/preview.jpg"


def test_an_item_page_as_download_link_leaves_the_product_to_its_assets() -> None:
    product = products("eodag-4.1")["S2A_ES"]
    assert [asset.key for asset in product.assets] == ["blue", "thumbnail"]


def test_assets_of_eodag_server_lie_at_their_provider() -> None:
    assert [asset.href for asset in products("eodag-server")["served-assets"].assets] == [
        "https://cogs.example/B02.tif"
    ]


# --- the envelope

TWO = [feature(title="first", uid=1), feature(title="second", uid=2)]
LINES = "\n".join(map(json.dumps, TWO)).encode()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(collection(*TWO), id="collection"),
        pytest.param(b"\xef\xbb\xbf" + collection(*TWO), id="byte order mark"),
        pytest.param(gzip.compress(collection(*TWO)), id="gzip"),
        pytest.param(gzip.compress(b"\xef\xbb\xbf" + LINES), id="gzip, byte order mark, lines"),
        pytest.param(LINES, id="one a line"),
        pytest.param(LINES.replace(b"\n", b"\r\n\r\n") + b"\r\n", id="lines of Windows, with blank ones"),
        pytest.param(b"".join(b"\x1e%s\n" % line for line in LINES.splitlines()), id="RFC 8142"),
        pytest.param(b"\n\x1e".join([b"", *(json.dumps(f, indent=1).encode() for f in TWO)]), id="indented"),
        pytest.param(b"\n".join(collection(f) for f in TWO), id="two pages, one a line"),
        pytest.param(json.dumps({"features": TWO}, indent=2).encode(), id="no type, indented"),
    ],
)
def test_features_are_found_in_every_envelope(text: bytes) -> None:
    assert [product.title for product in catalog.read(text).products] == ["first", "second"]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_single_feature_is_a_result(indent: int | None) -> None:
    (product,) = catalog.read(json.dumps(feature(title="only"), indent=indent).encode()).products
    assert product.title == "only"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"<html>log in</html>", "is not JSON"),
        (collection(*TWO)[:-40], "is cut short"),
        (collection(feature(cloudCover=float("nan")))[:-1], "is not JSON"),
        (gzip.compress(collection(*TWO), mtime=0)[:-20], r"is cut short \(gzip\)"),
        (gzip.compress(LINES, mtime=0)[:-8] + bytes(8), "is broken gzip"),
        (gzip.compress(LINES, mtime=0)[:10] + b"\xff" * 9, "is broken gzip"),
        (b"[1, 2]", "is not GeoJSON"),
        (b'{"type": "Topology"}', "is not GeoJSON"),
        (b'{"features": 5}', "is not GeoJSON"),
        (b'{"features": %s%s}' % (b"[" * 100_000, b"]" * 100_000), "nested too deeply"),
        (b'{"type": "FeatureCollection", "features": []}', "holds no products"),
        (b'{"type": "FeatureCollection", "features": null}', "holds no products"),
        (collection(5, {}), "no feature of S could be understood: feature 1 is not a feature"),
    ],
)
def test_what_is_no_result_is_refused_in_one_sentence(text: bytes, sentence: str) -> None:
    with pytest.raises(ResultError, match=sentence) as caught:
        catalog.read(text, "S")
    assert "\n" not in str(caught.value)


def test_standard_input_is_named_by_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(LINES))))
    result = catalog.load("-")
    assert (result.source, len(result.products)) == ("-", 2)


def test_a_missing_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ResultError, match="standard input is closed"):
        catalog.load("-")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("absent", "does not exist"), ("", "is a directory"), ("a\0b", "cannot be read"), ("f/x", "cannot be read")],
)
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(ResultError, match=sentence):
        catalog.load(tmp_path / name)


# --- odd features


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (5, "feature 2 is not a feature"),
        (None, "feature 2 is not a feature"),
        ([], "feature 2 is not a feature"),
        ({"id": "x", "properties": []}, "feature 2 is not a feature"),
        ({"id": "x", "properties": "Not Available"}, "feature 2 is not a feature"),
        ({"properties": {"title": "Not Available"}}, "feature 2 has neither an id nor a title"),
        ({"id": True}, "feature 2 has neither an id nor a title"),
    ],
)
def test_what_cannot_be_understood_is_left_out_and_stops_nothing(
    odd: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    result = catalog.read(collection(TWO[0], odd, TWO[1]), "S")
    assert [product.title for product in result.products] == ["first", "second"]
    (sentence,) = result.left_out
    assert sentence.startswith(reason)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert reason in record.getMessage()


DEEP = b'{"id": "A", "x": %s%s}' % (b"[" * 100_000, b"]" * 100_000)


@pytest.mark.parametrize("line", [b"rubbish", b'{"id": "cut', b"5", b'{"id": "\\u12"}', pytest.param(DEEP, id="deep")])
def test_a_broken_line_of_a_sequence_is_left_out(line: bytes) -> None:
    result = catalog.read(LINES + b"\n" + line)
    assert len(result.products) == 2
    assert result.left_out[0].startswith("feature 3 ")


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(b'"cloudCover": NaN, "size": Infinity', id="no numbers"),
        pytest.param(b'"cloudCover": -Infinity', id="minus infinity"),
        pytest.param(b'"cloudCover": 1e400', id="beyond a float"),
        pytest.param(b'"note": "\\ud800"', id="half a surrogate"),
        pytest.param(b'"storageStatus": "\xff\xfe"', id="no UTF-8"),
        pytest.param(b'"note": "a\tb"', id="control character"),
        pytest.param(b'"services": {"download": {"size": 5, "note": "\xff"}}', id="no UTF-8 further in"),
        pytest.param(b'"quicklook": "https://h.example/{x}", "x": "\xff"', id="no UTF-8 in a placeholder"),
    ],
)
@pytest.mark.parametrize("single", [False, True], ids=["in a collection", "on its own"])
def test_json_that_only_some_programs_write_is_read_and_kept(odd: bytes, single: bool) -> None:
    text = b'{"type": "Feature", "id": "A", "properties": {"title": "T", %s}, "geometry": %s}'
    text %= odd, json.dumps(SQUARE).encode()
    envelope = b"%s" if single else b'{"crs": null, "features": [ %s , {"id": "B"} ] , "links": []}\n'
    product = catalog.read(envelope % text).products[0]
    assert (product.title, product.cloud_cover, product.size, bytes(product.feature)) == ("T", None, None, text)
    assert catalog.area(product) > 0


@pytest.mark.parametrize("value", [None, "", " ", "Not Available", "NOT AVAILABLE", [], {}, True, float("nan")])
def test_a_property_that_says_nothing_is_missing(value: object) -> None:
    product = read_one(
        feature(
            title=value,
            uid=value,
            downloadLink=value,
            quicklook=value,
            resourceSize=value,
            resourceChecksum=value,
            eodag_product_type=value,
            startTimeFromAscendingNode=value,
            cloudCover=value,
            storageStatus=value,
            services=value,
        )
    )
    assert (product.title, product.uid, product.status) == ("A", "A", StorageStatus.ONLINE)
    rest = ["location", "quicklook", "size", "checksum", "collection", "start", "cloud_cover"]
    assert [getattr(product, name) for name in rest] == [None] * len(rest)


def test_an_id_may_be_a_number_or_left_to_the_title() -> None:
    assert read_one({"id": 12, "properties": None}).id == "12"
    product = read_one({"properties": {"title": "T"}})
    assert (product.id, product.uid, product.title, product.provider) == ("T", "T", "T", "unknown")


@pytest.mark.parametrize("assets", [None, 5, [], {"a": None, "b": 5, "c": {"href": 3.5}, "d": {"title": "no link"}}])
def test_odd_assets_are_skipped(assets: object) -> None:
    sound = {"href": "https://h.example/x.tif", "roles": "data", "type": 5, "file:size": "x", "alternate": []}
    assert read_one({**feature(), "assets": assets}).assets in [(), (Asset("c", "3.5"),)]
    if isinstance(assets, dict):
        product = read_one({**feature(), "assets": {**assets, "e": sound}})
        assert product.assets[-1] == Asset("e", "https://h.example/x.tif", media_type="5")


@pytest.mark.parametrize("links", [None, 5, [5], [{"rel": "self", "href": 7}], [{"rel": "self", "href": "http://[x"}]])
def test_odd_links_leave_the_provider_unknown(links: object) -> None:
    item = {"id": "A", "assets": {"a": {"href": "https://[x"}}, "links": links}
    assert read_one(item).provider == "unknown"


@pytest.mark.says("A product that a result holds twice is shown once.")
def test_the_same_product_counts_once_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="eofs.catalog")
    first = {**feature(title="first", downloadLink="https://h.example/1"), "bbox": []}
    again = feature(title="again", downloadLink="https://h.example/1")
    elsewhere = feature(title="elsewhere", downloadLink="https://h.example/2")
    result = catalog.read(collection(first, again, elsewhere))
    assert [product.title for product in result.products] == ["first", "elsewhere"]
    assert [(record.levelno, "once more" in record.getMessage()) for record in caplog.records] == [(logging.INFO, True)]


def test_items_of_one_id_in_two_collections_are_two_products() -> None:
    items = [{"id": "i", "assets": {"a": {"href": f"https://h.example/{c}/a.tif"}}} for c in "xy"]
    assert len(catalog.read(collection(*items)).products) == 2


# --- very many products


def crowd(number: int) -> list[dict[str, Any]]:
    """So many features of many sizes, up to twice as much as is packed together."""
    return [{**feature(title=f"T{n}", note="é" * (n**3 % 70_001)), "id": f"T{n}"} for n in range(number)]


def test_each_of_many_features_is_kept_as_it_is_in_whatever_order_they_are_asked_for() -> None:
    features = [json.dumps(one, ensure_ascii=False).encode() for one in crowd(120)]
    found = catalog.read(b'{"features": [%s]}' % b", ".join(features)).products
    assert [bytes(product.feature) for product in found] == features
    assert [bytes(product.feature) for product in found[::-7]] == features[::-7]
    assert [len(product.feature) for product in found] == [len(text) for text in features]


def test_features_that_are_left_out_or_counted_once_do_not_shift_the_others() -> None:
    one, other = feature(title="one"), {**feature(title="other"), "id": "B"}
    found = catalog.read(collection(one, 5, one, {"type": "Feature"}, other)).products
    assert [json.loads(bytes(product.feature)) for product in found] == [one, other]


def test_a_product_takes_a_third_of_its_features_memory_at_most() -> None:
    text = collection(*({**feature(title=f"T{n}", note=f"{n}" * 1000), "id": f"T{n}"} for n in range(1_000, 2_000)))
    tracemalloc.start()
    try:
        result = catalog.read(text)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(result.products) == 1_000
    assert taken < len(text) / 3


@pytest.mark.parametrize("text", [collection(feature()), b'{"features": [5]}'], ids=["sound", "no product"])
@pytest.mark.parametrize("enabled", [True, False], ids=["on", "off"])
def test_reading_a_result_leaves_the_garbage_collector_as_it_was(enabled: bool, text: bytes) -> None:
    was = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        with contextlib.suppress(ResultError):
            catalog.read(text)
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if was else gc.disable()


# --- values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        ("8.26330728E8", 826330728),
        (" 12 ", 12),
        (5.0, 5),
        (0, None),
        (-1, None),
        (1.5, None),
        ("1.5", None),
        ("12 MB", None),
        (2**63, None),
        (10**400, None),
        ("1e400", None),
    ],
)
def test_sizes(value: object, expected: int | None) -> None:
    assert values.size(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MD5, Checksum("md5", MD5)),
        (MD5.upper(), Checksum("md5", MD5)),
        (f"md5={MD5}", Checksum("md5", MD5)),
        (f"MD5: {MD5}", Checksum("md5", MD5)),
        (f"d50110{MD5}", Checksum("md5", MD5)),
        ("1114" + "AB" * 20, Checksum("sha1", "ab" * 20)),
        ("1220" + "ab" * 32, Checksum("sha256", "ab" * 32)),
        ("1340" + "ab" * 64, Checksum("sha512", "ab" * 64)),
        ("SHA-256=" + "ab" * 32, Checksum("sha256", "ab" * 32)),
        ("ab" * 32, None),  # which of the many algorithms of this length?
        ("1220" + "ab" * 31, None),
        (f"sha1={MD5}", None),
        ("1e20" + "ab" * 32, None),
        ("none", None),
        (int("1" * 32), None),
    ],
)
def test_checksums(value: object, expected: Checksum | None) -> None:
    assert values.checksum(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2018-02-15T23:53:22.871Z", datetime(2018, 2, 15, 23, 53, 22, 871000, tzinfo=timezone.utc)),
        ("2020-05-25T10:46:19.024000+02:00", datetime(2020, 5, 25, 8, 46, 19, 24000, tzinfo=timezone.utc)),
        ("2020-05-25T10:46:19", datetime(2020, 5, 25, 10, 46, 19, tzinfo=timezone.utc)),
        ("2020-05-25", datetime(2020, 5, 25, tzinfo=timezone.utc)),
        ("0001-01-01T00:00:00+12:00", None),
        ("yesterday", None),
        (1590403579, None),
    ],
)
def test_times_are_in_utc(value: object, expected: datetime | None) -> None:
    assert values.moment(value) == expected


@pytest.mark.parametrize(("value", "expected"), [("1.31", 1.31), (100, 100.0), (-1, None), (101, None), (True, None)])
def test_cloud_covers(value: object, expected: float | None) -> None:
    assert values.percent(value) == expected


PICTURES = ["/9j/4AAQSkZJRg==", "iVBORw0KGgoAAAA=", "data:image/png;base64,iVBORw0KGgo="]


@pytest.mark.parametrize("link", ["https://h.example/q", "http://h.example/q", "s3://b/q.jpg", *PICTURES])
def test_a_quicklook_is_a_link_or_the_picture_itself(link: str) -> None:
    assert read_one(feature(quicklook=link, thumbnail="https://h.example/t.jpg")).quicklook == link


@pytest.mark.parametrize("link", ["file:///etc/passwd", "/9j/?", "quicklook.jpg", "ftp://h.example/q", 5])
def test_any_other_quicklook_gives_way_to_the_thumbnail(link: object) -> None:
    product = read_one(feature(quicklook=link, thumbnail="https://h.example/t.jpg"))
    assert product.quicklook == "https://h.example/t.jpg"


def test_the_placeholders_of_a_quicklook_are_filled_in_where_possible() -> None:
    expected = "http://eos.example/tiles/30/T/YP/preview.jpg?id=S2A_EOS&z={z}"
    assert products("eodag-3")["S2A_EOS"].quicklook == expected


@pytest.mark.parametrize("key", ["Product", "product", "archive", "data", "downloadLink", "eodag:download_link"])
def test_an_asset_that_is_the_archive_is_the_product(key: str) -> None:
    assets = {
        "B02": {"href": "https://h.example/B02.jp2", "roles": ["data"]},
        key: {"href": "https://h.example/1.tar", "type": "application/x-tar", "file:size": 7},
    }
    product = read_one({"id": "A", "properties": {"title": None}, "assets": assets})
    assert (product.location, product.size, product.assets) == ("https://h.example/1.tar", 7, ())


def test_a_data_asset_that_is_no_archive_stays_a_file() -> None:
    product = read_one({"id": "A", "assets": {"data": {"href": "https://h.example/1.tif", "type": "image/tiff"}}})
    assert (product.location, len(product.assets)) == (None, 1)


# --- where it lies


def test_an_area_is_in_square_kilometres() -> None:
    globe = [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]
    earth = read_one({**feature(), "geometry": {"type": "Polygon", "coordinates": globe}})
    assert catalog.area(earth) == pytest.approx(510_065_622, rel=1e-6)
    assert catalog.area(read_one(feature())) == pytest.approx(8971, rel=1e-3)


def test_a_footprint_that_crosses_itself_is_repaired() -> None:
    bow = [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]
    shape = catalog.footprint(read_one({**feature(), "geometry": {"type": "Polygon", "coordinates": bow}}))
    assert shape is not None
    assert shape.is_valid
    assert shape.area == pytest.approx(0.5)


def test_holes_do_not_count_and_parts_add_up() -> None:
    hole = [[1.25, 43.25], [1.75, 43.25], [1.75, 43.75], [1.25, 43.75], [1.25, 43.25]]
    rings = [SQUARE["coordinates"][0], hole]
    whole = catalog.area(read_one(feature()))
    parts = {"type": "MultiPolygon", "coordinates": [rings, [hole]]}
    assert catalog.area(read_one({**feature(), "geometry": parts})) == pytest.approx(whole)


def test_parts_that_overlap_count_once() -> None:
    whole = catalog.area(read_one(feature()))
    twice = {"type": "MultiPolygon", "coordinates": [SQUARE["coordinates"]] * 2}
    assert catalog.area(read_one({**feature(), "geometry": twice})) == pytest.approx(whole)


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        {},
        5,
        "Not Available",
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
        {"type": "Polygon", "coordinates": [[["0", "0"], ["1", "1"], ["1", "0"], ["0", "0"]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [None, 1], [1, 0], [0, 0]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1e308, 1], [1, 0], [0, 0]]]},
        {"type": "MultiPolygon", "coordinates": [[], SQUARE["coordinates"]]},
        {"type": "Circle", "coordinates": [0, 0]},
        {"type": "GeometryCollection", "geometries": []},
        pytest.param([[]] * 3, id="lists"),
    ],
)
def test_a_geometry_that_cannot_be_understood_is_none(geometry: object) -> None:
    product = read_one({**feature(), "geometry": geometry})
    assert catalog.footprint(product) is None
    assert catalog.area(product) == 0.0


def test_heights_do_not_matter() -> None:
    ring = [[lon, lat, 250.0] for lon, lat in SQUARE["coordinates"][0]]
    product = read_one({**feature(), "geometry": {"type": "Polygon", "coordinates": [ring]}})
    assert catalog.area(product) == pytest.approx(catalog.area(read_one(feature())))


def test_a_point_has_a_footprint_without_an_area() -> None:
    product = read_one({**feature(), "geometry": {"type": "Point", "coordinates": [1, 43, 0]}})
    assert catalog.footprint(product) is not None
    assert catalog.area(product) == 0.0


# --- whatever comes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just("https://[x"),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=8,
)
SOUND = [feature for path in DIALECTS for feature in json.loads(path.read_bytes())["features"]]


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inside for place in places(part, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: object) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@given(st.sampled_from(SOUND), st.data())
def test_no_change_of_a_feature_raises_anything_but_a_result_error(sound: Any, data: st.DataObject) -> None:
    changed = sound
    for _ in range(data.draw(st.integers(1, 3))):
        changed = replaced(changed, data.draw(st.sampled_from(places(changed))), data.draw(JSON))
    try:
        result = catalog.read(json.dumps(changed).encode() + b"\n" + json.dumps(sound).encode())
    except ResultError:
        return
    for product in result.products:
        assert product.title
        assert product.id
        assert catalog.area(product) >= 0


@given(st.binary(max_size=200), st.integers(0), st.integers(0, 20))
def test_no_change_of_the_bytes_raises_anything_but_a_result_error(new: bytes, at: int, cut: int) -> None:
    text = DIALECTS[at % len(DIALECTS)].read_bytes()
    at %= len(text)
    try:
        result = catalog.read(text[:at] + new + text[at + cut :])
    except ResultError:
        return
    assert all(catalog.area(product) >= 0 for product in result.products)


# --- real results

ONE_OF: dict[str, Callable[[Product], object]] = {
    "peps": lambda p: p.location,
    "onda": lambda p: (p.quicklook or "").startswith("/9j/") and p.size and p.title == f"{p.id}.SAFE",
    "theia_muscate": lambda p: p.checksum and p.status is StorageStatus.ONLINE,
    "creodias": lambda p: p.quicklook and p.location,
    "mundi": lambda p: p.size and p.checksum and p.cloud_cover is not None,
    "sobloo": lambda p: p.start and p.size is None,
    "aws_eos": lambda p: (p.location or "").startswith("s3://") and p.quicklook,
    "cop_dataspace": lambda p: (p.location or "").startswith("https://"),
    "earth-search.aws.element84.com": lambda p: p.assets and p.quicklook and p.title.endswith(".SAFE"),
    "lpdaac.earthdata.nasa.gov": lambda p: p.assets and p.quicklook,
}


@pytest.fixture(scope="module")
def real() -> dict[str, catalog.SearchResult]:
    folder = os.environ.get("EOFS_SAMPLE_RESULTS")
    if not folder:
        pytest.skip("not here: EOFS_SAMPLE_RESULTS names no folder of real search results")
    return {str(path.relative_to(folder)): catalog.load(path) for path in sorted(Path(folder).glob("*/*json"))}


def test_every_real_result_is_read_whole(real: dict[str, catalog.SearchResult]) -> None:
    assert real
    for result in real.values():
        assert len(result.products) == len(json.loads(Path(result.source).read_bytes())["features"])
        assert result.left_out == ()


def test_every_real_product_has_what_its_provider_says(real: dict[str, catalog.SearchResult]) -> None:
    for result in real.values():
        for product in result.products:
            assert ONE_OF[product.provider](product), product
            assert product.collection
            assert product.start
            assert catalog.area(product) > 0


def test_real_results_of_peps_have_statuses_sizes_and_checksums(real: dict[str, catalog.SearchResult]) -> None:
    ten = real["eodag-2/download_search_results.geojson"].products
    assert Counter(product.status.value for product in ten) == {"ONLINE": 5, "OFFLINE": 5}
    assert all(product.size and product.checksum for product in ten)
