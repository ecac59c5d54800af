"""Odd archives: each is listed and read as well as it can be, and what cannot be is said."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import struct
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from archives import Bytes, Pipe, info, make_zip, raw_zip, unpack
from hypothesis import given, settings
from hypothesis import strategies as st

from eofs.archive import check_readable, data_offset, list_members, wrapping
from eofs.archive.listing import stays_inside
from eofs.errors import Corrupt, EofsError, NotSupported
from eofs.model import Product
from eofs.nodes import NOBODY, Directory, File, Link
from eofs.status import StorageStatus
from eofs.tree import grow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from eofs.archive import Listing
    from eofs.nodes import Node

STORED = zipfile.ZIP_STORED


def contents(data: bytes, *, mend: bool = False) -> dict[str, bytes]:
    source = Bytes(data)
    listing = list_members(source, "product", mend=mend)
    return {member.path: unpack(source, listing, member) for member in listing.members}


def streamed(*names: str) -> bytes:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as zipped:
        for name in names:
            zipped.writestr(info(name), name.encode() * 99)
    return pipe.getvalue()


PLAIN = make_zip(("P/a.xml", b"<a/>" * 500), (info("P/b.jp2", STORED), bytes(range(256))), ("P/c", b""))
ALL = {"P/a.xml": b"<a/>" * 500, "P/b.jp2": bytes(range(256)), "P/c": b""}
LONG = "n" * 296 + ".tif"
ODD: dict[str, tuple[bytes, dict[str, bytes]]] = {
    "empty": (make_zip(), {}),
    "one empty member": (make_zip(("a", b"")), {"a": b""}),
    "data descriptors": (streamed("a", "b"), {"a": b"a" * 99, "b": b"b" * 99}),
    "prefix bytes": (b"#!/bin/sh\nexec unzip $0\n" + PLAIN, ALL),
    "bytes behind it": (PLAIN + bytes(1000), ALL),
    "duplicate names": (raw_zip(b"x", b"x"), {"x": b"x"}),
    "a file and a directory of one name": (make_zip(("a", b"1"), ("a/b", b"2")), {"a (1)": b"1", "a/b": b"2"}),
    "absolute and parent paths": (make_zip(("/etc/x", b"1"), ("../../y", b"2")), {"etc/x": b"1", "y": b"2"}),
    "backslashes": (raw_zip(b"P\\IMG\\a.jp2", b"..\\b"), {"P/IMG/a.jp2": b"x", "b": b"x"}),
    "an end record in the comment": (
        make_zip(("a", b"1"), comment=b"PK\5\6 ends a zip; this ends nothing"),
        {"a": b"1"},
    ),
}


@pytest.mark.parametrize(("data", "inside"), ODD.values(), ids=ODD)
def test_an_odd_zip_is_read_all_the_same(data: bytes, inside: dict[str, bytes]) -> None:
    assert contents(data) == inside


def test_a_name_of_300_bytes_is_cut_and_its_suffix_kept() -> None:
    ((path, content),) = contents(make_zip((LONG, b"x"))).items()
    assert (len(path), path[-4:], content) == (255, ".tif", b"x")


@pytest.mark.parametrize("number", [65_535, 65_536, 65_537])
def test_as_many_members_as_16_bits_can_count_and_one_more(number: int) -> None:
    listing = list_members(Bytes(make_zip(*((f"{n}", b"") for n in range(number)))), "product")
    assert len(listing.members) == number


def test_an_encrypted_member_is_listed_and_the_others_are_read() -> None:
    source = Bytes(make_zip(("secret", b"x"), ("open", b"y")))
    for mark in (b"PK\3\4\x14\0\0", b"PK\1\2\x14\3\x14\0\0"):
        source.data = source.data.replace(mark, mark[:-1] + b"\1", 1)
    listing = list_members(source, "product")
    secret, plain = listing.members
    with pytest.raises(NotSupported, match="secret is encrypted; eofs cannot read it"):
        check_readable(secret)
    assert unpack(source, listing, plain) == b"y"


# --- a member over 4 GiB ---

HUGE = (5 << 30) + 3


@pytest.fixture(params=["with its index", "without it"])
def huge(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Write a zip with a hole of 5 GiB: in a member, of which the last bytes are 'end', or before all others."""
    path = tmp_path / "huge.zip"
    extra = struct.pack("<HHQQ", 1, 16, HUGE, HUGE)
    with path.open("wb") as file:
        file.write(struct.pack("<4s5HLLLHH", b"PK\3\4", 45, 0, 0, 0, 0, 0, *[2**32 - 1] * 2, 3, 20) + b"big" + extra)
        file.seek(HUGE - 3, os.SEEK_CUR)
        file.write(b"end")
        small = file.tell()
        file.write(struct.pack("<4s5HLLLHH", b"PK\3\4", 20, 0, 0, 0, 0, zlib.crc32(b"x"), 1, 1, 5, 0) + b"smallx")
        index = file.tell()
        head = struct.Struct("<4s6HLLL5HLL")
        file.write(head.pack(b"PK\1\2", 45, 45, 0, 0, 0, 0, 0, *[2**32 - 1] * 2, 3, 20, 0, 0, 0, 0, 0) + b"big" + extra)
        offset = struct.pack("<HHQ", 1, 8, small)
        file.write(
            head.pack(b"PK\1\2", 45, 45, 0, 0, 0, 0, zlib.crc32(b"x"), 1, 1, 5, 12, 0, 0, 0, 0, 2**32 - 1)
            + b"small"
            + offset
        )
        end = file.tell()
        file.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, end - index, index))
        file.write(struct.pack("<4sLQL", b"PK\6\7", 0, end, 1))
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0))
        if request.param == "without it":
            file.truncate(index + 4)
    return path


class OnDisk:
    """A file on disk as a source."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY)
        self.size = path.stat().st_size
        self.asked = 0

    def read(self, offset: int, size: int, /) -> bytes:
        self.asked += size
        return os.pread(self.fd, size, offset)


def test_a_member_of_more_than_4_gib_is_found_and_so_is_the_one_behind_it(huge: Path) -> None:
    source = OnDisk(huge)
    listing = list_members(source, "product", mend=True)
    big, small = listing.members
    check_readable(big)
    assert (big.size, big.packed) == (HUGE, HUGE)
    assert source.read(data_offset(source, "zip", big) + HUGE - 3, 3) == b"end"
    assert unpack(source, listing, small) == b"x"  # type: ignore[arg-type]
    assert source.asked < 200_000
    os.close(source.fd)


# --- a broken index ---


def without_index(data: bytes) -> bytes:
    return data[: data.index(b"PK\1\2") + 4]


BROKEN = {
    "an entry is none": PLAIN.replace(b"PK\1\2", b"PK\1\3"),
    "the second entry is none": PLAIN[::-1].replace(b"\2\1KP", b"\3\1KP", 1)[::-1],
    "no end record": PLAIN[:-22],
    "half an end record": PLAIN[:-10],
    "cut in the index": PLAIN[: PLAIN.index(b"PK\1\2") + 70],
    "the size is wrong": PLAIN[:-10] + b"\xff\xff\xff\0" + PLAIN[-6:],
    "an offset is wrong": PLAIN.replace(struct.pack("<L", PLAIN.index(b"P/b.jp2") - 30) + b"P/b", b"\xff\xff\xff\0P/b"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_zip_with_a_broken_index_is_read_by_the_headers_of_its_members(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(data) <= len(PLAIN)
    assert data != PLAIN
    assert contents(data, mend=True) == ALL
    assert "the zip's index is broken; 3 files were found without it" in caplog.text


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_index_is_corrupt_until_it_has_been_fetched_afresh(data: bytes) -> None:
    with pytest.raises(Corrupt, match="fetched again"):
        contents(data)


UNSAFE = {
    "sizes stand behind the data": without_index(streamed("a", "b")),
    "some sizes stand behind the data": make_zip(("a", b"x"))[:32] + without_index(streamed("b")),
    "cut in a member": PLAIN[:60],
    "cut between members": PLAIN[: PLAIN.index(b"P/b.jp2") - 30],
    "cut before the index": PLAIN[: PLAIN.index(b"PK\1\2")],
    "bytes between members": PLAIN[: PLAIN.index(b"P/b.jp2") - 30] + b"xx" + without_index(PLAIN[99:]),
    "more members than the index says": PLAIN.replace(b"PK\1\2", b"PK\1\3")[:-14] + b"\2\0\2\0" + PLAIN[-10:],
    "nothing but an index": without_index(b"PK\3\4" + bytes(26) + b"PK\1\2")[:4],
}


@pytest.mark.parametrize("data", UNSAFE.values(), ids=UNSAFE)
def test_a_zip_that_cannot_be_read_safely_without_its_index_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        contents(data, mend=True)


def test_an_index_of_a_kind_that_eofs_does_not_read_is_not_mended() -> None:
    at = PLAIN.rindex(b"PK\5\6") + 4
    with pytest.raises(NotSupported, match="one of several parts"):
        contents(PLAIN[:at] + b"\1\0\1\0" + PLAIN[at + 4 :], mend=True)


def test_a_mended_zip_is_listed_without_reading_its_data() -> None:
    big = make_zip(*((info(f"B{n}.jp2", STORED), bytes(3_000_000)) for n in range(10)))
    source = Bytes(without_index(big))
    assert len(list_members(source, "product", mend=True).members) == 10
    assert sum(size for _, size in source.reads) < 500_000


def test_flipped_bits_anywhere_give_a_listing_or_an_error_of_ours() -> None:
    chance = random.Random(16)
    for data in (PLAIN, streamed("a", "b"), without_index(PLAIN), make_zip(("é", b"x"))):
        for _ in range(300):
            damaged = bytearray(data)
            for _ in range(chance.randint(1, 4)):
                damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            with contextlib.suppress(EofsError):
                contents(bytes(damaged), mend=True)


# --- the kind is told by the content ---


@pytest.mark.says("What a product is, is told by its content and never by its name")
def test_the_kind_is_told_by_the_content_and_not_by_the_name() -> None:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as made:
            made.addfile(tarfile.TarInfo("a"))
        tarred = file.getvalue()
    for name, data, kind in (
        ("x.zip", tarred, "tar"),
        ("x.tar", PLAIN, "zip"),
        ("x.zip", b"\x89HDF\r\n\x1a\n" + bytes(600), "file"),
        ("x.tar.gz", b"II*\0" + bytes(600), "file"),
        ("x", PLAIN, "zip"),
    ):
        assert list_members(Bytes(data), name).format == kind
        assert wrapping(data) is None


# --- links ---


@pytest.mark.parametrize(
    ("path", "target", "inside"),
    [
        ("l", "a", True),
        ("l", ".", True),
        ("l", "a/b/../c", True),
        ("l", "..", False),
        ("l", "a/../..", False),
        ("d/l", "..", True),
        ("d/l", "../a", True),
        ("d/l", "../..", False),
        ("d/l", "../../root/a", False),
        ("d/e/l", "../../a", True),
        ("l", "link", True),
        ("l", "link/a/b", True),
        ("l", "link/..", False),
        ("l", "d/link/a/..", False),
        ("d/l", "../link/x", True),
        ("d/l", "./link/..", False),
    ],
)
def test_a_target_stays_inside_or_not(path: str, target: str, inside: bool) -> None:
    assert stays_inside(path, target, {"link", "d/link"}) is inside


class Nothing:
    """An engine that nobody asks."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


PRODUCT = Product(
    id="P", uid="P", title="P", provider="demo", status=StorageStatus.ONLINE, location=None, quicklook=None,
    size=None, checksum=None, collection=None, start=None, cloud_cover=None, feature=b"{}",
)  # fmt: skip


def grown(listing: Listing, root: str = "P") -> dict[str, Node]:
    """Return all nodes below a product root by their paths."""
    found: dict[str, Node] = {}

    def walk(above: str, nodes: Mapping[str, Node]) -> None:
        for name, node in nodes.items():
            found[above + name] = node
            if isinstance(node, Directory):
                walk(f"{above}{name}/", node.children(NOBODY))

    walk("", grow("P", root, PRODUCT, Nothing(), listing))
    return found


def tar_of(*links: tuple[str, str]) -> Bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as made:
            for path, target in links:
                entry = tarfile.TarInfo(path)
                if target:
                    entry.type = tarfile.LNKTYPE if target.startswith("=") else tarfile.SYMTYPE
                    entry.linkname = target.removeprefix("=")
                made.addfile(entry)
        return Bytes(file.getvalue())


def shown(*links: tuple[str, str]) -> dict[str, str]:
    nodes = grown(list_members(tar_of(*links), "P"))
    return {path: node.target for path, node in nodes.items() if isinstance(node, Link)}


def test_a_link_that_leads_out_of_its_archive_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eofs")
    links = {"d/in": "../a", "d/out": "../../a", "out": "..", "d/absolute": "/etc/passwd"}
    assert shown(("a", ""), *links.items()) == {"d/in": "../a"}
    assert "2 symbolic links lead out of their product; they are left out: d/out, out" in caplog.text
    assert "links and devices are left out: d/absolute" in caplog.text


def test_a_link_that_leads_out_of_the_product_root_is_not_shown_where_that_is_the_top_directory() -> None:
    assert shown(("P/a", ""), ("P/in", "a"), ("P/out", "../a"), ("P/d/in", "../a")) == {"in": "a", "d/in": "../a"}
    assert shown(("P/a", ""), ("P/in", "a"), ("P/out", "../a"), ("b", "")) == {"P/in": "a", "P/out": "../a"}


def test_a_link_through_a_link_does_not_lead_out_of_its_archive() -> None:
    links = {"a/b/up": "../..", "out": "a/b/up/..", "far": "a/b/up/../../../etc", "in": "a/b/up/a"}
    assert shown(("a/b/c", ""), *links.items()) == {"a/b/up": "../..", "in": "a/b/up/a"}


def test_loops_and_dangling_links_are_shown() -> None:
    links = {"one": "two", "two": "one", "self": "self", "dangling": "nowhere/at/all"}
    assert shown(*links.items()) == links


def test_hard_links_are_one_file_with_several_names() -> None:
    nodes = grown(list_members(tar_of(("P/a", ""), ("P/d/b", "=P/a"), ("P/c", "")), "P"))
    files = {path: node for path, node in nodes.items() if isinstance(node, File)}
    assert {path: node.names for path, node in files.items()} == {"a": 2, "d/b": 2, "c": 1}
    assert files["a"].ino == files["d/b"].ino != files["c"].ino


PART = st.sampled_from(["a", "b", "c", "..", "."])


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join),
        st.lists(PART, min_size=1, max_size=6).map("/".join),
        max_size=8,
    )
)
def test_no_link_that_is_shown_leads_out_whatever_links_there_are(links: dict[str, str]) -> None:
    nodes = grown(list_members(tar_of(*links.items()), "root"), "root")
    for path, node in nodes.items():
        if isinstance(node, Link):
            follow(path, nodes)


def follow(path: str, nodes: Mapping[str, Node], jumps: int = 0) -> list[str]:
    """Return where a path leads, part by part as the kernel goes; fail where it leaves the root."""
    at: list[str] = []
    parts = path.split("/")
    while parts:
        part = parts.pop(0)
        if part in {".", ""}:
            continue
        if part == "..":
            assert at, f"{path} leads out"
            at.pop()
            continue
        node = nodes.get("/".join([*at, part]))
        if isinstance(node, Link):
            jumps += 1
            if jumps > 40:
                return at
            parts = node.target.split("/") + parts
        elif node is None:
            return at
        else:
            at.append(part)
    return at


def test_the_follower_of_this_test_finds_what_leads_out() -> None:
    link: Callable[[str], Link] = lambda target: Link(1, 0, target)  # noqa: E731 - a value of one line
    nodes: dict[str, Node] = {"up": link("d/../.."), "d": Directory(1, 0, lambda _: {})}
    with pytest.raises(AssertionError, match="up leads out"):
        follow("up", nodes)
