"""A running mount follows its search results: the tree is what they hold, and nobody who is in it is disturbed."""

from __future__ import annotations

import copy
import fcntl
import gc
import gzip
import json
import os
import pty
import signal
import sys
import termios
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from conftest import (
    LIST,
    OFFLINE,
    ONLINE,
    TITLES,
    UIDS,
    Mount,
    begin,
    begin_blocked,
    environment,
    error_of,
    ls,
    ranges_of,
    runs,
    until,
)
from machine import SRV, Machine

from eofs import catalog
from eofs.commands.following import settle
from eofs.demo import DemoProvider, ten_products
from eofs.folders import Products
from eofs.layout import name_all
from eofs.nodes import NOBODY, Directory

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from eofs.model import Product

    Feature = dict[str, Any]

mounts = pytest.mark.mount
NEVER = 1e9  # seconds


def features(provider: DemoProvider, *uids: str) -> list[Feature]:
    """The features of some products, or of all."""
    every: list[Feature] = copy.deepcopy(provider.result()["features"])
    return [feature for feature in every if not uids or feature["properties"]["uid"] in uids]


def text(found: list[Feature]) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": found}).encode()


def replace(result: Path, content: bytes) -> None:
    """Write as careful programs do: the file is there as it was, or as it is to be."""
    beside = result.with_name(f".{result.name}.part")
    beside.write_bytes(content)
    beside.replace(result)


def titles(*uids: str) -> list[str]:
    return sorted(TITLES[uid] for uid in uids or UIDS)


def until_shown(mount: Mount, *uids: str) -> None:
    until(lambda: ls(mount.root) == titles(*uids))


# -- however it is written ---------------------------------------------------------------------------------------------


def in_place(result: Path, content: bytes) -> None:
    result.write_bytes(content)


def by_a_link(result: Path, content: bytes) -> None:
    """A link that leads to the newest of several files."""
    newest = result.with_name("newest.txt")
    newest.write_bytes(content)
    beside = result.with_name("link")
    beside.symlink_to(newest)
    beside.replace(result)


@mounts
@pytest.mark.says(
    "A mount shows what its files hold by now: a second after one was written, replaced, added or removed",
    "keeps its name, its inode numbers",
)
@pytest.mark.parametrize("write", [replace, in_place, by_a_link])
@pytest.mark.parametrize("suffix", ["geojson", "geojson.gz"])
def test_the_tree_is_what_the_file_holds_by_now(
    tmp_path: Path, provider: DemoProvider, write: Callable[[Path, bytes], None], suffix: str
) -> None:
    pack = gzip.compress if suffix.endswith("gz") else bytes
    result = tmp_path / f"r.{suffix}"
    result.write_bytes(pack(text(features(provider, *UIDS[:4]))))
    with Mount(tmp_path, result) as mount:
        gone, new = mount.root / TITLES[UIDS[0]], mount.root / TITLES[UIDS[9]]
        number = gone.stat().st_ino
        assert not new.exists()  # which the kernel remembers for an hour
        changed = mount.root.stat().st_mtime_ns
        write(result, pack(text(features(provider, *UIDS[2:]))))
        until_shown(mount, *UIDS[2:])
        until(lambda: mount.root.stat().st_mtime_ns > changed)
        until(lambda: new.exists() and not gone.exists())
        assert error_of((gone / "status").read_bytes) == "ENOENT"
        assert {"data", "status"} < set(ls(new))
        write(result, pack(text(features(provider))))
        until_shown(mount)
        until(gone.exists)
        assert gone.stat().st_ino == number


@mounts
def test_a_file_that_is_half_written_empties_nothing(tmp_path: Path, provider: DemoProvider) -> None:
    result = tmp_path / "r.geojson"
    result.write_bytes(text(features(provider, *UIDS[:4])))
    with Mount(tmp_path, result) as mount:
        content = text(features(provider, *UIDS[2:]))
        with result.open("wb", buffering=0) as file:
            for start in range(0, len(content), 1000):
                file.write(content[start : start + 1000])
                assert ls(mount.root) in (titles(*UIDS[:4]), titles(*UIDS[2:]))
        until_shown(mount, *UIDS[2:])


@mounts
@pytest.mark.says("and a quarter of a minute where it does not (a network's disk that another machine writes).")
def test_what_the_kernel_does_not_tell_of_is_seen_all_the_same(tmp_path: Path, provider: DemoProvider) -> None:
    result = tmp_path / "r.geojson"
    result.write_bytes(text(features(provider, *UIDS[:4])))
    with Mount(tmp_path, result) as mount, result.open("wb", buffering=0) as file:
        file.write(text(features(provider, *UIDS[2:])))  # and is not closed, which would be told
        until_shown(mount, *UIDS[2:])


@mounts
@pytest.mark.says("What cannot be read leaves what it held before, which the log says once")
@pytest.mark.parametrize("harm", ["broken", "cut short", "empty", "deleted", "unreadable features"])
def test_a_result_that_cannot_be_read_leaves_the_tree_as_it_was(
    tmp_path: Path, provider: DemoProvider, harm: str
) -> None:
    result = tmp_path / "r.geojson"
    result.write_bytes(text(features(provider, *UIDS[:4])))
    with Mount(tmp_path, result) as mount:

        def told() -> list[str]:
            return [line for line in mount.logged() if "what it held before stays" in line]

        if harm == "deleted":
            result.unlink()
        else:
            good = text(features(provider))
            replace(result, {
                "broken": b"<html>", "cut short": good[:-100], "empty": b"",
                "unreadable features": b'{"type": "FeatureCollection", "features": [7]}',
            }[harm])  # fmt: skip
        until(told)
        assert ls(mount.root) == titles(*UIDS[:4])
        replace(result, text(features(provider, *UIDS[2:])))
        until_shown(mount, *UIDS[2:])
        assert len(told()) == 1
        assert str(result) in told()[0]


@mounts
@pytest.mark.says("a search that finds nothing any more empties the mount")
def test_a_search_that_finds_nothing_any_more_empties_the_mount(tmp_path: Path, provider: DemoProvider) -> None:
    with Mount(tmp_path, provider.write_result(tmp_path / "r.geojson")) as mount:
        replace(mount.result, text([]))
        until(lambda: ls(mount.root) == [])
        provider.write_result(mount.result)
        until_shown(mount)


@mounts
@pytest.mark.says("Filters choose from what comes as they chose from what was there.")
def test_what_is_wanted_of_the_result_is_wanted_of_the_next_one_too(tmp_path: Path, provider: DemoProvider) -> None:
    result = tmp_path / "r.geojson"
    result.write_bytes(text(features(provider, *UIDS[:2], OFFLINE)))
    with Mount(tmp_path, result, filter="storageStatus=ONLINE") as mount:
        assert ls(mount.root) == titles(*UIDS[:2])
        provider.write_result(result)
        until_shown(mount, *UIDS[:5])
        replace(result, text(features(provider, OFFLINE)))
        until(lambda: ls(mount.root) == [])


@mounts
def test_a_thousand_products_become_a_thousand_others(tmp_path: Path, provider: DemoProvider) -> None:
    def many(first: int) -> list[Feature]:
        [one] = features(provider, ONLINE)
        return [
            {**one, "id": f"{n}", "properties": {**one["properties"], "uid": f"u{n}", "title": f"P{n:04}"}}
            for n in range(first, first + 1000)
        ]

    result = tmp_path / "r.geojson"
    result.write_bytes(text(many(0)))
    with Mount(tmp_path, result) as mount:
        before = {entry.name: entry.inode() for entry in os.scandir(mount.root) if entry.is_dir() and entry.stat()}
        assert len(before) == 1000
        replace(result, text(many(500)))
        until(lambda: ls(mount.root) == [f"P{n:04}" for n in range(500, 1500)])
        after = {entry.name: entry.inode() for entry in os.scandir(mount.root)}
        until(lambda: all((mount.root / name).exists() for name in after))
        assert {name: after[name] for name in before.keys() & after.keys()} == {
            name: number for name, number in before.items() if name >= "P0500"
        }
        until(lambda: not any((mount.root / name).exists() for name in before.keys() - after.keys()))


@mounts
def test_all_mounts_of_a_result_follow_it(tmp_path: Path, provider: DemoProvider) -> None:
    result = tmp_path / "r.geojson"
    result.write_bytes(text(features(provider, *UIDS[:4])))
    shared = {"cache_dir": tmp_path / "cache"}
    with Mount(tmp_path / "a", result, **shared) as one, Mount(tmp_path / "b", result, **shared) as other:
        replace(result, text(features(provider, *UIDS[2:])))
        for mount in (one, other):
            until_shown(mount, *UIDS[2:])


# -- nobody is disturbed -----------------------------------------------------------------------------------------------


@mounts
@pytest.mark.says(
    "Who has something open in a product that goes reads it to its end, and may open what else is there",
)
def test_who_has_something_of_a_product_open_reads_it_to_the_end_when_it_is_gone(
    tmp_path: Path, provider: DemoProvider
) -> None:
    with Mount(tmp_path, provider.write_result(tmp_path / "r.geojson")) as mount:
        root = mount.safe(ONLINE)
        name = next(name for name in provider.md5sums(ONLINE) if name.endswith("_B02.jp2")).partition("/")[2]
        expected = {path: (mount.bring(ONLINE) / path).read_bytes() for path in (name, "manifest.safe", "INSPIRE.xml")}
        inside = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        with (root / name).open("rb", buffering=0) as file:
            begun = file.read(1000)
            replace(mount.result, text(features(provider, OFFLINE)))
            until_shown(mount, OFFLINE)
            until(lambda: not mount.product(OFFLINE).with_name(TITLES[ONLINE]).exists())
            assert begun + b"".join(iter(lambda: file.read(5000), b"")) == expected[name]
            assert os.fstat(file.fileno()).st_size == len(expected[name])
        for path in ("manifest.safe", "INSPIRE.xml"):  # nobody has looked at the second one in this mount's directory
            with os.fdopen(os.open(path, os.O_RDONLY, dir_fd=inside), "rb") as other:
                assert other.read() == expected[path]
        with os.scandir(inside) as entries:
            assert {"manifest.safe", "INSPIRE.xml"} < {entry.name for entry in entries}
        os.close(inside)


@mounts
@pytest.mark.says("An order or a download goes on.")
def test_a_download_under_way_is_neither_disturbed_nor_asked_for_again(
    tmp_path: Path, store: Path, readers: list[subprocess.Popen[str]]
) -> None:
    with (
        DemoProvider(store, megabytes=1, staging_seconds=NEVER) as provider,
        Mount(tmp_path, provider.write_result(tmp_path / "r.geojson")) as mount,
    ):
        readers += [begin_blocked("ls", mount.safe(OFFLINE)) for _ in range(3)]
        until(lambda: provider.count(OFFLINE, status=202))
        for kept in (UIDS[:5], UIDS, [ONLINE, OFFLINE]):  # gone, here again, among others
            replace(mount.result, text(features(provider, *kept)))
            until_shown(mount, *kept)
        assert all(reader.poll() is None for reader in readers)
        provider.set_online(OFFLINE)
        for reader in readers:
            shown, complaint = reader.communicate(timeout=60)
            assert (reader.returncode, complaint) == (0, "")
            assert "manifest.safe" in shown
        assert ranges_of(provider, OFFLINE) == [LIST]


@mounts
@pytest.mark.says("While something of a product is open its name is given to no other product")
def test_a_name_stays_with_its_product_as_long_as_that_is_open(tmp_path: Path, provider: DemoProvider) -> None:
    """Else the kernel, which knows files by their paths, would mix the bytes of two products."""
    result = tmp_path / "r.geojson"
    first, second = features(provider, *UIDS[:2])
    second["properties"]["title"] = first["properties"]["title"]
    result.write_bytes(text([first]))
    with Mount(tmp_path, result) as mount:
        [place] = mount.root.iterdir()
        with (place / "metadata.json").open("rb") as file:
            replace(result, text([second, *features(provider, OFFLINE)]))
            until(lambda: len(ls(mount.root)) == 2)
            assert json.loads((place / "metadata.json").read_bytes()) == first
            assert json.load(file) == first
        until(lambda: json.loads((place / "metadata.json").read_bytes()) == second)


# -- the same product, said otherwise ----------------------------------------------------------------------------------


@mounts
@pytest.mark.says("its new links and another status count from the next open on")
def test_a_fresh_link_and_another_status_count_from_the_next_open_on(tmp_path: Path, provider: DemoProvider) -> None:
    result = tmp_path / "r.geojson"
    [good] = features(provider, ONLINE)
    stale = copy.deepcopy(good)
    for said in (stale["properties"], stale["properties"]["services"]["download"]):
        for key in ("url", "downloadLink"):
            if key in said:
                said[key] = said[key].replace(ONLINE, "over")
    stale["properties"] |= {"storageStatus": "OFFLINE", "storage": {"mode": "tape"}}
    result.write_bytes(text([stale]))
    with Mount(tmp_path, result) as mount:
        assert mount.status(ONLINE)["storageStatus"] == "OFFLINE"
        assert error_of(ls, mount.safe(ONLINE)) == "ENODATA"
        replace(result, text([good]))
        until(lambda: mount.status(ONLINE)["storageStatus"] == "ONLINE")
        assert (mount.bring(ONLINE) / "manifest.safe").exists()
        assert json.loads((mount.product(ONLINE) / "metadata.json").read_bytes()) == good


@mounts
@pytest.mark.says("`metadata.json` is always that of the newest result")
def test_metadata_are_those_of_the_newest_result(tmp_path: Path, provider: DemoProvider) -> None:
    result = tmp_path / "r.geojson"
    [feature] = features(provider, ONLINE)
    result.write_bytes(text([feature]))
    with Mount(tmp_path, result) as mount:
        file = mount.product(ONLINE) / "metadata.json"
        for word in ("one", "two", "three and more"):
            feature["properties"]["remark"] = word
            replace(result, text([feature]))
            until(lambda: json.loads(file.read_bytes()) == feature)


# -- several results ---------------------------------------------------------------------------------------------------


@mounts
@pytest.mark.says(
    "or a directory: all files in it that are called `*.json` or `*.geojson`, gzipped (`.gz`) or not",
    "A file that is taken out of a directory takes its products along",
)
def test_a_directory_shows_all_results_in_it_each_product_once(tmp_path: Path, provider: DemoProvider) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "a.geojson").write_bytes(text(features(provider, *UIDS[:3])))
    (folder / "b.json.gz").write_bytes(gzip.compress(text(features(provider, *UIDS[2:5]))))
    (folder / "other.json").write_text('{"name": "package"}', encoding="utf-8")
    for none in (".hidden.json", "notes.txt"):
        (folder / none).write_bytes(text(features(provider)))
    with Mount(tmp_path, folder) as mount:
        assert ls(mount.root) == titles(*UIDS[:5])
        assert [line for line in mount.logged() if "other.json is not GeoJSON" in line and "left out" in line]
        (folder / "c.geojson").write_bytes(text(features(provider, *UIDS[4:7])))
        until_shown(mount, *UIDS[:7])
        (folder / "a.geojson").write_bytes(b"half")
        until(lambda: any("what it held before stays" in line for line in mount.logged()))
        assert ls(mount.root) == titles(*UIDS[:7])
        (folder / "a.geojson").unlink()
        until_shown(mount, *UIDS[2:7])
        (folder / "b.json.gz").unlink()
        until_shown(mount, *UIDS[4:7])
        folder.rename(tmp_path / "elsewhere")
        until(lambda: mount.eofs("ls", mount.root).stdout.count("\n") == 4)
        (tmp_path / "elsewhere").rename(folder)
        (folder / "a.geojson").write_bytes(text(features(provider)))
        until_shown(mount)


@mounts
@pytest.mark.says("Several RESULTs are one after the other, or one word with `:` in between")
@pytest.mark.parametrize("way", ["words", "colon"])
def test_several_files_are_one_result(tmp_path: Path, provider: DemoProvider, way: str) -> None:
    one, other = tmp_path / "a.geojson", tmp_path / "b.geojson"
    one.write_bytes(text(features(provider, *UIDS[:3])))
    other.write_bytes(text(features(provider, *UIDS[2:5])))
    sources = [one, other] if way == "words" else [f"{one}:{other}"]
    mount = Mount(tmp_path, one)
    try:
        done = mount.eofs("mount", *sources, *mount.command[2:])
        assert (done.returncode, done.stderr) == (0, "")
        assert os.getxattr(mount.root, "user.eofs.result").decode() == f"{one}:{other}"
        assert ls(mount.root) == titles(*UIDS[:5])
        other.unlink()  # as one that is named, it stays as it was
        replace(one, text(features(provider, *UIDS[1:3], OFFLINE)))
        until_shown(mount, *UIDS[1:5], OFFLINE)
    finally:
        mount.end()


@mounts
@pytest.mark.parametrize("kind", ["fuse.eofs", "eofs"])
def test_mount_8_takes_a_directory_and_several_files_for_one_source(
    tmp_path: Path, provider: DemoProvider, kind: str
) -> None:
    with Machine(tmp_path) as machine:
        for name, some in {"a": UIDS[:3], "b": UIDS[3:]}.items():
            (tmp_path / f"{name}.geojson").write_bytes(text(features(provider, *some)))
        for source in (SRV, f"{SRV}/a.geojson:{SRV}/b.geojson"):
            assert machine.said("mount", "-t", kind, source, SRV / "mnt", "-o", f"cache_dir={SRV}/cache") == ""
            assert machine.said("ls", SRV / "mnt").split() == titles()
            assert machine.mounts() == [[str(source), str(SRV / "mnt"), "fuse.eofs"]]
            assert machine.said("umount", SRV / "mnt") == ""
            until(lambda: not machine.residents())


# -- SIGHUP ------------------------------------------------------------------------------------------------------------


@mounts
@pytest.mark.says("SIGHUP has all of them read again at once.")
def test_sighup_reads_the_results_again(mount: Mount) -> None:
    for times in (1, 2):
        os.kill(mount.pid, signal.SIGHUP)
        until(lambda: len([line for line in mount.logged() if "0 new, 0 gone, 0 changed" in line]) == times)  # noqa: B023
    assert ls(mount.root) == titles()


@mounts
@pytest.mark.says("so does SIGHUP when the terminal of an `eofs mount -f` goes away")
def test_a_mount_whose_terminal_goes_away_ends(tmp_path: Path, provider: DemoProvider) -> None:
    mount = Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"))
    ours, its = pty.openpty()
    process = None
    try:
        process = begin(
            *(sys.executable, "-m", "eofs", *mount.command, "-f"), env=environment(tmp_path), stdin=its,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        until(lambda: os.path.ismount(mount.root))
        os.kill(process.pid, signal.SIGHUP)  # it has its terminal: that is somebody who wants the result to be read
        until(lambda: any("0 new, 0 gone, 0 changed" in line for line in mount.logged()))
        os.close(its)
        os.close(ours)
        ours = its = -1
        until(lambda: not runs(process.pid))
        assert not os.path.ismount(mount.root)
    finally:
        for descriptor in {ours, its} - {-1}:
            os.close(descriptor)
        if process:
            process.kill()
            process.communicate()
        mount.end()


# -- what is kept of what is not shown any more ------------------------------------------------------------------------


@pytest.fixture
def products(tmp_path: Path) -> Iterator[tuple[Product, ...]]:
    result = tmp_path / "r.json"
    result.write_bytes(text(ten_products()))
    yield catalog.load(result).products
    gc.unfreeze()


class Silent:
    """What the tree asks to know what stands in a product's directory."""

    def quicklook_name(self, product: Product) -> None:
        """It has none."""


def test_what_is_shown_no_more_goes_but_for_the_product_that_is_open(products: tuple[Product, ...]) -> None:
    engine: Any = Silent()
    before = Products(name_all(products), engine, "/mnt", 0)
    held = next(iter(before.folders[""].values()))
    assert isinstance(held, Directory)
    after = before.followed_by(name_all(products[5:]), 0)
    seen = weakref.ref(before)
    gc.freeze()  # as a mount has done
    del before
    settle()
    assert seen() is None
    assert len(after) == 5
    assert {"status", "metadata.json", "data"} == set(held.children(NOBODY))
