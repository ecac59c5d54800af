"""The disk cache keeps its budget, what is in use, and what it knows; one process fills a file, all may read it."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eofs.cache import Cache
from eofs.errors import CacheFull, ConfigError
from eofs.maps import map_of, part_of
from eofs.model import Member, Order, Product
from eofs.status import Local, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eofs.blocks import PartialFile

LARGE = 1 << 40


def product(uid: str, provider: str = "peps") -> Product:
    return Product(
        id=uid, uid=uid, title=uid, provider=provider, status=StorageStatus.ONLINE, location=None, quicklook=None,
        size=None, checksum=None, collection=None, start=None, cloud_cover=None, feature=b"{}",
    )  # fmt: skip


def path_of(cache: Cache, uid: str) -> Path:
    return cache.archive(product(uid))


def content(uid: str, size: int = 1000) -> bytes:
    return random.Random(uid).randbytes(size)


def opened(cache: Cache, uid: str) -> PartialFile:
    enough = time.monotonic() + 30
    while (file := cache.open(path_of(cache, uid))) is None:  # whoever makes room tries the lock of each file
        assert time.monotonic() < enough
    return file


def begun(cache: Cache, uid: str, size: int = 1000) -> PartialFile:
    """Begin to fill a product's file."""
    file = opened(cache, uid)
    try:
        with cache.room(file.path, size):
            file.begin(size, None)
    except CacheFull:
        cache.release(file)
        raise
    return file


def filled(cache: Cache, uid: str, size: int = 1000) -> PartialFile:
    """Fill a product's file, and hold it."""
    file = begun(cache, uid, size)
    file.write(0, content(uid, size))
    cache.finish(file)
    return file


def put(cache: Cache, uid: str, size: int = 1000) -> None:
    cache.release(filled(cache, uid, size))


def use(cache: Cache, uid: str) -> None:
    cache.release(opened(cache, uid))


def has(cache: Cache, uid: str) -> bool:
    return cache.local(path_of(cache, uid))[0] is Local.COMPLETE


@contextlib.contextmanager
def caches(directory: Path, limit: int = LARGE) -> Iterator[Callable[[], Cache]]:
    """Make caches in one directory: each is to the others what one process is to another, since locks are by file."""
    made: list[Cache] = []

    def make() -> Cache:
        made.append(Cache(directory, limit))
        return made[-1]

    try:
        yield make
    finally:
        for cache in made:
            cache.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[[], Cache]]:
    with caches(tmp_path / "cache") as make:
        yield make


@pytest.fixture
def cache(process: Callable[[], Cache]) -> Cache:
    return process()


def limited(cache: Cache, room: int) -> Cache:
    """Let the cache hold so many bytes of products."""
    cache.limit = cache.used() + room
    return cache


# -- the budget --------------------------------------------------------------------------------------------------------


class Budget(RuleBasedStateMachine):
    """Random use of a cache, beside a model of what is in it, what is open, and what was used last."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="eofs-budget-"))
        self.cache = limited(Cache(self.directory, LARGE), 100_000)
        self.empty = self.cache.used()
        self.used: dict[str, int] = {}  # the sizes of what is there, least recently used first
        self.open: list[tuple[str, PartialFile]] = []

    def note_use(self, uid: str) -> None:
        self.used[uid] = self.used.pop(uid)

    @precondition(lambda self: len(self.used) < 6)
    @rule(at=st.integers(0, 100), size=st.integers(1, 120_000), hold=st.booleans())
    def fill(self, at: int, size: int, hold: bool) -> None:
        absent = sorted(set("abcdef") - set(self.used))
        uid = absent[at % len(absent)]
        busy = {name for name, _ in self.open}
        for victim in [name for name in self.used if name not in busy]:
            if size > self.cache.limit or sum(self.used.values()) + size <= 100_000:
                break
            del self.used[victim]
        if sum(self.used.values()) + size <= 100_000:
            file = filled(self.cache, uid, size)
            self.used[uid] = size
            self.open.append((uid, file))
            if not hold:
                self.let_go(-1)
        else:
            with pytest.raises(CacheFull):
                begun(self.cache, uid, size)

    @precondition(lambda self: self.used)
    @rule(at=st.integers(0, 100))
    def hold(self, at: int) -> None:
        uid = sorted(self.used)[at % len(self.used)]
        self.open.append((uid, opened(self.cache, uid)))
        if [name for name, _ in self.open].count(uid) == 1:
            self.note_use(uid)

    @precondition(lambda self: self.open)
    @rule(at=st.integers(0, 100))
    def let_go(self, at: int) -> None:
        uid, file = self.open.pop(at % len(self.open))
        self.cache.release(file)
        if uid not in {name for name, _ in self.open}:
            self.note_use(uid)

    @invariant()
    def nothing_but_the_least_recently_used_is_gone(self) -> None:
        assert [uid for uid in "abcdef" if has(self.cache, uid)] == sorted(self.used)
        assert self.cache.used() == self.empty + sum(self.used.values()) <= self.cache.limit

    @invariant()
    def what_is_open_can_be_read(self) -> None:
        for uid, file in self.open:
            assert file.read(0, 200_000) == content(uid, self.used[uid])

    def teardown(self) -> None:
        self.cache.close()
        shutil.rmtree(self.directory)


TestTheBudgetIsKeptAndTheLeastRecentlyUsedGoesFirst = Budget.TestCase
TestTheBudgetIsKeptAndTheLeastRecentlyUsedGoesFirst.settings = settings(max_examples=30, stateful_step_count=20)


@pytest.mark.says("Least recently used goes first when the limit is near")
def test_what_was_used_last_is_evicted_last_though_it_was_opened_first(cache: Cache) -> None:
    limited(cache, 3000)
    file = filled(cache, "long open")
    put(cache, "short")
    put(cache, "short too")
    cache.release(file)
    put(cache, "another", 1000)
    assert [has(cache, uid) for uid in ("long open", "short", "short too", "another")] == [True, False, True, True]


def test_a_file_under_way_counts_with_the_length_that_it_will_have(cache: Cache) -> None:
    before = cache.used()
    file = begun(cache, "a", 500 << 20)
    assert cache.used() == before + (500 << 20)
    assert file.path.with_name("archive.part").stat().st_blocks == 0
    cache.release(file)
    assert cache.used() == before


def test_inflated_members_count_and_are_evicted_like_archives(cache: Cache) -> None:
    limited(cache, 2000)
    path = cache.member(product("a"), Member(path="x/B04.jp2", size=1500, mtime=0, offset=0, packed=10, crc=1))
    file = cache.open(path)
    assert file
    with cache.room(path, 1500):
        file.begin(1500, None)
    file.write(0, bytes(1500))
    cache.finish(file)
    cache.release(file)
    assert cache.used() == cache.limit - 500
    put(cache, "b")
    assert not path.exists()


@pytest.mark.says("Records and quicklooks count, and stay.")
def test_records_and_quicklooks_count_and_are_not_evicted(cache: Cache) -> None:
    before, picture = cache.used(), content("picture", 300_000)
    cache.records.note_quicklook(product("a"), picture)
    cache.records.note_order(product("a"), ORDER)
    assert cache.used() >= before + 300_000
    limited(cache, 1500)
    for uid in "bcd":
        put(cache, uid)
    assert [has(cache, uid) for uid in "bcd"] == [False, False, True]
    assert (cache.records.quicklook(product("a")), cache.records.order(product("a"))) == (picture, ORDER)


def test_what_is_larger_than_the_cache_is_refused_and_evicts_nothing(cache: Cache) -> None:
    put(limited(cache, 2000), "a")
    with pytest.raises(CacheFull, match=r"^the product needs [\d,]+ bytes and the cache may hold [\d,]+; raise cache_"):
        begun(cache, "b", cache.limit + 1)
    with pytest.raises(CacheFull):
        cache.must_fit(cache.limit + 1)
    cache.must_fit(cache.limit)
    cache.must_fit(None)
    assert has(cache, "a")


def test_where_all_is_in_use_the_cache_says_so(cache: Cache) -> None:
    file = filled(limited(cache, 2000), "a", 1500)
    with pytest.raises(CacheFull, match=r"^1,000 bytes are needed, and [\d,]+ of the cache's [\d,]+ are in use; close"):
        begun(cache, "b")
    cache.release(file)
    put(cache, "b")
    assert not has(cache, "a")


def test_a_file_that_is_filled_again_does_not_have_to_fit_beside_itself(cache: Cache) -> None:
    file = begun(limited(cache, 1000), "a")
    file.write(0, b"x")
    file.restart()
    with cache.room(file.path, 900):
        file.begin(900, None)
    cache.release(file)


def test_room_is_promised_once_however_many_ask_at_a_time(cache: Cache) -> None:
    limited(cache, 5000)
    start = threading.Barrier(12)

    def ask(uid: str) -> PartialFile | None:
        start.wait()
        try:
            return begun(cache, uid, 1000)
        except CacheFull:
            return None

    with ThreadPoolExecutor(12) as threads:
        files = list(threads.map(ask, "abcdefghijkl"))
    assert len([file for file in files if file]) == 5
    assert cache.used() == cache.limit


def test_a_program_that_makes_room_waits_for_another_that_does(process: Callable[[], Cache]) -> None:
    first, second = process(), process()
    path, order = path_of(first, "a"), []

    def ask() -> None:
        with second.room(path, 10):
            order.append("second")

    thread = threading.Thread(target=ask)
    with first.room(path, 10):
        thread.start()
        with (first.directory / "lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


# -- between processes -------------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from eofs.cache import Cache
from tests.test_cache import begun, content, filled, has, opened, path_of

cache, files = Cache(Path(sys.argv[1]), 1 << 40), {}
for line in sys.stdin:
    what, uid = line.split()
    match what:
        case "begin":
            files[uid] = begun(cache, uid)
            files[uid].write(0, content(uid)[:600])
        case "finish":
            files[uid].write(600, content(uid)[600:])
            cache.finish(files[uid])
        case "fill":
            files[uid] = filled(cache, uid)
        case "open":
            files[uid] = cache.open(path_of(cache, uid))
            print("nothing" if files[uid] is None else "whole" if files[uid].whole else files[uid].arrived, flush=True)
            continue
        case "release":
            cache.release(files[uid])
    print("done", flush=True)
"""


class Other:
    """Another process that uses the cache."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-c", CHILD, str(directory)]
        house = Path(__file__).parent.parent
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=house, env={**os.environ}
        )

    def does(self, what: str, uid: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{what} {uid}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def other(cache: Cache) -> Iterator[Other]:
    another = Other(cache.directory)
    try:
        yield another
    finally:
        another.kill()


@pytest.mark.says("never what is open")
def test_what_another_process_reads_is_not_evicted(cache: Cache, other: Other) -> None:
    put(limited(cache, 2000), "a")
    assert other.does("open", "a") == "whole"
    put(cache, "b")
    put(cache, "c")
    assert [has(cache, uid) for uid in "abc"] == [True, False, True]
    assert other.does("release", "a") == "done"
    put(cache, "d", 2000)
    assert not has(cache, "a")


@pytest.mark.says("never what is open or under way.")
def test_what_another_process_fills_is_not_evicted_and_belongs_to_it_alone(cache: Cache, other: Other) -> None:
    limited(cache, 2000)
    assert other.does("begin", "a") == "done"
    assert cache.open(path_of(cache, "a")) is None
    assert cache.open_whole(path_of(cache, "a")) is None
    with pytest.raises(CacheFull, match="are in use"):
        put(cache, "b", 1500)
    put(cache, "b", 1000)
    assert other.does("finish", "a") == "done"
    file = opened(cache, "a")
    assert file.whole
    assert file.read(0, 2000) == content("a")


def test_what_a_killed_process_was_filling_can_be_gone_on_with_where_it_was(cache: Cache, other: Other) -> None:
    other.does("begin", "a")
    other.does("release", "a")
    assert other.does("open", "a") == "600"
    other.kill()
    file = opened(cache, "a")
    assert (file.whole, file.arrived, file.size) == (False, 600, 1000)
    assert file.read(0, 600) == content("a")[:600]
    file.write(600, content("a")[600:])
    cache.finish(file)
    assert file.read(0, 2000) == content("a")


def test_what_a_killed_process_was_filling_can_be_evicted_with_its_map(cache: Cache, other: Other) -> None:
    limited(cache, 1500)
    other.does("begin", "a")
    other.does("release", "a")
    other.does("open", "a")
    other.kill()
    put(cache, "b")
    assert list(path_of(cache, "a").parent.iterdir()) == []


def test_of_processes_that_want_the_same_product_one_gets_to_fill_it(cache: Cache) -> None:
    others = [Other(cache.directory) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as threads:
            said = list(threads.map(lambda one: one.does("open", "a"), others))
        assert sorted(said) == ["0", "nothing", "nothing", "nothing"]
    finally:
        for one in others:
            one.kill()


STRESS = """
import contextlib, random, sys
from pathlib import Path
from eofs.cache import Cache
from eofs.errors import CacheFull
from tests.test_cache import content, path_of

directory, limit, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
cache, chance, counts = Cache(directory, limit), random.Random(seed), [0, 0]
for _ in range(400):
    uid = chance.choice("abcd")
    file = cache.open(path_of(cache, uid))
    if file is None:
        continue
    if file.whole:
        assert file.read(0, 5000) == content(uid, 3000), "wrong bytes"
        counts[0] += 1
        if chance.random() < 0.2:
            cache.discard(file)
    else:
        assert not file.arrived or file.read(0, file.reaches(0)) == content(uid, 3000)[: file.reaches(0)], "wrong bytes"
        with contextlib.suppress(CacheFull):
            if chance.random() < 0.2:
                file.restart()
            with cache.room(file.path, 3000):
                file.begin(3000, None)
            while file.reaches(0) < 3000 and chance.random() < 0.8:
                at = file.reaches(0)
                file.write(at, content(uid, 3000)[at : at + 1000])
            if file.reaches(0) == 3000:
                cache.finish(file)
                counts[1] += 1
    cache.release(file)
print(*counts)
"""


@pytest.mark.says("processes of one user at once")
def test_many_processes_that_fill_read_discard_and_evict_the_same_files_never_meet_a_wrong_byte(cache: Cache) -> None:
    limited(cache, 8000)
    command = [sys.executable, "-c", STRESS, str(cache.directory), str(cache.limit)]
    house = Path(__file__).parent.parent
    children = [
        subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=house)
        for seed in range(4)
    ]
    try:
        ends = [child.communicate(timeout=100) for child in children]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert [error for _, error in ends] == [""] * 4
    counts = [[int(word) for word in out.split()] for out, _ in ends]
    assert all(sum(column) > 20 for column in zip(*counts, strict=True)), counts
    assert cache.used() <= cache.limit


# -- files in use ------------------------------------------------------------------------------------------------------


def test_all_who_open_a_file_in_one_process_share_it_until_the_last_lets_go(cache: Cache) -> None:
    first, second = opened(cache, "a"), opened(cache, "a")
    assert first is second
    third = cache.hold(first)
    for file in (first, second):
        cache.release(file)
    third.begin(4, None)
    third.write(0, b"0123")
    assert third.read(0, 4) == b"0123"
    cache.release(third)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(third.fileno())


def test_a_whole_file_is_not_opened_for_who_asks_for_whole_ones_while_it_is_partial(cache: Cache) -> None:
    path = path_of(cache, "a")
    assert cache.open_whole(path) is None
    file = begun(cache, "a")
    assert cache.open_whole(path) is None
    file.write(0, content("a"))
    cache.finish(file)
    assert cache.open_whole(path) is file


def test_readers_go_on_while_a_file_is_finished_and_others_may_read_it_then(process: Callable[[], Cache]) -> None:
    first, second = process(), process()
    file = begun(first, "a")
    reader = first.hold(file)
    file.write(0, content("a"))
    first.finish(file)
    first.release(file)
    assert reader.read(0, 10) == content("a")[:10]
    theirs = opened(second, "a")
    assert theirs.whole
    assert theirs.read(0, 2000) == reader.read(0, 2000) == content("a")


def test_a_file_of_which_nothing_has_arrived_leaves_nothing_behind(cache: Cache) -> None:
    file = begun(cache, "a")
    file.write(0, b"0123")
    file.save(sync=True)
    file.restart()
    cache.release(file)
    assert list(path_of(cache, "a").parent.iterdir()) == []


def test_what_has_arrived_stays_when_it_is_let_go(cache: Cache) -> None:
    file = begun(cache, "a")
    file.write(100, content("a")[100:200])
    cache.release(file)
    file = opened(cache, "a")
    assert (file.arrived, file.read(100, 100)) == (100, content("a")[100:200])


def test_a_discarded_file_is_read_on_by_those_who_have_it_and_begun_afresh_by_the_next(cache: Cache) -> None:
    old = filled(cache, "a")
    cache.discard(old)
    assert not has(cache, "a")
    new = opened(cache, "a")
    assert (new.whole, new.arrived) == (False, 0)
    assert old.read(0, 2000) == content("a")
    cache.release(old)
    assert opened(cache, "a") is new


@pytest.mark.parametrize("how", ["by the same process", "by another process"])
def test_who_discards_a_file_again_does_no_harm_to_the_one_that_replaces_it(
    process: Callable[[], Cache], how: str
) -> None:
    """Two readers of one damaged archive both find it damaged, the second when it is already fetched afresh."""
    cache = process()
    fetching = cache if how == "by the same process" else process()
    old = filled(cache, "a")
    cache.discard(old)
    new = begun(fetching, "a")
    new.write(0, content("a"))
    new.save(sync=False)
    cache.discard(old)
    assert part_of(new.path).exists()
    fetching.finish(new)
    cache.discard(old)
    assert new.path.read_bytes() == content("a")


def test_closing_the_cache_closes_its_files_and_keeps_what_has_arrived(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", LARGE)
    file = begun(cache, "a")
    file.write(0, content("a")[:500])
    cache.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.fileno())
    cache = Cache(tmp_path / "cache", LARGE)
    assert opened(cache, "a").arrived == 500
    cache.close()


def test_local_tells_absent_partial_and_complete_of_ones_own_files_and_of_others(process: Callable[[], Cache]) -> None:
    ours, theirs = process(), process()
    path = path_of(ours, "a")
    assert ours.local(path) == theirs.local(path) == (Local.ABSENT, 0, None)
    file = begun(ours, "a")
    assert ours.local(path) == (Local.ABSENT, 0, 1000)
    assert theirs.local(path) == (Local.ABSENT, 0, None)
    file.write(0, content("a")[:300])
    file.save(sync=False)
    assert ours.local(path) == theirs.local(path) == (Local.PARTIAL, 300, 1000)
    file.write(300, content("a")[300:])
    ours.finish(file)
    assert ours.local(path) == theirs.local(path) == (Local.COMPLETE, 1000, 1000)


# -- the worst moments -------------------------------------------------------------------------------------------------


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, call: str, when: Callable[..., bool], then: Callable[[], object]
) -> None:
    """Let another process do something right after a call of `os`, once."""
    original = getattr(os, call)

    def interposed(*args: Any, **kwargs: Any) -> Any:
        now = when(*args)
        try:
            return original(*args, **kwargs)
        finally:
            if now:
                monkeypatch.setattr(os, call, original)
                then()

    monkeypatch.setattr(os, call, interposed)


def test_who_evicts_a_file_does_not_take_the_one_that_has_just_replaced_it(
    process: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = limited(process(), 1500), process()
    held = filled(theirs, "a")
    path, fresh = path_of(ours, "a"), []

    def replace_it() -> None:
        theirs.discard(held)
        theirs.release(held)
        fresh.append(opened(theirs, "a"))
        fresh[0].begin(1000, None)
        fresh[0].write(0, content("a"))

    meanwhile(monkeypatch, "open", lambda name, *_: name == path, replace_it)
    with contextlib.suppress(CacheFull):
        begun(ours, "b", 1000)
    theirs.finish(fresh[0])
    assert path.read_bytes() == content("a")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="not here: pathlib of 3.10 hides its system calls from the test")
@pytest.mark.parametrize("moment", range(6))
def test_who_opens_a_file_that_is_being_evicted_gets_nothing_or_a_file_that_has_its_name(
    process: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    ours, theirs = process(), process()
    put(limited(theirs, 1500), "a")
    path, got, calls = path_of(ours, "a"), [], itertools.count()
    names = {path, part_of(path), map_of(path)}
    # The evictor has the file locked, and looks at it or removes one of its names.
    for call in ("stat", "unlink"):
        meanwhile(
            monkeypatch,
            call,
            lambda name, *_: name in names and next(calls) == moment,
            lambda: got.append(ours.open(path)),
        )
    with contextlib.suppress(CacheFull):  # who came early enough keeps it from being evicted
        put(theirs, "b", 1000)
    file = next(filter(None, got), None) or opened(ours, "a")
    if not file.whole:
        file.begin(1000, None)
        file.write(0, content("a"))
        ours.finish(file)
    assert path.read_bytes() == file.read(0, 2000) == content("a")
    assert len(got) == 1


def test_who_claims_a_file_that_is_finished_at_this_moment_leaves_it_alone(
    process: Callable[[], Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = process(), process()
    file = begun(theirs, "a")
    file.write(0, content("a"))
    path = path_of(ours, "a")

    def finish() -> None:
        theirs.finish(file)
        theirs.release(file)

    meanwhile(monkeypatch, "open", lambda name, *_: name == part_of(path), finish)
    assert ours.open(path) is None
    assert opened(ours, "a").read(0, 2000) == content("a")
    assert [name.name for name in path.parent.iterdir()] == ["archive"]


# -- names and directories ---------------------------------------------------------------------------------------------

ORDER = Order(placed=1_600_000_000.25, id="42", answer="en cours")
NAMES = st.one_of(st.text(max_size=300), st.text("/.\\~-_ aA\0é", max_size=8), st.just("x" * 300))


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    with caches(tmp_path_factory.mktemp("names") / "cache") as make:
        yield make()


@pytest.mark.says("A product is known by its provider and the provider's id of it")
@settings(max_examples=300)
@given(NAMES, NAMES, NAMES, NAMES)
def test_each_product_has_a_place_of_its_own_inside_the_cache(
    names: Cache, provider: str, uid: str, provider2: str, uid2: str
) -> None:
    first, second = (names.archive(product(u, p)) for u, p in ((uid, provider), (uid2, provider2)))
    assert (first == second) == ((provider, uid) == (provider2, uid2))
    assert first.parent.parent.parent == names.directory / "products"
    assert all(0 < len(os.fsencode(part)) <= 255 and "/" not in part and "\0" not in part for part in first.parts[1:])
    assert not {".", ".."} & set(first.parts)


def test_a_uid_cannot_be_made_up_that_has_the_place_of_another(names: Cache) -> None:
    place = names.archive(product("abc/"))
    assert names.archive(product(place.parent.name)) != place


def test_an_ordinary_uid_is_the_name_of_its_directory(names: Cache) -> None:
    uid = "S2A_MSIL1C_20201229T110451_N0209_R094_T31TCL_20201229T131620"
    assert names.archive(product(uid)) == names.directory / "products" / "peps" / uid / "archive"


def test_each_member_of_each_version_of_an_archive_has_a_place_of_its_own(names: Cache) -> None:
    members = [
        Member(path=path, size=size, mtime=0, offset=0, packed=0, crc=crc)
        for path in ("a", "a/b", "\udcff")
        for size in (1, 2)
        for crc in (None, 0, 1)
    ]
    places = {names.member(product(uid), member) for uid in "ab" for member in members}
    assert len(places) == 2 * len(members)
    assert {place.parent.name for place in places} == {"members"}


@pytest.mark.says("its directories are 0700.")
def test_what_is_new_can_be_looked_into_by_its_user_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        cache = Cache(tmp_path / "new" / "cache", LARGE)
        put(cache, "a")
        begun(cache, "b").write(0, b"x")
        cache.records.note_quicklook(product("a"), bytes(100_000))
    finally:
        os.umask(mask)
    made = [tmp_path / "new", *(path for path in (tmp_path / "new").rglob("*") if path.is_dir())]
    assert {"cache", "products", "records", "peps", "a"} <= {path.name for path in made}
    private = [path for path in made if path.parent.name != "records"]  # diskcache's own, inside of one that is
    assert {stat.S_IMODE(path.stat().st_mode) for path in private if "records" not in path.parent.parts} == {0o700}
    archive = path_of(cache, "a")
    assert stat.S_IMODE(archive.stat().st_mode) == stat.S_IMODE((cache.directory / "lock").stat().st_mode) == 0o600
    cache.close()


def test_a_cache_directory_that_its_user_shares_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o770)
    Cache(tmp_path / "cache", LARGE).close()
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o770


@pytest.mark.parametrize("where", ["file", "file/below", "/proc/no/such", "file-as-records", "directory-as-lock"])
def test_a_cache_directory_that_cannot_be_used_is_said_in_one_sentence(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "file-as-records" / "products").mkdir(parents=True)
    (tmp_path / "file-as-records" / "records").touch()
    (tmp_path / "directory-as-lock" / "lock").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"^the cache directory \S+ cannot be used: [^\n]+ with cache_dir$"):
        Cache(tmp_path / where, LARGE)


# -- a full disk -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    if os.geteuid():
        pytest.skip("not here: only root can mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill_up(place: Path) -> Path:
    """Leave no byte on the disk."""
    ballast = place / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return ballast


@pytest.mark.says("or its disk is full ENOSPC")
@pytest.mark.mount
def test_a_disk_without_room_is_said_before_the_download(small_disk: Path) -> None:
    with caches(small_disk / "cache") as make:
        cache = make()
        put(cache, "a", 1 << 20)
        with pytest.raises(CacheFull, match=r"^8,388,608 bytes are needed, and the disk of \S+ has [\d,]+ left; free"):
            begun(cache, "b", 8 << 20)
        assert not has(cache, "a"), "all that could be evicted was"
        put(cache, "c", 1 << 20)
        put(cache, "d", 2 << 20)
        put(cache, "e", 2 << 20)
        assert [has(cache, uid) for uid in "cde"] == [False, False, True], "a full disk evicts as a full budget does"


@pytest.mark.says("or a full disk")
@pytest.mark.mount
def test_a_disk_that_fills_up_on_the_way_costs_nothing_but_the_rest(small_disk: Path) -> None:
    with caches(small_disk / "cache") as make:
        cache, data = make(), content("a", 3 << 20)
        file = begun(cache, "a", 3 << 20)
        file.write(0, data[: 1 << 20])
        ballast = fill_up(small_disk)
        os.truncate(ballast, ballast.stat().st_size - (300 << 10))
        with pytest.raises(OSError, match="No space left"):
            file.write(1 << 20, data[1 << 20 :])
        assert file.arrived > 1 << 20, "some of it had room, and there is none for the map that says so"
        cache.release(file)
        file = opened(cache, "a")
        assert file.arrived >= 1 << 20
        ballast.unlink()
        file.write(file.reaches(0), data[file.reaches(0) :])
        cache.finish(file)
        assert file.read(0, 4 << 20) == data


@pytest.mark.mount
def test_a_disk_on_which_no_file_can_be_made_is_a_full_one(small_disk: Path) -> None:
    with caches(small_disk / "cache") as make:
        cache = make()
        cache.records.note_order(product("a"), ORDER)
        path_of(cache, "a").parent.mkdir(parents=True)
        subprocess.run(["mount", "-o", "remount,nr_inodes=40", small_disk], check=True)
        with contextlib.suppress(OSError):
            for number in range(40):
                (small_disk / f"{number}").touch()
        with pytest.raises(
            CacheFull, match=r"^the cache \(\S+\) cannot be written: No space left on device; make room"
        ):
            cache.open(path_of(cache, "a"))
        (small_disk / "0").unlink()
        assert cache.open(path_of(cache, "a"))


def test_a_cache_that_was_taken_away_under_a_running_program_is_said_to_be(cache: Cache) -> None:
    file = begun(cache, "a")
    file.write(0, content("a"))
    shutil.rmtree(cache.directory / "products")
    with pytest.raises(CacheFull, match="cannot be written: No such file or directory"):
        cache.finish(file)


@pytest.mark.mount
def test_a_full_disk_keeps_the_records_that_are_there_and_fails_no_product_for_a_new_one(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caches(small_disk / "cache") as make:
        cache = make()
        cache.records.note_order(product("a"), ORDER)
        fill_up(small_disk)
        for number in range(50):
            cache.records.note_quicklook(product(f"{number}"), bytes(20_000))
            cache.records.note_storage(product(f"{number}"), StorageStatus.ONLINE)
        assert "could not be noted" in caplog.text
        assert cache.records.order(product("a")) == ORDER


@pytest.mark.mount
def test_a_cache_on_a_full_disk_is_refused_in_one_sentence_and_loses_nothing(small_disk: Path) -> None:
    cache = Cache(small_disk / "cache", LARGE)
    cache.records.note_order(product("a"), ORDER)
    cache.close()
    ballast = fill_up(small_disk)
    with pytest.raises(ConfigError, match=r"cannot be used: .*; make room there, or name another one with cache_dir"):
        Cache(small_disk / "cache", LARGE)
    ballast.unlink()
    cache = Cache(small_disk / "cache", LARGE)
    assert cache.records.order(product("a")) == ORDER
    cache.close()
