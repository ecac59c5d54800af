"""Which products of a result are wanted: filters, areas, and the one sentence where they cannot be meant."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from eofs import catalog
from eofs.catalog.areas import read_area
from eofs.catalog.filters import Choice, parse
from eofs.errors import ResultError
from eofs.providers.values import Unexpected

if TYPE_CHECKING:
    from pathlib import Path

    from eofs.model import Product

SQUARE = {"type": "Polygon", "coordinates": [[[1, 43], [2, 43], [2, 44], [1, 44], [1, 43]]]}
SAID = {
    "title": "S2A_MSIL1C_20210301T110451_N0209_R094_T31TCL",
    "storageStatus": "OFFLINE",
    "cloudCover": 19.5,
    "startTimeFromAscendingNode": "2021-03-01T11:04:51.024Z",
    "eodag_provider": "peps",
    "eodag_product_type": "S2_MSI_L1C",
    "resourceSize": 812345678,
    "relativeOrbit": 94,
    "sensorMode": "INS-NOBS",
    "tile": "0209",
    "snow": False,
    "published": "2021-03-02T08:00:00Z",
    "instruments": ["msi", "aux"],
    "services": {"download": {"mimeType": "application/zip"}},
    "nothing": None,
}


def product(geometry: object = SQUARE, **properties: object) -> Product:
    feature = {"type": "Feature", "id": "A", "geometry": geometry, "properties": properties}
    return catalog.read(json.dumps(feature).encode()).products[0]


FULL = product(**SAID)


@pytest.mark.says(
    "`filter` is `NAME=VALUE`, with `=`, `!=`, `<`, `<=`, `>` or `>=`.",
    "any other name is a property of the features, a dot steps inside.",
    "Numbers compare as numbers and times as times",
    "with `*`, `?` and `[…]`, upper and lower case alike.",
    "Of a list, one element is enough.",
)
@pytest.mark.parametrize(
    "written",
    [
        "storageStatus=OFFLINE", "storageStatus=offline", "storagestatus = orderable", "storageStatus!=ONLINE",
        "order:status==OFFLINE",
        "cloudCover<20", "cloudCover <= 19.5", "cloudCover>=19.5", "cloudCover>1e1", "cloudCover=19.5",
        "eo:cloud_cover<20", "CLOUDCOVER!=19.6",
        "start>=2021-03-01", "start<=2021-03-01", "start=2021-03-01", "start>2021-02-28", "start<2021-03-02",
        "start!=2021-03-02", "start<2021-03-01T11:04:52Z", "start>2021-03-01T11:04:51+00:00",
        "datetime>=2021-03-01", "start=2021-03-01T12:04:51.024+01:00",
        "title=*T31TCL", "title=s2a_*", "title!=*T31TCK", "title=S2?_msil1c_*", "title=S2[AB]_*",
        "title!=S2[!AB]_*", "id=A", "provider=PEPS", "collection=S2_MSI_*",
        "size>800000000", "size<=812345678",
        "relativeOrbit=94", "relativeOrbit<95", "relativeOrbit=94.0", "sensorMode=ins-*", "tile=0209", "tile<210",
        "tile!=209", "snow=false", "snow!=true", "published>2021-03-01", "published=2021-03-02",
        "instruments=msi", "instruments!=sar", "services.download.mimeType=application/*",
        "nothing!=1", "missing!=1",
    ],
)  # fmt: skip
def test_a_filter_takes_a_product_of_which_it_is_true(written: str) -> None:
    assert parse(written).takes(FULL)


@pytest.mark.parametrize(
    "written",
    [
        "storageStatus=ONLINE", "storageStatus!=OFFLINE", "storageStatus=STAGING",
        "cloudCover<19.5", "cloudCover>20", "cloudCover!=19.5",
        "start<2021-03-01", "start>2021-03-01", "start!=2021-03-01", "start=2021-03-01T11:04:51Z",
        "title=T31TCL", "title!=S2A*", "provider=cop", "size<1", "relativeOrbit=9", "relativeOrbit>94", "tile=209",
        "sensorMode<5", "snow=true", "published<2021-03-02", "instruments=sar", "instruments!=aux",
        "nothing=1", "nothing<1", "missing=*", "missing>0", "services.download.mimeType.deeper=1",
    ],
)  # fmt: skip
def test_a_filter_leaves_a_product_of_which_it_is_not_true(written: str) -> None:
    assert not parse(written).takes(FULL)


@pytest.mark.says("A product that does not have the property passes `!=` only.")
@pytest.mark.parametrize("written", ["cloudCover<20", "cloudCover>=0", "start>2000-01-01", "size>0", "collection=*"])
def test_a_product_that_says_nothing_is_left(written: str) -> None:
    assert not parse(written).takes(product())


@pytest.mark.says("a date means its whole day in UTC (`start<=2021-03-01` has that day).")
@pytest.mark.parametrize(
    ("start", "taken"),
    [
        ("2021-03-01T00:00:00Z", True),
        ("2021-03-01T23:59:59.999Z", True),
        ("2021-03-02T00:30:00+01:00", True),
        ("2021-03-01T00:30:00+01:00", False),
        ("2021-03-02T00:00:00Z", False),
    ],
)
def test_a_date_is_its_whole_day_in_utc(start: str, taken: bool) -> None:
    found = product(start_datetime=start)
    assert parse("start=2021-03-01").takes(found) is taken
    assert parse("start!=2021-03-01").takes(found) is not taken


def item(properties: dict[str, object], **members: object) -> Product:
    feature = {"type": "Feature", "id": "A", "geometry": SQUARE, "properties": properties, **members}
    return catalog.read(json.dumps(feature).encode()).products[0]


DIALECTS = {
    "eodag 2 and 3": item(
        {
            "title": "T_1", "storageStatus": "OFFLINE", "cloudCover": 19.5, "resourceSize": 1000,
            "startTimeFromAscendingNode": "2021-03-01T11:04:51Z", "eodag_product_type": "S2", "eodag_provider": "hub",
        }
    ),
    "eodag 4": item(
        {
            "title": "T_1", "order:status": "orderable", "eo:cloud_cover": 19.5, "file:size": 1000,
            "start_datetime": "2021-03-01T11:04:51Z", "eodag:collection": "S2", "eodag:provider": "hub",
        }
    ),
    "eodag-server": item(
        {
            "title": "T_1", "order:status": "orderable", "eo:cloud_cover": 19.5, "size": 1000,
            "datetime": "2021-03-01T11:04:51Z", "federation:backends": ["hub"],
        },
        collection="S2",
    ),
    "STAC": item(
        {"title": "T_1", "storage:tier": "archive", "eo:cloud_cover": 19.5, "datetime": "2021-03-01T11:04:51Z"},
        collection="S2",
        assets={"data": {"href": "https://hub/B04.tif", "roles": ["data"], "file:size": 1000}},
    ),
}  # fmt: skip
WISHES = {
    "storageStatus=OFFLINE": "storageStatus!=OFFLINE", "order:status=OFFLINE": "order:status=ONLINE",
    "storage:tier=OFFLINE": "storage:tier=ONLINE",
    "cloudCover<20": "cloudCover>20", "eo:cloud_cover<20": "eo:cloud_cover>20",
    "size=1000": "size>1000", "resourceSize=1000": "resourceSize<1000", "file:size=1000": "file:size!=1000",
    "start=2021-03-01": "start>2021-03-01", "startTimeFromAscendingNode=2021-03-01": "start_datetime<2021-03-01",
    "datetime=2021-03-01": "datetime!=2021-03-01",
    "title=T?1": "title=T", "s2:product_uri=T?1": "s2:product_uri=T", "id=A": "id=B",
    "collection=S2": "collection=S3", "eodag_product_type=S2": "eodag:collection=S3",
    "provider=hub": "provider!=hub", "eodag_provider=hub": "eodag:provider=peps",
}  # fmt: skip


@pytest.mark.says(
    "`storageStatus`, `cloudCover`, `size`, `start`, `title`, `id`, `collection` and `provider` mean "
    "the same in every dialect, also by each dialect's own names (`eo:cloud_cover`)"
)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("true", "wrong"), WISHES.items(), ids=WISHES)
def test_what_eofs_knows_of_each_product_is_meant_in_every_dialect_by_the_names_of_each(
    dialect: str, true: str, wrong: str
) -> None:
    assert parse(true).takes(DIALECTS[dialect])
    assert not parse(wrong).takes(DIALECTS[dialect])


@pytest.mark.says("Texts know `=` and `!=` only")
def test_theia_is_called_by_the_name_that_it_had_in_eodag_2_and_3() -> None:
    old, new = item({"eodag_provider": "theia"}), item({"eodag:provider": "theia"})
    assert [parse("eodag_provider=Theia").takes(each) for each in (old, new)] == [True, False]
    assert [parse("eodag:provider=Theia").takes(each) for each in (old, new)] == [False, True]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        *[
            (written, "a name, one of = != < <= > >=, and a value")
            for written in ("", "cloudCover", "=20", "cloudCover<", "cloudCover~20", "a b=1")
        ],
        ("cloudCover<few", "a number, as in cloudCover<20"),
        ("size>1G", "a number of bytes"),
        ("start>yesterday", "a date or a time, as in start>=2021-03-01"),
        ("start>=2021-13-01", "a date or a time"),
        ("storageStatus=ONLNE", "one of OFFLINE, STAGING, ONLINE behind storageStatus"),
        ("storageStatus<ONLINE", "= or != and one of OFFLINE"),
        ("title<B", "= or != behind title"),
        ("provider>=peps", "= or != behind provider"),
        ("relativeOrbit<many", "a number or a date behind <"),
    ],
)
def test_a_filter_that_cannot_be_meant_says_what_was_expected(written: str, expected: str) -> None:
    with pytest.raises(Unexpected) as caught:
        parse(written)
    assert expected in str(caught.value)


# -- areas -----------------------------------------------------------------------------------------------------------

HALF = "1.5,43,3,44"  # half of the square, and a third of the box lies in it


@pytest.mark.says(
    "a box whose first longitude is the greater one crosses the date line.",
    "of the product or of the area, whichever is more.",
    "WKT or `minlon,minlat,maxlon,maxlat`; percent.",
)
@pytest.mark.parametrize(
    ("area", "percent"),
    [
        ("1,43,2,44", 100),
        ("-180,-90,180,90", 100),
        ("1.4,43.4,1.6,43.6", 100),
        (HALF, 50),
        (" 1.5, 43, 3, 44 ", 50),
        ("POLYGON((1.5 43, 2.5 43, 2.5 44, 1.5 44, 1.5 43))", 50),
        ("polygon z((1.5 43 7, 2.5 43 7, 2.5 44 7, 1.5 44 7, 1.5 43 7))", 50),
        ("POINT(1.5 43.5)", 100),
        ("LINESTRING(0 43.5, 3 43.5)", 100),
        ("POLYGON((1 43, 2 44, 2 43, 1 44, 1 43))", 100),  # a bow tie
        ("2,44,3,45", 0),  # a corner
        ("179,43,1.5,44", 50),  # over the date line, and on
        ("10,43,11,44", None),
        ("POINT(0 0)", None),
    ],
)
def test_the_overlap_is_in_percent_of_the_smaller_of_product_and_area(area: str, percent: float | None) -> None:
    found = read_area(area).overlap(FULL)
    assert found == (None if percent is None else pytest.approx(percent, abs=0.1))


@pytest.mark.says("`min_overlap` is percent, on the sphere")
@pytest.mark.parametrize(
    ("area", "percent"),
    [("-45,30,55,60", 42.3), ("-45,0,55,30", 57.7), ("-1,30,11,60", 83.3), ("-1,-30,11,60", 100)],
    ids=["north", "south", "of the area, which is the smaller one", "all"],
)
def test_the_overlap_is_measured_on_the_sphere(area: str, percent: float) -> None:
    tall = product({"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 60], [0, 60], [0, 0]]]})
    assert read_area(area).overlap(tall) == pytest.approx(percent, abs=0.1)


@pytest.mark.says("a GeoJSON file")
@pytest.mark.parametrize(
    "content",
    [
        SQUARE,
        {"type": "Feature", "geometry": SQUARE, "properties": {}},
        {
            "type": "FeatureCollection",
            "features": [
                {"type": "Feature", "geometry": SQUARE, "properties": None},
                {"type": "Feature", "geometry": None, "properties": {}},
                {"type": "Feature", "geometry": {"type": "Point", "coordinates": [9, 50]}, "properties": {}},
            ],
        },
    ],
    ids=["geometry", "feature", "collection"],
)
def test_an_area_may_be_any_geojson_file(tmp_path: Path, content: dict[str, Any]) -> None:
    file = tmp_path / "area.geojson"
    file.write_text(json.dumps(content), encoding="utf-8")
    area = read_area(str(file))
    assert area.overlap(FULL) == pytest.approx(100)
    assert area.overlap(product({"type": "Point", "coordinates": [5, 43.5]})) is None
    assert area.overlap(product(None)) is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", "there is no"),
        ("no/such/file.geojson", "there is no such file (No such file or directory)"),
        ("1,2,3", "the southern latitude first"),
        ("1,44,2,43", "the southern latitude first"),
        ("1,43,2,91", "the southern latitude first"),
        ("POLYGON((1 2", "this is no WKT that can be understood"),
        ("POINT EMPTY", "there is no geometry in this one"),
        ("empty.json", "there is no geometry in this file"),
        ("words.txt", "there is no geometry in this file"),
    ],
)
def test_an_area_that_cannot_be_meant_says_what_was_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.json").write_text('{"type": "FeatureCollection", "features": []}', encoding="utf-8")
    (tmp_path / "words.txt").write_text("Dear sir or madam", encoding="utf-8")
    with pytest.raises(Unexpected) as caught:
        read_area(written)
    assert str(caught.value).startswith("a GeoJSON file, WKT, or minlon,minlat,maxlon,maxlat")
    assert expected in str(caught.value)


# -- choices ---------------------------------------------------------------------------------------------------------

CLEAR = product(title="clear", cloudCover=1)
CLOUDY = product(title="cloudy", cloudCover=80)
FAR = product({"type": "Point", "coordinates": [9, 9]}, title="far", cloudCover=2)


@pytest.mark.says("All filters have to hold.", "`intersects` keeps products whose footprint meets the area")
def test_all_that_is_wished_has_to_be_true() -> None:
    wish = Choice((parse("cloudCover<50"), parse("title=c*")), read_area(HALF), 49)
    assert wish.of([CLOUDY, FAR, CLEAR], "r.geojson") == (CLEAR,)
    assert Choice().of([CLOUDY, FAR, CLEAR], "r.geojson") == (CLOUDY, FAR, CLEAR)
    assert Choice((), read_area(HALF)).of([CLOUDY, FAR, CLEAR], "r.geojson") == (CLOUDY, CLEAR)


@pytest.mark.says("A choice that leaves nothing is an error.")
@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        (Choice((parse("cloudCover>90"),)), "r.geojson: none of its 3 products passes cloudCover>90; ask for less"),
        (
            Choice((parse("cloudCover<90"),), read_area(HALF), 51),
            f"r.geojson: none of its 3 products passes cloudCover<90, intersects={HALF}, min_overlap=51; ask for less",
        ),
        (
            Choice((parse("clouds<5"),)),
            "r.geojson: no product has a property 'clouds'; eofs itself knows storageStatus",
        ),
    ],
    ids=["filter", "area", "unknown"],
)
def test_a_choice_that_leaves_nothing_says_so(wish: Choice, sentence: str) -> None:
    with pytest.raises(ResultError) as caught:
        wish.of([CLEAR, CLOUDY, FAR], "r.geojson")
    assert str(caught.value).startswith(sentence)
