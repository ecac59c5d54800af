"""Who waits is shown: by number and name, for which product, for how long; and who waits no more is forgotten."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import OFFLINE, ONLINE, TITLES, UIDS, Mount, begin, begin_blocked, environment, runs, until

from eofs.commands.screen import Screen
from eofs.commands.waits import waits
from eofs.demo import DemoProvider
from eofs.fetch.message import moment
from eofs.pending import Waiters

if TYPE_CHECKING:
    from collections.abc import Iterator

says = pytest.mark.says

NEVER = 1e9  # seconds


@pytest.fixture(scope="module")
def tape(store: Path) -> Iterator[DemoProvider]:
    """A provider whose products on tape stay there."""
    with DemoProvider(store, megabytes=1, staging_seconds=NEVER) as provider:
        yield provider


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tape: DemoProvider) -> Iterator[Mount]:
    """A mount in which each test looks at products of its own."""
    home = tmp_path_factory.mktemp("home")
    with Mount(home, tape.write_result(home / "r.geojson"), wait=1, timeout=60) as mount:
        yield mount


def waiters(mount: Mount, uid: str) -> list[dict[str, Any]]:
    """Return who waits for a product, as its directory says."""
    with contextlib.suppress(OSError):  # nobody does
        found: list[dict[str, Any]] = json.loads(os.getxattr(mount.product(uid), "user.eofs.waiters"))
        return found
    return []


def told(mount: Mount, place: Path) -> list[str]:
    """Return the lines that `eofs status` prints."""
    done = mount.eofs("status", place)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


# -- in a mount --------------------------------------------------------------------------------------------------------


@says("Who waits is shown by `eofs status`")
@pytest.mark.mount
def test_status_names_who_waits_for_what_and_for_how_long(shared: Mount, readers: list[subprocess.Popen[str]]) -> None:
    readers.append(begin_blocked("ls", shared.safe(OFFLINE)))
    until(lambda: waiters(shared, OFFLINE))
    readers.append(begin_blocked("cat", shared.safe(OFFLINE) / "manifest.safe"))
    until(lambda: len(waiters(shared, OFFLINE)) == 2)
    first, second = waiters(shared, OFFLINE)
    assert (first["program"], first["process"], first["for"]) == ("ls", readers[0].pid, "data")
    assert (second["program"], second["process"], second["for"]) == ("cat", readers[1].pid, "data")
    since = datetime.strptime(first["since"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    assert abs(since.timestamp() - time.time()) < 600
    assert "user.eofs.waiters" in os.listxattr(shared.product(OFFLINE))

    lines = told(shared, shared.root)
    line = next(number for number, line in enumerate(lines) if line.startswith(f"{TITLES[OFFLINE]}: waiting: "))
    assert lines[line + 1].startswith(f"    ls ({readers[0].pid}) has waited for ")
    assert f", cat ({readers[1].pid}) for " in lines[line + 1]
    *text, last = told(shared, shared.product(OFFLINE))
    assert [line.partition(":")[0] for line in text] == list(shared.status(OFFLINE))  # the file itself has no such key
    assert last.startswith(f"waiters: ls ({readers[0].pid}) has waited for ")
    for place, inside in (("", ("products", TITLES[OFFLINE])), (TITLES[OFFLINE], ())):
        said = json.loads(shared.eofs("status", "--json", shared.root / place).stdout)
        for name in inside:
            said = said[name]
        assert said["waiters"] == [first, second]


def test_a_program_is_named_once_however_many_of_its_threads_wait() -> None:
    table, over = Waiters(), threading.Event()

    def wait() -> None:
        table.here.path = "/PRODUCT/data/PRODUCT.SAFE"
        for _ in range(3):  # as often as it looks whether to go on
            table.note(threading.get_native_id())
        over.wait(60)
        table.leave()

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: len(table.of("/PRODUCT")) == 3)
    text = table.text("/PRODUCT")
    assert text
    [said] = json.loads(text)
    assert (said["process"], said["for"]) == (os.getpid(), "data")
    assert said["program"] == Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    assert table.names("/PRODUCT") == ["user.eofs.waiters"]
    over.set()
    for thread in threads:
        thread.join()
    assert (table.text("/PRODUCT"), table.names("/PRODUCT"), table.waiting) == (None, [], {})


@says("A program that was killed, interrupted or suspended (SIGSTOP) is forgotten at once")
@pytest.mark.mount
@pytest.mark.parametrize("name", ["INT", "KILL", "STOP"])
def test_who_waits_no_more_is_forgotten_and_the_others_stay(
    shared: Mount, readers: list[subprocess.Popen[str]], name: str
) -> None:
    uid = UIDS[7]
    readers += [begin_blocked("ls", shared.safe(uid)) for _ in range(2)]
    until(lambda: len(waiters(shared, uid)) == 2)
    readers[0].send_signal(signal.Signals[f"SIG{name}"])
    until(lambda: [one["process"] for one in waiters(shared, uid)] == [readers[1].pid])
    [line] = [line for line in told(shared, shared.product(uid)) if line.startswith("waiters: ")]
    assert line.startswith(f"waiters: ls ({readers[1].pid}) has waited for ")
    if name == "STOP":
        until(lambda: state(readers[0].pid) == "T")
        readers[0].send_signal(signal.SIGCONT)
        assert "Interrupted system call" in readers[0].communicate(timeout=60)[1]
    else:
        assert readers[0].wait(60) == -signal.Signals[f"SIG{name}"]
    readers[1].kill()
    assert readers[1].wait(60) == -signal.SIGKILL
    until(lambda: not waiters(shared, uid))
    assert "user.eofs.waiters" not in os.listxattr(shared.product(uid))


def state(pid: int) -> str:
    """Return the letter by which the kernel tells what a process does."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


@pytest.mark.mount
def test_a_suspended_program_that_is_killed_leaves_the_mount_free(
    tmp_path: Path, tape: DemoProvider, readers: list[subprocess.Popen[str]]
) -> None:
    with Mount(tmp_path, tape.write_result(tmp_path / "r.geojson"), wait=1, timeout=60) as mount:
        readers.append(waiting := begin_blocked("ls", mount.safe(UIDS[8])))
        until(lambda: waiters(mount, UIDS[8]))
        waiting.send_signal(signal.SIGSTOP)
        until(lambda: state(waiting.pid) == "T")
        waiting.kill()
        assert waiting.wait(60) == -signal.SIGKILL
        mount.unmount()  # nobody holds it any more


@pytest.mark.mount
def test_a_suspended_program_that_holds_a_file_open_holds_the_mount_and_is_named(
    tmp_path: Path, tape: DemoProvider, readers: list[subprocess.Popen[str]]
) -> None:
    with Mount(tmp_path, tape.write_result(tmp_path / "r.geojson")) as mount:
        band = next(mount.bring(ONLINE).glob("GRANULE/*/IMG_DATA/*_B04.jp2"))
        reader = begin("tail", "-f", "-c", "1", band, stdout=subprocess.DEVNULL)
        readers.append(reader)
        until(lambda: any(band.samefile(link) for link in Path(f"/proc/{reader.pid}/fd").iterdir()))
        reader.send_signal(signal.SIGSTOP)
        until(lambda: state(reader.pid) == "T")
        assert band.read_bytes()  # it is in nobody's way
        assert not waiters(mount, ONLINE)
        done = mount.eofs("unmount", mount.root)
        assert done.returncode == 1
        assert f"tail ({reader.pid})" in done.stderr
        reader.kill()
        assert reader.wait(60) == -signal.SIGKILL
        mount.unmount()


@pytest.mark.mount
def test_who_waits_in_another_mount_of_the_same_cache_is_told_there(
    tmp_path: Path, shared: Mount, tape: DemoProvider, readers: list[subprocess.Popen[str]]
) -> None:
    uid = UIDS[9]
    with Mount(tmp_path, shared.result, cache_dir=shared.cache, wait=1, timeout=60) as other:
        readers.append(begin_blocked("ls", other.safe(uid)))
        until(lambda: waiters(other, uid))
        assert not waiters(shared, uid)
        tape.set_online(uid)
        readers[0].kill()
        assert readers[0].wait(60) == -signal.SIGKILL


# -- on a terminal -----------------------------------------------------------------------------------------------------


@says("on a terminal in its place")
@pytest.mark.mount
def test_watched_on_a_terminal_what_is_so_by_now_takes_the_place_of_what_was_so(
    shared: Mount, readers: list[subprocess.Popen[str]]
) -> None:
    uid = OFFLINE
    readers.append(begin_blocked("ls", shared.safe(uid)))
    until(lambda: waiters(shared, uid))
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 40, 300, 0, 0))
    watch = [sys.executable, "-m", "eofs", "status", "--watch", shared.product(uid)]
    size = {"COLUMNS", "LINES"}  # would go before the terminal's own
    env = {name: value for name, value in environment(shared.home).items() if name not in size}
    watching = begin(*watch, env=env, stdout=its)
    try:
        shown = ""
        while shown.count("\x1b[14F\x1b[J") < 2:  # thirteen lines of the status file, and one of who waits
            assert select.select([ours], [], [], 60)[0]
            shown += os.read(ours, 4096).decode()
        assert f"waiters: ls ({readers[0].pid}) has waited for " in shown
    finally:
        watching.send_signal(signal.SIGINT)
        assert watching.communicate(timeout=60)[1] == ""
        os.close(ours)
        os.close(its)
    assert watching.returncode == 130
    assert not runs(watching.pid)


def test_a_screen_shows_what_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    monkeypatch.setenv("LINES", "6")
    screen = Screen()
    shown = []
    for lines in (["one", "two"], ["one", "two"], ["x" * 21, "y"], [f"line {number}" for number in range(9)], ["end"]):
        screen.show(lines)
        shown.append(capsys.readouterr().out)
    assert shown == [
        "one\ntwo\n",
        "",  # the same
        "\x1b[2F\x1b[J" + "x" * 21 + "\ny\n",
        "\x1b[4F\x1b[J" + "line 0\nline 1\nline 2\nline 3\n… and 5 more lines\n",  # the first of these took three rows
        "\x1b[6F\x1b[Jend\n",
    ]


# -- in words ----------------------------------------------------------------------------------------------------------


def waiter(program: str, process: int, minutes: float, name: str = "data") -> tuple[str, int, float, str]:
    return program, process, minutes, name


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ([waiter("ls", 4711, 10)], "ls (4711) has waited for 10 min"),
        ([waiter("tar", 1, 10), waiter("cp", 2, 5)], "tar (1) has waited for 10 min, cp (2) for 5 min"),
        ([waiter("eog", 1, 10, "quicklook.jpg")], "eog (1) has waited for its quicklook.jpg for 10 min"),
        ([waiter("", 0, 10)], "a program of another container has waited for 10 min"),
        (
            [waiter("ls", 4711, 10), *(waiter("cat", number, 5) for number in range(19))],
            "ls (4711) and 19 others have waited, 10 min at the most",
        ),
    ],
    ids=["one", "two", "for a quicklook", "of another container", "twenty"],
)
def test_who_waits_in_words(
    monkeypatch: pytest.MonkeyPatch, who: list[tuple[str, int, float, str]], words: str
) -> None:
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now)
    told = [
        {"program": program, "process": process, "since": moment(now - 60 * minutes), "for": name}
        for program, process, minutes, name in who
    ]
    assert waits(told) == words
