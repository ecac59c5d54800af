"""Programs that wait for a product in a real mount: what ends their wait, what does not, and how failures end it."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from conftest import OFFLINE, ONLINE, TITLES, UIDS, Mount, begin, begin_blocked, error_of, ls, until

from eofs.demo import DemoProvider, Reply

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.mount

NEVER = 1e9  # seconds
INSIDE = ["DATASTRIP", "GRANULE", "HTML", "INSPIRE.xml", "MTD_MSIL1C.xml", "manifest.safe", "rep_info"]
HARMLESS = ("CHLD", "URG", "WINCH", "ALRM", "CONT", "IO", "PROF", "TSTP", "VTALRM")


@pytest.fixture(scope="module")
def tape(store: Path) -> Iterator[DemoProvider]:
    """A provider of ten products, all on tape until they are put on disk by hand."""
    with DemoProvider(store, megabytes=1, staging_seconds=NEVER) as provider:
        provider.put_on_tape()
        yield provider


@pytest.fixture(autouse=True)
def _rewound(tape: DemoProvider) -> None:
    """Put on tape again what the test before has put on disk."""
    tape.put_on_tape()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tape: DemoProvider) -> Iterator[Mount]:
    """All of them, mounted; each test looks at products of its own."""
    home = tmp_path_factory.mktemp("home")
    with Mount(home, tape.write_result(home / "search_result.geojson")) as mounted:
        yield mounted


def seconds(action: Callable[[], object], tries: int = 5) -> float:
    """The least time that an action takes: what is slow because the machine is busy is not slow each time."""

    def once() -> float:
        begun = time.monotonic()
        action()
        return time.monotonic() - begun

    return min(once() for _ in range(tries))


# -- many readers ----------------------------------------------------------------------------------------------------


def test_twenty_programs_cause_one_order_and_one_download_and_hold_nobody_up(
    tmp_path: Path, store: Path, readers: list[subprocess.Popen[str]]
) -> None:
    with (
        DemoProvider(store, megabytes=1, staging_seconds=NEVER) as provider,
        Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), wait=0.005) as mount,
    ):
        assert ls(mount.safe(ONLINE))
        readers += [begin_blocked("ls", mount.safe(OFFLINE)) for _ in range(20)]
        until(lambda: provider.count(OFFLINE, status=202) >= 2)
        assert mount.status(OFFLINE)["activity"] == "waiting"
        assert seconds((mount.product(OFFLINE) / "status").read_bytes) < 0.2
        assert seconds(lambda: ls(mount.root)) < 0.2
        assert seconds(lambda: ls(mount.product(OFFLINE) / "data")) < 0.2
        assert seconds(lambda: ls(mount.safe(ONLINE))) < 0.2
        assert seconds(lambda: ls(mount.safe(UIDS[1])), tries=1) < 2  # ordered by nobody, and comes at once
        asked = [request.time for request in provider.requests if request.uid == OFFLINE]
        assert min(later - earlier for earlier, later in itertools.pairwise(asked)) > 0.2
        provider.set_online(OFFLINE)
        assert [reader.communicate(timeout=20) for reader in readers] == [("\n".join([*INSIDE, ""]), "")] * 20
        assert provider.count(OFFLINE, status=200) == 1
        assert provider.bytes_sent(OFFLINE) == provider.archive(OFFLINE).stat().st_size


def test_no_more_orders_than_max_orders_are_under_way(
    tmp_path: Path, store: Path, readers: list[subprocess.Popen[str]]
) -> None:
    first, second, third = UIDS[5:8]
    with (
        DemoProvider(store, megabytes=1, staging_seconds=NEVER) as provider,
        Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), max_orders=2) as mount,
    ):
        readers += [begin_blocked("ls", mount.safe(uid)) for uid in (first, second)]
        until(lambda: provider.count(first, status=202) and provider.count(second, status=202))
        readers.append(begin_blocked("ls", mount.safe(third)))
        until(lambda: mount.status(third)["activity"] == "waiting")
        assert provider.count(third) == 0
        assert "max_orders" in mount.status(third)["message"]
        provider.set_online(first)
        until(lambda: provider.count(third, status=202))
        provider.set_online(second)
        provider.set_online(third)
        for reader in readers:
            assert reader.communicate(timeout=20)[0].split() == INSIDE


# -- signals ---------------------------------------------------------------------------------------------------------


def seconds_to_end(reader: subprocess.Popen[str], number: int) -> float:
    """Send a signal, and return how long its program lived on."""
    sent = time.monotonic()
    reader.send_signal(number)
    assert reader.wait(20) == -number
    return time.monotonic() - sent


@pytest.mark.parametrize("way", ["list", "stat", "open"])
@pytest.mark.parametrize("name", ["INT", "TERM", "KILL"])
def test_a_signal_ends_a_waiting_program_at_once_and_no_other(
    shared: Mount, tape: DemoProvider, readers: list[subprocess.Popen[str]], name: str, way: str
) -> None:
    uid = UIDS[["INT", "TERM", "KILL"].index(name) * 3 + ["list", "stat", "open"].index(way)]
    root, expected = shared.safe(uid), "\n".join([*INSIDE, ""])
    victim, other = {
        "list": (("ls", root), ("ls", root)),
        "stat": (("stat", root / "manifest.safe"), ("ls", root)),
        "open": (("cat", root / "INSPIRE.xml"), ("cat", root / "INSPIRE.xml")),
    }[way]
    if way == "open":  # names are known, bytes are not: the product was here, and made room for another
        tape.set_online(uid)
        expected = (root / "INSPIRE.xml").read_text(encoding="utf-8")
        tape.put_on_tape(uid)
        evict(shared, uid)
    before = tape.count(uid, status=202)
    readers.append(begin_blocked(*victim))
    until(lambda: tape.count(uid, status=202) > before)
    patient = begin_blocked(*other)
    readers.append(patient)
    number = signal.Signals[f"SIG{name}"]
    taken = seconds_to_end(readers[0], number)
    while taken > 0.5 and len(readers) < 5:  # the machine may have been busy
        readers.append(begin_blocked(*victim))
        taken = min(taken, seconds_to_end(readers[-1], number))
    assert taken < 0.5
    assert patient.poll() is None
    tape.set_online(uid)
    assert patient.communicate(timeout=20) == (expected, "")


def test_a_download_is_waited_for_no_less_interruptibly_and_goes_on_without_who_asked(
    mount: Mount, provider: DemoProvider, readers: list[subprocess.Popen[str]]
) -> None:
    release = threading.Event()
    provider.script[ONLINE].append(Reply(stall_after=400_000, release=release))
    readers.append(begin_blocked("ls", mount.safe(ONLINE)))
    until(lambda: mount.status(ONLINE)["downloaded"] > 100_000)
    said = mount.status(ONLINE)
    assert (said["activity"], said["local"]) == ("downloading", "partial")
    assert seconds_to_end(readers[0], signal.SIGINT) < 2
    assert ls(mount.safe(UIDS[1])) == INSIDE
    release.set()
    until(lambda: mount.status(ONLINE)["local"] == "complete")
    assert provider.count(ONLINE) == 1


def evict(mount: Mount, uid: str) -> None:
    """Take a product out of the cache as eviction does."""
    directory = mount.cache / "products/demo" / uid
    for file in directory.iterdir():
        file.unlink()


WAITER = """
import os, signal, sys, time
path, number = sys.argv[1], int(sys.argv[2])
heard = []
signal.signal(number, lambda *_: heard.append(number))
parent = os.getpid()
if not os.fork():
    while os.getppid() == parent:
        os.write(1, b"sent\\n")
        os.kill(parent, number)
        time.sleep(0.05)
    os._exit(0)
names = os.listdir(path)
print("listed", len(names), bool(heard), flush=True)
"""


def line_of(process: subprocess.Popen[str], beginning: str) -> str:
    assert process.stdout
    return next(line for line in process.stdout if line.startswith(beginning)).rstrip()


def test_signals_that_mean_nothing_of_the_kind_do_not_disturb_a_wait(
    shared: Mount, tape: DemoProvider, readers: list[subprocess.Popen[str]]
) -> None:
    command = sys.executable, "-c", WAITER, shared.safe(UIDS[9])
    readers += [begin(*command, int(signal.Signals[f"SIG{name}"])) for name in HARMLESS]
    for reader in readers:
        for _ in range(10):  # half a second of them, while it waits
            assert line_of(reader, "") == "sent"
    # one that has been disturbed in vain still hears what is meant
    assert min(seconds_to_end(reader, signal.SIGINT) for reader in readers[:3]) < 0.5
    tape.set_online(UIDS[9])
    for reader in readers[3:]:
        assert line_of(reader, "listed") == f"listed {len(INSIDE)} True"


# -- not waiting -----------------------------------------------------------------------------------------------------


def test_at_the_deadline_a_program_is_told_to_try_again_and_the_next_one_goes_on_with_the_same_order(
    tmp_path: Path, tape: DemoProvider
) -> None:
    uid = UIDS[0]
    with Mount(tmp_path, tape.write_result(tmp_path / "r.geojson"), timeout=0.008) as mount:
        begun = time.monotonic()
        assert error_of(ls, mount.safe(uid)) == "EAGAIN"
        assert 0.4 < time.monotonic() - begun < 5
        until(lambda: mount.status(uid)["activity"] == "idle")
        said = mount.status(uid)
        assert (said["storageStatus"], said["local"]) == ("STAGING", "absent")
        assert "open it again" in said["error"]
        placed = said["order"].partition(",")[0]
        assert placed.startswith("placed 20")
        assert error_of((mount.safe(uid) / "manifest.safe").stat) == "EAGAIN"
        assert mount.status(uid)["order"].partition(",")[0] == placed
        tape.set_online(uid)
        assert ls(mount.safe(uid)) == INSIDE
        said = mount.status(uid)
        assert (said["local"], said["order"], said["error"]) == ("complete", None, None)


def test_an_order_outlives_the_mount(tmp_path: Path, tape: DemoProvider) -> None:
    uid = UIDS[1]
    with Mount(tmp_path, tape.write_result(tmp_path / "r.geojson"), block="false") as mount:
        assert error_of(ls, mount.safe(uid)) == "EAGAIN"
        until(lambda: mount.status(uid)["order"])
        placed = mount.status(uid)["order"].partition(",")[0]
        mount.unmount()
        mount.start(order="never")  # what has been ordered is waited for
        said = mount.status(uid)
        assert (said["storageStatus"], said["order"].partition(",")[0]) == ("STAGING", placed)
        tape.set_online(uid)
        with contextlib.suppress(BlockingIOError):
            ls(mount.safe(uid))
        until(lambda: mount.status(uid)["local"] == "complete")


def test_with_block_false_nothing_waits_and_the_product_comes_all_the_same(
    tmp_path: Path, provider: DemoProvider
) -> None:
    with Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), block="false") as mount:
        provider.rate = 2e6  # half a second for a product
        for uid in (OFFLINE, ONLINE):
            begun = time.monotonic()
            assert error_of(ls, mount.safe(uid)) == "EAGAIN"
            assert error_of((mount.safe(uid) / "GRANULE").stat) == "EAGAIN"
            assert time.monotonic() - begun < 2
            until(lambda uid=uid: mount.status(uid)["local"] == "complete")  # type: ignore[misc]
            assert ls(mount.safe(uid)) == INSIDE
            assert provider.count(uid, status=200) == 1


def test_a_file_opened_with_o_nonblock_is_not_waited_for(mount: Mount, provider: DemoProvider) -> None:
    path = mount.safe(ONLINE) / "INSPIRE.xml"
    content = path.read_bytes()
    provider.put_on_tape(ONLINE)
    evict(mount, ONLINE)
    assert error_of(os.open, path, os.O_RDONLY | os.O_NONBLOCK) == "EAGAIN"
    until(lambda: mount.status(ONLINE)["local"] == "complete")
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(file, len(content) + 1) == content
    os.close(file)


def test_with_order_never_nothing_is_ordered_and_what_is_online_is_served(
    tmp_path: Path, provider: DemoProvider
) -> None:
    with Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), order="never") as mount:
        assert error_of(ls, mount.safe(OFFLINE)) == "EPERM"
        assert "order=never" in mount.status(OFFLINE)["error"]
        assert provider.count() == 0
        assert ls(mount.safe(ONLINE)) == INSIDE


# -- failures --------------------------------------------------------------------------------------------------------

PAGE = Reply(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html><body>Please log in</body></html>")
FAILURES = {
    "401": ([Reply(401)], "EACCES", "credentials"),
    "403": ([Reply(403)], "EACCES", "credentials"),
    "a log-in page": ([PAGE], "EACCES", "log-in"),
    "404": ([Reply(404)], "ENODATA", "no longer has the product"),
    "410": ([Reply(410)], "ENODATA", "no longer has the product"),
    "429 beyond the deadline": ([Reply(429, {"Retry-After": "600"})], "EAGAIN", "slow down"),
    "500 each time": ([Reply(500)] * 2, "EREMOTEIO", "500 Internal Server Error"),
    "broken off each time": ([Reply(cut_after=-1)] * 2, "EHOSTUNREACH", "cannot be reached"),
    "silent each time": ([Reply(stall_after=-1)] * 2, "ETIMEDOUT", "sent nothing for 0.3 s"),
    "other bytes each time": (
        [Reply(200, {"Content-Type": "application/zip"}, b"no archive")] * 2,
        "EIO",
        "with another MD5 than the search result says",
    ),
}


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[tuple[Mount, DemoProvider]]:
    """A mount that tries twice, at once; its provider fails the n-th product in the n-th way."""
    home = tmp_path_factory.mktemp("home")
    settings = home / ".config/eofs/eofs.yml"
    settings.parent.mkdir(parents=True)
    settings.write_text("demo: {download: {retries: 1, retry_delay: 0.01}}\n", encoding="utf-8")
    with DemoProvider(store, megabytes=1, staging_seconds=0) as provider:
        for uid, (replies, _, _) in zip(UIDS, FAILURES.values(), strict=True):
            provider.script[uid].extend(replies)
        with Mount(home, provider.write_result(home / "r.geojson"), stall_timeout=0.3) as mount:
            yield mount, provider


@pytest.mark.parametrize("failure", FAILURES)
def test_each_failure_has_its_errno_one_sentence_and_one_line_in_the_log(
    failing: tuple[Mount, DemoProvider], failure: str
) -> None:
    mount, provider = failing
    uid = UIDS[list(FAILURES).index(failure)]
    replies, name, words = FAILURES[failure]
    assert error_of(ls, mount.safe(uid)) == name
    said = mount.status(uid)
    assert words in said["error"]
    assert "\n" not in said["error"]
    assert said["activity"] == ("idle" if name == "EAGAIN" else "failed")
    assert os.getxattr(mount.product(uid), "user.eofs.error").decode() == said["error"]
    assert provider.count(uid) == len(replies)
    lines = [line for line in mount.logged() if " WARNING " in line and line.endswith(said["error"])]
    assert len(lines) == 1
    assert TITLES[uid] in lines[0]
    if name != "EAGAIN":  # who asks again at once gets the same answer, and the provider is left in peace
        assert error_of((mount.safe(uid) / "GRANULE").stat) == name
        assert provider.count(uid) == len(replies)


def test_a_provider_that_is_not_there_cannot_be_reached(tmp_path: Path, store: Path) -> None:
    settings = tmp_path / ".config/eofs/eofs.yml"
    settings.parent.mkdir(parents=True)
    settings.write_text("demo: {download: {retries: 1, retry_delay: 0.01}}\n", encoding="utf-8")
    with DemoProvider(store, megabytes=1) as provider:
        result = provider.write_result(tmp_path / "r.geojson")
    with Mount(tmp_path, result) as mount:
        assert error_of(ls, mount.safe(ONLINE)) == "EHOSTUNREACH"
        assert "127.0.0.1 (demo) cannot be reached" in mount.status(ONLINE)["error"]
        assert error_of((mount.product(ONLINE) / "quicklook.jpg").read_bytes) == "EHOSTUNREACH"


def test_without_credentials_the_error_names_what_to_set_and_the_provider_is_not_asked(
    tmp_path: Path, provider: DemoProvider
) -> None:
    settings = tmp_path / ".config/eofs/eofs.yml"
    settings.parent.mkdir(parents=True)
    settings.write_text("mine: {auth: {type: basic, hosts: ['127.0.0.1:*']}}\n", encoding="utf-8")
    result = provider.write_result(tmp_path / "r.geojson")
    result.write_text(result.read_text(encoding="utf-8").replace('"demo"', '"mine"'), encoding="utf-8")
    with Mount(tmp_path, result) as mount:
        assert error_of(ls, mount.safe(ONLINE)) == "EACCES"
        assert "EODAG__MINE__AUTH__CREDENTIALS__USERNAME" in mount.status(ONLINE)["error"]
        assert provider.count() == 0


def test_what_passes_is_tried_again(mount: Mount, provider: DemoProvider) -> None:
    provider.script[ONLINE].extend([Reply(503), Reply(cut_after=300_000), Reply(429), Reply(cut_after=-1)])
    provider.script[OFFLINE].append(Reply(body=b"not what the checksum says"))
    assert ls(mount.safe(ONLINE)) == INSIDE
    # it went on where it broke off, but for what was still on its way to the disk
    assert provider.bytes_sent(ONLINE) < provider.archive(ONLINE).stat().st_size + (256 << 10)
    provider.set_online(OFFLINE)
    assert ls(mount.safe(OFFLINE)) == INSIDE
    assert provider.count(OFFLINE) == 2
    for uid in (ONLINE, OFFLINE):
        assert mount.status(uid)["error"] is None
