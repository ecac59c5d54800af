"""Every system call that a file system answers which is only read: on a real mount, beside the same tree on a disk.

What the disk answers is what is expected, so these tables hold no values of their own. Where a mount is something else
than a disk (it cannot be written, it is FUSE), the answer is in the table.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import random
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import unicodedata
from typing import TYPE_CHECKING, Any

import kernel
import pytest
from conftest import ONLINE, UIDS, Mount, error_of, ls, run, until
from kernel import AT_FDCWD, call, entries, opened
from shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.mount
says = pytest.mark.says

NEVER = 1e9  # seconds
WAITING = UIDS[7]  # nobody ever puts it on disk
SIZE = 300_007  # bytes, no multiple of a page
LARGE = random.Random(1).randbytes(SIZE)
CAFE = "café"
NAMES = ("Noon", "noon", "NOON", *(unicodedata.normalize(form, CAFE) for form in ("NFC", "NFD")), "two words", "dot.")
BASIC_STATS = 0x7FF  # of statx(2): all that stat(2) says
FLOCK = struct.Struct("hhlli")  # struct flock: type, whence, start, length, pid


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with Shelf(tmp_path_factory.mktemp("shelf"), megabytes=0.1, staging_seconds=NEVER) as running:
        yield running


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree on a disk."""
    top = tmp_path_factory.mktemp("disk") / "tree"
    (top / "many").mkdir(parents=True)
    for name in NAMES:
        (top / name).write_text(ascii(name), encoding="utf-8")
    for number in range(400):
        (top / "many" / f"entry-{number:03}-{'x' * (number % 50)}").touch()
    (top / "many" / "directory").mkdir()
    (top / "many" / "link").symlink_to("nowhere")
    (top / "large").write_bytes(LARGE)
    (top / "same").hardlink_to(top / "large")
    (top / "link").symlink_to("large")
    (top / "loop").symlink_to("loop")
    (top / "up").symlink_to("many")
    return top


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory, provider: Shelf, disk: Path) -> Iterator[Mount]:
    home = tmp_path_factory.mktemp("home")
    run("tar", "-C", disk.parent, "-cf", home / "tree.tar", "tree")
    provider.put(ONLINE, home / "tree.tar")
    with Mount(home, provider.write_result(home / "result.geojson")) as mounted:
        assert (mounted.safe(ONLINE) / "tree/large").read_bytes() == LARGE
        until(lambda: mounted.status(ONLINE)["local"] == "complete")
        yield mounted


@pytest.fixture(scope="module")
def tree(mount: Mount) -> Path:
    """The same tree in a mount."""
    return mount.safe(ONLINE) / "tree"


def outcome(action: Callable[..., object], *arguments: object) -> object:
    """Return what an action returns, or the name of its errno."""
    try:
        return action(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


# -- an open file ----------------------------------------------------------------------------------------------------


def to_pipe(send: Callable[[int], int]) -> bytes:
    """Return what comes out of a pipe that bytes are sent into."""
    reading, writing = os.pipe()
    try:
        send(writing)
        os.close(writing)
        with os.fdopen(reading, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(reading)


def in_pieces(file: int, offset: int, *sizes: int) -> tuple[int, list[bytes]]:
    pieces = [bytearray(size) for size in sizes]
    return os.preadv(file, pieces, offset), list(map(bytes, pieces))


def mapped(file: int, flags: int, protection: int) -> bytes:
    with mmap.mmap(file, 0, flags, protection) as memory:
        if protection & mmap.PROT_WRITE:
            memory[:5] = b"mine!"
        return memory[:]


def advised(file: int) -> bytes:
    with mmap.mmap(file, 0, prot=mmap.PROT_READ) as memory:
        for advice in (mmap.MADV_RANDOM, mmap.MADV_SEQUENTIAL, mmap.MADV_WILLNEED, mmap.MADV_DONTNEED):
            memory.madvise(advice)
        return memory[:]


def polled(file: int) -> list[tuple[int, int]]:
    poll = select.poll()
    poll.register(file, select.POLLIN | select.POLLOUT | select.POLLPRI)
    return [(0, events) for _, events in poll.poll(0)]


def record_lock(file: int, command: int, kind: int) -> object:
    return FLOCK.unpack(fcntl.fcntl(file, command, FLOCK.pack(kind, os.SEEK_SET, 5, 10, 0)))[0]


def lease(file: int, kind: int) -> int:
    fcntl.fcntl(file, fcntl.F_SETLEASE, kind)
    return fcntl.fcntl(file, fcntl.F_GETLEASE)


def sent_from_here(file: int) -> bytes:
    os.lseek(file, 1000, os.SEEK_SET)
    return to_pipe(lambda pipe: os.sendfile(pipe, file, None, 999)) + os.read(file, 5)


OF_A_FILE: dict[str, Callable[[int], object]] = {
    "read": lambda f: os.read(f, SIZE + 1),
    "read nothing": lambda f: os.read(f, 0),
    "pread in the middle": lambda f: os.pread(f, 4097, 65535),
    "pread over the end": lambda f: os.pread(f, 10, SIZE - 3),
    "pread at the end": lambda f: os.pread(f, 10, SIZE),
    "pread far beyond the end": lambda f: os.pread(f, 10, 1 << 42),
    "pread before the beginning": lambda f: os.pread(f, 10, -1),
    "preadv": lambda f: in_pieces(f, 17, 1, 0, 4096, 9),
    "preadv over the end": lambda f: in_pieces(f, SIZE - 5, 3, 3, 3),
    "seek": lambda f: [os.lseek(f, 5, how) for how in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END)],
    "seek back from the end": lambda f: (os.lseek(f, -9, os.SEEK_END), os.read(f, 99)),
    "seek before the beginning": lambda f: os.lseek(f, -SIZE - 1, os.SEEK_END),
    "seek for data": lambda f: [os.lseek(f, at, os.SEEK_DATA) for at in (0, 5, SIZE - 1)],
    "seek for data at the end": lambda f: os.lseek(f, SIZE, os.SEEK_DATA),
    "seek for a hole": lambda f: [os.lseek(f, at, os.SEEK_HOLE) for at in (0, 5, SIZE - 1)],
    "seek for a hole beyond the end": lambda f: os.lseek(f, SIZE + 1, os.SEEK_HOLE),
    "sendfile": lambda f: to_pipe(lambda pipe: os.sendfile(pipe, f, 5, 9999)),
    "sendfile from where it is": sent_from_here,
    "sendfile at the end": lambda f: to_pipe(lambda pipe: os.sendfile(pipe, f, SIZE, 10)),
    "splice": lambda f: to_pipe(lambda pipe: os.splice(f, pipe, 9999, offset_src=5)),
    "readahead": lambda f: call("readahead", f, 0, SIZE),
    "posix_fadvise": lambda f: [outcome(os.posix_fadvise, f, 0, 0, advice) for advice in range(6)],
    "posix_fadvise of less than nothing": lambda f: os.posix_fadvise(f, 0, -1, os.POSIX_FADV_RANDOM),
    "mmap, shared": lambda f: mapped(f, mmap.MAP_SHARED, mmap.PROT_READ),
    "mmap, private": lambda f: mapped(f, mmap.MAP_PRIVATE, mmap.PROT_READ),
    "mmap, private, and written": lambda f: mapped(f, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE),
    "mmap, shared, and written": lambda f: mapped(f, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE),
    "madvise": advised,
    "fsync": os.fsync,
    "fdatasync": os.fdatasync,
    "syncfs": lambda f: call("syncfs", f),
    "sync_file_range": lambda f: call("sync_file_range", f, 0, SIZE, 7),
    "poll": polled,
    "flock, shared": lambda f: fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB),
    "flock, exclusive": lambda f: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB),
    "read lock": lambda f: record_lock(f, fcntl.F_SETLK, fcntl.F_RDLCK),
    "read lock of an open file": lambda f: record_lock(f, fcntl.F_OFD_SETLK, fcntl.F_RDLCK),
    "write lock": lambda f: record_lock(f, fcntl.F_SETLK, fcntl.F_WRLCK),
    "who has a write lock": lambda f: record_lock(f, fcntl.F_GETLK, fcntl.F_WRLCK),
    "read lease": lambda f: lease(f, fcntl.F_RDLCK),
    "how it was opened": lambda f: fcntl.fcntl(f, fcntl.F_GETFL),
    "bytes to read": lambda f: fcntl.ioctl(f, 0x541B, bytes(4)),  # FIONREAD
    "as a terminal": os.isatty,
    "write": lambda f: os.write(f, b"x"),
    "pwrite": lambda f: os.pwrite(f, b"x", 0),
    "ftruncate": lambda f: os.ftruncate(f, 0),
    "fallocate": lambda f: os.posix_fallocate(f, 0, 10),
    "sendfile into it": lambda f: os.sendfile(f, f, 0, 10),
    "copy_file_range into it": lambda f: os.copy_file_range(f, f, 10, 0, SIZE),
    "getdents": entries,
    "fchdir": os.fchdir,
}


@says(
    "Reading, mapping, seeking (`SEEK_DATA` and `SEEK_HOLE` too: a file is all data), advice, `sendfile`, `splice`,"
    " `fsync`, `poll`, `flock` and read locks of `fcntl` are as on a disk."
)
@pytest.mark.parametrize("action", OF_A_FILE.values(), ids=OF_A_FILE)
def test_an_open_file_answers_as_on_a_disk(tree: Path, disk: Path, action: Callable[[int], object]) -> None:
    with opened(tree / "large") as served, opened(disk / "large") as other:
        assert outcome(action, served) == outcome(action, other)


@says("Whoever maps a file and reads beyond its last page gets SIGBUS")
def test_to_read_a_mapped_file_beyond_its_last_page_is_sigbus(tree: Path, disk: Path) -> None:
    program = f"""if True:
        import ctypes, mmap, os, sys
        mapped = ctypes.CDLL(None).mmap
        mapped.restype, mapped.argtypes = ctypes.c_void_p, [ctypes.c_void_p, *[ctypes.c_size_t] * 5]
        start = mapped(None, {SIZE} + 3 * mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_SHARED, os.open(sys.argv[1], 0), 0)
        print(ctypes.string_at(start + {SIZE} - 2, 5).hex(), flush=True)
        ctypes.string_at(start + {SIZE} + mmap.PAGESIZE, 1)
    """
    for top in (tree, disk):
        command = [sys.executable, "-c", program, str(top / "large")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (-signal.SIGBUS, f"{LARGE[-2:].hex()}000000\n")


@says("`copy_file_range` out of it moves the bytes, or says EXDEV where the kernel does not copy between file systems")
def test_copy_file_range_copies_out_of_the_mount_or_says_that_it_cannot(tree: Path, tmp_path: Path) -> None:
    with opened(tree / "large") as source, opened(tmp_path / "copy", os.O_RDWR | os.O_CREAT) as copy:
        copied = outcome(os.copy_file_range, source, copy, SIZE, 0)
        assert copied == "EXDEV" or os.pread(copy, SIZE, 0) == LARGE[: int(str(copied))] != b""
        assert (
            outcome(fcntl.ioctl, copy, 0x40049409, source) == "EXDEV"
        )  # FICLONE: blocks are shared within a disk only
    run("cp", "--reflink=auto", tree / "large", tmp_path / "large")  # what programs do then
    assert (tmp_path / "large").read_bytes() == LARGE


@says("`O_DIRECT` reads any bytes, aligned or not.")
@pytest.mark.parametrize("name", ["large", "status"])
def test_o_direct_reads_any_bytes(mount: Mount, tree: Path, name: str) -> None:
    path = mount.product(ONLINE) / name if name == "status" else tree / name
    expected = path.read_bytes()
    with opened(path, os.O_DIRECT) as file:
        for offset, size in ((0, len(expected)), (5, 777), (len(expected) - 3, 4096), (len(expected), 1), (4096, 4096)):
            assert os.pread(file, size, offset) == expected[offset : offset + size]


@says("Locks hold between the programs of one machine")
def test_locks_of_one_program_hold_against_another(tree: Path) -> None:
    with opened(tree / "large") as mine, opened(tree / "large") as theirs:
        fcntl.flock(mine, fcntl.LOCK_EX)
        assert error_of(fcntl.flock, theirs, fcntl.LOCK_SH | fcntl.LOCK_NB) == "EAGAIN"
        fcntl.flock(mine, fcntl.LOCK_SH)
        fcntl.flock(theirs, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert error_of(fcntl.flock, theirs, fcntl.LOCK_EX | fcntl.LOCK_NB) == "EAGAIN"


@says("Two names of one file (a hard link) have one number, but not the same locks.")
def test_two_names_of_one_file_do_not_share_their_locks(tree: Path) -> None:
    with opened(tree / "large") as mine, opened(tree / "same") as theirs:
        assert os.fstat(mine).st_ino == os.fstat(theirs).st_ino
        fcntl.flock(mine, fcntl.LOCK_EX)
        fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_file_can_be_watched_by_epoll_and_is_always_ready(tree: Path) -> None:
    with opened(tree / "large") as file, select.epoll() as epoll:
        epoll.register(file, select.EPOLLIN)
        assert epoll.poll(0) == [(file, select.EPOLLIN)]


@says("A status file cannot be mapped shared (ENODEV), only privately.")
@says("The size that `stat` tells of a status file may lag behind its text for a second.")
def test_a_status_file_is_mapped_privately_or_not_at_all(mount: Mount) -> None:
    with opened(mount.product(ONLINE) / "status") as file:
        content = os.pread(file, 9999, 0)
        until(lambda: os.lseek(file, 0, os.SEEK_END) == len(content))  # the size may lag behind for a second
        assert error_of(mapped, file, mmap.MAP_SHARED, mmap.PROT_READ) == "ENODEV"
        assert mapped(file, mmap.MAP_PRIVATE, mmap.PROT_READ) == content


@says("What is done to an open file that was opened for reading is EBADF")
def test_nothing_can_be_done_to_a_file_that_is_open_for_reading(tree: Path) -> None:
    refused = ("write", "pwrite", "fallocate", "sendfile into it", "copy_file_range into it", "write lock")
    with opened(tree / "large") as file:
        assert {error_of(OF_A_FILE[name], file) for name in refused} == {"EBADF"}
        assert error_of(OF_A_FILE["ftruncate"], file) == "EINVAL"
        assert error_of(OF_A_FILE["mmap, shared, and written"], file) == "EACCES"


# -- opening ---------------------------------------------------------------------------------------------------------

BENEATH, NO_SYMLINKS, NO_MAGICLINKS, NO_XDEV, IN_ROOT, CACHED = 0x08, 0x04, 0x02, 0x01, 0x10, 0x20


def begins(flags: int, name: str) -> Callable[[Path], bytes]:
    """Return an action that opens a file and reads its first bytes."""

    def action(top: Path) -> bytes:
        with opened(top / name, flags) as file:
            return os.read(file, 9)

    return action


def reopened(top: Path) -> bytes:
    with opened(top / "large", os.O_PATH) as found, opened(f"/proc/self/fd/{found}") as file:
        assert error_of(os.read, found, 1) == "EBADF"
        return os.read(file, 9)


def looked_at(top: Path, name: str) -> tuple[int, int]:
    with opened(top / name, os.O_PATH | os.O_NOFOLLOW) as found:
        said = os.fstat(found)
        return stat.S_IFMT(said.st_mode), said.st_size if stat.S_ISREG(said.st_mode) else 0


def of_kind(top: Path, name: str, **how: Any) -> tuple[int, object]:
    said = os.stat(f"{top}/{name}", **how)  # noqa: PTH116 - a Path would drop the slash at its end
    return stat.S_IFMT(said.st_mode), said.st_size if not stat.S_ISDIR(said.st_mode) else None


OF_A_PATH: dict[str, Callable[[Path], object]] = {
    **{
        f"open with {name}": begins(getattr(os, name), "large")
        for name in ("O_NOFOLLOW", "O_NOATIME", "O_SYNC", "O_NONBLOCK", "O_CLOEXEC", "O_APPEND", "O_CREAT", "O_NOCTTY")
    },
    "open a symbolic link": begins(0, "link"),
    "open a symbolic link with O_NOFOLLOW": begins(os.O_NOFOLLOW, "link"),
    "open a loop": begins(0, "loop"),
    "open what a link to a directory leads to": begins(0, "up/nothing"),
    "open a directory to read its bytes": begins(0, "many"),
    "open a directory to write": begins(os.O_WRONLY, "many"),
    "open a file with O_DIRECTORY": begins(os.O_DIRECTORY, "large"),
    "open a file with O_CREAT and O_EXCL": begins(os.O_CREAT | os.O_EXCL, "large"),
    "open a file as a directory": begins(0, "large/x"),
    "open a file with a slash behind it": begins(0, "large/."),
    "O_PATH, opened again": reopened,
    "O_PATH of a file": lambda top: looked_at(top, "large"),
    "O_PATH of a link": lambda top: looked_at(top, "link"),
    "O_PATH of a directory": lambda top: looked_at(top, "many"),
    "stat": lambda top: of_kind(top, "link"),
    "stat with AT_SYMLINK_NOFOLLOW": lambda top: of_kind(top, "link", follow_symlinks=False),
    "stat a loop": lambda top: of_kind(top, "loop"),
    "stat a loop with AT_SYMLINK_NOFOLLOW": lambda top: of_kind(top, "loop", follow_symlinks=False),
    "stat with a slash behind": lambda top: of_kind(top, "many/"),
    "stat through ..": lambda top: of_kind(top, "many/../many/.././large"),
    "readlink": lambda top: [str((top / name).readlink()) for name in ("link", "loop", "up")],
    "readlink of a file": lambda top: (top / "large").readlink(),
    "names of a hard link": lambda top: (top / "large").stat().st_nlink,
    "one file of two names": lambda top: (top / "large").samefile(top / "same"),
    "an empty path": lambda top: os.stat(""),  # noqa: PTH116 - a Path is never empty
    "a path that is too long": lambda top: (top / ("x/" * 2100)).stat(),
    "a long path of nothing": lambda top: (top / ("x/" * 600)).stat(),
    "chdir to a file": lambda top: os.chdir(top / "large"),
    "execute a file": lambda top: subprocess.run([top / "large"], check=False),
    "openat2": lambda top: kernel.openat2(top, "large"),
    "openat2 beneath": lambda top: kernel.openat2(top, "link", resolve=BENEATH),
    "openat2 beneath, and out": lambda top: kernel.openat2(top, "../tree/large", resolve=BENEATH),
    "openat2 as a root": lambda top: kernel.openat2(top, "/../large", resolve=IN_ROOT),
    "openat2 without links": lambda top: kernel.openat2(top, "link", resolve=NO_SYMLINKS),
    "openat2 without magic": lambda top: kernel.openat2(top, "link", resolve=NO_MAGICLINKS),
    "openat2 in this mount": lambda top: kernel.openat2(top, "large", resolve=NO_XDEV),
    "openat2 out of this mount": lambda top: kernel.openat2(top, "/proc", resolve=NO_XDEV),
    "access": lambda top: [os.access(top / name, os.F_OK | os.R_OK) for name in ("large", "many", "link", "loop")],
    "access to enter": lambda top: [outcome(call, "access", os.fsencode(top / n), os.X_OK) for n in ("many", "large")],
    "faccessat2 as who it is": lambda top: kernel.faccessat2(top / "large", os.R_OK, kernel.AT_EACCESS),
    "faccessat2 of a link": lambda top: kernel.faccessat2(top / "loop", os.R_OK, kernel.AT_SYMLINK_NOFOLLOW),
    "getxattr of a file": lambda top: os.getxattr(top / "large", "user.mine"),
    "listxattr of a file": lambda top: os.listxattr(top / "large"),
    "longest name": lambda top: os.statvfs(top).f_namemax,
    "pathconf": lambda top: os.pathconf(top, "PC_NAME_MAX"),
}


@says("So are paths: links, `O_NOFOLLOW`, `O_PATH`, `openat2` with all that it may refuse, `access`.")
@pytest.mark.parametrize("action", OF_A_PATH.values(), ids=OF_A_PATH)
def test_a_path_is_found_as_on_a_disk(tree: Path, disk: Path, action: Callable[[Path], object]) -> None:
    assert outcome(action, tree) == outcome(action, disk)


@says("Names are what the archive says, byte by byte: upper and lower case differ, and so do the forms of Unicode.")
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_is_found_as_it_is_written_and_in_no_other_form(tree: Path, name: str) -> None:
    assert (tree / name).read_text(encoding="utf-8") == ascii(name)
    assert ls(tree).count(name) == 1
    other = name.swapcase() if name.isascii() else name.upper()
    if other not in NAMES:
        assert error_of((tree / other).stat) == "ENOENT"


@says("a name that does not exist")
@pytest.mark.parametrize("name", ["nothing", "LARGE", "large ", "many/nothing", "nothing/nothing"])
def test_a_name_that_is_not_there_is_not_there(tree: Path, name: str) -> None:
    assert error_of((tree / name).stat) == error_of(os.open, tree / name, os.O_RDONLY) == "ENOENT"


@says("`statx` says all that `stat` says, whatever it is asked for, and no time of birth.")
@pytest.mark.parametrize("name", ["large", "link", "many", ""])
@pytest.mark.parametrize("mask", [0, *(1 << bit for bit in range(13)), BASIC_STATS, 0xFFF, 0x7FFFFFFF], ids=hex)
def test_statx_says_what_stat_says_whatever_it_is_asked_for(tree: Path, mask: int, name: str) -> None:
    expected = (tree / name).lstat()
    for flags in (0, kernel.AT_NO_AUTOMOUNT, 0x2000, 0x4000):  # in step with whoever serves it, or not
        said = kernel.statx(tree / name, flags | kernel.AT_SYMLINK_NOFOLLOW, mask)
        assert said.mask & (BASIC_STATS | 0x800) == BASIC_STATS
        assert (said.ino, said.size, said.blocks, said.mode, said.mtime) == (
            expected.st_ino,
            expected.st_size,
            expected.st_blocks,
            expected.st_mode,
            expected.st_mtime_ns // 10**9,
        )


def test_statx_refuses_what_it_does_not_know(tree: Path) -> None:
    assert error_of(kernel.statx, tree, 0, 0x80000000) == "EINVAL"
    assert error_of(kernel.statx, tree, 0x6000, BASIC_STATS) == "EINVAL"


@says("A handle (`name_to_handle_at`) opens its file as long as the kernel remembers it")
def test_a_handle_is_that_of_its_file(tree: Path) -> None:
    with opened(tree / "large") as file:
        found = kernel.handle(tree / "large")
        assert found == kernel.handle(tree / "up/../large") != kernel.handle(tree / "Noon")
        if os.geteuid():  # open_by_handle_at(2) is for root
            assert error_of(kernel.open_handle, file, found) == "EPERM"
        else:
            again = kernel.open_handle(file, found)
            assert os.pread(again, SIZE, 0) == LARGE
            os.close(again)


# -- directories -----------------------------------------------------------------------------------------------------

KINDS = {stat.S_IFDIR: 4, stat.S_IFREG: 8, stat.S_IFLNK: 10}  # DT_DIR, DT_REG, DT_LNK


@says("Directory entries carry their type.")
@pytest.mark.parametrize("name", ["", "many"])
def test_entries_carry_the_type_and_the_number_that_stat_says(tree: Path, disk: Path, name: str) -> None:
    with opened(tree / name) as served, opened(disk / name) as other:
        found = kernel.all_entries(served)
        assert sorted((e.name, e.kind) for e in found) == sorted((e.name, e.kind) for e in kernel.all_entries(other))
    for entry in found:
        if entry.name not in {".", ".."}:
            said = (tree / name / entry.name).lstat()
            assert (entry.kind, entry.ino) == (KINDS[stat.S_IFMT(said.st_mode)], said.st_ino)


@says("A directory is read in any number of pieces, by any number of readers, from any offset that it has given")
@pytest.mark.parametrize("room", [80, 200, 1 << 12, 1 << 20])
def test_a_directory_is_read_in_pieces_of_any_size(tree: Path, room: int) -> None:
    with opened(tree / "many") as directory:
        whole = kernel.all_entries(directory)
        os.lseek(directory, 0, os.SEEK_SET)
        assert kernel.all_entries(directory, room) == whole
        assert len({entry.name for entry in whole}) == len(whole) == 404


def test_a_buffer_that_holds_no_entry_is_refused_and_nothing_is_lost(tree: Path, disk: Path) -> None:
    for top in (tree, disk):
        with opened(top / "many") as directory:
            assert error_of(entries, directory, 20) == "EINVAL"
            assert len(kernel.all_entries(directory)) == 404


def test_reading_goes_on_at_each_offset_that_a_directory_has_given(tree: Path) -> None:
    with opened(tree / "many") as directory:
        whole = kernel.all_entries(directory, 4096)
        for number in random.Random(2).sample(range(len(whole)), 40):
            os.lseek(directory, whole[number].offset, os.SEEK_SET)
            assert kernel.all_entries(directory, 512) == whole[number + 1 :]
        os.lseek(directory, 0, os.SEEK_SET)  # rewinddir(3)
        assert kernel.all_entries(directory) == whole


def test_two_readers_of_a_directory_do_not_disturb_each_other_and_share_one_that_both_opened(tree: Path) -> None:
    with opened(tree / "many") as one, opened(tree / "many") as other:
        whole = kernel.all_entries(one)
        os.lseek(one, 0, os.SEEK_SET)
        mine: list[kernel.Entry] = []
        theirs: list[kernel.Entry] = []
        while more := [entries(one, 200), entries(other, 300)]:
            mine += more[0]
            theirs += more[1]
            if not any(more):
                break
        assert mine == theirs == whole
        shared = os.dup(one)
        os.lseek(one, 0, os.SEEK_SET)
        assert entries(one, 400) + kernel.all_entries(shared) == whole
        os.close(shared)


@says("It has one link, whatever is in it, as on Btrfs: who counts directories by links (`fts`) looks for itself.")
def test_who_counts_directories_by_links_finds_all_of_them(mount: Mount, tree: Path) -> None:
    product = mount.product(ONLINE)
    assert kernel.walk(product) == {str(product), *map(str, product.rglob("*"))}
    assert {path.stat().st_nlink for path in (mount.root, product, tree.parent, tree, tree / "many")} == {1}


def test_a_hundred_thousand_products_are_listed_whole_by_two_readers_at_once(tmp_path: Path) -> None:
    names = [f"P{number:06}" for number in range(100_000)]
    features = [{"type": "Feature", "id": name, "geometry": None, "properties": {"title": name}} for name in names]
    result = tmp_path / "result.geojson"
    result.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    with Mount(tmp_path, result) as mount, opened(mount.root) as one, opened(mount.root) as other:
        found: list[list[kernel.Entry]] = []
        second = threading.Thread(target=lambda: found.append(kernel.all_entries(other, 4096)))
        second.start()
        whole = kernel.all_entries(one, 1 << 20)
        second.join()
        assert found == [whole]
        assert sorted(entry.name for entry in whole) == sorted([".", "..", *names])
        assert {entry.kind for entry in whole} == {4}
        assert len({entry.ino for entry in whole}) >= 100_000
        for number in (5, 50_000, 99_990):
            os.lseek(one, whole[number].offset, os.SEEK_SET)
            assert entries(one)[0] == whole[number + 1]
            assert (mount.root / whole[number].name).stat().st_ino == whole[number].ino


# -- extended attributes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["getxattr", "lgetxattr"])
def test_an_attribute_is_asked_for_with_its_size_first(mount: Mount, function: str) -> None:
    path, name, value = os.fsencode(mount.product(ONLINE)), b"user.eofs.provider", b"demo"
    assert call(function, path, name, None, 0) == len(value)
    for room in range(1, 7):
        buffer = ctypes.create_string_buffer(8)
        if room < len(value):
            assert error_of(call, function, path, name, buffer, room) == "ERANGE"
        else:
            assert (call(function, path, name, buffer, room), buffer.value) == (len(value), value)


def test_the_names_of_attributes_are_asked_for_with_their_size_first(mount: Mount) -> None:
    path = os.fsencode(mount.product(ONLINE))
    size = call("listxattr", path, None, 0)
    buffer = ctypes.create_string_buffer(size)
    assert error_of(call, "listxattr", path, buffer, size - 1) == "ERANGE"
    assert call("listxattr", path, buffer, size) == size
    assert os.fsdecode(buffer.raw).rstrip("\0").split("\0") == os.listxattr(mount.product(ONLINE))


@says("an extended attribute: unknown name under `user.` / any other namespace")
@pytest.mark.parametrize("where", ["mount", "product", "status", "product root", "file", "link"])
def test_attributes_that_are_not_there(mount: Mount, tree: Path, where: str) -> None:
    product = mount.product(ONLINE)
    path = {
        "mount": mount.root,
        "product": product,
        "status": product / "status",
        "product root": tree,
        "file": tree / "large",
        "link": tree / "link",
    }[where]
    for name in ("user.mine", "user.eofs.nothing", "user."):
        assert error_of(os.getxattr, path, name) == "ENODATA"
    for name in ("security.selinux", "trusted.mine", "system.posix_acl_access", "system.nfs4_acl", "nothing.mine"):
        assert error_of(os.getxattr, path, name) == "ENOTSUP"
    assert bool(os.listxattr(path)) == (where in {"mount", "product"})


# -- what would change something -------------------------------------------------------------------------------------


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, opened(path.parent, os.O_DIRECTORY) as directory:
        made.bind(f"/proc/self/fd/{directory}/{path.name}")  # the path of a socket may have 107 bytes


def control(path: Path, request: int, size: int) -> None:
    with opened(path) as file:
        fcntl.ioctl(file, request, bytes(size))


def of_open(path: Path, action: Callable[[int], object]) -> None:
    with opened(path) as file:
        action(file)


def renameat2(source: Path, target: Path, flags: int) -> None:
    call("renameat2", AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags)


ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, 4, 0xFFFFFFFF) for tag in (1, 4, 0x20))
SETFLAGS, FSSETXATTR = 0x40086602, 0x401C5820
# What is done to a file `f`, or in its directory `d`.
REFUSED: dict[str, Callable[[Path, Path], object]] = {
    "open to write": lambda f, d: os.open(f, os.O_WRONLY),
    "open to read and write": lambda f, d: os.open(f, os.O_RDWR),
    "open to append": lambda f, d: os.open(f, os.O_WRONLY | os.O_APPEND),
    "open to read and truncate": lambda f, d: os.open(f, os.O_RDONLY | os.O_TRUNC),
    "open a new file": lambda f, d: os.open(d / "new", os.O_RDONLY | os.O_CREAT),
    "open a new file that is to be new": lambda f, d: os.open(d / "new", os.O_RDWR | os.O_CREAT | os.O_EXCL),
    "open a file without a name": lambda f, d: os.open(d, os.O_RDWR | os.O_TMPFILE),
    "openat2 to write": lambda f, d: kernel.openat2(d, f.name, os.O_RDWR),
    "creat": lambda f, d: call("creat", os.fsencode(f), 0o644),
    "mkdir": lambda f, d: (d / "new").mkdir(),
    "rmdir": lambda f, d: d.rmdir(),
    "rmdir of a file": lambda f, d: f.rmdir(),
    "rmdir of nothing": lambda f, d: (d / "nothing").rmdir(),
    "unlink": lambda f, d: f.unlink(),
    "unlink of a directory": lambda f, d: d.unlink(),
    "unlink of nothing": lambda f, d: (d / "nothing").unlink(),
    "rename": lambda f, d: f.rename(d / "new"),
    "rename to itself": lambda f, d: f.rename(f),
    "rename nothing": lambda f, d: (d / "nothing").rename(d / "new"),
    "renameat2 without replacing": lambda f, d: renameat2(f, d / "new", 1),
    "renameat2 without replacing what is there": lambda f, d: renameat2(f, d / "Noon", 1),
    "renameat2 of two": lambda f, d: renameat2(f, d / "Noon", 2),
    "renameat2 with a whiteout": lambda f, d: renameat2(f, d / "new", 4),
    "link": lambda f, d: os.link(f, d / "new"),
    "symlink": lambda f, d: (d / "new").symlink_to("large"),
    "mknod of a file": lambda f, d: os.mknod(d / "new"),
    "mknod of a pipe": lambda f, d: os.mkfifo(d / "new"),
    "bind a socket": lambda f, d: bind(d / "new"),
    "truncate": lambda f, d: os.truncate(f, 0),
    "truncate to the same size": lambda f, d: os.truncate(f, SIZE),
    "chmod": lambda f, d: f.chmod(0o644),
    "chmod to the same": lambda f, d: f.chmod(0o444),
    "fchmod": lambda f, d: of_open(f, lambda file: os.fchmod(file, 0o644)),
    "chown": lambda f, d: os.chown(f, 1, 1),
    "chown to the same": lambda f, d: os.chown(f, -1, -1),
    "fchown": lambda f, d: of_open(f, lambda file: os.fchown(file, 1, 1)),
    "lchown": lambda f, d: os.lchown(d / "link", 1, 1),
    "utimensat": lambda f, d: os.utime(f, (1, 1)),
    "utimensat of a link": lambda f, d: os.utime(d / "link", follow_symlinks=False),
    "futimens": lambda f, d: of_open(f, os.utime),
    "utimensat of a directory": lambda f, d: os.utime(d),
    "setxattr": lambda f, d: os.setxattr(f, "user.mine", b"1"),
    "setxattr of any namespace": lambda f, d: os.setxattr(f, "nothing.mine", b"1"),
    "fsetxattr": lambda f, d: of_open(f, lambda file: os.setxattr(file, "user.mine", b"1")),
    "set an access list": lambda f, d: os.setxattr(f, "system.posix_acl_access", ACL),
    "removexattr": lambda f, d: os.removexattr(f, "user.mine"),
    "ioctl FS_IOC_SETFLAGS": lambda f, d: control(f, SETFLAGS, 8),
    "ioctl FS_IOC_FSSETXATTR": lambda f, d: control(f, FSSETXATTR, 28),
    "access to write": lambda f, d: call("access", os.fsencode(f), os.W_OK),
    "access to write in a directory": lambda f, d: call("access", os.fsencode(d), os.W_OK),
}  # fmt: skip


@says("Every write is refused with EROFS.", "any write", "To remove or to rename what is not there is EROFS.")
@pytest.mark.parametrize("action", REFUSED.values(), ids=REFUSED)
def test_what_would_change_something_is_refused(tree: Path, action: Callable[[Path, Path], object]) -> None:
    assert error_of(action, tree / "large", tree) == "EROFS"
    assert (tree / "large").read_bytes() == LARGE


# What the kernel finds out before it asks whether anything may be changed at all.
EARLIER: dict[str, tuple[str, Callable[[Path, Path], object]]] = {
    "mkdir of what is there": ("EEXIST", lambda f, d: f.mkdir()),
    "mknod of what is there": ("EEXIST", lambda f, d: os.mknod(f)),
    "symlink of what is there": ("EEXIST", lambda f, d: f.symlink_to("x")),
    "link of what is there": ("EEXIST", lambda f, d: os.link(f, d / "Noon")),
    "open what is to be new": ("EEXIST", lambda f, d: os.open(f, os.O_RDWR | os.O_CREAT | os.O_EXCL)),
    "open nothing to write": ("ENOENT", lambda f, d: os.open(d / "nothing", os.O_RDWR)),
    "link nothing": ("ENOENT", lambda f, d: os.link(d / "nothing", d / "new")),
    "truncate nothing": ("ENOENT", lambda f, d: os.truncate(d / "nothing", 0)),
    "chmod nothing": ("ENOENT", lambda f, d: (d / "nothing").chmod(0o644)),
    "utimensat of nothing": ("ENOENT", lambda f, d: os.utime(d / "nothing")),
    "setxattr of nothing": ("ENOENT", lambda f, d: os.setxattr(d / "nothing", "user.mine", b"1")),
    "open a directory to write": ("EISDIR", lambda f, d: os.open(d, os.O_WRONLY)),
    "truncate a directory": ("EISDIR", lambda f, d: os.truncate(d, 0)),
    "rename out of the mount": ("EXDEV", lambda f, d: f.rename("/tmp/eofs-new")),
    "link out of the mount": ("EXDEV", lambda f, d: os.link(f, "/tmp/eofs-new")),
}  # fmt: skip


@says("The kernel answers before eofs could say EROFS where what is to be made is there (EEXIST)")
@pytest.mark.parametrize(("name", "action"), EARLIER.values(), ids=EARLIER)
def test_what_the_kernel_answers_before_that(tree: Path, name: str, action: Callable[[Path, Path], object]) -> None:
    assert error_of(action, tree / "large", tree) == name


# -- what happens meanwhile ------------------------------------------------------------------------------------------

OPEN, ACCESS, CLOSE, DIRECTORY = 0x20, 0x1, 0x10, 0x40000000  # of inotify(7)
LOOKS = {DIRECTORY | event for event in (OPEN, ACCESS, CLOSE)}  # as a desktop does with every mount of the machine


def events(watch: int) -> list[tuple[str, int]]:
    """Return what inotify has to tell, without waiting; but not who looks into a directory."""
    try:
        told = os.read(watch, 1 << 16)
    except BlockingIOError:
        return []
    found, at = [], 0
    while at < len(told):
        _, mask, _, size = struct.unpack_from("=iIII", told, at)
        if mask not in LOOKS:
            found.append((told[at + 16 : at + 16 + size].rstrip(b"\0").decode(), mask))
        at += 16 + size
    return found


@says("inotify tells what the programs of this machine do, and never that a product has come or has another status")
def test_inotify_tells_what_programs_do_and_nothing_else(mount: Mount, provider: Shelf, disk: Path) -> None:
    uid = UIDS[1]
    provider.put(uid, provider.files[ONLINE])
    product = mount.product(uid)
    watch = call("inotify_init1", os.O_NONBLOCK)
    for place in (product, mount.root):
        call("inotify_add_watch", watch, os.fsencode(place), 0xFFF)
    assert (mount.safe(uid) / "tree/Noon").read_text(encoding="utf-8") == "'Noon'"
    until(lambda: os.getxattr(product, "user.eofs.local") == b"complete")
    assert events(watch) == []
    assert (product / "metadata.json").read_bytes()
    told = events(watch)
    assert {name for name, _ in told} == {"metadata.json"}
    assert [mask for _, mask in told if mask in {OPEN, CLOSE}] == [OPEN, CLOSE]
    os.close(watch)


# -- who does not want to wait ---------------------------------------------------------------------------------------


@says("`openat2` with `RESOLVE_CACHED` asks nobody: EAGAIN where the kernel does not know the name yet.")
def test_openat2_finds_what_is_known_and_never_waits(mount: Mount, tree: Path, provider: Shelf) -> None:
    kernel.openat2(tree, "large", resolve=CACHED)
    root = mount.safe(WAITING)
    assert root.is_dir()
    before = provider.count()
    assert error_of(kernel.openat2, root.parent, f"{root.name}/manifest.safe", 0, CACHED) == "EAGAIN"
    assert provider.count() == before


LIST = """
import os, sys
directory = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
print(os.listdir(directory))
"""


@says("Of a directory it says nothing, as `opendir` always sets it")
def test_who_opens_a_directory_with_o_nonblock_waits_as_without_it(mount: Mount, provider: Shelf) -> None:
    uid = UIDS[8]
    command = [sys.executable, "-c", LIST, str(mount.safe(uid))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        until(lambda: provider.count(uid, status=202))
        provider.put(uid, provider.files[ONLINE])
        assert reader.communicate(timeout=60)[0] == "['tree']\n"
    assert reader.returncode == 0


def test_o_nonblock_reads_what_is_here_as_without_it(tree: Path) -> None:
    with opened(tree / "large", os.O_NONBLOCK) as file:
        assert os.pread(file, SIZE, 0) == LARGE
