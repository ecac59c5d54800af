"""Providers whose products are in a store of the kind of Amazon S3: what each is asked, by its own file.

At Amazon's, the real hosts are asked, and a strict store answers in their place; elsewhere, only hosts are replaced.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import s3_server
from archives import make_zip
from conftest import Mount, ls
from engine_room import content
from played import engine
from s3_server import KEYS, Bucket, StrictStore

from eofs import auth, catalog, config, providers
from eofs.commands.mount import client
from eofs.errors import AccessRefused, Corrupt, NotAllowed
from eofs.nodes import NOBODY

if TYPE_CHECKING:
    from eofs.model import Product, Provider

DATA = Path(__file__).parent / "data/s3"
BAND = b"\0\0\0\x0cjP  " + bytes(range(256)) * 300
SCENE = "S2B_MSIL1C_20240206T131259_N0510_R081_T27VWK_20240206T133903"
LIST = "(list)"


def products(file: str) -> list[Product]:
    return list(catalog.load(DATA / file).products)


def made(name: str, link: str, **properties: Any) -> Product:
    """Return a product as eodag writes it."""
    said = {"eodag_provider": name, "title": SCENE, "downloadLink": link, **properties}
    feature = {"type": "Feature", "id": SCENE, "geometry": None, "properties": said}
    (product,) = catalog.read(json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()).products
    return product


def speaks(name: str, store: StrictStore | None = None, keys: dict[str, str] | None = None, **more: Any) -> Provider:
    """Return a provider by its own file; with the store in the place of its endpoint."""
    settings = json.loads(json.dumps(providers.builtin()[name]))
    if store:
        settings["download"]["s3_endpoint"] = store.url
        settings["hosts"] = []
    settings["auth"] = {**settings.get("auth", {}), "credentials": KEYS if keys is None else keys, **more}
    return providers.build(name, settings, source="eofs.yml")


def asked(store: StrictStore) -> list[str]:
    """Return what the store was asked, each thing once: ``signed GET key 200``."""
    lines = (
        f"{'signed' if each.signed else 'open'} {each.method} "
        f"{each.key or (LIST + each.query['prefix'][0] if 'prefix' in each.query else '(bucket)')} {each.status}"
        for each in store.asked
    )
    return list(dict.fromkeys(line.replace(" 206", " 200") for line in lines))


# -- at Amazon's -------------------------------------------------------------------------------------------------------

TILES = {
    "tiles/30/T/YP/2020/1/14/0": "products/2020/1/14/S2A_MSIL1C_20200114T110411_N0208_R094_T30TYP_20200114T113817",
    "tiles/30/T/YP/2020/1/14/1": "products/2020/1/14/S2A_MSIL1C_20200114T110411_N0500_R094_T30TYP_20230428T135923",
}


@pytest.mark.says("A tile of Sentinel-2 at Amazon has the files of its whole product")
@pytest.mark.parametrize("number", [0, 1], ids=["of eodag 2", "of eodag 4"])
def test_a_tile_found_by_aws_eos_comes_with_what_belongs_to_its_product(number: int, tmp_path: Path) -> None:
    tile, whole = list(TILES.items())[number]
    title = whole.rpartition("/")[2]
    objects = {f"{tile}/B04.jp2": BAND, f"{tile}/metadata.xml": b"<tile/>", f"{tile}/qi/MSK.gml": b"<mask/>"}
    others = {f"{whole}/metadata.xml": b"<product/>", f"{tile}0/B04.jp2": b"of another tile"}
    bucket = Bucket({**objects, **others}, bills=True, region="eu-central-1")
    product = products("aws_eos.geojson")[number]
    with (
        s3_server.amazon({"sentinel-s2-l1c": bucket}) as store,
        engine(speaks("aws_eos", requester_pays=True), tmp_path) as opened,
    ):
        found = {each.path: each.size for each in opened.listing(product, NOBODY).members}
        assert found == {"B04.jp2": len(BAND), "metadata.xml": 7, "qi/MSK.gml": 7, f"{title}/metadata.xml": 10}
        assert content(opened, product, f"{title}/metadata.xml") == b"<product/>"
        assert content(opened, product, "B04.jp2") == BAND
    assert asked(store)[:4] == [
        f"open GET {LIST}{tile}/ 403",
        "open HEAD (bucket) 403",
        f"signed GET {LIST}{tile}/ 200",
        f"signed GET {LIST}{whole}/ 200",
    ]
    assert {line.split()[0] for line in asked(store)[4:]} == {"signed"}
    assert {each.headers.get("x-amz-request-payer") for each in store.asked if each.signed} == {"requester"}


def test_what_amazon_bills_is_not_read_before_the_user_agrees(tmp_path: Path) -> None:
    bucket = Bucket({"tiles/30/T/YP/2020/1/14/0/B04.jp2": BAND}, bills=True, region="eu-central-1")
    product = products("aws_eos.geojson")[0]
    with (
        s3_server.amazon({"sentinel-s2-l1c": bucket}) as store,
        engine(speaks("aws_eos"), tmp_path) as opened,
        pytest.raises(NotAllowed, match=r"requester_pays: true to agree \(in aws_eos.auth, or as an option\)"),
    ):
        opened.listing(product, NOBODY)
    assert not [each for each in store.asked if "x-amz-request-payer" in each.headers]


def test_without_keys_it_is_said_where_they_are_to_be_written(tmp_path: Path) -> None:
    product = products("aws_eos.geojson")[0]
    with (
        s3_server.amazon({"sentinel-s2-l1c": Bucket(bills=True)}),
        engine(speaks("aws_eos", keys={}), tmp_path) as opened,
        pytest.raises(AccessRefused, match=r"no credentials for aws_eos; write aws_access_key_id .*aws_eos\.auth"),
    ):
        opened.listing(product, NOBODY)


def test_an_item_of_earth_search_is_read_from_its_bucket(tmp_path: Path) -> None:
    (product,) = products("earth_search.geojson")
    prefix = "tiles/27/V/WK/2024/2/6/0"
    names = {"B04.jp2": BAND, "metadata.xml": b"<tile/>", "tileInfo.json": b"{}", "preview.jpg": b"\xff\xd8picture"}
    bucket = Bucket({f"{prefix}/{name}": data for name, data in names.items()}, bills=True, region="eu-central-1")
    with (
        s3_server.amazon({"sentinel-s2-l1c": bucket}) as store,
        engine(speaks("earth_search", requester_pays=True), tmp_path) as opened,
    ):
        assert {each.path for each in opened.listing(product, NOBODY).members} == set(names)
        assert {name: content(opened, product, name) for name in names} == names
        assert opened.quicklook(product, NOBODY) == names["preview.jpg"]
    assert {each.region for each in store.asked if each.signed} == {"eu-central-1"}


def item(provider_host: str, assets: dict[str, dict[str, Any]]) -> Product:
    link = {"rel": "self", "href": f"https://{provider_host}/collections/c/items/scene"}
    feature = {
        "type": "Feature", "stac_version": "1.0.0", "id": "scene", "geometry": None, "properties": {}, "assets": assets,
        "links": [link],
    }  # fmt: skip
    (product,) = catalog.read(json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()).products
    return product


def test_what_is_billed_is_left_out_where_the_rest_of_an_item_is_open(tmp_path: Path) -> None:
    cogs = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/s2/B04.tif"
    product = item(
        "earth-search.aws.element84.com",
        {"red": {"href": cogs}, "red-jp2": {"href": "s3://sentinel-s2-l2a/tiles/B04.jp2"}},
    )
    buckets = {
        "sentinel-cogs": Bucket({"s2/B04.tif": b"II*\0" + BAND}, is_open=True, region="us-west-2"),
        "sentinel-s2-l2a": Bucket({"tiles/B04.jp2": BAND}, bills=True),
    }
    with s3_server.amazon(buckets) as store, engine(speaks("earth_search"), tmp_path) as opened:
        assert [each.path for each in opened.listing(product, NOBODY).members] == ["B04.tif"]
        assert content(opened, product, "B04.tif") == b"II*\0" + BAND
    assert {each.signed for each in store.asked if each.bucket == "sentinel-cogs"} == {False}


def test_landsat_is_read_from_amazon_by_who_pays_as_its_own_pages_want_a_log_in(tmp_path: Path) -> None:
    key = "collection02/level-2/LC08_SR_B4.TIF"
    at_home = f"https://landsatlook.usgs.gov/data/{key}"
    product = item(
        "landsatlook.usgs.gov",
        {"red": {"href": at_home, "alternate": {"s3": {"href": f"s3://usgs-landsat/{key}"}}}},
    )
    assert config.load({}, environ={"HOME": "/nowhere"}).provider(product.provider).name == "usgs_satapi_aws"
    buckets = {"usgs-landsat": Bucket({key: b"II*\0" + BAND}, bills=True, region="us-west-2")}
    with (
        s3_server.amazon(buckets) as store,
        engine(speaks("usgs_satapi_aws", requester_pays=True), tmp_path) as opened,
    ):
        assert content(opened, product, "LC08_SR_B4.TIF") == b"II*\0" + BAND
    assert store.elsewhere == []


# -- at stores of other hosts ------------------------------------------------------------------------------------------

FOLDER = {
    f"Sentinel-2/MSI/L1C/{SCENE}.SAFE/manifest.safe": b"<xfdu/>",
    f"Sentinel-2/MSI/L1C/{SCENE}.SAFE/GRANULE/B04.jp2": BAND,
}
TREE = {"manifest.safe": b"<xfdu/>", "GRANULE/B04.jp2": BAND}


@pytest.mark.parametrize(
    ("name", "bucket", "host"),
    [
        ("creodias_s3", "eodata", "eodata.cloudferro.com"),
        ("cop_dataspace_s3", "eodata", "eodata.dataspace.copernicus.eu"),
        ("earth_search_gcs", "gcp-public-data-sentinel-2", "storage.googleapis.com"),
    ],
)
def test_a_folder_of_a_store_is_listed_and_read(name: str, bucket: str, host: str, tmp_path: Path) -> None:
    real = speaks(name)
    assert (real.s3_endpoint, real.max_connections) == (f"https://{host}", 4)
    assert auth.may_receive(real, f"https://{host}/{bucket}/x")
    folder = f"Sentinel-2/MSI/L1C/{SCENE}.SAFE"
    product = made(name, f"s3://{bucket}/{folder}")
    with (
        StrictStore({bucket: Bucket(FOLDER, region="default")}) as store,
        engine(speaks(name, store), tmp_path) as opened,
    ):
        assert {each.path for each in opened.listing(product, NOBODY).members} == set(TREE)
        assert {path: content(opened, product, path) for path in TREE} == TREE
    assert asked(store)[:3] == [
        f"open GET {LIST}{folder}/ 403",
        f"signed GET {LIST}{folder}/ 400",  # for another region than its own, which it names
        f"signed GET {LIST}{folder}/ 200",
    ]
    assert {line.split()[0] for line in asked(store)[3:]} == {"signed"}


def test_an_archive_of_geodes_is_read_as_any_other(tmp_path: Path) -> None:
    packed = make_zip(*((f"{SCENE}.SAFE/{path}", data) for path, data in TREE.items()))
    product = made("geodes_s3", f"s3://sentinel2-l1c/2024/{SCENE}.zip")
    with (
        StrictStore({"sentinel2-l1c": Bucket({f"2024/{SCENE}.zip": packed})}) as store,
        engine(speaks("geodes_s3", store), tmp_path) as opened,
    ):
        assert {path: content(opened, product, path) for path in TREE} == TREE
    assert {each.query == {} for each in store.asked} == {True}


@pytest.mark.parametrize(
    ("etag", "wrong"), [(None, False), ("0" * 32, True), (f"{'0' * 32}-2", False)], ids=["MD5", "another MD5", "parts"]
)
def test_an_object_whose_md5_is_another_than_the_store_says_is_refused(
    etag: str | None, wrong: bool, tmp_path: Path
) -> None:
    product = made("geodes_s3", "s3://data/a.nc")
    bucket = Bucket({"a.nc": b"\x89HDF\r\n\x1a\n" + BAND}, etag=etag)
    refused = pytest.raises(Corrupt, match="another MD5 than the provider says") if wrong else contextlib.nullcontext()
    with StrictStore({"data": bucket}) as store, engine(speaks("geodes_s3", store), tmp_path) as opened, refused:
        opened.bring(product, NOBODY, contextlib.nullcontext(), pin=False)


def test_what_has_come_is_not_asked_for_again_after_a_restart(tmp_path: Path) -> None:
    product = made("geodes_s3", "s3://data/a.nc")
    file = b"\x89HDF\r\n\x1a\n" + BAND * 100
    with StrictStore({"data": Bucket({"a.nc": file})}) as store:
        with engine(speaks("geodes_s3", store), tmp_path, fetch="lazy") as opened:
            reader = opened.open(product, opened.listing(product, NOBODY).members[0], NOBODY)
            assert reader.read(0, 4_000_000, NOBODY) == file[:4_000_000]
            reader.close()
        former = len(store.asked)
        with engine(speaks("geodes_s3", store), tmp_path) as opened:
            (path,) = opened.bring(product, NOBODY, contextlib.nullcontext(), pin=False)
            assert path.read_bytes() == file
        later = [each.headers.get("range", "") for each in store.asked[former:] if each.status == 206]
    assert later
    assert min(int(wanted[6:].partition("-")[0]) for wanted in later if not wanted.startswith("bytes=-")) >= 4_000_000


@pytest.mark.parametrize("link", ["s3://mdl-native-14/native/a/b.nc", "{url}/mdl-native-14/native/a/b.nc"])
def test_a_file_of_copernicus_marine_is_open_to_everybody(link: str, tmp_path: Path) -> None:
    file = b"\x89HDF\r\n\x1a\n" + BAND
    bucket = Bucket({"native/a/b.nc": file}, is_open=True)
    with (
        StrictStore({"mdl-native-14": bucket}) as store,
        engine(speaks("cop_marine", store, {}), tmp_path) as opened,
    ):
        assert content(opened, made("cop_marine", link.format(url=store.url)), "b.nc") == file
    assert {line.split()[0] for line in asked(store)} == {"open"}


def test_a_folder_of_mundi_is_listed_and_read_with_the_key_by_its_own_host_alone(tmp_path: Path) -> None:
    title = "S2A_MSIL1C_20191109T104251_N0208_R008_T31TCJ_20191109T111651"
    link = f"https://obs.eu-de.otc.t-systems.com/s2-l1c-2019-q4/31/T/CJ/2019/11/09/{title}"
    folder = f"31/T/CJ/2019/11/09/{title}"
    objects = {f"{folder}/{path}": data for path, data in TREE.items()}
    bucket = Bucket(objects, is_open=True, first_version=True, page=1)
    with (
        StrictStore({"s2-l1c-2019-q4": bucket}, prefix="/dp") as store,
        engine(speaks("mundi", store, {"apikey": "key-of-alice"}), tmp_path) as opened,
    ):
        product = made("mundi", link, title=title)
        assert {path: content(opened, product, path) for path in TREE} == TREE
    assert {each.headers.get("cookie") for each in store.asked} == {"seeedtoken=key-of-alice"}
    assert asked(store)[0] == f"open GET {LIST}{folder}/ 200"


# -- as eodag's user configures them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("block", ["auth", "download_auth"])
@pytest.mark.parametrize("name", ["aws_eos", "earth_search", "usgs_satapi_aws", "creodias_s3", "cop_dataspace_s3"])
def test_the_keys_of_an_eodag_user_are_found(name: str, block: str, tmp_path: Path) -> None:
    (tmp_path / ".config/eodag").mkdir(parents=True)
    keys = "{aws_access_key_id: K, aws_secret_access_key: '0123', aws_profile: ''}"
    file = tmp_path / ".config/eodag/eodag.yml"
    file.write_text(f"{name}: {{{block}: {{requester_pays: True, credentials: {keys}}}}}\n", encoding="utf-8")
    file.chmod(0o600)
    found = config.load({}, environ={"HOME": str(tmp_path)}).provider(name)
    assert dict(found.credentials) == {"aws_access_key_id": "K", "aws_secret_access_key": "0123"}
    assert (found.auth, found.login["requester_pays"]) == ("s3", True)


@pytest.mark.says("`requester_pays`, `s3_endpoint`")
def test_a_store_of_ones_own_is_described_in_eodags_words() -> None:
    settings = {
        "download": {"type": "AwsDownload", "s3_endpoint": "https://minio.lan:9000"},
        "auth": {"type": "AwsAuth", "requester_pays": True},
    }
    found = providers.build("mine", settings, source="eofs.yml")
    assert (found.auth, found.s3_endpoint) == ("s3", "https://minio.lan:9000")
    assert found.login["requester_pays"] is True
    assert auth.may_receive(found, "https://minio.lan:9000/bucket/key")
    assert not auth.may_receive(found, "https://minio.lan/bucket/key")


@pytest.mark.says("or as an option, says that you pay.")
@pytest.mark.says("`true`: where Amazon's S3 bills who reads, you pay")
def test_the_option_of_a_mount_agrees_to_pay_at_every_provider() -> None:
    settings = config.load({"requester_pays": True}, environ={"HOME": "/nowhere"})
    for name in ("aws_eos", "usgs_satapi_aws"):
        with contextlib.closing(client(settings, name)) as made_for_it:
            assert made_for_it.provider.login["requester_pays"] is True
    assert "requester_pays" not in settings.provider("aws_eos").login


# -- as a user reads them ----------------------------------------------------------------------------------------------


@pytest.mark.mount
def test_a_mounted_folder_of_a_store_is_read_and_its_keys_stand_nowhere(tmp_path: Path) -> None:
    product = {"eodag_provider": "creodias_s3", "title": SCENE, "downloadLink": f"s3://eodata/S2/{SCENE}.SAFE"}
    feature = {"type": "Feature", "id": SCENE, "geometry": None, "properties": product}
    file = tmp_path / "result.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")
    objects = {f"S2/{SCENE}.SAFE/{path}": data for path, data in TREE.items()}
    (tmp_path / ".config/eofs").mkdir(parents=True)
    keys = ", ".join(f"{name}: {value}" for name, value in KEYS.items())
    with StrictStore({"eodata": Bucket(objects)}) as store:
        written = tmp_path / ".config/eofs/eofs.yml"
        written.write_text(
            f"creodias_s3: {{auth: {{credentials: {{{keys}}}}}, download: {{s3_endpoint: '{store.url}'}}}}", "utf-8"
        )
        written.chmod(0o600)
        with Mount(tmp_path, file) as mount:
            root = mount.root / SCENE / "data" / f"{SCENE}.SAFE"
            assert ls(root) == ["GRANULE", "manifest.safe"]
            assert (root / "GRANULE/B04.jp2").read_bytes() == BAND
            assert f"remote_location: s3://eodata/S2/{SCENE}.SAFE" in (mount.root / SCENE / "status").read_text("utf-8")
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    for secret in (*KEYS.values(), "Signature="):
        assert not [path for path in (*kept, mount.log) if secret.encode() in path.read_bytes()]
