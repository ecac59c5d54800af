"""A mount from its beginning to its end, whatever kind of end; and its cache: bounded, shared, continued from."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
    eofs,
    error_of,
    ls,
    ranges_of,
    run,
    runs,
    until,
)

from eofs.demo import DemoProvider, Reply, ten_products

pytestmark = pytest.mark.mount

NEVER = 1e9  # seconds


def bad_files(mount: Mount, provider: DemoProvider, uid: str) -> list[str]:
    """The files of a product that are not those of the archive."""
    data = mount.product(uid) / "data"
    return [name for name, md5 in provider.md5sums(uid).items() if md5_of(data / name) != md5]


def md5_of(path: Path) -> str:
    digest = hashlib.md5()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


# -- the beginning ---------------------------------------------------------------------------------------------------


@pytest.mark.says("mounts; returns when the mount is usable")
def test_mount_returns_when_the_mount_is_usable(tmp_path: Path, provider: DemoProvider) -> None:
    result = provider.write_result(tmp_path / "r.geojson")
    root = tmp_path / "mnt"
    root.mkdir()
    program = f"{sys.executable} -m eofs"
    script = f"{program} mount {result} {root} && ls {root} && {program} unmount {root}"
    try:
        shown = run("sh", "-c", script, env=environment(tmp_path))
    finally:
        subprocess.run(["fusermount", "-uz", root], capture_output=True, check=False)
    assert shown.split() == sorted(TITLES.values())
    assert not os.path.ismount(root)


def test_a_relative_mount_point_is_that_of_the_shell(tmp_path: Path, provider: DemoProvider) -> None:
    mount = Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"))
    try:
        done = mount.eofs("r.geojson", "mnt", "-o", f"cache_dir=cache,log_file={mount.log}", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert ls(mount.root) == sorted(TITLES.values())
        assert (mount.root / TITLES[ONLINE] / "quicklook.jpg").stat().st_size > 1000
        assert (tmp_path / "cache/records").is_dir()
        assert Path(f"/proc/{mount.pid}/cwd").exists()
    finally:
        mount.end()


def test_the_mount_says_what_it_is(mount: Mount) -> None:
    with Path("/proc/self/mountinfo").open(encoding="utf-8") as table:
        line = next(line for line in table if f" {mount.root} " in line)
    assert " - fuse.eofs " in line
    assert str(mount.result) in line
    assert {"ro", "nosuid", "nodev"} <= set(line.split()[5].split(","))
    assert os.getxattr(mount.root, "user.eofs.result").decode() == str(mount.result)


# -- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_signal_unmounts_and_lets_go_who_waits(
    tmp_path: Path, store: Path, readers: list[subprocess.Popen[str]], name: str
) -> None:
    with (
        DemoProvider(store, megabytes=1, staging_seconds=NEVER) as provider,
        Mount(tmp_path, provider.write_result(tmp_path / "r.geojson")) as mount,
    ):
        readers += [begin_blocked("ls", mount.safe(OFFLINE)) for _ in range(3)]
        readers.append(begin_blocked("stat", mount.safe(OFFLINE) / "GRANULE"))
        until(lambda: provider.count(OFFLINE, status=202) >= 5)  # by then all of them are inside of the mount
        pid = mount.pid
        os.kill(pid, signal.Signals[f"SIG{name}"])
        for reader in readers:
            _, complaint = reader.communicate(timeout=60)
            assert reader.returncode > 0
            assert "Operation canceled" in complaint or "not connected" in complaint or "aborted" in complaint
        until(lambda: not runs(pid))
        assert ls(mount.root) == []


@pytest.mark.parametrize("way", ["list", "read"])
def test_eofs_ends_at_once_though_a_download_is_silent(
    tmp_path: Path, store: Path, readers: list[subprocess.Popen[str]], way: str
) -> None:
    with (
        DemoProvider(store, megabytes=1) as provider,
        Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), stall_timeout=600) as mount,
    ):
        words: list[object] = ["ls", mount.safe(ONLINE)]
        if way == "read":
            words = ["cat", next(mount.safe(ONLINE).glob("GRANULE/*/IMG_DATA/*_B02.jp2"))]
        before = mount.status(ONLINE)["downloaded"]
        provider.script[ONLINE].append(Reply(stall_after=50_000))
        readers.append(begin_blocked(*words, stdout=subprocess.DEVNULL))
        until(lambda: mount.status(ONLINE)["downloaded"] > before)
        pid = mount.pid
        os.kill(pid, signal.SIGTERM)
        until(lambda: not runs(pid))  # much sooner than it gives up on the download


@pytest.mark.says("`-f` stays in the foreground")
@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_in_the_foreground_a_signal_unmounts_and_the_exit_status_is_0(
    tmp_path: Path, provider: DemoProvider, readers: list[subprocess.Popen[str]], name: str
) -> None:
    mount = Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"))
    command = [sys.executable, "-m", "eofs", *mount.command, "-f"]
    try:
        program = begin(*command, env=environment(tmp_path))
        readers.append(program)
        until(lambda: os.path.ismount(mount.root))
        assert ls(mount.safe(ONLINE))
        assert program.poll() is None
        assert mount.pid == program.pid
        program.send_signal(signal.Signals[f"SIG{name}"])
        assert program.communicate(timeout=60) == ("", "")
        assert program.returncode == 0
        assert not os.path.ismount(mount.root)
    finally:
        mount.end()


def test_in_the_foreground_ctrl_c_does_not_wait_for_a_quicklook_that_does_not_come(
    tmp_path: Path, store: Path, readers: list[subprocess.Popen[str]]
) -> None:
    class Silent(DemoProvider):
        def answer(self, request: object) -> Reply | None:
            return Reply(stall_after=-1)

    with Silent(store, megabytes=1) as provider:
        mount = Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), stall_timeout=600)
        try:
            program = begin(sys.executable, "-m", "eofs", *mount.command, "-f", env=environment(tmp_path))
            readers.append(program)
            until(lambda: os.path.ismount(mount.root))
            readers.append(begin_blocked("cat", mount.product(ONLINE) / "quicklook.jpg"))
            until(lambda: provider.under_way)
            program.send_signal(signal.SIGINT)
            assert program.wait(60) == 0
        finally:
            mount.end()


@pytest.mark.says("unmounts, and returns when the program behind the mount has ended")
def test_unmount_returns_when_the_program_behind_the_mount_has_ended(mount: Mount) -> None:
    pid = mount.pid
    mount.unmount()
    assert not runs(pid)
    assert not os.path.ismount(mount.root)
    mount.start()  # the directory is free, and so is the cache
    assert ls(mount.root) == sorted(TITLES.values())


def test_fusermount_ends_the_program_behind_the_mount(mount: Mount) -> None:
    pid = mount.pid
    subprocess.run(["fusermount", "-u", mount.root], check=True)
    until(lambda: not runs(pid))


@pytest.mark.says("says who holds it when busy")
def test_unmount_says_who_holds_the_mount(mount: Mount, readers: list[subprocess.Popen[str]]) -> None:
    readers.append(begin_blocked("sleep", "600", cwd=mount.product(ONLINE)))
    with (mount.product(ONLINE) / "metadata.json").open() as held:
        done = mount.eofs("unmount", mount.root)
        assert held.read()
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{mount.root} is in use by " in done.stderr
    assert f"sleep ({readers[0].pid})" in done.stderr
    assert f"({os.getpid()})" in done.stderr
    assert ls(mount.root)


def test_a_mount_whose_program_was_killed_is_freed_and_mounted_again(mount: Mount) -> None:
    mount.kill()
    assert error_of(ls, mount.root) == "ENOTCONN"
    assert mount.eofs("unmount", mount.root).returncode == 0
    mount.start()
    assert ls(mount.root) == sorted(TITLES.values())


@pytest.mark.says(
    'A mount point that an eofs which crashed has left ("Transport endpoint is not connected") is mended by '
    "`eofs mount`, which says so in one line, also while somebody stands in it."
)
def test_a_mount_point_that_a_crash_has_left_is_mended(mount: Mount, readers: list[subprocess.Popen[str]]) -> None:
    readers.append(begin_blocked("sleep", "600", cwd=mount.product(ONLINE)))
    mount.kill()
    done = mount.eofs(*mount.command)
    assert done.stderr == f"eofs: {mount.root} was left over from a mount that crashed; it has been freed\n"
    assert done.returncode == 0
    assert ls(mount.root) == sorted(TITLES.values())
    mount.unmount()
    assert ls(mount.root) == []  # no dead mount lies below


@pytest.mark.says("What another program has left there is not touched.")
def test_what_another_program_has_left_on_a_mount_point_is_left_to_the_user(tmp_path: Path) -> None:
    root = tmp_path / "mnt"
    root.mkdir()
    script = (
        "import fuse, os, signal, sys; operations = fuse.Operations();"
        "operations.init = lambda path: os.kill(os.getpid(), signal.SIGKILL);"
        "fuse.FUSE(operations, sys.argv[1], foreground=True, subtype='other')"
    )
    try:
        subprocess.run([sys.executable, "-c", script, root], check=False)
        done = eofs("mount", tmp_path / "r.geojson", root, home=tmp_path)
        assert done.returncode == 1
        assert done.stderr == (
            f"eofs: {root} is left over from a mount of fuse.other that crashed; free it first: fusermount -u {root}\n"
        )
        assert error_of(ls, root) == "ENOTCONN"
    finally:
        subprocess.run(["fusermount", "-uz", root], check=False)


# -- the cache -------------------------------------------------------------------------------------------------------


@pytest.mark.says("the disk cache and its limit")
def test_a_cache_never_grows_beyond_its_limit_and_what_is_open_is_never_evicted(tmp_path: Path) -> None:
    largest, stop = 0, threading.Event()

    def sample() -> None:
        nonlocal largest
        while not stop.wait(0.005):
            largest = max(largest, on_disk(tmp_path / "cache"))

    with (
        DemoProvider(tmp_path / "store", megabytes=8, staging_seconds=0) as provider,
        Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), cache_size="30M") as mount,
    ):
        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            name, md5 = next((n, m) for n, m in provider.md5sums(UIDS[0]).items() if n.endswith("_B02.jp2"))
            digest = hashlib.md5()
            with (mount.product(UIDS[0]) / "data" / name).open("rb", buffering=0) as first:
                digest.update(first.read(70_000))
                assert [bad for uid in UIDS for bad in bad_files(mount, provider, uid)] == []
                while chunk := first.read(65_536):
                    digest.update(chunk)
            assert digest.hexdigest() == md5
        finally:
            stop.set()
            sampler.join()
        assert 20_000_000 < largest < 40_000_000
        until(lambda: mount.status(UIDS[9])["local"] == "complete")
        local = [mount.status(uid)["local"] for uid in UIDS]
        assert 2 <= local.count("complete") <= 3
        assert local[0] == local[9] == "complete"
        assert [ranges_of(provider, uid).count(LIST) for uid in UIDS] == [1] * 10


def on_disk(directory: Path) -> int:
    """The bytes that a directory takes on the disk, as `du` counts them.

    Counted is what two looks have in common: those bytes were there at one moment, however long a look takes.
    """
    first, second = sizes(directory), sizes(directory)
    return sum(min(first[file], second[file]) for file in first.keys() & second.keys())


def sizes(directory: Path) -> dict[tuple[str, int], int]:
    """What each file takes, by its folder and its inode number: what has come whole is only named anew."""
    found = {}
    for folder, _, files in os.walk(directory):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                said = Path(folder, name).stat()
                found[folder, said.st_ino] = said.st_blocks * 512
    return found


@pytest.mark.says("the product is larger than the cache")
def test_a_product_that_does_not_fit_in_the_cache_is_refused_before_it_is_asked_for(
    tmp_path: Path, provider: DemoProvider
) -> None:
    with Mount(tmp_path, provider.write_result(tmp_path / "r.geojson"), cache_size="500K") as mount:
        assert error_of(ls, mount.safe(ONLINE)) == "ENOSPC"
        assert "raise cache_size" in mount.status(ONLINE)["error"]
        assert provider.count() == 0


def test_a_large_product_takes_little_memory(tmp_path: Path) -> None:
    with (
        DemoProvider(tmp_path / "store", products=ten_products()[2:3], megabytes=700) as provider,
        Mount(tmp_path, provider.write_result(tmp_path / "r.geojson")) as mount,
    ):
        name, md5 = next((n, m) for n, m in provider.md5sums(ONLINE).items() if n.endswith("_B02.jp2"))
        assert md5_of(mount.product(ONLINE) / "data" / name) == md5
        said = Path(f"/proc/{mount.pid}/status").read_text(encoding="utf-8")
        peak = next(int(line.split()[1]) for line in said.splitlines() if line.startswith("VmHWM"))
        assert peak < 150_000  # kB
    shutil.rmtree(tmp_path)  # more than pytest should keep


@pytest.mark.says("One cache may serve many mounts")
def test_two_mounts_that_share_a_cache_cause_one_order_one_list_and_one_download(
    tmp_path: Path, store: Path, readers: list[subprocess.Popen[str]]
) -> None:
    with DemoProvider(store, megabytes=1, staging_seconds=NEVER, rate=4e6) as provider:
        result = provider.write_result(tmp_path / "r.geojson")
        shared = {"cache_dir": tmp_path / "shared"}
        with Mount(tmp_path / "a", result, **shared) as one, Mount(tmp_path / "b", result, **shared) as other:
            readers += [begin_blocked("ls", mount.safe(OFFLINE)) for mount in (one, other) for _ in range(3)]
            until(lambda: provider.count(OFFLINE, status=202) >= 3)
            until(lambda: "another eofs" in f"{one.status(OFFLINE)['message']} {other.status(OFFLINE)['message']}")
            provider.set_online(OFFLINE)
            answers = {reader.communicate(timeout=60) for reader in readers}
            assert len(answers) == 1
            assert "manifest.safe" in answers.pop()[0]
            assert ranges_of(provider, OFFLINE) == [LIST]
            with ThreadPoolExecutor() as pool:
                bad = list(pool.map(lambda mount: bad_files(mount, provider, OFFLINE), (one, other)))
            assert bad == [[], []]
            until(lambda: one.status(OFFLINE)["local"] == other.status(OFFLINE)["local"] == "complete")
            assert ranges_of(provider, OFFLINE).count(LIST) == 1
            # Two downloads would be twice as much; of a request that is cut short, some bytes are thrown away.
            assert provider.bytes_sent(OFFLINE) < 1.5 * provider.archive(OFFLINE).stat().st_size
