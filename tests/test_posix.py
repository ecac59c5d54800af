"""What two suites ask of file systems, as far as one can be asked that is only read: pjdfstest and fsx.

pjdfstest makes calls on paths of all kinds, and looks at their errors: here they are made on a mount, and on the same
tree on a disk that is mounted to be read only. fsx reads in all ways and everywhere, and compares.
"""

from __future__ import annotations

import ctypes
import errno
import io
import mmap
import os
import random
import tarfile
import tempfile
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from conftest import UIDS, Mount, run, until
from kernel import AT_FDCWD, AT_SYMLINK_NOFOLLOW, call, opened
from shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.mount
says = pytest.mark.says


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with Shelf(tmp_path_factory.mktemp("shelf"), megabytes=0.1) as running:
        yield running


# -- pjdfstest -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("disk") / "tree"
    (top / "directory/inner").mkdir(parents=True)
    (top / "empty").mkdir()
    for name in ("file", "other", "directory/file"):
        (top / name).write_bytes(b"content")
    for name, target in {"link": "file", "folder": "directory", "dangling": "nothing", "loop": "loop"}.items():
        (top / name).symlink_to(target)
    for path in [top, *top.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444) if not path.is_symlink() else None
    return top


@pytest.fixture(scope="module")
def disk(tree: Path) -> Iterator[Path]:
    """The tree on a disk that is mounted to be read only."""
    if os.geteuid():
        pytest.skip("not here: to mount a disk to be read only wants root")
    top = tree.parent / "mounted"
    top.mkdir()
    run("mount", "-o", "bind,ro", tree, top)
    try:
        yield top
    finally:
        run("umount", top)


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory, provider: Shelf, tree: Path) -> Iterator[Path]:
    """The tree in a mount."""
    home = tmp_path_factory.mktemp("home")
    run("tar", "-C", tree.parent, "-cf", home / "tree.tar", "tree")
    provider.put(UIDS[0], home / "tree.tar")
    with Mount(home, provider.write_result(home / "result.geojson")) as mount:
        yield mount.safe(UIDS[0]) / "tree"


# What each call is made on: a path below the tree; none at all; or what is no address of one.
PATHS: dict[str, str | None] = {
    "a file": "file",
    "a directory": "directory",
    "an empty directory": "empty",
    "a link to a file": "link",
    "a link to a directory": "folder",
    "a link to nothing": "dangling",
    "a loop": "loop",
    "nothing": "nothing",
    "what is below a file": "file/x",
    "what is below a link to a file": "link/x",
    "what is below nothing": "nothing/x",
    "what is below a loop": "loop/x",
    "what is below a directory": "directory/file",
    "a file, with a slash behind it": "file/",
    "a directory, with a slash behind it": "directory/",
    "a link to nothing, with a slash behind it": "dangling/",
    "nothing, with a slash behind it": "nothing/",
    "a directory as .": "directory/.",
    "a directory as ..": "directory/inner/..",
    "nothing as .": "nothing/.",
    "a name of 255 bytes": "x" * 255,
    "a name of 256 bytes": "x" * 256,
    "a file by a long path": "./" * 1900 + "file",
    "a path of 5000 bytes": "./" * 2500 + "file",
    "no path": "",
    "no address": None,
}
P, OTHER, NEW, DIRECTORY = "the path", "other", "new", "directory"  # the last three are names in the tree
CREATE, BUFFER = os.O_CREAT | os.O_WRONLY, ctypes.create_string_buffer(4096)
NOW: None = None  # for times
CALLS: dict[str, tuple[object, ...]] = {
    "open to read": ("open", P, os.O_RDONLY),
    "open to write": ("open", P, os.O_WRONLY),
    "open to read and write": ("open", P, os.O_RDWR),
    "open and truncate": ("open", P, os.O_RDONLY | os.O_TRUNC),
    "open to append": ("open", P, os.O_WRONLY | os.O_APPEND),
    "open, made if need be": ("open", P, CREATE, 0o644),
    "open, made if need be, to read": ("open", P, os.O_RDONLY | os.O_CREAT, 0o644),
    "open, made anew": ("open", P, CREATE | os.O_EXCL, 0o644),
    "open no link": ("open", P, os.O_RDONLY | os.O_NOFOLLOW),
    "open no link, made if need be": ("open", P, CREATE | os.O_NOFOLLOW, 0o644),
    "open a directory": ("open", P, os.O_RDONLY | os.O_DIRECTORY),
    "open without a name": ("open", P, os.O_TMPFILE | os.O_RDWR, 0o644),
    "mkdir": ("mkdir", P, 0o755),
    "mkfifo": ("mkfifo", P, 0o644),
    "mknod of a file": ("mknod", P, 0o100644, 0),
    "mknod of a device": ("mknod", P, 0o020644, 0x103),
    "symlink": ("symlink", b"file", P),
    "link from": ("link", P, NEW),
    "link to": ("link", OTHER, P),
    "link to what is there": ("link", P, OTHER),
    "rename from": ("rename", P, NEW),
    "rename to": ("rename", OTHER, P),
    "rename a directory to": ("rename", DIRECTORY, P),
    "rename to what is there": ("rename", P, OTHER),
    "rename to a directory": ("rename", P, DIRECTORY),
    "rename into itself": ("rename", P, "directory/inner/new"),
    "rename without replacing": ("renameat2", AT_FDCWD, P, AT_FDCWD, OTHER, 1),
    "exchange": ("renameat2", AT_FDCWD, P, AT_FDCWD, OTHER, 2),
    "unlink": ("unlink", P),
    "rmdir": ("rmdir", P),
    "chmod": ("chmod", P, 0o644),
    "chown": ("chown", P, 1, 1),
    "lchown": ("lchown", P, 1, 1),
    "truncate": ("truncate", P, 3),
    "truncate to less than nothing": ("truncate", P, -1),
    "utimensat": ("utimensat", AT_FDCWD, P, NOW, 0),
    "utimensat of a link": ("utimensat", AT_FDCWD, P, NOW, AT_SYMLINK_NOFOLLOW),
    "setxattr": ("setxattr", P, b"user.mine", b"1", 1, 0),
    "removexattr": ("lremovexattr", P, b"user.mine"),
    "access": ("access", P, os.F_OK),
    "access to write": ("access", P, os.W_OK),
    "readlink": ("readlink", P, BUFFER, len(BUFFER)),
    "stat": ("stat", P, BUFFER),
    "lstat": ("lstat", P, BUFFER),
    "statfs": ("statfs", P, BUFFER),
}


def outcome(top: Path, path: str | None, words: tuple[object, ...]) -> str:
    """Make a call on a path; return the name of its errno, or what it is when the call has done what it does."""

    def at(word: object) -> object:
        word = path if word is P else word
        return os.fsencode(f"{top}/{word}" if word else word) if isinstance(word, str) else word

    name, *arguments = words
    try:
        made = call(str(name), *map(at, arguments))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    if name == "open":
        os.close(made)
    return "done"


@says("Each call on each path has the errno that it has on a disk which is mounted to be read only")
@pytest.mark.parametrize("words", CALLS.values(), ids=CALLS)
def test_a_call_has_the_errno_that_it_has_on_a_disk_that_is_only_read(
    mounted: Path, disk: Path, words: tuple[object, ...]
) -> None:
    found = {name: outcome(mounted, path, words) for name, path in PATHS.items()}
    assert found == {name: outcome(disk, path, words) for name, path in PATHS.items()}


# -- fsx -------------------------------------------------------------------------------------------------------------

SIZE = 700_001  # bytes
DATA = b"".join(b"%d is %x in base sixteen\n" % (number, number) for number in range(40_000))[:SIZE]
READS = 300


def zipped(method: int) -> Callable[[Path], None]:
    def pack(archive: Path) -> None:
        with zipfile.ZipFile(archive, "w", method) as packed:
            packed.writestr("tree/before", b"x" * 77)
            packed.writestr("tree/file", DATA)

    return pack


def taped(mode: Any) -> Callable[[Path], None]:
    def pack(archive: Path) -> None:
        with tarfile.open(archive, mode) as packed:
            member = tarfile.TarInfo("tree/file")
            member.size = SIZE
            packed.addfile(member, io.BytesIO(DATA))

    return pack


PACKED: dict[str, Callable[[Path], None]] = {
    "stored in a zip": zipped(zipfile.ZIP_STORED),
    "deflated in a zip": zipped(zipfile.ZIP_DEFLATED),
    "in a tar": taped("w"),
    "in a tar that is packed": taped("w:gz"),
}


def read(file: int, offset: int, size: int) -> bytes:
    os.lseek(file, offset, os.SEEK_SET)
    return os.read(file, size)


def read_in_pieces(file: int, offset: int, size: int) -> bytes:
    pieces = [bytearray(size // 3), bytearray(size - size // 3)]
    found = os.preadv(file, pieces, offset)
    return b"".join(pieces)[:found]


def mapped(file: int, offset: int, size: int) -> bytes:
    end = min(offset + size, SIZE)
    if offset >= end:
        return b""
    first = offset // mmap.PAGESIZE * mmap.PAGESIZE
    with (
        tempfile.TemporaryFile() as to,
        mmap.mmap(file, end - first, mmap.MAP_SHARED, mmap.PROT_READ, offset=first) as memory,
        memoryview(memory) as view,
        view[offset - first :] as wanted,
    ):
        os.write(to.fileno(), wanted)  # the kernel reads them, so that the provider's threads in here go on
        return os.pread(to.fileno(), SIZE, 0)


def sent(file: int, offset: int, size: int) -> bytes:
    with tempfile.TemporaryFile() as to:
        while size and (some := os.sendfile(to.fileno(), file, offset, size)):
            offset, size = offset + some, size - some
        return os.pread(to.fileno(), SIZE, 0)


def read_again(file: int, offset: int, size: int) -> bytes:
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    return os.pread(file, size, offset)


def read_past_the_kernel(file: int, offset: int, size: int) -> bytes:
    with opened(f"/proc/self/fd/{file}", os.O_DIRECT) as other:
        return os.pread(other, size, offset)


WAYS = (read, read_in_pieces, mapped, sent, read_again, read_past_the_kernel)


@says("what is read is the same by whichever call, of whichever size and from wherever")
@pytest.mark.parametrize("fetch", ["whole", "lazy"])
@pytest.mark.parametrize("packed", PACKED)
def test_what_is_read_is_the_same_in_whichever_way(tmp_path: Path, provider: Shelf, packed: str, fetch: str) -> None:
    uid, chance = UIDS[1 + list(PACKED).index(packed)], random.Random(f"{packed}, {fetch}")
    PACKED[packed](tmp_path / "archive")
    provider.put(uid, tmp_path / "archive")
    with Mount(tmp_path, provider.write_result(tmp_path / "result.geojson"), fetch=fetch) as mount:
        with opened(mount.safe(uid) / "tree/file") as file:
            for number in range(READS):
                way, offset = chance.choice(WAYS), chance.randrange(SIZE + 5000)
                size = chance.randrange(chance.choice((10, 5000, 200_000)))
                found = way(file, offset, size)
                assert found == DATA[offset : offset + size], (number, way.__name__, offset, size)
        until(lambda: not provider.under_way)
