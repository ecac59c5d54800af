"""A file that is partly here: readers get what was written and nothing else, whatever is killed and whenever."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eofs import blocks, maps
from eofs.blocks import PartialFile, View
from eofs.errors import Interrupted, Stalled
from eofs.extents import Extents
from eofs.maps import map_of, part_of, read_map
from eofs.nodes import Caller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)))
TEXT = bytes(range(256)) * 4


def partial(path: Path) -> PartialFile:
    """Open a file that is not whole, as the cache does."""
    return PartialFile(path, os.open(part_of(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), whole=False)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[PartialFile]:
    opened = partial(tmp_path / "archive")
    yield opened
    with contextlib.suppress(OSError):  # some tests close it themselves
        opened.close()


@pytest.fixture
def other_threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not come about"
        time.sleep(0.001)


def waiters(file: PartialFile) -> int:
    return len(file._news._waiters)  # type: ignore[attr-defined]  # the standard library tells this to nobody


def ranges(file: PartialFile) -> list[tuple[int, int]]:
    return list(file._extents)


# -- extents -----------------------------------------------------------------------------------------------------------


@given(RANGES, st.integers(0, 60), st.integers(0, 60))
def test_extents_behave_as_a_set_of_byte_numbers(added: list[tuple[int, int]], start: int, stop: int) -> None:
    extents, model = Extents(added), {at for first, last in added for at in range(first, last)}
    assert {at for first, last in extents for at in range(first, last)} == model
    assert extents.total == len(model)
    assert extents.covers(start, stop) == (set(range(start, stop)) <= model)
    assert extents.reaches(start) == next(at for at in range(start, 62) if at not in model)


@given(RANGES)
def test_extents_are_sorted_and_never_touch_each_other(added: list[tuple[int, int]]) -> None:
    flat = [at for pair in Extents(added) for at in pair]
    assert flat == sorted(set(flat))


# -- reading -----------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.randoms(use_true_random=False), st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 1100)), max_size=9))
def test_reads_return_what_was_written_in_whatever_order(
    tmp_path_factory: pytest.TempPathFactory, shuffled: random.Random, reads: list[tuple[int, int]]
) -> None:
    file = partial(tmp_path_factory.mktemp("cache") / "archive")
    file.begin(len(TEXT), None)
    starts = list(range(0, len(TEXT), 100))
    shuffled.shuffle(starts)
    for start in starts:
        file.write(start, TEXT[start : start + 100])
    for offset, size in reads:
        assert file.read(offset, size) == TEXT[offset : offset + size]
    assert file.arrived == len(TEXT)
    file.close()


def test_a_read_beyond_the_end_is_empty_and_one_across_it_is_cut(file: PartialFile) -> None:
    file.begin(10, None)
    file.write(0, b"0123456789")
    assert file.read(8, 100) == b"89"
    assert file.read(10, 5) == b""
    assert file.read(50, 5) == b""


def test_a_read_waits_for_just_its_bytes_and_goes_on_the_moment_they_arrive(
    file: PartialFile, other_threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "POLL", 3600)  # whoever does not hear the news waits for an hour
    file.begin(1000, None)
    readers = [other_threads.submit(file.read, offset, 100) for offset in (300, 300, 350)]
    wait_for(lambda: waiters(file) == 3)
    file.write(300, TEXT[300:400])
    assert [reader.result(60) for reader in readers[:2]] == [TEXT[300:400]] * 2
    assert not readers[2].done()
    file.write(400, TEXT[400:450])
    assert readers[2].result(60) == TEXT[350:450]
    assert file.arrived == 150


def test_a_read_waits_for_the_size_where_that_is_not_known(
    file: PartialFile, other_threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "POLL", 3600)
    file.begin(None, None)
    file.write(0, b"all there is")
    reader, size = other_threads.submit(file.read, 4, 100), other_threads.submit(lambda: View(file).size)
    wait_for(lambda: waiters(file) == 2)
    file.finish(lambda _: None)
    assert (reader.result(60), size.result(60)) == (b"there is", 12)


def test_a_failure_reaches_all_who_wait_and_all_who_come_later_until_the_next_begin(
    file: PartialFile, other_threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "POLL", 3600)
    file.begin(100, None)
    file.write(0, b"here")
    readers = [other_threads.submit(file.read, 50, 10) for _ in range(3)]
    wait_for(lambda: waiters(file) == 3)
    file.fail(Stalled("the provider went silent"))
    for reader in readers:
        with pytest.raises(Stalled, match="went silent"):
            reader.result(60)
    with pytest.raises(Stalled):
        file.read(50, 10)
    assert file.read(0, 4) == b"here", "what has arrived is readable all the same"
    file.begin(100, None)
    file.write(50, b"0123456789")
    assert file.read(50, 10) == b"0123456789"


def test_a_failure_before_the_size_is_known_reaches_who_waits_for_the_size(file: PartialFile) -> None:
    file.fail(Stalled("the provider went silent"))
    with pytest.raises(Stalled):
        file.read(0, 1)
    with pytest.raises(Stalled):
        _ = View(file).size


@pytest.mark.parametrize("size", [None, 100], ids=["for the size", "for bytes"])
def test_a_caller_that_is_interrupted_waits_no_longer_and_harms_nobody(file: PartialFile, size: int | None) -> None:
    looks = iter(range(3))

    def check() -> None:
        if next(looks, None) is None:
            raise Interrupted("interrupted")

    file.begin(size, None)
    with pytest.raises(Interrupted):
        file.read(0, 4, Caller(check))
    file.begin(4, None)
    file.write(0, b"here")
    assert file.read(0, 4) == b"here"


def test_a_view_reads_as_its_caller(file: PartialFile) -> None:
    def check() -> None:
        raise Interrupted("interrupted")

    file.begin(8, None)
    file.write(0, b"0123")
    view = View(file, Caller(check))
    assert (view.size, view.read(1, 2)) == (8, b"12")
    with pytest.raises(Interrupted):
        view.read(2, 4)


def test_a_restart_forgets_all_on_the_disk_too(tmp_path: Path, file: PartialFile) -> None:
    file.begin(10, "one version")
    file.write(0, b"0123456789")
    file.save(sync=True)
    file.restart()
    assert (file.arrived, file.size, file.validator) == (0, None, None)
    file.close()
    assert part_of(file.path).stat().st_size == 0
    assert [path.name for path in tmp_path.iterdir()] == ["archive.part"]


def test_a_read_during_a_restart_returns_the_bytes_of_the_new_version(
    file: PartialFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the worst moment: the bytes are here, and are gone when they are read."""
    file.begin(4, None)
    file.write(0, b"aaaa")
    pread = os.pread

    def slow_pread(fd: int, size: int, offset: int) -> bytes:
        monkeypatch.undo()
        file.restart()
        file.begin(4, None)
        hole = pread(fd, size, offset)
        file.write(0, b"bbbb")
        return hole

    monkeypatch.setattr(os, "pread", slow_pread)
    assert file.read(0, 4) == b"bbbb"


# -- resuming ----------------------------------------------------------------------------------------------------------


def reopened(file: PartialFile) -> PartialFile:
    """Return the file as the next process sees it, when this one has been killed."""
    os.close(file.fileno())
    return partial(file.path)


@pytest.mark.parametrize(
    ("boots", "expected"),
    [
        (("first", "first"), [(0, 4), (8, 12)]),  # the program was killed
        (("first", "second"), [(0, 4)]),  # the machine was restarted
        (("", ""), [(0, 4)]),  # nobody knows
    ],
    ids=["same boot", "another boot", "boot unknown"],
)
def test_what_a_reopened_file_trusts_depends_on_whether_the_machine_was_restarted(
    file: PartialFile, monkeypatch: pytest.MonkeyPatch, boots: tuple[str, str], expected: list[tuple[int, int]]
) -> None:
    monkeypatch.setattr(maps, "boot_id", lambda: boots[0])
    file.begin(20, '"v1"')
    file.write(0, b"0123")
    file.save(sync=True)
    file.write(8, b"89ab")
    file.save(sync=False)
    monkeypatch.setattr(maps, "boot_id", lambda: boots[1])
    again = reopened(file)
    assert ranges(again) == expected
    assert (again.size, again.validator, again.whole) == (20, '"v1"', False)
    again.close()


def test_what_one_run_did_not_sync_is_not_taken_for_synced_by_the_next(
    file: PartialFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "boot_id", lambda: "first")
    file.begin(20, None)
    file.write(0, b"0123")
    file.save(sync=False)
    second = reopened(file)
    second.write(4, b"4567")
    second.save(sync=False)
    monkeypatch.setattr(maps, "boot_id", lambda: "second")
    third = reopened(second)
    assert third.arrived == 0
    third.close()


def test_closing_writes_the_map_so_that_nothing_is_asked_for_twice(file: PartialFile) -> None:
    file.begin(20, None)
    file.write(4, b"4567")
    file.close()
    again = partial(file.path)
    assert (ranges(again), again.size, again.read(4, 4)) == ([(4, 8)], 20, b"4567")
    again.close()


def test_the_map_is_written_as_bytes_come_and_synced_now_and_then(
    file: PartialFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "SAVE_EVERY", 10)
    monkeypatch.setattr(blocks, "SYNC_EVERY", 30)
    file.begin(100, None)
    seen = []
    for start in range(0, 40, 5):
        file.write(start, b"01234")
        lines = map_of(file.path).read_text().splitlines() if map_of(file.path).exists() else ["null"]
        note = json.loads(lines[-1])
        seen.append(note and (note["written"], note["synced"]))
    assert seen == [
        None,
        ([[0, 10]], []),
        ([[0, 10]], []),
        ([[0, 20]], []),
        ([[0, 20]], []),
        ([[0, 30]], [[0, 30]]),
        ([[0, 30]], [[0, 30]]),
        ([[0, 40]], [[0, 30]]),
    ]


GOOD = {"boot": "", "size": 8, "validator": None, "written": [[0, 8]], "synced": [[0, 8]]}


DAMAGED = {
    "missing": None,
    "empty": "",
    "zeros": "\0" * 100,
    "not JSON": "{",
    "a list": "[]",
    "null": "null",
    "nested without end": "[" * 100_000,
    "below 0": json.dumps({**GOOD, "synced": [[-4, 8]]}),
    "beyond the end": json.dumps({**GOOD, "synced": [[0, 9]]}),
    "infinite": json.dumps({**GOOD, "synced": [[0, float("inf")]]}),
    "backwards": json.dumps({**GOOD, "synced": [[8, 0]]}),
    "three ends": json.dumps({**GOOD, "synced": [[0, 4, 8]]}),
    "texts": json.dumps({**GOOD, "synced": [["0", "8"]]}),
    "a text": json.dumps({**GOOD, "synced": "08"}),
    "no list": json.dumps({**GOOD, "synced": None}),
    "the other list damaged": json.dumps({**GOOD, "written": [[0, float("nan")]]}),
    "the size a text": json.dumps({**GOOD, "size": "8"}),
    "the size below 0": json.dumps({**GOOD, "size": -8}),
    "no boot": json.dumps({key: value for key, value in GOOD.items() if key != "boot"}),
    "no size": json.dumps({key: value for key, value in GOOD.items() if key != "size"}),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_map_that_is_missing_or_damaged_says_that_nothing_has_arrived(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "archive"
    part_of(path).write_bytes(b"01234567")
    if text is not None:
        map_of(path).write_text(text)
    file = partial(path)
    assert (file.arrived, file.size, file.validator) == (0, None, None)
    assert not map_of(path).exists()
    file.close()


def test_the_map_of_the_table_above_is_a_good_one(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    part_of(path).write_bytes(b"01234567")
    map_of(path).write_text(json.dumps(GOOD))
    file = partial(path)
    assert (file.arrived, file.size) == (8, 8)
    file.close()


def test_a_map_cut_short_anywhere_says_that_nothing_has_arrived(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    part_of(path).write_bytes(b"01234567")
    text = json.dumps(GOOD)
    for length in range(len(text)):
        map_of(path).write_text(text[:length])
        assert read_map(path)["ranges"] == []


@pytest.mark.parametrize("end", ["", "\0" * 100, '\n{"size": 8, "written": [[0, 8', "\n"], ids=repr)
def test_a_line_of_the_map_that_was_not_written_to_its_end_leaves_the_one_before_it(
    file: PartialFile, end: str
) -> None:
    file.begin(12, None)
    file.write(0, b"0123")
    file.save(sync=False)
    with map_of(file.path).open("a") as map_file:
        map_file.write(end)
    assert read_map(file.path)["ranges"] == ([(0, 4)] if not end.startswith("\0") else [])
    file.write(4, b"4567")
    file.save(sync=False)
    assert read_map(file.path)["ranges"] == [(0, 8)]


def test_a_map_that_has_become_long_is_begun_afresh(file: PartialFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "LONGEST", 2000)
    file.begin(1000, None)
    for start in range(100):
        file.write(start, b"x")
        file.save(sync=False)
        assert map_of(file.path).stat().st_size <= 2000
        assert read_map(file.path)["ranges"] == [(0, start + 1)]


def test_what_is_begun_anew_after_a_restart_keeps_no_map(file: PartialFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SAVE_EVERY", 1)
    monkeypatch.setattr(blocks, "SYNC_EVERY", 2)
    file.mapped = False
    file.begin(10, None)
    file.write(0, b"0123")
    file.close()
    assert not map_of(file.path).exists()


def test_a_map_says_nothing_of_bytes_that_the_file_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    part_of(path).write_bytes(b"0123")
    map_of(path).write_text(json.dumps(GOOD))
    file = partial(path)
    assert ranges(file) == [(0, 4)]
    file.close()


def test_the_map_of_a_file_that_is_gone_does_not_speak_of_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    map_of(path).write_text(json.dumps(GOOD))
    file = partial(path)
    file.begin(8, None)  # now as long as the map says, and all of it a hole
    again = reopened(file)
    assert again.arrived == 0
    again.close()


# -- crashes -----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The end of the program, or of the machine."""


class Disk:
    """The calls by which a file changes: it ends the program at one of them, and knows what has really been written.

    `written` are the bytes handed to the kernel, `durable` those that a power cut leaves.
    """

    def __init__(self, last_call: int) -> None:
        self.calls_left = last_call
        self.written: set[int] = set()
        self.durable: set[int] = set()

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("pwrite", "ftruncate", "fdatasync", "fsync", "replace", "unlink"):
            patch.setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, call: Callable[..., int | None]) -> Callable[..., int | None]:
        def watched(*args: object, **kwargs: object) -> int | None:
            if not self.calls_left:
                raise Killed
            self.calls_left -= 1
            done = call(*args, **kwargs)
            self._note(name, args, done)
            return done

        return watched

    def _note(self, name: str, args: tuple[object, ...], done: int | None) -> None:
        match name, args:
            case "pwrite", (_, _, int(offset)):
                self.written |= set(range(offset, offset + (done or 0)))
            case "ftruncate", (_, int(size)):
                self.written = {at for at in self.written if at < size}
                self.durable &= self.written
            case "fdatasync" | "fsync", _:
                self.durable = set(self.written)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 60), st.integers(1, 30)),
        st.tuples(st.just("save"), st.booleans(), st.just(0)),
        st.tuples(st.sampled_from(["restart", "reopen", "close"]), st.just(0), st.just(0)),
    ),
    max_size=25,
)


def play(path: Path, steps: list[tuple[str, int, int]]) -> None:
    """Fill a file by these steps until the program ends."""
    file = partial(path)
    try:
        file.begin(100, None)
        for step, first, second in steps:
            match step:
                case "write":
                    file.write(first, b"x" * second)
                case "save":
                    file.save(sync=bool(first))
                case "restart":
                    file.restart()
                    file.begin(100, None)
                case "reopen":
                    file = reopened(file)
                case "close":
                    file.close()
                    file = partial(path)
    finally:
        with contextlib.suppress(OSError):
            os.close(file.fileno())


@pytest.mark.says("a power cut")
@settings(max_examples=200)
@given(STEPS, st.integers(0, 60), st.booleans())
def test_the_map_never_claims_what_was_not_written_whenever_the_end_comes(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int, int]],
    last_call: int,
    power_cut: bool,
) -> None:
    path, disk = tmp_path_factory.mktemp("cache") / "archive", Disk(last_call)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "SAVE_EVERY", 16)
        patch.setattr(blocks, "SYNC_EVERY", 64)
        patch.setattr(maps, "boot_id", lambda: "first")
        disk.watch(patch)
        with contextlib.suppress(Killed):
            play(path, steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "boot_id", lambda: "second" if power_cut else "first")
        file = partial(path)
        claimed = {at for start, stop in ranges(file) for at in range(start, stop)}
        file.close()
    assert claimed <= (disk.durable if power_cut else disk.written)


WRITER = """
import os, random, sys
from pathlib import Path
from eofs.blocks import PartialFile
from eofs.maps import part_of

path, seed = Path(sys.argv[1]), int(sys.argv[2])
content = random.Random(seed).randbytes(8 << 20)
file = PartialFile(path, os.open(part_of(path), os.O_RDWR | os.O_CREAT, 0o600), whole=False)
file.begin(len(content), None)
starts = list(range(0, len(content), 1 << 16))
random.Random(seed + 1).shuffle(starts)
for start in starts:
    file.write(start, content[start : start + (1 << 16)])
    print("block", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("seed", range(3))
def test_after_kill_9_the_map_claims_only_bytes_that_are_right_and_nearly_all_that_came(
    tmp_path: Path, seed: int
) -> None:
    path, count = tmp_path / "archive", random.Random(seed).randrange(20, 120)
    command = [sys.executable, "-c", WRITER, str(path), str(seed)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            for _ in range(count):
                assert child.stdout.readline() == "block\n"
        finally:
            child.send_signal(signal.SIGKILL)
    content = random.Random(seed).randbytes(8 << 20)
    file = partial(path)
    assert file.arrived >= (count << 16) - blocks.SAVE_EVERY
    for start, stop in ranges(file):
        assert file.read(start, stop - start) == content[start:stop]
    file.close()


def test_a_map_that_cannot_be_written_does_not_keep_the_file_open(
    file: PartialFile, caplog: pytest.LogCaptureFixture
) -> None:
    file.begin(10, None)
    file.write(0, b"0123")
    map_of(file.path).with_suffix(".map~").mkdir()  # as good as a full disk
    file.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.fileno())
    assert "could not be noted" in caplog.text


# -- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.says("nothing has its final name before it is whole")
def test_a_file_has_its_final_name_only_when_it_is_finished(tmp_path: Path, file: PartialFile) -> None:
    file.begin(10, None)
    file.write(0, b"0123456789")
    file.save(sync=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.map", "archive.part"]
    shared: list[int] = []
    file.finish(shared.append)
    assert shared == [file.fileno()]
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]
    assert (file.whole, file.size, file.path.read_bytes()) == (True, 10, b"0123456789")
    assert file.read(5, 100) == b"56789"


def test_a_finished_file_is_as_long_as_what_has_arrived_where_no_size_was_said(file: PartialFile) -> None:
    file.begin(None, None)
    file.write(0, b"0123")
    file.write(4, b"4567")
    file.finish(lambda _: None)
    assert (file.size, file.read(0, 100)) == (8, b"01234567")


def test_a_file_that_was_finished_but_for_its_map_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(b"01234567")
    map_of(path).write_text(json.dumps(GOOD))
    file = PartialFile(path, os.open(path, os.O_RDONLY), whole=True)
    assert (file.whole, file.size, file.arrived, file.read(0, 9)) == (True, 8, 8, b"01234567")
    file.close()
