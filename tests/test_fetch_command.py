"""`eofs fetch` and `eofs quicklooks`: what they bring, where they put it, what they print, and how they go on."""

from __future__ import annotations

import fcntl
import filecmp
import hashlib
import json
import os
import shutil
import signal
import struct
import sys
import termios
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from asset_server import AssetServer
from conftest import OFFLINE, ONLINE, TITLES, UIDS, Mount, begin, environment, eofs, until
from engine_room import Room

from eofs.commands.output import Entry, find, write
from eofs.demo import DemoProvider, Reply, Request, ten_products
from eofs.errors import EofsError, Interrupted
from eofs.maps import read_map
from eofs.nodes import NOBODY, Caller

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator


@pytest.fixture
def result(tmp_path: Path, provider: DemoProvider) -> Path:
    return provider.write_result(tmp_path / "result.geojson")


def fetch(home: Path, *words: object, **how: Any) -> subprocess.CompletedProcess[str]:
    return eofs("fetch", *words, "--wait", "0.002", home=home, timeout=100, **how)


def archive(home: Path, uid: str) -> Path:
    """Where the cache keeps a product."""
    return home / ".cache/eofs/products/demo" / uid / "archive"


def md5sums(root: Path) -> dict[str, str]:
    """The MD5 of every file below, by its path."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


def test_all_products_come_also_from_tape_and_their_archives_paths_are_printed(
    tmp_path: Path, provider: DemoProvider, result: Path
) -> None:
    done = fetch(tmp_path, result, "-j", "2")
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == sorted(str(archive(tmp_path, uid)) for uid in UIDS)
    assert all(filecmp.cmp(archive(tmp_path, uid), provider.archive(uid), shallow=False) for uid in UIDS)
    assert f"eofs: {TITLES[OFFLINE]}: ordered 20" in done.stderr
    assert done.stderr.splitlines()[-1].endswith(": done (10 of 10)")
    provider.stop()
    again = fetch(tmp_path, result)
    assert (again.returncode, sorted(again.stdout.splitlines())) == (0, sorted(done.stdout.splitlines()))


def test_a_product_that_two_results_hold_is_fetched_once_and_filters_say_which_are(
    tmp_path: Path, provider: DemoProvider, result: Path
) -> None:
    text = result.read_text(encoding="utf-8")
    words = ["--filter", "storageStatus=ONLINE", "--filter", f"title={TITLES[ONLINE]}"]
    done = fetch(tmp_path, result, "-", *words, input=text)
    assert (done.returncode, done.stdout) == (0, f"{archive(tmp_path, ONLINE)}\n")
    assert {request.uid for request in provider.requests} == {ONLINE}
    assert provider.bytes_sent() == provider.archive(ONLINE).stat().st_size


def test_with_output_each_product_stands_extracted_in_a_directory_of_its_own(
    tmp_path: Path, provider: DemoProvider, result: Path
) -> None:
    out = tmp_path / "new/out"
    done = fetch(tmp_path, result, "--output", out, "--filter", "storageStatus=ONLINE")
    assert done.returncode == 0
    roots = {uid: out / TITLES[uid] / f"{TITLES[uid]}.SAFE" for uid in UIDS[:5]}
    assert sorted(done.stdout.splitlines()) == sorted(map(str, roots.values()))
    assert sorted(path.name for path in out.iterdir()) == sorted(TITLES[uid] for uid in UIDS[:5])
    for uid, root in roots.items():
        assert md5sums(root.parent) == provider.md5sums(uid)
    provider.stop()
    shutil.rmtree(tmp_path / ".cache")
    again = fetch(tmp_path, result, "--output", out, "--filter", "storageStatus=ONLINE")
    assert (again.returncode, sorted(again.stdout.splitlines())) == (0, sorted(done.stdout.splitlines()))


@pytest.mark.parametrize(
    "variable", ["EODAG__DEMO__DOWNLOAD__OUTPUTS_PREFIX", "EODAG__DEMO__DOWNLOAD__OUTPUT_DIR"], ids=["old", "new"]
)
def test_eodags_output_directory_is_ours_and_without_extraction_the_archive_lies_in_it(
    tmp_path: Path, provider: DemoProvider, result: Path, variable: str
) -> None:
    words = [result, "--filter", f"title={TITLES[ONLINE]}", "--extract", "false"]
    for _ in range(2):
        done = fetch(tmp_path, *words, env={variable: str(tmp_path / "out")})
        assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out/{TITLES[ONLINE]}.zip\n")
        assert filecmp.cmp(tmp_path / f"out/{TITLES[ONLINE]}.zip", provider.archive(ONLINE), shallow=False)
    assert provider.bytes_sent() == provider.archive(ONLINE).stat().st_size


def test_one_that_fails_does_not_stop_the_others_and_is_told_at_the_end(
    tmp_path: Path, provider: DemoProvider, result: Path
) -> None:
    provider.script[ONLINE].append(Reply(404))
    done = fetch(tmp_path, result, "-j", "1", "--filter", "storageStatus=ONLINE")
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()) == sorted(str(archive(tmp_path, uid)) for uid in UIDS[:5] if uid != ONLINE)
    *_, count, failure = done.stderr.splitlines()
    assert count == "eofs: 1 of 5 failed:"
    assert failure.startswith(f"{TITLES[ONLINE]}: ")
    assert "no longer" in failure


def test_what_is_not_there_in_time_stays_ordered_and_the_next_call_waits_for_it(
    tmp_path: Path, provider: DemoProvider, result: Path
) -> None:
    provider.staging_seconds = 1e9
    words = [result, "--filter", f"title={TITLES[OFFLINE]}"]
    done = fetch(tmp_path, *words, "--timeout", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "stays" in done.stderr.splitlines()[-1]
    provider.set_online(OFFLINE)
    done = fetch(tmp_path, *words)
    assert (done.returncode, done.stdout) == (0, f"{archive(tmp_path, OFFLINE)}\n")
    assert provider.count(OFFLINE, status=202) == 1


def test_those_that_wait_for_their_orders_keep_no_other_waiting(
    tmp_path: Path, provider: DemoProvider, result: Path
) -> None:
    provider.staging_seconds = 1e9
    words = ["fetch", result, "-j", "1", "--wait", "0.002"]
    running = begin(sys.executable, "-m", "eofs", *words, env=environment(tmp_path))
    try:
        until(lambda: all(archive(tmp_path, uid).exists() for uid in UIDS[:5]))
        until(lambda: all(provider.count(uid, status=202) for uid in UIDS[5:]))
        for uid in UIDS[5:]:
            provider.set_online(uid)
        out, _ = running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    assert (running.returncode, len(out.splitlines())) == (0, 10)


# -- stopped and begun again -----------------------------------------------------------------------------------------


class Stalling(DemoProvider):
    """A provider that falls silent in each reply after a part of it, as long as it is `halting`."""

    halting = True

    def answer(self, request: Request) -> Reply | None:
        return Reply(stall_after=1_500_000) if self.halting and request.kind == "download" else None


@pytest.fixture
def stalling(tmp_path: Path) -> Iterator[Stalling]:
    with Stalling(tmp_path / "store", products=ten_products()[2:3], megabytes=8) as running:
        yield running


@pytest.mark.parametrize(("end", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)], ids=["kill -9", "Ctrl-C"])
def test_it_goes_on_where_it_was_stopped_and_no_byte_that_was_here_comes_twice(
    tmp_path: Path, stalling: Stalling, end: signal.Signals, status: int
) -> None:
    result, place = stalling.write_result(tmp_path / "result.geojson"), archive(tmp_path, ONLINE)

    def arrived() -> int:
        return sum(stop - start for start, stop in read_map(place)["ranges"])

    running = begin(sys.executable, "-m", "eofs", "fetch", result, env=environment(tmp_path))
    try:
        until(lambda: arrived() > 1_000_000)
        running.send_signal(end)
        out, told = running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    assert (running.returncode, out) == (status, "")
    if end is signal.SIGINT:
        assert "Traceback" not in told
        assert told.splitlines()[-1] == "eofs: stopped; what has come is kept, and the same command goes on from there"
    stalling.halting = False
    until(lambda: not stalling.under_way)
    here, sent = arrived(), stalling.bytes_sent(ONLINE)
    done = fetch(tmp_path, result)
    assert (done.returncode, done.stdout) == (0, f"{place}\n")
    assert filecmp.cmp(place, stalling.archive(ONLINE), shallow=False)
    assert stalling.bytes_sent(ONLINE) - sent <= place.stat().st_size - here


# -- in a mount ------------------------------------------------------------------------------------------------------


@pytest.mark.mount
def test_a_product_of_a_mount_is_brought_through_the_mount(mount: Mount, provider: DemoProvider) -> None:
    done = fetch(mount.home, mount.product(OFFLINE))
    assert (done.returncode, done.stdout) == (0, f"{mount.safe(OFFLINE)}\n")
    until(lambda: mount.status(OFFLINE)["local"] == "complete")
    assert not (mount.home / ".cache").exists()
    assert provider.bytes_sent() < 1.2 * provider.archive(OFFLINE).stat().st_size


@pytest.mark.mount
def test_the_chosen_products_of_a_mount_are_copied_out_and_the_failing_one_says_what_its_status_says(
    mount: Mount, provider: DemoProvider
) -> None:
    out = mount.home / "out"
    broken, *fine = [uid for uid in UIDS[:5] if "_2020122" in TITLES[uid]]
    provider.script[broken].extend([Reply(404)] * 9)
    wanted = ["--filter", "storageStatus=ONLINE", "--filter", "title=*2020122*", "--output", out]
    done = fetch(mount.home, mount.root, *wanted)
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()) == sorted(str(out / TITLES[uid] / f"{TITLES[uid]}.SAFE") for uid in fine)
    for uid in fine:
        assert md5sums(out / TITLES[uid]) == provider.md5sums(uid)
    assert done.stderr.splitlines()[-1] == f"{TITLES[broken]}: {mount.status(broken)['error']}"


@pytest.mark.mount
def test_a_mount_shows_what_passes_its_filters_and_ls_chooses_from_it(tmp_path: Path, provider: DemoProvider) -> None:
    result = provider.write_result(tmp_path / "result.geojson")
    with Mount(tmp_path, result, filter="storageStatus=ONLINE") as mount:
        assert sorted(path.name for path in mount.root.iterdir()) == sorted(TITLES[uid] for uid in UIDS[:5])
        done = mount.eofs("ls", mount.root, "--filter", f"title={TITLES[ONLINE]}")
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", TITLES[ONLINE]]


# -- how it looks ----------------------------------------------------------------------------------------------------


def test_on_a_terminal_there_are_bars_and_the_paths_are_still_lines_of_their_own(tmp_path: Path, result: Path) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # lines and columns
    words = ["fetch", result, "--filter", "storageStatus=ONLINE"]
    running = begin(sys.executable, "-m", "eofs", *words, env=environment(tmp_path), stderr=theirs)
    os.close(theirs)
    drawn = b""
    try:
        while piece := _read(ours):
            drawn += piece
        out = running.communicate(timeout=60)[0]
    finally:
        running.kill()
        running.communicate()
        os.close(ours)
    assert sorted(out.splitlines()) == sorted(str(archive(tmp_path, uid)) for uid in UIDS[:5])
    assert b"fetched: 100%" in drawn
    assert b"5/5" in drawn


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: nobody writes to it any more
        return b""


# -- loose files, pins -----------------------------------------------------------------------------------------------


def test_a_product_of_loose_files_is_a_directory_with_each_of_them(tmp_path: Path) -> None:
    files = {"B01.tif": b"II*\0" + bytes(300_000), "B02.tif": b"II*\0" + bytes(range(256)) * 999}
    with AssetServer(files) as server:
        result = tmp_path / "result.geojson"
        result.write_text(json.dumps(server.result()), encoding="utf-8")
        done = fetch(tmp_path, result)
        assert done.returncode == 0
        assert sorted(Path(line).read_bytes() for line in done.stdout.splitlines()) == sorted(files.values())
        sent = server.sent()
        done = fetch(tmp_path, result, "--output", tmp_path / "out")
        assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out/scene\n")
        assert {path.name: path.read_bytes() for path in (tmp_path / "out/scene").iterdir()} == files
        assert server.sent() == sent


def test_what_was_fetched_by_name_is_evicted_after_what_was_used_later(tmp_path: Path, provider: DemoProvider) -> None:
    room = Room(provider, tmp_path / "cache")
    size = max(provider.archive(uid).stat().st_size for uid in UIDS)
    try:
        engine = room.start(limit=int(2.9 * size))
        for uid, pin in zip(UIDS[:3], (True, False, False), strict=True):
            [place] = engine.bring(room.products[uid], NOBODY, nullcontext(), pin=pin)
            assert filecmp.cmp(place, provider.archive(uid), shallow=False)
        local = [room.status(engine, room.products[uid]).local.value for uid in UIDS[:3]]
        assert local == ["complete", "absent", "complete"]
    finally:
        room.close()


# -- writing ---------------------------------------------------------------------------------------------------------

TREE = [Entry("X.SAFE/empty"), Entry("X.SAFE/a/b.txt", iter([b"12", b"3"]), 10**18), Entry("X.SAFE/c", link="a/b.txt")]


def test_a_product_is_written_with_directories_times_and_links_over_what_a_killed_program_left(tmp_path: Path) -> None:
    left = tmp_path / "out/.X.part/X.SAFE"
    left.mkdir(parents=True)
    (left / "half").touch()
    assert write(tmp_path / "out", "X", TREE, NOBODY, extracted=True) == tmp_path / "out/X/X.SAFE"
    root = tmp_path / "out/X/X.SAFE"
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == ["a", "a/b.txt", "c", "empty"]
    assert (root / "c").read_bytes() == b"123"
    assert (root / "a/b.txt").stat().st_mtime_ns == 10**18
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["X"]
    assert write(tmp_path / "out", "X", [Entry("other")], NOBODY, extracted=True) == root


def test_of_a_product_that_cannot_be_had_whole_nothing_is_left(tmp_path: Path) -> None:
    def stop() -> None:
        raise Interrupted("stopped")

    for content, caller in (([Entry("a", iter([b"1"]))], Caller(check=stop)), (_broken(), NOBODY)):
        with pytest.raises(EofsError):
            write(tmp_path, "X", content, caller, extracted=True)
        assert list(tmp_path.iterdir()) == []
        assert find(tmp_path, "X", extracted=True) is None


def _broken() -> Iterator[Entry]:
    yield Entry("a", iter([b"1"]))
    raise EofsError("the provider failed")


def test_a_directory_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EofsError, match=r"file cannot be written: (File exists|Not a directory); make room there"):
        write(tmp_path / "file", "X", [], NOBODY, extracted=True)


# -- quicklooks ------------------------------------------------------------------------------------------------------


class Blind(DemoProvider):
    """A provider without one of its quicklooks."""

    def answer(self, request: Request) -> Reply | None:
        return Reply(404) if request.kind == "quicklook" and request.uid == ONLINE else None


def test_all_quicklooks_are_saved_once_and_those_that_failed_are_told(tmp_path: Path, store: Path) -> None:
    with Blind(store, megabytes=1) as provider:
        result = provider.write_result(tmp_path / "result.geojson")
        for _ in range(2):
            done = eofs("quicklooks", result, tmp_path / "new/pictures", home=tmp_path)
            names = {f"{TITLES[uid]}.jpg" for uid in UIDS if uid != ONLINE}
            assert done.returncode == 1
            assert {Path(line).name for line in done.stdout.splitlines()} == names
            assert {path.name for path in (tmp_path / "new/pictures").iterdir()} == names
            assert all((tmp_path / "new/pictures" / name).read_bytes()[:2] == b"\xff\xd8" for name in names)
            *_, count, failure = done.stderr.splitlines()
            assert count == "eofs: 1 of 10 failed:"
            assert failure.startswith(f"{TITLES[ONLINE]}: ")
        assert provider.count(kind="quicklook", status=200) == 9


def test_products_without_a_quicklook_are_counted_and_no_failure(tmp_path: Path, provider: DemoProvider) -> None:
    said = provider.result()
    for feature in said["features"][:4]:
        feature["properties"] = {**feature["properties"], "quicklook": None, "thumbnail": None}
    result = tmp_path / "result.geojson"
    result.write_text(json.dumps(said), encoding="utf-8")
    done = eofs("quicklooks", result, tmp_path / "pictures", home=tmp_path)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 6)
    assert "eofs: 4 of 10 products have no quicklook" in done.stderr.splitlines()
