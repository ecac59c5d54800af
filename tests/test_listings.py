"""The files of a product as its provider lists them: complete, clean, at addresses that give their bytes."""

from __future__ import annotations

import contextlib
import json
import threading
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from engine_room import aside, until
from nodes_server import ENTRIES, JSON, NODES, NodesServer

from eofs import catalog, providers
from eofs.client import Client
from eofs.config import Network
from eofs.demo import Reply, ten_products
from eofs.errors import AccessRefused, Cancelled, EofsError, Gone, NotReady, NotSupported, ProviderFailed, Unreachable
from eofs.links import download_url
from eofs.listings import LISTINGS, files, odata, questions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eofs.model import Asset, Provider

ONE = ten_products()[2]
UID = ONE["properties"]["uid"]
ROOT = f"/odata/v1/Products({UID})/Nodes"
SAFE = f"{ONE['properties']['title']}.SAFE"
BROWSE = f"/data/browse/1.0.0/collections/EO:DEMO/products/{UID}"
ODD = {
    "X.SAFE/o'brien (1).xml": b"quotes and brackets",
    "X.SAFE/a b+c&d=e?f#g.txt": b"marks of a query",
    "X.SAFE/100%41;$value/Nodes/x.txt": b"percent signs, and words of the protocol",
    "X.SAFE/é ü😀.txt": b"more than ASCII",
    "X.SAFE/empty.txt": b"",
    "X.SAFE/deep/er/x.bin": bytes(range(256)),
}


@pytest.fixture(params=[NODES, ENTRIES], ids=["nodes", "entries"])
def speaks(request: pytest.FixtureRequest) -> Provider:
    chosen: Provider = request.param
    return chosen


@pytest.fixture
def server(store: Path) -> Iterator[NodesServer]:
    with NodesServer(store, products=[ONE], megabytes=1) as running:
        yield running


def nothing() -> None:
    """Whoever asks goes on waiting."""


def listed(
    server: NodesServer, speaks: Provider = NODES, check: Callable[[], None] = nothing, url: str = ""
) -> tuple[Asset, ...]:
    """List the files of the product."""
    server.entries = speaks.files == "eumetsat-entries"
    (product,) = catalog.read(json.dumps(server.result()).encode()).products
    with client(speaks) as asking:
        return LISTINGS[speaks.files or ""](asking, url or download_url(product, speaks), product, check)


@contextlib.contextmanager
def client(speaks: Provider) -> Iterator[Client]:
    made = Client(speaks, Network(), connections=4, stall_timeout=5.0)
    try:
        yield made
    finally:
        made.close()


def got(asking: Client, url: str, start: int = 0, stop: int | None = None) -> bytes:
    with contextlib.closing(asking.get(url, start=start, stop=stop)) as response:
        return b"".join(asking.body(response))


def made(directory: Path, contents: dict[str, bytes]) -> Path:
    path = directory / "made.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in contents.items():
            zipped.writestr(name, content)
    return path


def reply(said: object) -> Reply:
    return Reply(200, JSON, said if isinstance(said, bytes) else json.dumps(said).encode())


def node(name: str, size: object = 5, children: object = 0) -> dict[str, object]:
    return {"Id": name, "Name": name, "ContentLength": size, "ChildrenNumber": children, "Nodes": {"uri": "http://x/"}}


def entries(*titles: str) -> dict[str, Any]:
    return {"properties": {"links": {"sip-entries": [{"title": title, "href": "http://x/"} for title in titles]}}}


def failure(server: NodesServer, speaks: Provider = NODES, url: str = "") -> EofsError:
    with pytest.raises(EofsError) as caught:
        listed(server, speaks, url=url)
    return caught.value


# -- what is listed --------------------------------------------------------------------------------------------------


def test_every_protocol_can_be_configured() -> None:
    assert set(providers.FILES) == set(LISTINGS)


def test_a_list_holds_the_files_that_the_archive_holds(server: NodesServer, speaks: Provider) -> None:
    inside = server.sizes(UID)
    found = listed(server, speaks)
    assert [asset.key for asset in found] == [asset.path for asset in found] == sorted(inside)
    assert all(asset.key.startswith(f"{SAFE}/") for asset in found)
    known = [inside[asset.key] if speaks is NODES else None for asset in found]
    assert [asset.size for asset in found] == known
    assert server.asked("zip") == server.asked("file") == []


def test_a_file_comes_from_its_address_whole_and_in_parts(server: NodesServer, speaks: Provider) -> None:
    with client(speaks) as asking:
        for asset in listed(server, speaks):
            content = server.content(UID, asset.key)
            assert got(asking, asset.href) == content
            assert got(asking, asset.href, 3, 9) == content[3:9]


def test_the_archive_wants_credentials_as_its_files_do_and_the_list_does_not(
    server: NodesServer, speaks: Provider
) -> None:
    nobody = replace(speaks, auth="none", credentials={})
    found = listed(server, nobody)
    with client(nobody) as asking:
        for url in (server.link(UID), found[0].href):
            with pytest.raises(AccessRefused):
                asking.get(url)
    with client(speaks) as asking:
        assert got(asking, server.link(UID), 3) == server.archive(UID).read_bytes()


def test_odd_names_reach_the_provider_as_they_are(server: NodesServer, speaks: Provider, tmp_path: Path) -> None:
    server.zips[UID] = made(tmp_path, ODD)
    found = listed(server, speaks)
    assert {asset.key for asset in found} == set(ODD)
    with client(speaks) as asking:
        filled = [asset for asset in found if ODD[asset.key]]
        assert {asset.key: got(asking, asset.href) for asset in filled} == {k: v for k, v in ODD.items() if v}


def test_each_directory_is_asked_for_once(server: NodesServer) -> None:
    found = listed(server)
    directories = {asset.key.rsplit("/", depth)[0] for asset in found for depth in range(1, asset.key.count("/") + 1)}
    assert len(server.asked("list")) == len(directories) + 1


def test_the_files_of_a_product_need_one_request_at_eumetsat(server: NodesServer) -> None:
    listed(server, ENTRIES)
    (asked,) = server.asked("list")
    assert asked.query == {"format": "json"}


@pytest.mark.parametrize(
    "ending", ["/$value", "/%24value", "/$zip", "", "/", "/$value?token=a%2Fb"], ids=lambda ending: ending or "none"
)
def test_a_download_link_of_any_spelling_leads_to_the_nodes(server: NodesServer, ending: str) -> None:
    found = listed(server, url=f"{server.url}/odata/v1/Products({UID}){ending}")
    assert len(found) == len(server.sizes(UID))
    query = {"token": "a/b"} if "token" in ending else {}
    assert all(request.query == query for request in server.asked("list"))
    assert all(urlsplit(asset.href).path.endswith("/$value") for asset in found)
    assert all(urlsplit(asset.href).query == ending.partition("?")[2] for asset in found)


def test_what_the_link_asks_for_stays_in_the_addresses_of_entries(server: NodesServer) -> None:
    server.entries = True
    found = listed(server, ENTRIES, url=f"{server.link(UID)}/?token=a%2Fb")
    (asked,) = server.asked("list")
    assert asked.query == {"token": "a/b", "format": "json"}
    assert all("?token=a%2Fb&name=" in asset.href for asset in found)


@pytest.mark.parametrize(
    "path",
    [
        "/download/1234",
        "/odata/v1/Products",
        "/odata/v1/Products(1)/Nodes(X.SAFE)/$value",
        "/data/download/1.0.0/collections/C",
        "/data/browse/1.0.0/collections/C/products/1",
        "/data/download/1.0.0/collections/C/products/1/entry",
    ],
)
def test_another_link_is_not_asked_for_its_files(server: NodesServer, speaks: Provider, path: str) -> None:
    caught = failure(server, speaks, url=server.url + path)
    assert type(caught) is NotSupported
    assert server.requests == []


# -- who is asked ----------------------------------------------------------------------------------------------------


def test_a_redirect_to_another_host_is_followed_once_and_remembered(server: NodesServer, speaks: Provider) -> None:
    server.moved = True
    found = listed(server, speaks)
    assert [request.status for request in server.requests].count(301) == 1
    assert {urlsplit(asset.href).hostname for asset in found} == {"localhost"}
    with client(speaks) as asking:
        assert got(asking, found[0].href) == server.content(UID, found[0].key)


def test_a_host_that_may_not_see_credentials_is_not_remembered(server: NodesServer) -> None:
    server.moved = True
    found = listed(server, replace(NODES, hosts=("127.0.0.1:*",)))
    assert {urlsplit(asset.href).hostname for asset in found} == {"127.0.0.1"}
    assert {request.authorised for request in server.asked("list")} == {False}


def test_no_more_directories_are_asked_for_at_a_time_than_there_are_connections(server: NodesServer) -> None:
    directories = [f"d{number}" for number in range(9)]
    server.answers[ROOT] = [reply({"result": [node(name, 0, 1) for name in directories]})]
    free = threading.Event()
    for name in directories:
        answer = Reply(200, JSON, json.dumps({"result": [node("x.txt")]}).encode(), stall_after=-1, release=free)
        server.answers[f"{ROOT}({name})/Nodes"] = [answer]
    asking = aside(listed, server, replace(NODES, max_connections=3))
    assert server.wait_until(lambda: server.under_way == 3)
    free.set()
    assert len(asking.result(20)) == len(directories)
    assert server.peak == 3


def test_who_does_not_want_the_list_any_more_need_not_wait_for_an_answer(server: NodesServer, speaks: Provider) -> None:
    free, wanted = threading.Event(), threading.Event()
    wanted.set()
    stalled = Reply(200, JSON, b"{}", stall_after=-1, release=free)
    server.answers[ROOT if speaks is NODES else BROWSE] = [stalled]

    def check() -> None:
        if not wanted.is_set():
            raise Cancelled("gone away")

    asking = aside(listed, server, speaks, check)
    assert server.wait_until(lambda: server.under_way == 1)
    wanted.clear()
    try:
        assert isinstance(asking.exception(20), Cancelled)
        assert server.requests == []
    finally:
        free.set()
        until(lambda: not [thread for thread in threading.enumerate() if thread.name == "listing"])


# -- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "passing",
    [Reply(503), Reply(500), Reply(429), Reply(200, JSON, b'{"result": []}', cut_after=3), Reply(200, cut_after=-1)],
    ids=["503", "500", "429", "cut short", "no answer"],
)
def test_what_passes_is_asked_for_again(server: NodesServer, speaks: Provider, passing: Reply) -> None:
    server.answers[ROOT if speaks is NODES else BROWSE] = [passing] * NODES.retries
    assert len(listed(server, speaks)) == len(server.sizes(UID))


@pytest.mark.parametrize(
    ("answer", "times", "error", "asked"),
    [
        (Reply(503), 9, ProviderFailed, 3),
        (Reply(429), 9, NotReady, 3),
        (Reply(200, cut_after=-1), 9, Unreachable, 3),
        (Reply(429, {"Retry-After": "3600"}), 1, NotReady, 1),
        (Reply(404), 1, Gone, 1),
        (Reply(401), 1, AccessRefused, 1),
        (Reply(400), 1, ProviderFailed, 1),
        (Reply(202), 1, ProviderFailed, 1),
        (Reply(204), 1, ProviderFailed, 1),
        (Reply(200, {"Content-Type": "text/html"}, b"<html>"), 1, ProviderFailed, 1),
    ],
    ids=["503", "429", "no answer", "much later", "404", "401", "400", "202", "204", "log-in page"],
)
def test_what_does_not_pass_is_told(
    server: NodesServer, speaks: Provider, answer: Reply, times: int, error: type[EofsError], asked: int
) -> None:
    server.answers[ROOT if speaks is NODES else BROWSE] = [answer] * times
    assert type(failure(server, speaks)) is error
    assert len(server.asked("list")) == asked


def test_a_directory_without_answer_leaves_no_half_of_a_list(server: NodesServer) -> None:
    server.answers[f"{ROOT}({SAFE})/Nodes(GRANULE)/Nodes"] = [Reply(404)]
    assert type(failure(server)) is Gone


def test_a_provider_without_lists_says_so(server: NodesServer, speaks: Provider) -> None:
    server.listed = False
    assert type(failure(server, speaks)) is Gone


def test_a_list_without_end_is_not_read_to_its_end(
    server: NodesServer, speaks: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "LARGEST", 100_000)
    server.answers[ROOT if speaks is NODES else BROWSE] = [reply(b" " * 1_000_000)]
    assert "more than" in str(failure(server, speaks))


# -- odd lists of nodes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ([node("a.nc", 7)], {"a.nc": 7}),
        ([node("a.nc", "7")], {"a.nc": 7}),
        ([node("a.nc", 7.0)], {"a.nc": 7}),
        ([node("a.nc", None)], {"a.nc": None}),
        ([node("a.nc", "large")], {"a.nc": None}),
        ([node("a.nc", -1)], {"a.nc": None}),
        ([node("a.nc", 2**70)], {"a.nc": None}),
        ([node("a.nc", True)], {"a.nc": None}),
        ([node("a.nc", 7, None)], {"a.nc": 7}),
        ([node("a.nc", 7, "0")], {"a.nc": 7}),
        ([{"Name": "a.nc", "ContentLength": 7}], {"a.nc": 7}),
        ([{"Name": "a.nc", "ChildrenNumber": 0}], {"a.nc": None}),
        ([node("a.txt", 0), node("AUX_DATA", 0)], {"a.txt": 0}),
        ([node("a.nc"), node("b.nc", 6)], {"a.nc": 5, "b.nc": 6}),
        ([node("d", 0, 1)], {"d/x.txt": 5}),
        ([node("d", 99, 1)], {"d/x.txt": 5}),
        ([node("d", 0, "1")], {"d/x.txt": 5}),
        ([node("d", None, None)], {"d/x.txt": 5}),
        ([{"Name": "d"}], {"d/x.txt": 5}),
        ([node("a.nc"), node("..", 0, 1), node(".", 0, 1), node("", 5), node("/", 5)], {"a.nc": 5}),
        ([node("../../etc/passwd")], {"etc/passwd": 5}),
        ([node("/etc/passwd")], {"etc/passwd": 5}),
        ([node("C:\\a.nc")], {"a.nc": 5}),
        ([node("a\0b\n.nc")], {"a_b_.nc": 5}),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
@pytest.mark.parametrize("key", ["result", "value"])
def test_a_node_is_understood_however_it_is_put(
    server: NodesServer, key: str, said: list[object], found: dict[str, int | None]
) -> None:
    server.answers[ROOT] = [reply({"@odata.context": "$metadata", key: said})]
    server.answers[f"{ROOT}(d)/Nodes"] = [reply({key: [node("x.txt")]})]
    assert {asset.key: asset.size for asset in listed(server)} == found


def test_a_directory_that_holds_nothing_is_not_told(server: NodesServer) -> None:
    server.answers[ROOT] = [reply({"result": [node("HTML", 0, 1), node("a.nc")]})]
    server.answers[f"{ROOT}(HTML)/Nodes"] = [reply({"result": []})]
    assert [asset.key for asset in listed(server)] == ["a.nc"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b" ", "form"),
        (b"<xml/>", "form"),
        (b'{"result": [', "form"),
        (b'{"result": [{"Name": "\xff"}]}', "form"),
        (b"[" * 100_000, "form"),
        ([], "form"),
        (None, "form"),
        ({"result": {}}, "form"),
        ({"result": [1]}, "form"),
        ({"result": [{"Id": "a.nc"}]}, "form"),
        ({"result": [node("a.nc"), {"Name": None}]}, "form"),
        ({}, "does not say"),
        ({"detail": {"code": "DAT-ZIP-111"}}, "does not say"),
        ({"result": None}, "does not say"),
        ({"value": [node("a.nc")], "@odata.nextLink": "http://x/"}, "does not say"),
        ({"result": []}, "empty"),
        ({"result": [node("..", 0, 1)]}, "empty"),
        ({"result": [node("AUX_DATA", 0)]}, "empty"),
        ({"result": [node("a.nc"), node("a.nc")]}, "'a.nc' is in it twice"),
        ({"result": [node("a\0.nc"), node("a\1.nc")]}, "'a_.nc' is in it twice"),
        ({"result": [node("d"), node("d", 0, 1)]}, "'d' is a file and a directory"),
    ],
)
def test_a_list_of_nodes_that_cannot_be_used_is_refused(server: NodesServer, said: object, why: str) -> None:
    server.answers[ROOT] = [reply(said)]
    server.answers[f"{ROOT}(d)/Nodes"] = [reply({"result": [node("x.txt")]})]
    caught = failure(server)
    assert type(caught) is ProviderFailed
    assert why in str(caught)


def test_directories_that_go_down_for_ever_are_left_alone(server: NodesServer, tmp_path: Path) -> None:
    server.zips[UID] = made(tmp_path, {"d/" * 99 + "x.txt": b""})
    assert f"more than {odata.DEEPEST} directories inside" in str(failure(server))
    assert len(server.asked("list")) == odata.DEEPEST + 1


def test_directories_that_become_more_and_more_are_left_alone(
    server: NodesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "MOST", 30)
    server.zips[UID] = made(tmp_path, {f"{a}/{b}/{c}/x.txt": b"" for a in "123" for b in "12345" for c in "12345"})
    assert "more than 30 directories" in str(failure(server))
    assert len(server.asked("list")) < 30


def test_too_many_files_are_left_to_the_archive(server: NodesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST", 3)
    server.answers[ROOT] = [reply({"result": [node(f"{number}.nc") for number in range(3)]})]
    assert len(listed(server)) == 3
    server.answers[ROOT] = [reply({"result": [node(f"{number}.nc") for number in range(4)]})]
    assert "more than 3 files" in str(failure(server))


# -- odd lists of entries --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("titles", "found"),
    [
        (["a.nat", "EOPMetadata.xml"], ["EOPMetadata.xml", "a.nat"]),
        (["X.SEN3/a.nc", "X.SEN3/xfdumanifest.xml"], ["X.SEN3/a.nc", "X.SEN3/xfdumanifest.xml"]),
        (["../a.nc", "/b.nc", "..", "", "c\0.nc"], ["a.nc", "b.nc", "c_.nc"]),
    ],
)
def test_entries_lie_where_their_titles_say(server: NodesServer, titles: list[str], found: list[str]) -> None:
    server.answers[BROWSE] = [reply(entries(*titles))]
    assets = listed(server, ENTRIES)
    assert [asset.key for asset in assets] == found
    assert all(asset.href.startswith(f"{server.link(UID)}/entry?name=") for asset in assets)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"not json", "form"),
        ({}, "form"),
        ({"properties": {}}, "form"),
        ({"properties": {"links": {}}}, "form"),
        ({"properties": {"links": {"sip-entries": None}}}, "form"),
        ({"properties": {"links": {"sip-entries": [{"href": "http://x/"}]}}}, "form"),
        (entries(), "empty"),
        (entries(".."), "empty"),
        (entries("a", "a"), "'a' is in it twice"),
        (entries("a/b/c", "a"), "'a' is a file and a directory"),
    ],
)
def test_a_list_of_entries_that_cannot_be_used_is_refused(server: NodesServer, said: object, why: str) -> None:
    server.answers[BROWSE] = [reply(said)]
    caught = failure(server, ENTRIES)
    assert type(caught) is ProviderFailed
    assert why in str(caught)
