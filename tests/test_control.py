"""`eofs cancel`, `evict` and `retry`: what becomes of the product, of those who wait for it, and who may ask."""

from __future__ import annotations

import json
import mmap
import os
import socket
import stat
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from asset_server import AssetServer
from conftest import OFFLINE, ONLINE, TITLES, UIDS, Mount, begin_blocked, error_of, ls, until
from engine_room import Canned, Room, aside, content, stories
from machine import SRV, Machine
from test_loose import BANDS, OPEN

from eofs.control import Control, call
from eofs.demo import DemoProvider, Reply
from eofs.errors import Cancelled, EofsError, InUse, MountError, NotReady, Unreachable
from eofs.nodes import NOBODY
from eofs.status import Local

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from eofs.fetch import Engine
    from eofs.model import Product

NEVER = 1e9  # seconds
mounted = pytest.mark.mount


def control(mount: Mount, do: str, *places: object) -> str:
    """Run one of the commands, which has nothing to complain of; return what it prints."""
    done = mount.eofs(do, *places)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(mount: Mount, *words: object, **how: Any) -> str:
    """Run a command that fails with one sentence, and return that."""
    done = mount.eofs(*words, **how)
    assert (done.returncode, done.stdout) == (1, "")
    [sentence] = done.stderr.splitlines()
    assert sentence.startswith("eofs: ")
    return sentence.removeprefix("eofs: ")


def kept(mount: Mount) -> list[Path]:
    """Return the files of products in the cache."""
    return [path for path in (mount.cache / "products").rglob("*") if path.is_file()]


def bring_again(mount: Mount, uid: str) -> None:
    """Read a file of a product of which the kernel has kept nothing, and wait for the rest of the product behind it."""
    assert next(mount.safe(uid).rglob("*_B04.jp2")).read_bytes()
    until(lambda: mount.status(uid)["local"] == "complete")


@pytest.fixture
def tape(tmp_path: Path, store: Path) -> Iterator[tuple[DemoProvider, Mount]]:
    """A mount whose products on tape never come, unless they are put on disk by hand."""
    with (
        DemoProvider(store, megabytes=1, staging_seconds=NEVER) as provider,
        Mount(tmp_path, provider.write_result(tmp_path / "r.geojson")) as mount,
    ):
        yield provider, mount


# -- cancel ------------------------------------------------------------------------------------------------------------


@pytest.mark.says("of one product of a mount: stop what goes on")
@pytest.mark.says("After EAGAIN and ECANCELED it does so at once.")
@pytest.mark.says("an order stays placed")
@pytest.mark.says("`cancel`: who waits gets ECANCELED", "stopped by `eofs cancel`")
@mounted
def test_cancel_releases_all_who_wait_and_the_order_stays_placed(
    tape: tuple[DemoProvider, Mount], readers: list[subprocess.Popen[str]]
) -> None:
    provider, mount = tape
    directory = mount.product(OFFLINE)
    readers += [begin_blocked("ls", mount.safe(OFFLINE)) for _ in range(3)]
    until(lambda: mount.status(OFFLINE)["order"])
    assert control(mount, "cancel", directory) == f"{directory.name}: stopped; its order stays placed\n"
    for reader in readers:
        assert "Operation canceled" in reader.communicate(timeout=60)[1]
    status = mount.status(OFFLINE)
    assert (status["activity"], status["order"][:6]) == ("idle", "placed")
    assert "stopped" in status["error"]
    asked = provider.count(OFFLINE)
    assert control(mount, "cancel", directory) == f"{directory.name}: nothing goes on; its order stays placed\n"
    assert provider.count(OFFLINE) == asked
    provider.set_online(OFFLINE)  # who opens it again goes on waiting, and gets it
    assert "manifest.safe" in ls(mount.safe(OFFLINE))
    assert mount.status(OFFLINE)["error"] is None


@pytest.mark.says("says nothing; what has arrived is kept", "who opens the product again goes on from there.")
@mounted
def test_cancel_of_a_download_keeps_what_has_arrived(mount: Mount, provider: DemoProvider) -> None:
    directory = mount.product(ONLINE)
    assert ls(mount.safe(ONLINE))
    provider.script[ONLINE].append(Reply(stall_after=200_000))
    reader = aside((mount.safe(ONLINE) / "manifest.safe").read_bytes)
    until(lambda: mount.status(ONLINE)["downloaded"] >= 200_000 + 131_072)
    said = control(mount, "cancel", directory)
    assert said.startswith(f"{directory.name}: stopped; ")
    assert said.endswith(" are kept\n")
    reader.exception(60)  # it may have had all that it reads, or got ECANCELED
    arrived = mount.status(ONLINE)["downloaded"]
    assert arrived >= 200_000
    sent = provider.bytes_sent(ONLINE)
    bring_again(mount, ONLINE)
    assert provider.bytes_sent(ONLINE) - sent <= provider.archive(ONLINE).stat().st_size - arrived


@pytest.mark.says("and say in one line what became of the product.")
@pytest.mark.says(
    "`eofs cancel`, `evict` and `retry` take any path inside a product's directory, which they do not look at"
)
@mounted
@pytest.mark.parametrize(
    ("do", "says"),
    [
        ("cancel", "nothing goes on"),
        ("evict", "nothing of it is in the cache"),
        ("retry", "it has not failed; who opens it next makes eofs ask demo again"),
    ],
)
def test_any_path_inside_a_product_names_it_and_is_not_looked_at(
    tape: tuple[DemoProvider, Mount], do: str, says: str
) -> None:
    provider, mount = tape
    directory = mount.product(OFFLINE)
    for inside in ("", "data", "data/{}.SAFE", "data/{}.SAFE/GRANULE/no/such", "status"):
        assert control(mount, do, directory / inside.format(directory.name)) == f"{directory.name}: {says}\n"
    assert provider.count(OFFLINE) == 0


@mounted
def test_a_path_may_be_relative_or_lead_through_a_symbolic_link(mount: Mount) -> None:
    (mount.home / "link").symlink_to(mount.root)
    name = mount.product(ONLINE).name
    for words, cwd in (([f"link/{name}"], mount.home), (["."], mount.product(ONLINE)), ([name], mount.root)):
        done = mount.eofs("cancel", *words, cwd=cwd)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}: nothing goes on\n", "")


@pytest.mark.says("also where the provider says nothing")
def test_cancel_does_not_wait_for_a_provider_that_says_nothing(tmp_path: Path, provider: DemoProvider) -> None:
    room = Room(provider, tmp_path / "cache")
    with Canned(None) as silent:
        silent.free.clear()
        try:
            product = replace(room.products[ONLINE], location=f"{silent.url}/product")
            engine = room.start(timeout=NEVER)
            reader = aside(engine.listing, product, NOBODY)
            until(lambda: silent.asked)
            assert engine.upkeep.cancel(product)
            assert isinstance(reader.exception(60), Cancelled)
            again = aside(engine.listing, product, NOBODY)  # what has been stopped is not at its end yet
            assert isinstance(again.exception(60), Cancelled)
        finally:
            silent.free.set()
            room.close()


def test_cancel_stops_all_files_of_a_product(tmp_path: Path) -> None:
    with AssetServer(BANDS) as server:
        room = Room(server, tmp_path / "cache")  # type: ignore[arg-type] # it has a result, as the demo provider
        try:
            engine, product = room.start(speaks=OPEN), next(iter(room.products.values()))
            engine.listing(product, NOBODY)
            for name in list(BANDS)[1:]:
                server.files[name].free.clear()
            assert content(engine, product, "B01.tif") == BANDS["B01.tif"]  # and with it the rest begins to come
            until(lambda: room.status(engine, product).activity.value == "downloading")
            reader = aside(content, engine, product, "B03.tif")
            until(lambda: any(name.endswith("B03.tif") for name in stories()))
            assert engine.upkeep.cancel(product)
            assert isinstance(reader.exception(60), Cancelled)
            for name in BANDS:
                server.files[name].free.set()
            until(lambda: room.status(engine, product).activity.value == "idle")
            assert room.status(engine, product).local is Local.PARTIAL
        finally:
            room.close()


def test_cancel_stops_asking_for_the_files_of_a_product(tmp_path: Path) -> None:
    with AssetServer(BANDS) as server:
        room = Room(server, tmp_path / "cache")  # type: ignore[arg-type] # it has a result, as the demo provider
        try:
            engine, product = room.start(speaks=OPEN), next(iter(room.products.values()))
            for served in server.files.values():
                served.free.clear()
            reader = aside(engine.listing, product, NOBODY)
            until(lambda: engine.upkeep.cancel(product))
            assert isinstance(reader.exception(60), Cancelled)
            for served in server.files.values():
                served.free.set()
            assert len(engine.listing(product, NOBODY).members) == len(BANDS)
        finally:
            room.close()


# -- evict -------------------------------------------------------------------------------------------------------------


@pytest.mark.says("`evict` removes all of a product from the cache, pinned or not")
@pytest.mark.says("free its bytes")
@mounted
@pytest.mark.parametrize("pinned", [False, True])
def test_evict_frees_all_of_a_product_and_the_next_read_brings_it_again(
    mount: Mount, provider: DemoProvider, pinned: bool
) -> None:
    root = mount.bring(ONLINE)
    if pinned:
        for path in kept(mount):
            path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_ISVTX)
    assert kept(mount)
    until(lambda: not [path for path in kept(mount) if path.suffix == ".part"])
    size = provider.archive(ONLINE).stat().st_size
    said = control(mount, "evict", root)
    assert said.startswith(f"{mount.product(ONLINE).name}: ")
    assert said.endswith(" MiB freed\n")
    assert kept(mount) == []
    assert (mount.status(ONLINE)["local"], mount.status(ONLINE)["downloaded"]) == ("absent", 0)
    assert control(mount, "evict", root) == f"{mount.product(ONLINE).name}: nothing of it is in the cache\n"
    before = provider.bytes_sent(ONLINE)
    bring_again(mount, ONLINE)
    assert provider.bytes_sent(ONLINE) - before >= size


@pytest.mark.says("while any program has one of its files open or mapped, and names that.")
@mounted
@pytest.mark.parametrize("how", ["open", "mapped"])
def test_evict_is_refused_while_a_program_has_a_file_open_and_names_it(mount: Mount, how: str) -> None:
    file = next(path for path in mount.bring(ONLINE).rglob("*.jp2") if path.stat().st_size)
    before = sorted(kept(mount))
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        if how == "mapped":
            opened.close()
        sentence = refused(mount, "evict", mount.product(ONLINE))
        comm = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
        assert sentence == (f"{mount.product(ONLINE).name} is in use by {comm} ({os.getpid()}); close its files first")
        assert mapped[:1]
    assert sorted(kept(mount)) == before
    opened.close()
    assert control(mount, "evict", mount.product(ONLINE)).endswith(" freed\n")


@pytest.mark.says("it is refused while the product is coming")
@mounted
def test_evict_is_refused_while_it_is_coming_and_works_after_cancel(mount: Mount, provider: DemoProvider) -> None:
    assert ls(mount.safe(ONLINE))
    provider.script[ONLINE].append(Reply(stall_after=200_000))
    reader = aside((mount.safe(ONLINE) / "manifest.safe").read_bytes)
    until(lambda: mount.status(ONLINE)["downloaded"] >= 200_000)
    name = mount.product(ONLINE).name
    assert refused(mount, "evict", mount.product(ONLINE)) == (f"{name} is still coming; stop that first: eofs cancel")
    control(mount, "cancel", mount.product(ONLINE))
    reader.exception(60)
    assert control(mount, "evict", mount.product(ONLINE)).endswith(" freed\n")
    assert kept(mount) == []


@mounted
def test_evict_names_another_mount_that_has_the_product_open(mount: Mount, tmp_path: Path) -> None:
    other = Mount(tmp_path / "other", mount.result, cache_dir=mount.cache)
    mount.bring(ONLINE)
    with other, next(other.safe(ONLINE).rglob("*_B04.jp2")).open("rb") as opened:
        assert opened.read(1)
        pid = other.pid
        comm = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        sentence = refused(mount, "evict", mount.product(ONLINE))
        assert sentence == f"{mount.product(ONLINE).name} is in use by {comm} ({pid}); close its files first"


def is_evicted(engine: Engine, product: Product) -> bool:
    try:
        return bool(engine.upkeep.evict(product))
    except NotReady:  # all its bytes are here, and the thread that has brought the last of them has still to end
        return False


@pytest.mark.says("pinned or not, or nothing")
def test_evict_frees_every_loose_file_or_none(tmp_path: Path) -> None:
    with AssetServer(BANDS) as server:
        room = Room(server, tmp_path / "cache")  # type: ignore[arg-type] # it has a result, as the demo provider
        try:
            engine, product = room.start(speaks=OPEN), next(iter(room.products.values()))
            for name in BANDS:
                assert content(engine, product, name) == BANDS[name]
            until(lambda: room.status(engine, product).local is Local.COMPLETE)
            listing = engine.listing(product, NOBODY)
            reader = engine.open(product, listing.members[2], NOBODY)
            with pytest.raises(InUse):
                until(lambda: is_evicted(engine, product))
            assert room.status(engine, product).local is Local.COMPLETE
            reader.close()
            assert engine.upkeep.evict(product) == sum(map(len, BANDS.values()))
            assert room.status(engine, product).local is Local.ABSENT
            assert list(room.cache.units()) == []
        finally:
            room.close()


# -- retry -------------------------------------------------------------------------------------------------------------


@pytest.mark.says("forget its failure")
@pytest.mark.says("`retry`: who opens the product next makes eofs ask its provider at once.")
@mounted
def test_retry_makes_the_next_open_ask_again_at_once(mount: Mount, provider: DemoProvider) -> None:
    name = mount.product(ONLINE).name
    provider.script[ONLINE].append(Reply(404))
    assert error_of(ls, mount.safe(ONLINE)) == "ENODATA"
    assert mount.status(ONLINE)["error"]
    assert control(mount, "retry", mount.product(ONLINE)) == (
        f"{name}: its failure is forgotten; who opens it next makes eofs ask demo again\n"
    )
    assert mount.status(ONLINE)["error"] is None
    assert "manifest.safe" in ls(mount.safe(ONLINE))
    assert control(mount, "retry", mount.product(ONLINE)).startswith(f"{name}: it has not failed; ")


def test_retry_of_loose_files_asks_again_for_those_that_were_out_of_reach(tmp_path: Path) -> None:
    with AssetServer(BANDS) as server:
        room = Room(server, tmp_path / "cache")  # type: ignore[arg-type] # it has a result, as the demo provider
        try:
            engine, product = room.start(speaks=OPEN), next(iter(room.products.values()))
            for served in server.files.values():
                served.status = served.head = 503
            with pytest.raises(EofsError):
                engine.listing(product, NOBODY)
            for served in server.files.values():
                served.status, served.head = 200, None
            with pytest.raises(EofsError):
                engine.listing(product, NOBODY)
            engine.upkeep.retry(product)
            assert len(engine.listing(product, NOBODY).members) == len(BANDS)
        finally:
            room.close()


# -- what cannot be ----------------------------------------------------------------------------------------------------


@mounted
@pytest.mark.parametrize("do", ["cancel", "evict", "retry"])
def test_what_is_no_product_in_a_mount_is_said_in_one_sentence(mount: Mount, do: str) -> None:
    (mount.home / "plain").mkdir()
    root = mount.root
    for place, sentence in {
        mount.home / "plain": "{} is in no mount of eofs; name the directory of a product in a mount",
        mount.home / "plain/no": "{} does not exist",
        root: "{} is a mount; name the directory of a product in it",
        root / "nobody/data": f"{root} has no product nobody",
    }.items():
        assert refused(mount, do, place) == sentence.format(place)
    done = mount.eofs(do)
    assert (done.returncode, done.stdout) == (2, "")


@mounted
def test_one_that_fails_does_not_stop_the_others(mount: Mount) -> None:
    done = mount.eofs("cancel", mount.product(ONLINE), mount.root / "nobody", mount.product(UIDS[1]))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [f"{mount.product(uid).name}: nothing goes on" for uid in (ONLINE, UIDS[1])]
    assert done.stderr == f"eofs: {mount.root} has no product nobody\n"


@mounted
def test_a_crashed_mount_is_said_to_be_one_and_how_to_mend_it(mount: Mount) -> None:
    directory = mount.product(ONLINE)
    mount.kill()
    assert refused(mount, "cancel", directory) == (
        f"the program behind {mount.root} has crashed; free the mount: eofs unmount {mount.root}"
    )


@pytest.mark.says("whose path is the extended attribute `user.eofs.control` of the mount's root")
@pytest.mark.says("They talk with the program behind the mount over a Unix socket in the cache")
@mounted
def test_the_socket_is_its_users_alone_and_goes_with_the_mount_and_left_overs_with_the_next(mount: Mount) -> None:
    path = Path(os.fsdecode(os.getxattr(mount.root, "user.eofs.control")))
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.is_relative_to(mount.cache)
    mount.unmount()
    assert list(path.parent.iterdir()) == []
    mount.start()
    left = Path(os.fsdecode(os.getxattr(mount.root, "user.eofs.control")))
    mount.kill()
    assert list(path.parent.iterdir()) == [left]
    mount.unmount()
    mount.start()
    [now] = path.parent.iterdir()
    assert now != left
    assert control(mount, "cancel", mount.product(ONLINE)).endswith(": nothing goes on\n")


@mounted
def test_a_cache_that_lies_deep_can_be_commanded_too(tmp_path: Path, provider: DemoProvider) -> None:
    deep = tmp_path / ("deep" * 30) / "cache"
    with Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), cache_dir=deep) as mount:
        assert control(mount, "cancel", mount.product(ONLINE)).endswith(": nothing goes on\n")


# -- the door ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def door() -> Iterator[Control]:
    def answer(do: str, product: str) -> str:
        if do == "fail":
            raise Unreachable(f"{product} cannot be reached")
        return f"{do} {product}"

    with tempfile.TemporaryDirectory(dir="/tmp") as near:  # a hundred characters are all that these tests can say
        opened = Control(Path(near) / "control", answer)
        yield opened
        opened.close()


def test_what_is_asked_is_answered_in_any_letters(door: Control) -> None:
    for name in ("a", "é ж", "two\nlines", "\udcff not UTF-8", '"quoted"'):
        assert call(door.path, "do", name) == f"do {name}"


def test_a_refusal_is_raised_where_it_was_asked(door: Control) -> None:
    with pytest.raises(EofsError, match="a cannot be reached"):
        call(door.path, "fail", "a")


@pytest.mark.parametrize("words", [b"", b"\n", b"{}\n", b"[1]\n", b"\xff\n", b'{"do": 1}\n'])
def test_what_cannot_be_understood_is_answered_so(door: Control, words: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(60)
        line.connect(str(door.path))
        line.sendall(words)
        line.shutdown(socket.SHUT_WR)
        with line.makefile("rb") as file:
            assert "cannot be understood" in json.loads(file.readline())["error"]
    assert call(door.path, "do", "a") == "do a"


def test_who_hangs_up_holds_nobody_up(door: Control) -> None:
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(door.path))
    assert call(door.path, "do", "a") == "do a"


def test_a_door_that_is_closed_leaves_nothing_and_answers_nobody(door: Control) -> None:
    door.close()
    assert list(door.path.parent.iterdir()) == []
    with pytest.raises(MountError, match="does not answer"):
        call(door.path, "do", "a")
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "control"])


def test_left_overs_go_and_who_listens_stays(door: Control) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(door.path.with_name("dead")))
    second = Control(door.path.parent, lambda do, product: f"second: {do} {product}")
    try:
        assert set(door.path.parent.iterdir()) == {door.path, second.path}
        assert call(door.path, "do", "a") == "do a"
        assert call(second.path, "do", "a") == "second: do a"
    finally:
        second.close()


def test_where_no_socket_can_be_made_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "control").touch()
    Control(tmp_path / "control", lambda *_: "").close()
    assert "no command can reach this mount" in caplog.text


@pytest.mark.says("who has mounted it may")
@pytest.mark.skipif(os.getuid() != 0, reason="not here: only root can be another user")
def test_another_user_is_refused() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as home:  # others may look into that, unlike what TMPDIR may name
        Path(home).chmod(0o755)
        door = Control(Path(home) / "control", lambda *_: "done")
        try:
            os.seteuid(65534)
            with pytest.raises(MountError, match="another user's"):
                call(door.path, "do", "a")
            os.seteuid(0)
            door.path.parent.chmod(0o755)  # as nobody should
            door.path.chmod(0o777)
            os.seteuid(65534)
            with pytest.raises(EofsError, match="only the user who has mounted it, and root, may ask that"):
                call(door.path, "do", "a")
        finally:
            os.seteuid(0)
            door.close()


@pytest.mark.says("`allow_other`, `allow_root`")
@pytest.mark.says("and root where the mount lets it in (`allow_root`, `allow_other`).")
@mounted
@pytest.mark.parametrize("option", ["", ",allow_root", ",allow_other"])
def test_root_may_ask_where_the_mount_of_a_user_lets_it_in(tmp_path: Path, provider: DemoProvider, option: str) -> None:
    with Machine(tmp_path) as machine:
        provider.write_result(tmp_path / "r.geojson").chmod(0o644)
        machine.write("fstab", f"{SRV}/r.geojson {SRV}/mnt eofs user,noauto{option} 0 0\n")
        if option:
            machine.allow_other()
        machine.said("mount", SRV / "mnt", alice=True)
        done = machine.run("eofs", "cancel", SRV / "mnt" / TITLES[ONLINE])
        if option:
            assert (done.returncode, done.stdout) == (0, f"{TITLES[ONLINE]}: nothing goes on\n")
        else:
            said = f"eofs: {SRV}/mnt does not let you in; ask as the user who has mounted it\n"
            assert (done.returncode, done.stderr) == (1, said)
        machine.said("umount", SRV / "mnt")
