"""Archives of every kind on a real mount: what is in them, their links, and what cannot be read."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import random
import stat
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from archives import info, make_zip, raw_zip
from conftest import Mount, error_of
from shelf import Shelf

from eofs.demo import ten_products

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.mount

UIDS = [feature["properties"]["uid"] for feature in ten_products()]
BAND = random.Random(8).randbytes(600_000) * 3
NETCDF = b"\x89HDF\r\n\x1a\n" + BAND


def make_tar(top: str) -> bytes:
    entries = [
        ("IMG/B01.jp2", tarfile.REGTYPE, "", BAND),
        ("IMG/same.jp2", tarfile.LNKTYPE, f"{top}/IMG/B01.jp2", b""),
        ("link.jp2", tarfile.SYMTYPE, "IMG/B01.jp2", b""),
        ("IMG/up", tarfile.SYMTYPE, "..", b""),
        ("IMG/loop", tarfile.SYMTYPE, "loop", b""),
        ("IMG/dangling", tarfile.SYMTYPE, "nothing", b""),
        ("out", tarfile.SYMTYPE, "../secret", b""),
        ("IMG/out", tarfile.SYMTYPE, "../../../..", b""),
        ("absolute", tarfile.SYMTYPE, "/etc/passwd", b""),
        ("notes.txt", tarfile.REGTYPE, "", b"notes"),
    ]
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as made:
            for name, kind, target, data in entries:
                entry = tarfile.TarInfo(f"{top}/{name}")
                entry.type, entry.linkname, entry.size, entry.mtime = kind, target, len(data), 1_600_000_000
                made.addfile(entry, io.BytesIO(data))
        return file.getvalue()


def make_odd_zip() -> bytes:
    link = info("link", zipfile.ZIP_STORED, external_attr=(stat.S_IFLNK | 0o777) << 16)
    out = info("out", zipfile.ZIP_STORED, external_attr=(stat.S_IFLNK | 0o777) << 16)
    odd = make_zip(
        ("secret.xml", b"<secret/>"),
        (info("bzip2", zipfile.ZIP_BZIP2), BAND),
        (info("lzma", zipfile.ZIP_LZMA), BAND),
        (link, b"bzip2"),
        (out, b"../.."),
        ("win\\sub\\a.txt", b"a"),
        ("../../above.txt", b"above"),
    )
    for mark in (b"PK\3\4\x14\0\0", b"PK\1\2\x14\3\x14\0\0"):
        odd = odd.replace(mark, mark[:-1] + b"\1", 1)  # the first is encrypted
    return odd


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": zstd.compress,
}
TARS = dict(zip(PACKERS, UIDS, strict=False))
NC, NC_GZ, ZIP, BOMB = UIDS[5:9]


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """Mount products of every kind."""
    home = tmp_path_factory.mktemp("odd")
    titles = {feature["properties"]["uid"]: feature["properties"]["title"] for feature in ten_products()}
    made = {uid: PACKERS[name](make_tar(f"{titles[uid]}.SAFE")) for name, uid in TARS.items()}
    made |= {NC: NETCDF, NC_GZ: gzip.compress(NETCDF), ZIP: make_odd_zip()}
    made[BOMB] = raw_zip(b"bomb", method=8, data=BAND[:300_000], size=400_000_000)
    with Shelf(tmp_path_factory.mktemp("store"), megabytes=0.1) as provider:
        for uid, data in made.items():
            (home / uid).write_bytes(data)
            provider.put(uid, home / uid)
        with Mount(home, provider.write_result(home / "result.geojson")) as mounted:
            yield mounted


@pytest.mark.says("A symbolic link works; one that is absolute, that leads out of the product root")
@pytest.mark.parametrize("name", TARS)
def test_a_tar_is_shown_as_it_is_and_its_links_work(mount: Mount, name: str) -> None:
    root = mount.safe(TARS[name])
    assert names(root) == ["IMG", "link.jp2", "notes.txt"]
    assert names(root / "IMG") == ["B01.jp2", "dangling", "loop", "same.jp2", "up"]
    assert (root / "IMG/B01.jp2").read_bytes() == BAND
    assert (root / "link.jp2").read_bytes() == BAND
    assert (root / "IMG/up/IMG/up/notes.txt").read_bytes() == b"notes"
    assert (root / "link.jp2").resolve() == root / "IMG/B01.jp2"


def test_a_symbolic_link_is_one_to_every_program(mount: Mount) -> None:
    link = mount.safe(TARS["plain"]) / "link.jp2"
    said = link.lstat()
    assert (oct(said.st_mode), said.st_size) == ("0o120777", len("IMG/B01.jp2"))
    assert str(link.readlink()) == "IMG/B01.jp2"
    assert [entry.is_symlink() for entry in os.scandir(link.parent) if entry.name == "link.jp2"] == [True]
    found = subprocess.run(["find", link.parent, "-type", "l"], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.count("\n") == 4
    with pytest.raises(OSError, match=r"\[Errno 22\]"):
        (link.parent / "notes.txt").readlink()


@pytest.mark.says("Loops and links to nothing get the kernel's ELOOP and ENOENT.")
def test_a_loop_and_a_dangling_link_get_the_errors_of_the_kernel(mount: Mount) -> None:
    inside = mount.safe(TARS["gzip"]) / "IMG"
    for name, number in (("loop", errno.ELOOP), ("dangling", errno.ENOENT)):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
            (inside / name).read_bytes()
        assert caught.value.errno == number


@pytest.mark.says("A hard link is the same file as its target.")
def test_a_hard_link_is_the_same_file(mount: Mount) -> None:
    inside = mount.safe(TARS["gzip"]) / "IMG"
    one, other = (inside / "B01.jp2").stat(), (inside / "same.jp2").stat()
    assert (one.st_ino, one.st_size, one.st_nlink) == (other.st_ino, other.st_size, other.st_nlink)
    assert one.st_nlink == 2
    assert (inside / "same.jp2").read_bytes() == BAND
    used = subprocess.run(["du", "-s", "-B1", inside], capture_output=True, text=True, check=True, timeout=60)
    assert int(used.stdout.split()[0]) < 1.5 * len(BAND)


def test_links_that_lead_out_are_said_in_the_log(mount: Mount) -> None:
    names(mount.safe(TARS["plain"]))
    assert any("2 symbolic links lead out of their product" in line for line in mount.logged())


@pytest.mark.says("A bare file that is packed so (`.nc.gz`) is shown unpacked, as `.nc`.")
@pytest.mark.parametrize("uid", [NC, NC_GZ], ids=["as it is", "packed"])
def test_a_single_file_is_shown_unpacked(mount: Mount, uid: str) -> None:
    root = mount.safe(uid)
    title = root.name.removesuffix(".SAFE")
    assert names(root) == [f"{title}.nc"]
    file = root / f"{title}.nc"
    assert file.stat().st_size == len(NETCDF)
    assert file.read_bytes() == NETCDF


@pytest.mark.says("an encrypted member, an unknown compression")
def test_an_odd_zip_is_shown_and_what_cannot_be_read_says_so(mount: Mount) -> None:
    root = mount.safe(ZIP)
    assert names(root) == ["above.txt", "bzip2", "link", "lzma", "secret.xml", "win"]
    assert (root / "bzip2").read_bytes() == (root / "lzma").read_bytes() == (root / "link").read_bytes() == BAND
    assert (root / "win/sub/a.txt").read_bytes() == b"a"
    assert (root / "secret.xml").stat().st_size == 9
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
        (root / "secret.xml").read_bytes()
    assert caught.value.errno == errno.EOPNOTSUPP


@pytest.mark.says("a member beyond the limits that guard against archive bombs EFBIG")
def test_a_bomb_is_listed_and_not_read(mount: Mount) -> None:
    root = mount.safe(BOMB)
    assert names(root) == ["bomb"]
    assert (root / "bomb").stat().st_size == 400_000_000
    assert error_of((root / "bomb").read_bytes) == "EFBIG"


def test_a_copy_of_a_whole_product_is_the_same_tree(mount: Mount, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", mount.safe(TARS["zstd"]), copy], check=True, timeout=60)
    assert (copy / "IMG/same.jp2").read_bytes() == BAND
    assert (copy / "IMG/same.jp2").stat().st_nlink == 2
    assert str((copy / "IMG/up").readlink()) == ".."


@pytest.mark.says("With `extract=false` the product root holds the archive itself, one file.")
def test_without_extraction_a_packed_archive_is_shown_as_it_is(tmp_path: Path) -> None:
    packed = gzip.compress(make_tar("x"))
    with Shelf(tmp_path / "store", megabytes=0.1) as provider:
        (tmp_path / "file").write_bytes(packed)
        provider.put(UIDS[0], tmp_path / "file")
        result = provider.write_result(tmp_path / "result.geojson")
        with Mount(tmp_path, result, extract="false") as mounted:
            root = mounted.safe(UIDS[0])
            [name] = names(root)
            assert (root / name).read_bytes() == packed
