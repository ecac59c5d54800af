"""Notifications: what is told of waits for products, in which words, by `notify-send`; and without a desktop."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from conftest import OFFLINE, ONLINE, TITLES, UIDS, Mount, error_of, ls, run
from desktop import PROGRAMS, Desktop, needs
from engine_room import IMPATIENT, LeapingClock, Room, aside, until

from eofs.commands import notices
from eofs.commands.notices import Notices, Text, show, texts
from eofs.demo import DemoProvider, Reply
from eofs.errors import Cancelled, EofsError, Gone, NotReady, ProviderFailed
from eofs.model import Product
from eofs.nodes import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

says = pytest.mark.says

NEVER = 1e9  # seconds
PLACE = "/home/alice/mnt"
Told = list[tuple[str, type[EofsError] | None]]
Tell = Callable[[Product, EofsError | None], None]


# -- what the engine tells ---------------------------------------------------------------------------------------------


@pytest.fixture
def room(store: Path, tmp_path: Path) -> Iterator[Room]:
    with DemoProvider(store, megabytes=1, staging_seconds=0.3) as provider:
        opened = Room(provider, tmp_path / "cache")
        yield opened
        opened.close()


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def tell(told: Told) -> Tell:
    return lambda product, failure: told.append((product.uid, type(failure) if failure else None))


@says("With `notify=true` the desktop shows, through `notify-send`, when a product can be read that was not ready")
@pytest.mark.parametrize("ranged", [True, False], ids=["by ranges", "whole"])
def test_a_product_that_was_waited_for_is_told_once_when_it_can_be_read(
    room: Room, told: Told, tell: Tell, *, ranged: bool
) -> None:
    room.provider.ranges = ranged
    engine = room.start(tell=tell)
    assert engine.listing(room.products[OFFLINE], NOBODY).members
    until(lambda: told)
    room.close()
    assert told == [(OFFLINE, None)]


@says("Nothing is shown of a product that is ONLINE")
def test_a_product_that_is_there_is_not_told_nor_one_that_comes_after_a_fault(
    room: Room, told: Told, tell: Tell
) -> None:
    room.provider.script[UIDS[1]].append(Reply(503))
    room.provider.set_online(OFFLINE)  # since the search
    engine = room.start(tell=tell, clock=LeapingClock())
    for uid in (ONLINE, UIDS[1], OFFLINE):
        assert engine.listing(room.products[uid], NOBODY).members
    room.close()
    assert told == []


@says("by a program or behind `block=false`")
def test_a_product_that_nobody_was_kept_waiting_for_is_told_as_well(room: Room, told: Told, tell: Tell) -> None:
    engine = room.start(tell=tell, block=False)
    with pytest.raises(NotReady):
        engine.listing(room.products[OFFLINE], IMPATIENT)
    until(lambda: told)
    assert told == [(OFFLINE, None)]


@says("or why it cannot, which may be that the deadline has passed and nobody asks for it any more")
@pytest.mark.parametrize(
    ("then", "error"),
    [([], NotReady), ([Reply(404)], Gone), ([Reply(400)], ProviderFailed)],
    ids=["the deadline", "gone", "failed"],
)
def test_why_a_product_that_was_waited_for_cannot_be_had_is_told(
    room: Room,
    told: Told,
    tell: Tell,
    then: list[Reply],
    error: type[EofsError],
) -> None:
    room.provider.staging_seconds = NEVER
    room.provider.script[OFFLINE].extend([Reply(202), *then])
    engine = room.start(tell=tell, clock=LeapingClock(), wait=1, timeout=20)
    with pytest.raises(error):
        engine.listing(room.products[OFFLINE], NOBODY)
    until(lambda: told)
    assert told == [(OFFLINE, error)]


@says("nor of one that was stopped")
def test_a_product_that_was_stopped_is_not_told(room: Room, told: Told, tell: Tell) -> None:
    room.provider.staging_seconds = NEVER
    engine = room.start(tell=tell)
    waiting = aside(engine.listing, room.products[OFFLINE], NOBODY)
    until(lambda: room.status(engine, room.products[OFFLINE]).order)
    assert engine.upkeep.cancel(room.products[OFFLINE])
    with pytest.raises(Cancelled):
        waiting.result(60)
    room.close()
    assert told == []


# -- in words ----------------------------------------------------------------------------------------------------------


def test_a_few_are_told_one_by_one_and_more_together() -> None:
    late = NotReady("X is still on its way from tape; the order stays placed: open it again later")
    assert list(texts([notices.News("A"), notices.News("X", late), notices.News("B", Gone("no longer"))], PLACE)) == [
        Text("A is ready", f"It can be read in {PLACE}"),
        Text("X is not ready yet", str(late)),
        Text("B cannot be had", "no longer"),
    ]
    many = [notices.News(f"P{number}") for number in range(12)]
    assert list(texts(many, PLACE)) == [Text("12 products are ready", f"P0\nP1\nP2\nand 9 others in {PLACE}")]
    assert list(texts([], PLACE)) == []


# -- by notify-send ----------------------------------------------------------------------------------------------------

RECORDER = """#!/usr/bin/python3
import json, os, sys
with open(os.path.join(os.path.dirname(__file__), "shown"), "a") as file:
    file.write(json.dumps((os.environ["LC_ALL"], sys.argv[1:])) + chr(10))
"""


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `notify-send` that writes down how it was called, into this file."""
    return programmed(tmp_path, monkeypatch, RECORDER).with_name("shown")


def programmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    program = tmp_path / "bin/notify-send"
    program.parent.mkdir()
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def shown(file: Path) -> list[tuple[str, str]]:
    """Return the heads and bodies of what was shown."""
    calls = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    assert all((locale, words[:2]) == ("C.UTF-8", ["--app-name=eofs", "--"]) for locale, words in calls)
    return [(head, body) for _, (_, _, head, body) in calls]


@pytest.mark.parametrize(
    ("text", "head", "body"),
    [
        (Text("--help", "-x"), "--help", "-x"),
        (Text("a < b & c", "a < b & c"), "a < b & c", "a &lt; b &amp; c"),
        (Text("a\\n", "a\\n"), "a\\n", "a\\\\n"),
        (Text("a\0b\nc", "a\0\x1bb\nc"), "a b\nc", "a b\nc"),
        (Text("\ud800é", ""), " é", ""),
        (Text("x" * 900, "$(id) `id`"), "x" * 499 + "…", "$(id) `id`"),
    ],
    ids=["options", "mark-up", "backslashes", "control characters", "half a character", "too long; a shell"],
)
def test_no_title_does_any_harm(recorder: Path, text: Text, head: str, body: str) -> None:
    assert show(text) == ""
    assert shown(recorder) == [(head, body)]


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("#!/bin/sh\necho one >&2; echo two >&2; exit 1\n", "notify-send: two"),
        ("#!/bin/sh\nexit 3\n", "notify-send: status 3"),
        ("#!/bin/sh\nexec sleep 600\n", "notify-send did not come to its end in 0.5 seconds"),
    ],
    ids=["words", "a status", "a desktop that does not answer"],
)
def test_a_desktop_that_takes_nothing_is_complained_of_once_and_leaves_no_process(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    room: Room,
    program: str,
    complaint: str,
) -> None:
    programmed(tmp_path, monkeypatch, program)
    if "sleep" in program:
        monkeypatch.setattr(notices, "PATIENCE", 0.5)
    assert show(Text("head", "body")) == complaint
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # there is no child, not even a dead one
    told = Notices(PLACE, wanted=True)
    for number in range(2):
        told.tell(room.products[UIDS[number]], None)
    told.close()
    until(lambda: "notices" not in [thread.name for thread in threading.enumerate()])
    assert [record.message for record in caplog.records] == [f"notify: a notification cannot be shown: {complaint}"]


@says("Each is told once; more than three that come out within a second and a half are told together.")
def test_what_comes_out_in_a_moment_is_told_together_and_each_product_once(recorder: Path, room: Room) -> None:
    told = Notices(PLACE, wanted=True)
    products = [room.products[uid] for uid in UIDS]
    for product in products[:5]:
        told.tell(product, None)
    told.tell(products[0], None)
    told.close()
    assert [head for head, _ in shown(recorder)] == ["5 products are ready"]
    told = Notices(PLACE, wanted=True)
    told.tell(products[6], None)
    until(lambda: len(shown(recorder)) == 2)
    told.tell(products[7], None)
    told.close()
    assert [head for head, _ in shown(recorder)[1:]] == [f"{TITLES[uid]} is ready" for uid in UIDS[6:8]]


def test_the_first_of_a_products_loose_files_stands_for_all(recorder: Path, room: Room) -> None:
    told = Notices(PLACE, wanted=True)
    part = room.products[ONLINE]
    for name in ("B04.tif", "B08.tif"):
        told.tell(replace(part, title=f"X/{name}", part_of="X"), None)
        until(lambda: shown(recorder))
    told.close()
    assert shown(recorder) == [("X is ready", f"It can be read in {PLACE}")]


# -- on a desktop ------------------------------------------------------------------------------------------------------


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A desktop that shows notifications, to which what is mounted belongs; it prints what it shows into this file."""
    printed = tmp_path / "dunst.out"
    with Desktop(tmp_path) as running:
        with printed.open("wb") as out:
            running.start("dunst", "-print", stdout=out)
        monkeypatch.setenv("DISPLAY", running.env["DISPLAY"])
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", running.env["DBUS_SESSION_BUS_ADDRESS"])
        bus = ("--dest", "org.freedesktop.DBus", "--object-path", "/org/freedesktop/DBus")
        asked = ("--method", "org.freedesktop.DBus.NameHasOwner", "org.freedesktop.Notifications")
        until(lambda: run("gdbus", "call", "--session", *bus, *asked, env=running.env) == "(true,)\n")
        yield printed


def heads(printed: Path) -> list[str]:
    """Return the heads of the notifications on the desktop."""
    lines = [line.strip() for line in printed.read_text(encoding="utf-8").splitlines()]
    return [line.removeprefix("summary: '").removesuffix("'") for line in lines if line.startswith("summary: ")]


def products_in(heads: list[str]) -> int:
    """Return how many products are said to be ready: on a busy machine they come one by one."""
    together = [re.fullmatch(r"(\d+) products are ready", head) for head in heads]
    return sum(int(found[1]) if found else 1 for found in together)


@needs(*PROGRAMS, "notify-send", "dunst")
@pytest.mark.mount
def test_a_desktop_shows_what_a_mount_tells(tmp_path: Path, provider: DemoProvider, desktop: Path) -> None:
    with Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), notify="true") as mount:
        assert ls(mount.safe(ONLINE))
        assert ls(mount.safe(OFFLINE))
        until(lambda: heads(desktop))
        assert f"body: 'It can be read in {mount.root}'" in desktop.read_text(encoding="utf-8")
        mount.unmount()
        mount.start(block="false")
        for uid in UIDS[6:10]:
            assert error_of(ls, mount.safe(uid)) == "EAGAIN"
        until(lambda: products_in(heads(desktop)) == 5)
        assert not [line for line in mount.logged() if "notify" in line]
    assert heads(desktop)[0] == f"{TITLES[OFFLINE]} is ready"


@says("Where there is no `notify-send`, or no session bus (a mount of root's, or by fstab), the mount says so once")
@pytest.mark.mount
@pytest.mark.parametrize(
    ("has_program", "sentence"),
    [
        (False, "eofs: notify: notify-send is missing, so nothing is shown on the desktop; install it: apt install"),
        (True, "eofs: notify: this mount belongs to no desktop session (it has no session bus)"),
    ],
    ids=["no notify-send", "no session bus"],
)
def test_a_mount_that_cannot_show_anything_says_so_once_and_works(
    tmp_path: Path, provider: DemoProvider, monkeypatch: pytest.MonkeyPatch, *, has_program: bool, sentence: str
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("env", "fusermount"):
        (tools / name).symlink_to(shutil.which(name) or "")
    programmed(tmp_path, monkeypatch, "#!/bin/sh\ntouch $(dirname $0)/shown\n")
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    given = {"PATH": f"{tools}:{tmp_path}/bin" if has_program else str(tools)}
    mount = Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), notify="true")
    try:
        done = mount.eofs(*mount.command, env=given)
        assert (done.returncode, done.stdout) == (0, "")
        [line] = done.stderr.splitlines()
        assert line.startswith(sentence)
        assert ls(mount.safe(OFFLINE))
        assert not [line for line in mount.logged() if "notify" in line]
        assert not (tmp_path / "bin/shown").exists()
    finally:
        mount.end()
