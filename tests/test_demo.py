"""The demo provider is what other tests measure with, so it is measured here: bytes, manners, counts."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import socket
import struct
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

import eofs.demo
from eofs.demo import DemoProvider, Reply, Request, ten_products, write_safe
from eofs.demo.replies import byte_range
from eofs.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLE = "S2A_MSIL1C_20201229T110451_N0209_R094_T31TCL_20201229T131620"
ROOT = f"{TITLE}.SAFE"
GRANULE = "GRANULE/L1C_T31TCL_A028852_20201229T110452"
IMAGES = f"{GRANULE}/IMG_DATA/T31TCL_20201229T110451"
ONLINE = "86440880-7f7d-50f0-87a7-ac1bc2bd8fbd"  # of TITLE
OFFLINE = "22d0e655-47c0-5fc4-9550-752d08473d00"
BASIC = {"Authorization": "Basic " + base64.b64encode(b"demo:demo").decode()}
SMALL = 0.3  # megabytes: quick to make, and more than one piece on the wire


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(store: Path, clock: Clock) -> Iterator[DemoProvider]:
    with DemoProvider(store, megabytes=SMALL, clock=clock, staging_seconds=60) as running:
        yield running


def ask(
    provider: DemoProvider, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=60)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def download(
    provider: DemoProvider, uid: str = ONLINE, method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    said = {**BASIC, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return ask(provider, f"/resto/collections/S2ST/{uid}/download?issuerId=demo", said, method)


# Archives


@pytest.fixture(scope="module", params=[False, True], ids=["stored", "deflated"])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    path = tmp_path_factory.mktemp("safe") / "product.zip"
    return path, write_safe(path, TITLE, megabytes=SMALL, deflated=request.param)


def test_an_archive_passes_the_test_of_zipfile(archive: tuple[Path, dict[str, str]]) -> None:
    with zipfile.ZipFile(archive[0]) as zipped:
        assert zipped.testzip() is None


def test_an_archive_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    assert write_safe(first, TITLE, megabytes=SMALL) == write_safe(second, TITLE, megabytes=SMALL)
    assert first.read_bytes() == second.read_bytes()


def test_two_titles_have_no_picture_in_common(tmp_path: Path) -> None:
    one = write_safe(tmp_path / "1.zip", TITLE, megabytes=SMALL)
    other = write_safe(tmp_path / "2.zip", TITLE.replace("T31TCL", "T31TCK"), megabytes=SMALL)

    def pictures(md5s: dict[str, str]) -> set[str]:
        return {md5 for name, md5 in md5s.items() if name.endswith(".jp2")}

    assert len(pictures(one)) == 15
    assert not pictures(one) & pictures(other)


def test_deflating_changes_the_archive_and_not_its_contents(tmp_path: Path) -> None:
    stored = write_safe(tmp_path / "stored.zip", TITLE, megabytes=SMALL)
    assert write_safe(tmp_path / "deflated.zip", TITLE, megabytes=SMALL, deflated=True) == stored
    assert (tmp_path / "deflated.zip").stat().st_size < 0.95 * (tmp_path / "stored.zip").stat().st_size


def test_the_md5s_are_those_of_the_members(archive: tuple[Path, dict[str, str]]) -> None:
    path, md5s = archive
    with zipfile.ZipFile(path) as zipped:
        assert {name: hashlib.md5(zipped.read(name)).hexdigest() for name in zipped.namelist()} == md5s


@pytest.mark.parametrize(
    "name",
    [
        "manifest.safe",
        "MTD_MSIL1C.xml",
        "INSPIRE.xml",
        "HTML/UserProduct_index.html",
        "rep_info/S2_User_Product_Level-1C_Metadata.xsd",
        "DATASTRIP/DS_MTI__20201229T131620_S20201229T110452/MTD_DS.xml",
        "DATASTRIP/DS_MTI__20201229T131620_S20201229T110452/QI_DATA/GENERAL_QUALITY.xml",
        f"{GRANULE}/MTD_TL.xml",
        f"{GRANULE}/AUX_DATA/AUX_ECMWFT",
        f"{GRANULE}/QI_DATA/MSK_CLOUDS_B00.gml",
        f"{IMAGES}_B01.jp2",
        f"{IMAGES}_B8A.jp2",
        f"{IMAGES}_B12.jp2",
        f"{IMAGES}_TCI.jp2",
    ],
)
def test_the_tree_is_that_of_a_sentinel_2_product(archive: tuple[Path, dict[str, str]], name: str) -> None:
    assert f"{ROOT}/{name}" in archive[1]


def test_everything_is_below_the_safe_directory_and_directories_have_no_entries(
    archive: tuple[Path, dict[str, str]],
) -> None:
    assert all(name.startswith(f"{ROOT}/") and not name.endswith("/") for name in archive[1])


def test_times_and_permissions_come_from_the_title_and_not_from_the_machine(
    archive: tuple[Path, dict[str, str]],
) -> None:
    with zipfile.ZipFile(archive[0]) as zipped:
        assert {info.date_time for info in zipped.infolist()} == {(2020, 12, 29, 13, 16, 20)}
        assert {info.external_attr >> 16 for info in zipped.infolist()} == {0o100644}


def test_metadata_are_well_formed_and_name_the_product(archive: tuple[Path, dict[str, str]]) -> None:
    with zipfile.ZipFile(archive[0]) as zipped:
        for name in zipped.namelist():
            if name.endswith((".xml", ".gml", ".xsd", ".html", ".safe")):
                ET.fromstring(zipped.read(name))
        product = zipped.read(f"{ROOT}/MTD_MSIL1C.xml").decode()
    assert TITLE in product
    assert "2020-12-29T11:04:51" in product
    assert f"<IMAGE_FILE>{IMAGES}_B8A</IMAGE_FILE>" in product


def test_the_manifest_lists_every_other_file_with_its_size_and_md5(archive: tuple[Path, dict[str, str]]) -> None:
    path, md5s = archive
    with zipfile.ZipFile(path) as zipped:
        manifest = ET.fromstring(zipped.read(f"{ROOT}/manifest.safe"))
        sizes = {info.filename: info.file_size for info in zipped.infolist()}
    listed = {}
    for stream in manifest.iter("byteStream"):
        href, md5 = stream.find("fileLocation"), stream.find("checksum")
        assert href is not None
        assert md5 is not None
        name = href.attrib["href"].replace("./", f"{ROOT}/")
        listed[name] = md5.text
        assert int(stream.attrib["size"]) == sizes[name]
    assert listed == {name: md5 for name, md5 in md5s.items() if not name.endswith("manifest.safe")}


def test_bands_begin_as_jpeg_2000_and_share_the_size_by_their_resolution(tmp_path: Path) -> None:
    write_safe(tmp_path / "product.zip", TITLE, megabytes=2)
    with zipfile.ZipFile(tmp_path / "product.zip") as zipped:
        bands = [info for info in zipped.infolist() if "IMG_DATA" in info.filename]
        size = {info.filename[-7:-4]: info.file_size for info in bands}
        beginnings = {zipped.read(info)[:32] for info in bands}
    assert beginnings == {bytes.fromhex("0000000c6a5020200d0a870a00000014667479706a703220000000006a703220")}
    assert size["B04"] / size["B11"] == pytest.approx(4, rel=0.01)
    assert size["B04"] / size["B01"] == pytest.approx(36, rel=0.01)
    assert sum(size.values()) == pytest.approx(2_000_000, rel=0.01)


def test_only_the_bands_are_stored(tmp_path: Path) -> None:
    write_safe(tmp_path / "product.zip", TITLE, megabytes=SMALL)
    with zipfile.ZipFile(tmp_path / "product.zip") as zipped:
        stored = {info.filename for info in zipped.infolist() if info.compress_type == zipfile.ZIP_STORED}
    assert stored == {name for name in stored if name.endswith((".jp2", "AUX_ECMWFT"))}
    assert len(stored) == 16


def test_no_stretch_of_a_band_is_found_again_at_another_block(tmp_path: Path) -> None:
    write_safe(tmp_path / "product.zip", TITLE, megabytes=30)
    with zipfile.ZipFile(tmp_path / "product.zip") as zipped:
        band = zipped.read(f"{ROOT}/{IMAGES}_B02.jp2")
    starts = range(65_536, len(band) - 65_536, 65_536)
    assert len({band[start : start + 64] for start in starts}) == len(starts)


def test_a_large_archive_takes_little_memory(tmp_path: Path) -> None:
    write_safe(tmp_path / "warm.zip", TITLE, megabytes=SMALL)
    tracemalloc.start()
    try:
        write_safe(tmp_path / "product.zip", TITLE, megabytes=40)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "product.zip").stat().st_size > 40_000_000
    assert peak < 8_000_000


def test_a_failure_leaves_no_half_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(scene: object, files: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("eofs.demo.safe.manifest", fails)
    with pytest.raises(OSError, match="No space"):
        write_safe(tmp_path / "product.zip", TITLE, megabytes=SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("title", "root"),
    [("Ä/ö & <x>", "Ä_ö & <x>.SAFE"), ("X.SAFE", "X.SAFE"), ("LC08_L1TP_200029", "LC08_L1TP_200029.SAFE")],
    ids=["odd characters", "already SAFE", "not Sentinel-2"],
)
def test_any_title_makes_an_archive(tmp_path: Path, title: str, root: str) -> None:
    md5s = write_safe(tmp_path / "product.zip", title, megabytes=0.01)
    assert {name.split("/")[0] for name in md5s} == {root}
    with zipfile.ZipFile(tmp_path / "product.zip") as zipped:
        ET.fromstring(zipped.read(f"{root}/MTD_MSIL1C.xml"))


# The store


def test_the_store_keeps_checksums_in_the_form_of_md5sum(provider: DemoProvider, store: Path) -> None:
    lines = [line.split("  ") for line in (store / f"{TITLE}.md5").read_text().splitlines()]
    assert {name: md5 for md5, name in lines} == provider.md5sums(ONLINE)
    assert provider.md5sums(ONLINE).keys() >= {f"{ROOT}/manifest.safe"}
    assert provider.archive(ONLINE) == store / f"{TITLE}.zip"


def test_archives_are_made_again_only_for_other_arguments(tmp_path: Path) -> None:
    one = ten_products()[:1]

    def made(megabytes: float) -> tuple[int, int]:
        with DemoProvider(tmp_path, products=one, megabytes=megabytes) as provider:
            stat = provider.archive(one[0]["properties"]["uid"]).stat()
        return stat.st_ino, stat.st_mtime_ns

    first = made(0.01)
    assert made(0.01) == first
    assert made(0.02) != first


def test_a_damaged_archive_is_made_again(tmp_path: Path) -> None:
    one = ten_products()[:1]
    uid = one[0]["properties"]["uid"]
    for _ in range(2):
        with DemoProvider(tmp_path, products=one, megabytes=0.01) as provider:
            path = provider.archive(uid)
            assert zipfile.is_zipfile(path)
        path.write_bytes(path.read_bytes()[:100])


# The result


def test_the_result_lists_ten_products_of_which_five_are_offline(provider: DemoProvider) -> None:
    features = provider.result()["features"]
    assert len({feature["properties"]["uid"] for feature in features}) == 10
    assert [feature["properties"]["storageStatus"] for feature in features].count("OFFLINE") == 5
    assert {feature["properties"]["eodag_provider"] for feature in features} == {"demo"}


def test_every_link_of_the_result_leads_to_what_the_result_says(provider: DemoProvider, tmp_path: Path) -> None:
    result = json.loads(provider.write_result(tmp_path / "result.geojson").read_text())
    for feature in result["features"]:
        said = feature["properties"]
        provider.set_online(said["uid"])
        path = said["downloadLink"].removeprefix(provider.url)
        status, _, body = ask(provider, f"{path}?issuerId=peps", BASIC)
        assert (status, len(body)) == (200, said["resourceSize"])
        assert hashlib.md5(body).hexdigest() == said["resourceChecksum"].lower()
        assert ask(provider, said["quicklook"].removeprefix(provider.url))[0] == 200


def test_checksums_are_written_in_either_case(provider: DemoProvider) -> None:
    checksums = [feature["properties"]["resourceChecksum"] for feature in provider.result()["features"]]
    assert any(text.isupper() for text in checksums)
    assert any(text.islower() for text in checksums)


def test_the_result_follows_the_storage(provider: DemoProvider) -> None:
    provider.put_on_tape()
    download(provider)
    stored = {f["properties"]["uid"]: f["properties"]["storage"]["mode"] for f in provider.result()["features"]}
    assert stored.pop(ONLINE) == "staging"
    assert set(stored.values()) == {"tape"}


# Quicklooks


@pytest.mark.parametrize("feature", ten_products(), ids=lambda feature: feature["properties"]["title"][11:44])
def test_quicklooks_are_real_pictures(feature: dict[str, dict[str, str]]) -> None:
    folder = Path(eofs.demo.__file__).parent / "quicklooks"
    picture = (folder / f"{feature['properties']['title']}.jpg").read_bytes()
    assert picture[:2] == b"\xff\xd8"
    assert picture[-2:] == b"\xff\xd9"
    assert 10_000 < len(picture) < 30_000
    assert jpeg_size(picture) == (343, 343)


def jpeg_size(picture: bytes) -> tuple[int, int]:
    """Return width and height from the frame header (SOF0 to SOF2) of ITU-T T.81."""
    at = 2
    while True:
        marker, length = struct.unpack(">HH", picture[at : at + 4])
        if 0xFFC0 <= marker <= 0xFFC2:
            height, width = struct.unpack(">HH", picture[at + 5 : at + 9])
            return width, height
        at += 2 + length


def test_quicklooks_need_no_credentials(provider: DemoProvider) -> None:
    status, headers, body = ask(provider, f"/quicklook/{TITLE}_quicklook.jpg")
    assert (status, headers["Content-Type"], body[:2]) == (200, "image/jpeg", b"\xff\xd8")
    assert provider.count(ONLINE, "quicklook") == 1


def test_a_product_without_a_quicklook_has_none(store: Path) -> None:
    feature = ten_products()[2]
    feature["properties"]["quicklook"] = None
    with DemoProvider(store, products=[feature], megabytes=SMALL) as provider:
        assert provider.result()["features"][0]["properties"]["quicklook"] is None
        assert ask(provider, f"/quicklook/{TITLE}_quicklook.jpg")[0] == 404


def test_products_of_a_tests_own_making_are_served_too(tmp_path: Path) -> None:
    feature: dict[str, Any] = {"type": "Feature", "id": "übung 1/2", "geometry": None, "properties": {}}
    with DemoProvider(tmp_path, products=[feature], megabytes=0.01) as provider:
        said = provider.result()["features"][0]["properties"]
        status, headers, _ = ask(provider, f"{said['downloadLink'].removeprefix(provider.url)}?issuerId=demo", BASIC)
        assert (status, said["storageStatus"]) == (200, "ONLINE")
        assert "filename*=UTF-8''%C3%BCbung%201_2.zip" in headers["Content-Disposition"]
        assert ask(provider, said["quicklook"].removeprefix(provider.url))[0] == 200


# Manners


def test_a_download_is_the_archive_under_its_name(provider: DemoProvider) -> None:
    status, headers, body = download(provider)
    assert status == 200
    assert body == provider.archive(ONLINE).read_bytes()
    assert headers["Content-Length"] == str(len(body))
    assert headers["Content-Type"] == "application/zip"
    assert headers["Content-Disposition"] == f"attachment; filename={TITLE}.zip"
    assert headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Basic ZGVtbzp3cm9uZw=="}, {"Authorization": "Basic %"}, {"Authorization": "Bearer x"}],
    ids=["none", "wrong password", "garbage", "another scheme"],
)
@pytest.mark.parametrize(
    "path", [f"/resto/collections/S2ST/{ONLINE}/download?issuerId=demo", "/resto/api/users/connect"]
)
def test_without_the_right_credentials_the_answer_is_401(
    provider: DemoProvider, path: str, headers: dict[str, str]
) -> None:
    status, said, _ = ask(provider, path, headers)
    assert (status, said["WWW-Authenticate"]) == (401, 'Basic realm="demo"')
    assert not provider.requests[0].authorised


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/resto/api/users/connect", 200),
        (f"/resto/collections/S2ST/{ONLINE}/download", 400),
        (f"/resto/collections/S2ST/{ONLINE}/download?issuerId=", 400),
        (f"/resto/collections/ANY/{ONLINE}/download?issuerId=peps", 200),
        ("/resto/collections/S2ST/no-such-uid/download?issuerId=demo", 404),
        ("/quicklook/no-such-title_quicklook.jpg", 404),
        ("/", 404),
    ],
)
def test_each_path_has_its_answer(provider: DemoProvider, path: str, status: int) -> None:
    assert ask(provider, path, BASIC)[0] == status


def test_methods_that_change_things_are_refused(provider: DemoProvider) -> None:
    assert ask(provider, "/", method="POST")[0] == 405
    assert provider.requests[0].method == "POST"


def test_an_offline_product_is_ordered_by_the_first_request_and_comes_when_staged(
    provider: DemoProvider, clock: Clock
) -> None:
    assert provider.storage(OFFLINE) == "OFFLINE"
    assert download(provider, OFFLINE)[::2] == (202, b"")
    assert provider.storage(OFFLINE) == "STAGING"
    clock.now += 59
    assert download(provider, OFFLINE)[0] == 202
    clock.now += 1
    assert download(provider, OFFLINE)[0] == 200
    assert [request.status for request in provider.requests] == [202, 202, 200]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic eDp5"}], ids=["nobody", "a stranger"])
def test_nobody_orders_without_credentials(provider: DemoProvider, headers: dict[str, str]) -> None:
    ask(provider, f"/resto/collections/S2ST/{OFFLINE}/download?issuerId=demo", headers)
    assert provider.storage(OFFLINE) == "OFFLINE"


def test_looking_at_the_head_orders_nothing(provider: DemoProvider) -> None:
    assert download(provider, OFFLINE, "HEAD")[0] == 202
    assert provider.storage(OFFLINE) == "OFFLINE"


def test_a_product_can_go_back_to_tape(provider: DemoProvider) -> None:
    provider.put_on_tape(ONLINE)
    assert download(provider)[0] == 202
    provider.set_online(ONLINE)
    assert download(provider)[0] == 200


def test_an_unknown_product_is_said_to_be_unknown(provider: DemoProvider) -> None:
    with pytest.raises(NotFound, match="no-such-uid"):
        provider.set_offline("no-such-uid")


def test_a_head_has_the_headers_and_no_body(provider: DemoProvider) -> None:
    status, headers, body = download(provider, ONLINE, "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == provider.archive(ONLINE).stat().st_size
    assert provider.bytes_sent(ONLINE) == 0


def test_one_connection_serves_many_requests(provider: DemoProvider) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=60)
    path = f"/resto/collections/S2ST/{ONLINE}/download?issuerId=demo"
    statuses = []
    for headers in ({}, BASIC, {**BASIC, "Range": "bytes=0-9"}):
        connection.request("GET", path, headers=headers)
        ours = connection.sock.getsockname()
        response = connection.getresponse()
        response.read()
        statuses.append((response.status, connection.sock.getsockname() == ours))
    connection.close()
    assert statuses == [(401, True), (200, True), (206, True)]


# Byte ranges


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-0", range(1)),
        ("bytes=10-19", range(10, 20)),
        ("bytes=90-", range(90, 100)),
        ("bytes=90-1000", range(90, 100)),
        ("bytes=-10", range(90, 100)),
        ("bytes=-1000", range(100)),
        ("bytes=100-", range(0)),
        ("bytes=-0", range(0)),
        ("bytes=19-10", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
        ("garbage", None),
    ],
)
def test_a_range_header_is_read_as_rfc_9110_says(header: str | None, wanted: range | None) -> None:
    assert byte_range(header, 100) == wanted


@given(st.binary(min_size=1, max_size=50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_the_slice_of_python(content: bytes, first: int, more: int) -> None:
    wanted = byte_range(f"bytes={first}-{first + more}", len(content))
    assert wanted is not None
    assert content[wanted.start : wanted.stop] == content[first : first + more + 1]


def test_a_range_brings_its_bytes_and_says_so(provider: DemoProvider) -> None:
    whole = provider.archive(ONLINE).read_bytes()
    status, headers, body = download(provider, Range="bytes=100000-299999")
    assert (status, body) == (206, whole[100_000:300_000])
    assert headers["Content-Range"] == f"bytes 100000-299999/{len(whole)}"
    assert provider.requests[0].range == "bytes=100000-299999"
    assert provider.bytes_sent(ONLINE) == 200_000


def test_a_range_beyond_the_end_is_416(provider: DemoProvider) -> None:
    size = provider.archive(ONLINE).stat().st_size
    status, headers, body = download(provider, Range=f"bytes={size}-")
    assert (status, headers["Content-Range"], body) == (416, f"bytes */{size}", b"")


def test_if_range_brings_the_whole_archive_when_it_is_another(provider: DemoProvider) -> None:
    _, headers, _ = download(provider, ONLINE, "HEAD")
    for validator in (headers["ETag"], headers["Last-Modified"]):
        assert download(provider, Range="bytes=0-9", If_Range=validator)[0] == 206
    assert download(provider, Range="bytes=0-9", If_Range='"another"')[0] == 200


def test_a_provider_without_ranges_sends_everything(provider: DemoProvider) -> None:
    provider.ranges = False
    status, headers, body = download(provider, Range="bytes=0-9")
    assert (status, headers["Accept-Ranges"]) == (200, None)
    assert len(body) == provider.archive(ONLINE).stat().st_size


# The book


def test_who_has_read_an_answer_finds_it_in_the_book(provider: DemoProvider) -> None:
    for number in range(1, 200):
        download(provider, Range="bytes=0-99")
        assert provider.count() == number


def test_requests_are_counted_by_product_kind_and_status(provider: DemoProvider) -> None:
    download(provider)
    download(provider, OFFLINE)
    ask(provider, f"/quicklook/{TITLE}_quicklook.jpg")
    ask(provider, "/nothing")
    assert provider.count() == 4
    assert provider.count(ONLINE) == 2
    assert provider.count(kind="download") == 2
    assert provider.count(OFFLINE, "download", 202) == 1
    assert provider.count(OFFLINE, "quicklook") == 0
    assert provider.bytes_sent(ONLINE) == provider.archive(ONLINE).stat().st_size
    assert provider.bytes_sent(OFFLINE) == 0


def test_a_record_never_shows_a_credential(provider: DemoProvider) -> None:
    download(provider)
    assert provider.requests[0].authorised
    assert BASIC["Authorization"] not in repr(provider.requests)
    assert "password" not in repr(provider)


def test_the_log_has_a_line_for_each_request_at_once(store: Path, tmp_path: Path, clock: Clock) -> None:
    log = tmp_path / "access.log"
    with DemoProvider(store, megabytes=SMALL, log=log, clock=clock) as provider:
        download(provider, Range="bytes=0-99")
        path = f"/resto/collections/S2ST/{ONLINE}/download"
        assert log.read_text() == f"1970-01-12T13:46:40.000000Z GET {path} 206 100\n"


def test_the_peak_says_how_many_requests_there_were_at_a_time(provider: DemoProvider) -> None:
    release = threading.Event()
    provider.script[ONLINE].extend(Reply(stall_after=-1, release=release) for _ in range(5))
    clients = [threading.Thread(target=download, args=(provider,)) for _ in range(5)]
    for client in clients:
        client.start()
    assert provider.wait_until(lambda: provider.under_way == 5)
    release.set()
    for client in clients:
        client.join()
    download(provider)
    assert (provider.peak, provider.under_way, provider.count(status=200)) == (5, 0, 6)


def test_eighty_clients_at_once_all_get_their_bytes(provider: DemoProvider) -> None:
    whole = provider.archive(ONLINE).read_bytes()
    answers = []
    clients = [threading.Thread(target=lambda: answers.append(download(provider)[2])) for _ in range(80)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert answers == [whole] * 80
    assert provider.bytes_sent(ONLINE) == 80 * len(whole)


# Misbehaviour on purpose


def test_a_script_is_followed_and_then_all_is_as_usual(provider: DemoProvider) -> None:
    provider.script[ONLINE].extend([Reply(503), Reply(429, {"Retry-After": "1"}), Reply(200, {}, b"<html>")])
    answers = [download(provider) for _ in range(4)]
    assert [answer[0] for answer in answers] == [503, 429, 200, 200]
    assert answers[1][1]["Retry-After"] == "1"
    assert answers[2][2] == b"<html>"
    assert zipfile.is_zipfile(provider.archive(ONLINE))


def test_a_script_is_for_one_product_and_for_its_download(provider: DemoProvider) -> None:
    provider.script[ONLINE].append(Reply(503))
    assert download(provider, OFFLINE)[0] == 202
    assert ask(provider, f"/quicklook/{TITLE}_quicklook.jpg")[0] == 200
    assert len(provider.script[ONLINE]) == 1


@pytest.mark.parametrize("after", [0, 1, 65_536, 100_000])
def test_a_connection_is_cut_after_just_so_many_bytes(provider: DemoProvider, after: int) -> None:
    provider.script[ONLINE].append(Reply(cut_after=after))
    with pytest.raises(http.client.IncompleteRead) as cut:
        download(provider)
    assert cut.value.partial == provider.archive(ONLINE).read_bytes()[:after]
    assert provider.bytes_sent(ONLINE) == after


def test_a_connection_is_cut_without_an_answer(provider: DemoProvider) -> None:
    provider.script[ONLINE].append(Reply(cut_after=-1))
    with pytest.raises(http.client.RemoteDisconnected):
        download(provider)
    assert provider.wait_until(lambda: provider.count(status=0) == 1)


def test_a_range_can_be_cut_as_well(provider: DemoProvider) -> None:
    provider.script[ONLINE].append(Reply(cut_after=10))
    with pytest.raises(http.client.IncompleteRead) as cut:
        download(provider, Range="bytes=50-99")
    assert cut.value.partial == provider.archive(ONLINE).read_bytes()[50:60]


def test_a_body_can_be_shorter_than_it_says(provider: DemoProvider) -> None:
    provider.script[ONLINE].append(Reply(200, body=b"short", length=100))
    with pytest.raises(http.client.IncompleteRead) as cut:
        download(provider)
    assert cut.value.partial == b"short"


def test_a_stall_lasts_until_it_is_released(provider: DemoProvider) -> None:
    release = threading.Event()
    provider.script[ONLINE].append(Reply(stall_after=1000, release=release))
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=60)
    connection.request("GET", f"/resto/collections/S2ST/{ONLINE}/download?issuerId=demo", headers=BASIC)
    response = connection.getresponse()
    begin = response.read(1000)
    connection.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        connection.sock.recv(1)
    assert provider.count() == 0
    connection.sock.settimeout(60)
    release.set()
    rest = b""
    while len(begin) + len(rest) < provider.archive(ONLINE).stat().st_size:
        rest += connection.sock.recv(1 << 20)
    response.close()
    connection.close()
    assert begin + rest == provider.archive(ONLINE).read_bytes()


@pytest.mark.parametrize("after", [-1, 0, 1000])
def test_a_stall_ends_when_the_client_goes_away(
    provider: DemoProvider, capfd: pytest.CaptureFixture[str], after: int
) -> None:
    provider.script[ONLINE].append(Reply(stall_after=after))
    with socket.create_connection(("127.0.0.1", provider.port)) as client:
        path = f"/resto/collections/S2ST/{ONLINE}/download?issuerId=demo"
        client.sendall(f"GET {path} HTTP/1.1\r\nAuthorization: {BASIC['Authorization']}\r\n\r\n".encode())
        assert provider.wait_until(lambda: provider.under_way == 1)
    assert provider.wait_until(lambda: provider.count(ONLINE) == 1)
    assert provider.bytes_sent(ONLINE) <= max(after, 0)
    assert capfd.readouterr().err == ""


def test_a_client_that_goes_away_prints_nothing(store: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with DemoProvider(tmp_path, products=ten_products()[2:3], megabytes=20) as provider:
        with socket.create_connection(("127.0.0.1", provider.port)) as client:
            # closing with bytes unread and no lingering resets the connection
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            path = f"/resto/collections/S2ST/{ONLINE}/download?issuerId=demo"
            client.sendall(f"GET {path} HTTP/1.1\r\nAuthorization: {BASIC['Authorization']}\r\n\r\n".encode())
            assert client.recv(1)
        assert provider.wait_until(lambda: provider.count(ONLINE) == 1)
        assert provider.bytes_sent(ONLINE) < 20_000_000
    assert capfd.readouterr().err == ""


def test_a_rate_slows_a_connection_down(provider: DemoProvider) -> None:
    provider.rate = 1_000_000
    begun = time.monotonic()
    download(provider, Range="bytes=0-199999")
    assert time.monotonic() - begun > 0.15


def test_a_test_can_answer_in_the_providers_place(store: Path) -> None:
    class Moved(DemoProvider):
        def answer(self, request: Request) -> Reply | None:
            if request.kind == "download" and request.method == "GET":
                return Reply(302, {"Location": "http://localhost/elsewhere"})
            if request.method == "POST":
                return Reply(201, {}, request.body)
            return None

    with Moved(store, megabytes=SMALL) as provider:
        status, headers, _ = download(provider)
        assert (status, headers["Location"]) == (302, "http://localhost/elsewhere")
        assert download(provider, ONLINE, "HEAD")[0] == 200
        connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=60)
        connection.request("POST", "/orders", body=b"{}")
        response = connection.getresponse()
        assert (response.status, response.read()) == (201, b"{}")
        connection.close()


# Start and stop


def test_stop_leaves_no_thread_and_ends_what_is_under_way_at_once(store: Path) -> None:
    before = set(threading.enumerate())
    broken: list[BaseException] = []

    def reads_until_the_end(provider: DemoProvider) -> None:
        with pytest.raises((http.client.HTTPException, ConnectionError)) as caught:
            download(provider)
        broken.append(caught.value)

    with DemoProvider(store, megabytes=SMALL, staging_seconds=0) as provider:
        provider.script[ONLINE].extend([Reply(stall_after=-1), Reply(stall_after=1000)])
        idle = socket.create_connection(("127.0.0.1", provider.port))
        clients = [threading.Thread(target=reads_until_the_end, args=(provider,)) for _ in range(2)]
        for client in clients:
            client.start()
        assert provider.wait_until(lambda: provider.under_way == 2)
    for client in clients:
        client.join()  # if it was not ended, its time runs out, which is none of the errors above
    idle.close()
    assert set(threading.enumerate()) <= before
    assert len(broken) == provider.count() == 2


def test_stop_ends_a_slow_download(store: Path) -> None:
    before = set(threading.enumerate())
    with DemoProvider(store, megabytes=SMALL, rate=1000) as provider:  # five minutes for a product
        client = socket.create_connection(("127.0.0.1", provider.port))
        path = f"/resto/collections/S2ST/{ONLINE}/download?issuerId=demo"
        client.sendall(f"GET {path} HTTP/1.1\r\nAuthorization: {BASIC['Authorization']}\r\n\r\n".encode())
        assert client.recv(1)
    assert set(threading.enumerate()) <= before  # of those that it had to wait for
    client.close()


def test_after_stop_nobody_answers_and_after_start_the_same_port_does(provider: DemoProvider) -> None:
    port = provider.port
    provider.stop()
    with pytest.raises(ConnectionRefusedError):
        download(provider)
    provider.stop()
    provider.start()
    assert provider.port == port
    assert download(provider)[0] == 200


def test_a_port_that_is_taken_is_said_to_be(provider: DemoProvider, store: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(ConfigError, match=rf"port {provider.port} .*choose another"):
        DemoProvider(store, megabytes=SMALL, port=provider.port).start()
    assert set(threading.enumerate()) <= before


def test_a_store_that_cannot_be_written_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write its files"):
        DemoProvider(tmp_path / "file").start()
