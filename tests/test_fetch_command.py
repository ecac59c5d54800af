"""`eofs fetch` and `eofs quicklooks`: what they bring, where they put it, what they print, and how they go on."""

from __future__ import annotations

import base64
import contextlib
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
import threading
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from asset_server import AssetServer
from conftest import OFFLINE, ONLINE, TITLES, UIDS, Mount, begin, environment, eofs, until
from engine_room import Room

from eofs import catalog
from eofs.cache import Cache
from eofs.commands.output import Entry, find, write
from eofs.demo import DemoProvider, Reply, Request, ten_products
from eofs.errors import EofsError, Interrupted
from eofs.maps import read_map
from eofs.nodes import NOBODY, Caller

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from eofs.model import Order


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


@pytest.mark.says("orders, waits and downloads all")
@pytest.mark.says(
    "Else products come into the cache",
    "printed is where the archive lies there",
    "else a line for each thing that happens.",
)
def test_all_products_come_also_from_tape_and_their_archives_paths_are_printed(
    tmp_path: Path, provider: DemoProvider, result: Path
) -> None:
    done = fetch(tmp_path, result, "-j", "2")
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == sorted(str(archive(tmp_path, uid)) for uid in UIDS)
    assert all(filecmp.cmp(archive(tmp_path, uid), provider.archive(uid), shallow=False) for uid in UIDS)
    lines = done.stderr.splitlines()
    assert all([line for line in lines if line.startswith(f"eofs: {TITLES[uid]}: done (")] for uid in UIDS)
    assert all([line for line in lines if line.startswith(f"eofs: {TITLES[uid]}: ordered 20")] for uid in UIDS[5:])
    assert lines[-1].endswith(": done (10 of 10)")
    provider.stop()
    again = fetch(tmp_path, result)
    assert (again.returncode, sorted(again.stdout.splitlines())) == (0, sorted(done.stdout.splitlines()))


@pytest.mark.says("the same product from two results is stored once.")
def test_a_product_that_two_results_hold_is_fetched_once_and_filters_say_which_are(
    tmp_path: Path, provider: DemoProvider, result: Path
) -> None:
    text = result.read_text(encoding="utf-8")
    words = ["--filter", "storageStatus=ONLINE", "--filter", f"title={TITLES[ONLINE]}"]
    done = fetch(tmp_path, result, "-", *words, input=text)
    assert (done.returncode, done.stdout) == (0, f"{archive(tmp_path, ONLINE)}\n")
    assert {request.uid for request in provider.requests} == {ONLINE}
    assert provider.bytes_sent() == provider.archive(ONLINE).stat().st_size


@pytest.mark.says(
    "With `--output DIR`",
    "each product is extracted into `DIR/TITLE/`, and the path that is printed is the only directory "
    "in it (`DIR/TITLE/TITLE.SAFE`)",
    "one that is there is not asked for again, and not looked into.",
)
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
    (roots[ONLINE] / "manifest.safe").unlink()  # which nobody looks for
    again = fetch(tmp_path, result, "--output", out, "--filter", "storageStatus=ONLINE")
    assert (again.returncode, sorted(again.stdout.splitlines())) == (0, sorted(done.stdout.splitlines()))


@pytest.mark.says(
    "or where the configuration names a directory for the provider (`output_dir`, `outputs_prefix`)",
    "With `--extract false` it is the archive: `DIR/TITLE.zip`.",
)
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


@pytest.mark.says("one failing never stops the rest")
@pytest.mark.says("At its end stands one line for each product that failed; the exit status is then 1.")
def test_those_that_fail_do_not_stop_the_others_and_are_told_at_the_end(
    tmp_path: Path, provider: DemoProvider, result: Path
) -> None:
    failing = UIDS[1:3]
    for uid in failing:
        provider.script[uid].append(Reply(404))
    done = fetch(tmp_path, result, "-j", "1", "--filter", "storageStatus=ONLINE")
    assert done.returncode == 1
    fine = [uid for uid in UIDS[:5] if uid not in failing]
    assert sorted(done.stdout.splitlines()) == sorted(str(archive(tmp_path, uid)) for uid in fine)
    *_, count, first, second = done.stderr.splitlines()
    assert count == "eofs: 2 of 5 failed:"
    assert [line.partition(": ")[0] for line in sorted((first, second))] == sorted(TITLES[uid] for uid in failing)
    assert "no longer" in first
    assert "no longer" in second


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


@pytest.mark.says("in parallel", "prints the paths as they are there")
def test_several_come_at_a_time_and_each_path_is_printed_as_soon_as_it_is_there(
    tmp_path: Path, provider: DemoProvider, result: Path
) -> None:
    *first, one, other = sorted(UIDS[:5], key=TITLES.__getitem__)
    releases = {uid: threading.Event() for uid in (one, other)}
    for uid, release in releases.items():
        provider.script[uid].extend([Reply(), Reply(stall_after=1000, release=release)])  # its index comes first
    words = ["fetch", result, "-j", "2", "--filter", "storageStatus=ONLINE"]
    running = begin(sys.executable, "-m", "eofs", *words, env=environment(tmp_path))
    try:
        assert running.stdout
        until(lambda: provider.under_way == 2)
        printed = {running.stdout.readline() for _ in first}
        assert printed == {f"{archive(tmp_path, uid)}\n" for uid in first}
        releases[other].set()
        assert running.stdout.readline() == f"{archive(tmp_path, other)}\n"
        releases[one].set()
        assert running.communicate(timeout=60)[0] == f"{archive(tmp_path, one)}\n"
    finally:
        for release in releases.values():
            release.set()
        running.kill()
        running.communicate()
    assert running.returncode == 0


@pytest.mark.says("Those that wait for an order do not count")
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


@dataclass(eq=False)
class Counting(DemoProvider):
    """A provider that notes how many products are brought at a time, and sends none before that are so `many`.

    Attributes:
        is_here: tells whether a product has been brought.
    """

    _: KW_ONLY
    many: int
    is_here: Callable[[str], bool]
    begun: set[str] = field(default_factory=set, init=False)
    most: int = field(default=0, init=False)
    enough: threading.Event = field(default_factory=threading.Event, init=False)
    _guard: Any = field(default_factory=threading.Lock, init=False)

    def answer(self, request: Request) -> Reply | None:
        if request.kind != "download" or not request.uid:
            return None
        with self._guard:
            self.begun.add(request.uid)
            self.most = max(self.most, sum(not self.is_here(uid) for uid in self.begun))
            if self.most >= self.many:
                self.enough.set()
        return Reply(stall_after=1000, release=self.enough)


@pytest.mark.says("`-j` is how many are downloaded at a time (4).")
@pytest.mark.parametrize(("words", "many"), [((), 4), (("-j", "2"), 2)], ids=["as it is", "-j 2"])
def test_so_many_are_downloaded_at_a_time_as_j_says(
    tmp_path: Path, store: Path, words: tuple[str, ...], many: int
) -> None:
    def is_here(uid: str) -> bool:
        return archive(tmp_path, uid).exists()

    with Counting(store, megabytes=1, many=many, is_here=is_here) as provider:
        result = provider.write_result(tmp_path / "result.geojson")
        done = fetch(tmp_path, result, "--filter", "storageStatus=ONLINE", *words)
        assert (done.returncode, provider.most) == (0, many), done.stderr


@pytest.mark.says("there are `max_orders` of them.")
def test_no_more_than_max_orders_wait_for_their_orders(tmp_path: Path, provider: DemoProvider, result: Path) -> None:
    provider.staging_seconds = 1e9
    words = ["fetch", result, "--filter", "storageStatus=OFFLINE", "--max-orders", "2", "--wait", "0.002"]
    running = begin(sys.executable, "-m", "eofs", *words, env=environment(tmp_path))
    left = UIDS[5:]

    def ordered(times: int = 1) -> list[str]:
        return [uid for uid in left if provider.count(uid, status=202) >= times]

    try:
        while left:
            until(lambda: len(ordered(times=3)) >= min(2, len(left)))
            assert len(ordered()) == min(2, len(left))
            uid = ordered()[0]
            left.remove(uid)
            provider.set_online(uid)
        out, _ = running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    assert (running.returncode, len(out.splitlines())) == (0, 5)


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


ENDS = {"kill -9": (signal.SIGKILL, -9), "Ctrl-C": (signal.SIGINT, 130)}


@pytest.mark.says("orders stay placed")
@pytest.mark.parametrize(("end", "status"), ENDS.values(), ids=ENDS)
def test_an_order_stays_placed_when_it_is_stopped(
    tmp_path: Path, provider: DemoProvider, result: Path, end: signal.Signals, status: int
) -> None:
    provider.staging_seconds = 1e9
    words = [result, "--filter", f"title={TITLES[OFFLINE]}"]
    running = begin(sys.executable, "-m", "eofs", "fetch", *words, "--wait", "0.002", env=environment(tmp_path))
    try:
        until(lambda: provider.count(OFFLINE, status=202) >= 2)
        running.send_signal(end)
        running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == status
    placed = order_of(tmp_path, result)
    assert placed is not None
    assert fetch(tmp_path, *words, "--timeout", "0").returncode == 1
    assert order_of(tmp_path, result) == placed
    provider.set_online(OFFLINE)
    assert fetch(tmp_path, *words).stdout == f"{archive(tmp_path, OFFLINE)}\n"


def order_of(home: Path, result: Path) -> Order | None:
    """Return the order that the cache knows of."""
    with contextlib.closing(Cache(home / ".cache/eofs", 1 << 30)) as cache:
        return cache.records.order(next(found for found in catalog.load(result).products if found.uid == OFFLINE))


@pytest.mark.says(
    "Stopped by Ctrl-C, `kill -9` or anything else, the same command goes on", "what has come is not asked for again."
)
@pytest.mark.parametrize(("end", "status"), ENDS.values(), ids=ENDS)
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


@pytest.mark.says("A product in a mount is read through its mount")
@pytest.mark.mount
def test_a_product_of_a_mount_is_brought_through_the_mount(mount: Mount, provider: DemoProvider) -> None:
    done = fetch(mount.home, mount.product(OFFLINE))
    assert (done.returncode, done.stdout) == (0, f"{mount.safe(OFFLINE)}\n")
    until(lambda: mount.status(OFFLINE)["local"] == "complete")
    assert not (mount.home / ".cache").exists()
    assert provider.bytes_sent() < 1.2 * provider.archive(OFFLINE).stat().st_size


@pytest.mark.says("and copied to `DIR/TITLE/PRODUCT_ROOT` where there is a `DIR`.")
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


@pytest.mark.says("The mount's own options hold for its order and download.")
@pytest.mark.mount
def test_the_options_of_the_mount_hold_for_its_products(tmp_path: Path, provider: DemoProvider) -> None:
    with Mount(tmp_path, provider.write_result(tmp_path / "result.geojson"), order="never") as mount:
        done = fetch(mount.home, mount.product(OFFLINE), "--order", "auto")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1] == f"{TITLES[OFFLINE]}: {mount.status(OFFLINE)['error']}"
        assert "order=never" in mount.status(OFFLINE)["error"]
    assert provider.count(OFFLINE) == 0


@pytest.mark.says("where mounts find them")
@pytest.mark.mount
def test_mounts_find_what_was_fetched(tmp_path: Path, provider: DemoProvider, result: Path) -> None:
    assert fetch(tmp_path, result, "--filter", f"title={TITLES[ONLINE]}").returncode == 0
    provider.stop()
    with Mount(tmp_path, result, cache_dir=tmp_path / ".cache/eofs") as mount:
        assert mount.status(ONLINE)["local"] == "complete"
        assert md5sums(mount.safe(ONLINE).parent) == provider.md5sums(ONLINE)


@pytest.mark.mount
def test_a_mount_shows_what_passes_its_filters_and_ls_chooses_from_it(tmp_path: Path, provider: DemoProvider) -> None:
    result = provider.write_result(tmp_path / "result.geojson")
    with Mount(tmp_path, result, filter="storageStatus=ONLINE") as mount:
        assert sorted(path.name for path in mount.root.iterdir()) == sorted(TITLES[uid] for uid in UIDS[:5])
        done = mount.eofs("ls", mount.root, "--filter", f"title={TITLES[ONLINE]}")
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", TITLES[ONLINE]]


# -- how it looks ----------------------------------------------------------------------------------------------------


@pytest.mark.says("On a terminal standard error shows bars")
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


@pytest.mark.says("else `DIR/TITLE` itself.", "for a product of loose files each of them.")
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


@pytest.mark.says("They are the last to go")
def test_what_is_fetched_into_the_cache_is_pinned_there(tmp_path: Path, provider: DemoProvider, result: Path) -> None:
    for words in (
        ["--filter", f"title={TITLES[UIDS[0]]}"],
        ["--filter", f"title={TITLES[UIDS[1]]}", "--output", "out"],
    ):
        assert fetch(tmp_path, result, *words, cwd=tmp_path).returncode == 0
    rows = json.loads(eofs("cache", "ls", "--json", home=tmp_path).stdout)
    assert {row["id"]: row["pinned"] for row in rows} == {UIDS[0]: True, UIDS[1]: False}


@pytest.mark.says("They are the last to go when the cache is full.", "What `eofs fetch` has left there goes last.")
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
        room.close()
        engine = room.start(limit=int(1.5 * size))  # in which there is no room for both
        engine.bring(room.products[UIDS[3]], NOBODY, nullcontext(), pin=False)
        local = [room.status(engine, room.products[uid]).local.value for uid in UIDS[:4]]
        assert local == ["absent", "absent", "absent", "complete"]
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


@pytest.mark.says("A product appears under its name when it is whole")
@pytest.mark.parametrize(("path", "extracted"), [("X.SAFE/a", True), ("X.zip", False)], ids=["extracted", "archive"])
def test_a_product_has_its_name_not_before_it_is_whole(tmp_path: Path, path: str, extracted: bool) -> None:
    def pieces() -> Iterator[bytes]:
        for piece in (b"1", b"2"):
            assert not [found for found in tmp_path.iterdir() if found.name.startswith("X")]
            yield piece

    there = write(tmp_path, "X", [Entry(path, pieces())], NOBODY, extracted=extracted)
    assert there == tmp_path / ("X/X.SAFE" if extracted else "X.zip")
    assert (there / "a" if extracted else there).read_bytes() == b"12"


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


@pytest.mark.says("all quicklooks as `DIR/TITLE.jpg`", "what is there is kept")
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


@pytest.mark.says("(with the suffix that they have in a mount)")
@pytest.mark.mount
def test_a_saved_quicklook_has_the_suffix_that_it_has_in_a_mount(tmp_path: Path, provider: DemoProvider) -> None:
    said = provider.result()
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n a picture").decode()
    for feature in said["features"]:
        if feature["properties"]["uid"] == ONLINE:
            feature["properties"] |= {"quicklook": f"data:image/png;base64,{picture}", "thumbnail": None}
    result = tmp_path / "result.geojson"
    result.write_text(json.dumps(said), encoding="utf-8")
    done = eofs("quicklooks", result, tmp_path / "pictures", home=tmp_path)
    assert done.returncode == 0
    with Mount(tmp_path, result) as mount:
        shown = {f"{path.parent.name}{path.suffix}" for path in mount.root.glob("*/quicklook.*")}
        assert {path.name for path in (tmp_path / "pictures").iterdir()} == shown
        assert f"{TITLES[ONLINE]}.png" in shown


def test_products_without_a_quicklook_are_counted_and_no_failure(tmp_path: Path, provider: DemoProvider) -> None:
    said = provider.result()
    for feature in said["features"][:4]:
        feature["properties"] = {**feature["properties"], "quicklook": None, "thumbnail": None}
    result = tmp_path / "result.geojson"
    result.write_text(json.dumps(said), encoding="utf-8")
    done = eofs("quicklooks", result, tmp_path / "pictures", home=tmp_path)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 6)
    assert "eofs: 4 of 10 products have no quicklook" in done.stderr.splitlines()
