"""Programs that wait for a product in a real mount: what ends their wait, what does not, and how failures end it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

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
    error_of,
    ls,
    ranges_of,
    until,
)

from eofs.blocks import POLL
from eofs.demo import DemoProvider, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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


def seconds(action: Callable[[], object]) -> float:
    """How long an action takes: what is slow because the machine is busy is not slow each time."""
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


# -- many readers ----------------------------------------------------------------------------------------------------


@pytest.mark.says(
    "A program that opens the product root, or a path inside, of a product that is not ready blocks.",
    "It is released by the product being ready",
)
def test_twenty_programs_cause_one_order_and_one_list_and_hold_nobody_up(
    tmp_path: Path, store: Path, readers: list[subprocess.Popen[str]]
) -> None:
    with (
        DemoProvider(store, megabytes=1, staging_seconds=NEVER) as provider,
        Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), wait=0.005) as mount,
    ):
        assert ls(mount.safe(ONLINE))
        begun = time.monotonic()
        readers += [begin_blocked("ls", mount.safe(OFFLINE)) for _ in range(20)]
        until(lambda: provider.count(OFFLINE, status=202) >= 2)
        assert mount.status(OFFLINE)["activity"] == "waiting"
        until(lambda: seconds((mount.product(OFFLINE) / "status").read_bytes) < 0.2)
        until(lambda: seconds(lambda: ls(mount.root)) < 0.2)
        until(lambda: seconds(lambda: ls(mount.product(OFFLINE) / "data")) < 0.2)
        until(lambda: seconds(lambda: ls(mount.safe(ONLINE))) < 0.2)
        assert ls(mount.safe(UIDS[1])) == INSIDE  # ordered by nobody, and comes at once
        assert [reader.poll() for reader in readers] == [None] * 20  # all that while they wait
        asked = provider.count(OFFLINE)
        assert asked - 1 <= (time.monotonic() - begun) / 0.3  # so long is the pause between two checks
        provider.set_online(OFFLINE)
        assert [reader.communicate(timeout=60) for reader in readers] == [("\n".join([*INSIDE, ""]), "")] * 20
        assert ranges_of(provider, OFFLINE) == [LIST]
        assert provider.bytes_sent(OFFLINE) == 131072


@pytest.mark.says("`max_orders` `10` orders under way at a time")
@pytest.mark.says("At most `max_orders` orders are under way at a time; a further one waits its turn.")
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
            assert reader.communicate(timeout=60)[0].split() == INSIDE


# -- signals ---------------------------------------------------------------------------------------------------------


def end(reader: subprocess.Popen[str], number: int) -> None:
    """Send a signal, of which its program is to die before anything else could end its wait."""
    reader.send_signal(number)
    assert reader.wait(60) == -number


@pytest.mark.says("Ctrl-C and `kill` free the program within half a second")
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
        expected = (shared.bring(uid) / "INSPIRE.xml").read_text(encoding="utf-8")
        tape.put_on_tape(uid)
        evict(shared, uid)
    before = tape.count(uid, status=202)
    readers.append(begin_blocked(*victim))
    until(lambda: tape.count(uid, status=202) > before)
    patient = begin_blocked(*other)
    readers.append(patient)
    number = signal.Signals[f"SIG{name}"]

    def ends_at_once() -> bool:
        readers.append(begin_blocked(*victim))
        return seconds(lambda: end(readers[-1], number)) < 0.5

    if seconds(lambda: end(readers[0], number)) > 0.5:  # the machine may be busy
        until(ends_at_once)
    assert patient.poll() is None
    tape.set_online(uid)
    assert patient.communicate(timeout=60) == (expected, "")


def test_a_wait_is_looked_into_several_times_in_the_half_second_after_which_a_signal_ends_it() -> None:
    assert 4 * POLL < 0.5


def test_a_list_of_files_is_waited_for_no_less_interruptibly_and_comes_without_who_asked(
    mount: Mount, provider: DemoProvider, readers: list[subprocess.Popen[str]]
) -> None:
    release = threading.Event()
    provider.script[ONLINE].append(Reply(stall_after=50_000, release=release))
    readers.append(begin_blocked("ls", mount.safe(ONLINE)))
    until(lambda: mount.status(ONLINE)["downloaded"] == 50_000)
    end(readers[0], signal.SIGINT)
    assert ls(mount.safe(UIDS[1])) == INSIDE
    release.set()
    assert ls(mount.safe(ONLINE)) == INSIDE
    assert ranges_of(provider, ONLINE) == [LIST]


def test_bytes_are_waited_for_no_less_interruptibly_and_come_without_who_reads(
    mount: Mount, provider: DemoProvider, readers: list[subprocess.Popen[str]]
) -> None:
    release = threading.Event()
    band = next(mount.safe(ONLINE).glob("GRANULE/*/IMG_DATA/*_B02.jp2"))
    band.open("rb").close()  # brings its first 128 KB
    provider.script[ONLINE].append(Reply(stall_after=1000, release=release))
    readers.append(begin_blocked("cat", band, stdout=subprocess.DEVNULL))
    until(lambda: provider.under_way)
    said = mount.status(ONLINE)
    assert (said["activity"], said["local"]) == ("downloading", "partial")
    end(readers[0], signal.SIGINT)
    assert ls(mount.safe(UIDS[1])) == INSIDE
    release.set()
    until(lambda: mount.status(ONLINE)["local"] == "complete")


def evict(mount: Mount, uid: str) -> None:
    """Take a product out of the cache as eviction does: when nobody has it open any more."""
    directory = mount.cache / "products/demo" / uid
    until(lambda: not any(name.startswith(str(directory)) for name in open_files(mount)))
    for file in directory.iterdir():
        file.unlink()


def open_files(mount: Mount) -> Iterator[str]:
    """The names of the files that the process behind a mount has open."""
    for link in Path(f"/proc/{mount.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just been closed
            yield str(link.readlink())


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


@pytest.mark.says("never end a wait, unless they end the program.")
def test_signals_that_mean_nothing_of_the_kind_do_not_disturb_a_wait(
    shared: Mount, tape: DemoProvider, readers: list[subprocess.Popen[str]]
) -> None:
    command = sys.executable, "-c", WAITER, shared.safe(UIDS[9])
    readers += [begin(*command, int(signal.Signals[f"SIG{name}"])) for name in HARMLESS]
    for reader in readers:
        for _ in range(10):  # half a second of them, while it waits
            assert line_of(reader, "") == "sent"
    for reader in readers[:3]:  # one that has been disturbed in vain still hears what is meant
        end(reader, signal.SIGINT)
    tape.set_online(UIDS[9])
    for reader in readers[3:]:
        assert line_of(reader, "listed") == f"listed {len(INSIDE)} True"


HANDLER = """
import errno, os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
try:
    os.stat(sys.argv[1])
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@pytest.mark.says("interrupted EINTR")
def test_a_program_that_handles_the_signal_that_ends_its_wait_is_told_so(
    tmp_path: Path, tape: DemoProvider, readers: list[subprocess.Popen[str]]
) -> None:
    with Mount(tmp_path, tape.write_result(tmp_path / "r.geojson")) as mount:
        readers.append(begin(sys.executable, "-c", HANDLER, mount.safe(OFFLINE) / "manifest.safe"))
        until(lambda: mount.status(OFFLINE)["activity"] == "waiting")  # for it, which is inside of the mount
        readers[0].send_signal(signal.SIGUSR1)
        assert readers[0].communicate(timeout=60) == ("EINTR\n", "")


# -- not waiting -----------------------------------------------------------------------------------------------------


def is_listed(root: Path) -> bool:
    try:
        return ls(root) == INSIDE
    except BlockingIOError:  # EAGAIN
        return False


@pytest.mark.says("not ready by the deadline")
@pytest.mark.says("At the deadline it gets EAGAIN.", "the next open goes on waiting without a second order")
def test_at_the_deadline_a_program_is_told_to_try_again_and_the_next_one_goes_on_with_the_same_order(
    tmp_path: Path, tape: DemoProvider
) -> None:
    uid = UIDS[0]
    with Mount(tmp_path, tape.write_result(tmp_path / "r.geojson"), timeout=0.008) as mount:
        begun = time.monotonic()
        assert error_of(ls, mount.safe(uid)) == "EAGAIN"
        assert time.monotonic() - begun > 0.4
        until(lambda: mount.status(uid)["error"])
        said = mount.status(uid)
        assert (said["storageStatus"], said["local"], said["activity"]) == ("STAGING", "absent", "idle")
        assert "open it again" in said["error"]
        placed = said["order"].partition(",")[0]
        assert placed.startswith("placed 20")
        assert error_of((mount.safe(uid) / "manifest.safe").stat) == "EAGAIN"
        assert mount.status(uid)["order"].partition(",")[0] == placed
        tape.set_online(uid)
        until(lambda: is_listed(mount.safe(uid)))  # a busy machine does not make it by the first deadline
        said = mount.status(uid)
        assert (said["local"], said["order"], said["error"]) == ("partial", None, None)


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
        until(lambda: is_open(mount.safe(uid)))
        assert ls(mount.safe(uid)) == INSIDE


def is_open(path: Path) -> bool:
    """Tell whether a path can be opened now."""
    with contextlib.suppress(BlockingIOError):
        os.close(os.open(path, os.O_RDONLY))
        return True
    return False


def is_read(path: Path) -> bool:
    """Tell whether a file can be opened now; if so, it is read."""
    with contextlib.suppress(BlockingIOError):
        return bool(path.read_bytes())
    return False


@pytest.mark.says("With `block=false` nothing ever waits: EAGAIN at once", "not ready by the deadline, `block=false`")
@pytest.mark.says("`false`: never wait")
@pytest.mark.says("With `block=false` nothing ever waits: EAGAIN at once")
def test_with_block_false_nothing_waits_and_the_product_comes_all_the_same(
    tmp_path: Path, provider: DemoProvider
) -> None:
    with Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), block="false", stall_timeout=600) as mount:
        for uid in (OFFLINE, ONLINE):
            release = threading.Event()
            provider.script[uid].append(Reply(stall_after=-1, release=release))
            assert error_of(ls, mount.safe(uid)) == "EAGAIN"
            assert error_of((mount.safe(uid) / "GRANULE").stat) == "EAGAIN"
            assert provider.count(uid) == 0  # no answer has been waited for
            release.set()
            until(lambda uid=uid: is_open(mount.safe(uid)))  # type: ignore[misc]
            assert ls(mount.safe(uid)) == INSIDE
            assert ranges_of(provider, uid) == [LIST]
            until(lambda uid=uid: is_read(mount.safe(uid) / "manifest.safe"))  # type: ignore[misc]
            until(lambda uid=uid: mount.status(uid)["local"] == "complete")  # type: ignore[misc]


@pytest.mark.says("O_NONBLOCK does the same for one open of a file.", "`block=false`, O_NONBLOCK")
def test_a_file_opened_with_o_nonblock_is_not_waited_for(mount: Mount, provider: DemoProvider) -> None:
    path = mount.bring(ONLINE) / "INSPIRE.xml"
    content = path.read_bytes()
    provider.put_on_tape(ONLINE)
    evict(mount, ONLINE)
    assert error_of(os.open, path, os.O_RDONLY | os.O_NONBLOCK) == "EAGAIN"
    until(lambda: mount.status(ONLINE)["local"] == "partial")  # it is listed all the same
    assert (path.parent / "MTD_MSIL1C.xml").read_bytes()  # of what was read before the kernel has the bytes
    until(lambda: mount.status(ONLINE)["local"] == "complete")
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(file, len(content) + 1) == content
    os.close(file)


@pytest.mark.says("`never`: no order is ever placed")
@pytest.mark.says("ordering or paying is switched off (`order=never`")
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
Failure = tuple[list[Reply], str, str]  # what the provider answers; the errno; words of the sentence
FAILURES: dict[str, Failure] = {
    "401": ([Reply(401)], "EACCES", "credentials"),
    "403": ([Reply(403)], "EACCES", "credentials"),
    "a log-in page": ([PAGE], "EACCES", "log-in"),
    "404": ([Reply(404)], "ENODATA", "no longer has the product"),
    "410": ([Reply(410)], "ENODATA", "no longer has the product"),
    "429 beyond the deadline": ([Reply(429, {"Retry-After": "600"})], "EAGAIN", "slow down"),
    "500 each time": ([Reply(500)] * 2, "EREMOTEIO", "500 Internal Server Error"),
    "broken off each time": ([Reply(cut_after=-1)] * 2, "EHOSTUNREACH", "cannot be reached"),
    "other bytes each time": (
        [Reply(200, {"Content-Type": "application/zip"}, b"no archive")] * 2,
        "EIO",
        "with another MD5 than the search result says",
    ),
}
SILENT: Failure = ([Reply(stall_after=-1)] * 2, "ETIMEDOUT", "sent nothing for 0.3 s")


@contextlib.contextmanager
def failing_in(
    home: Path, store: Path, failures: Iterable[Failure], **options: object
) -> Iterator[tuple[Mount, DemoProvider]]:
    """A mount that tries twice, at once; its provider fails the n-th product in the n-th way."""
    settings = home / ".config/eofs/eofs.yml"
    settings.parent.mkdir(parents=True)
    settings.write_text("demo: {download: {retries: 1, retry_delay: 0.01}}\n", encoding="utf-8")
    with DemoProvider(store, megabytes=1, staging_seconds=0) as provider:
        for uid, (replies, _, _) in zip(UIDS, failures, strict=False):
            provider.script[uid].extend(replies)
        with Mount(home, provider.write_result(home / "r.geojson"), **options) as mount:
            yield mount, provider


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[tuple[Mount, DemoProvider]]:
    with failing_in(tmp_path_factory.mktemp("home"), store, FAILURES.values()) as made:
        yield made


def assert_fails(mount: Mount, provider: DemoProvider, uid: str, failure: Failure) -> None:
    replies, name, words = failure
    assert error_of(ls, mount.safe(uid)) == name
    said = mount.status(uid)
    assert words in said["error"]
    assert "\n" not in said["error"]
    assert said["activity"] == ("idle" if name == "EAGAIN" else "failed")
    assert os.getxattr(mount.product(uid), "user.eofs.error").decode() == said["error"]
    until(lambda: provider.count(uid) == len(replies))  # those of a client that went away are noted by and by
    lines = [line for line in mount.logged() if " WARNING " in line and line.endswith(said["error"])]
    assert len(lines) == 1
    assert TITLES[uid] in lines[0]
    if name != "EAGAIN":  # who asks again at once gets the same answer, and the provider is left in peace
        assert error_of((mount.safe(uid) / "GRANULE").stat) == name
        assert provider.count(uid) == len(replies)


@pytest.mark.says("the bytes are wrong (checksum")
@pytest.mark.says("the provider failed (5xx after retries")
@pytest.mark.says("the provider no longer has it (404, 410)")
@pytest.mark.says("or refused (401, 403, a web page instead of data) EACCES")
@pytest.mark.says("throttled (429) beyond the deadline EAGAIN")
@pytest.mark.says("refused, reset, after retries")
@pytest.mark.says("Each failure has one errno, one sentence in `error:` of the status file, and one line in the log.")
@pytest.mark.parametrize("failure", FAILURES)
def test_each_failure_has_its_errno_one_sentence_and_one_line_in_the_log(
    failing: tuple[Mount, DemoProvider], failure: str
) -> None:
    assert_fails(*failing, UIDS[list(FAILURES).index(failure)], FAILURES[failure])


@pytest.mark.says("the provider went silent (no byte for `stall_timeout` seconds, after retries) ETIMEDOUT")
def test_silence_is_such_a_failure(tmp_path: Path, store: Path) -> None:
    # A mount of its own: with so little patience, any answer of a busy machine may come too late.
    with failing_in(tmp_path, store, [SILENT], stall_timeout=0.3) as (mount, provider):
        assert_fails(mount, provider, UIDS[0], SILENT)


@pytest.mark.says("refused, reset, after retries")
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


@pytest.mark.says("no credentials configured")
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
    provider.script[ONLINE].extend([Reply(503), Reply(cut_after=60_000), Reply(429), Reply(cut_after=-1)])
    provider.script[OFFLINE].append(Reply(200, {"Content-Type": "application/zip"}, b"not what the checksum says"))
    mount.bring(ONLINE)
    assert not provider.script[ONLINE]
    # it went on where it broke off, but for what was still on its way to the disk
    assert provider.bytes_sent(ONLINE) < provider.archive(ONLINE).stat().st_size + (256 << 10)
    provider.set_online(OFFLINE)
    assert ls(mount.safe(OFFLINE)) == INSIDE
    assert ranges_of(provider, OFFLINE) == [LIST, LIST]
    for uid in (ONLINE, OFFLINE):
        assert mount.status(uid)["error"] is None
