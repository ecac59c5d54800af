"""Archives are listed with few reads, their names stay inside the root, and what is wrong with them is said."""

from __future__ import annotations

import calendar
import io
import logging
import random
import stat
import struct
import time
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from archives import NOON, Bytes, Pipe, info, make_zip, raw_zip, unpack
from hypothesis import given
from hypothesis import strategies as st

from eofs.archive import FORMATS, Listing, check_readable, data_offset, list_members
from eofs.archive import zip as zips
from eofs.errors import Corrupt, EofsError, NotSupported, Stalled, TooLarge
from eofs.model import Member

if TYPE_CHECKING:
    from collections.abc import Callable


def listed(data: bytes, name: str = "product") -> Listing:
    return list_members(Bytes(data), name)


def paths(data: bytes) -> list[str]:
    return [member.path for member in listed(data).members]


def streamed() -> bytes:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as zipped:
        zipped.writestr(info("S/a.xml"), b"<a/>" * 999)
        zipped.writestr(info("S/b.jp2", zipfile.ZIP_STORED), bytes(range(256)))
    return pipe.getvalue()


def zip64() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped, zipped.open(info("big.tif"), "w", force_zip64=True) as member:
        member.write(b"pixel" * 500)
    data = file.getvalue()
    end = data.rfind(b"PK\5\6")
    index_size, index_at = struct.unpack_from("<LL", data, end + 12)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, index_size, index_at)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    return data[:end] + record + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *[0xFFFF] * 2, *[2**32 - 1] * 2, 0)


PLAIN = make_zip(
    ("P.SAFE/manifest.safe", b"<xml/>" * 1000),
    (info("P.SAFE/IMG/B01.jp2", zipfile.ZIP_STORED), bytes(range(256)) * 40),
    ("P.SAFE/empty", b""),
)
ZIPS = {
    "plain": PLAIN,
    "prefix": b"#!/bin/sh\nexit\n" + PLAIN,
    "comment": make_zip(("a", b"abc"), comment=b"c" * 0xFFFF),
    "trailing bytes": PLAIN + b"\0" * 512,
    "data descriptors": streamed(),
    "zip64": zip64(),
    "zip64 with prefix": b"prefix" + zip64(),
    "extra in the local header": make_zip((info("a", extra=struct.pack("<HH4x", 0xCAFE, 4)), b"abc")),
    "by hand": raw_zip(b"a", b"b/c"),
}


@pytest.mark.parametrize("data", ZIPS.values(), ids=ZIPS)
def test_every_member_unpacks_to_what_zipfile_says(data: bytes) -> None:
    source = Bytes(data)
    listing = list_members(source, "product")
    with zipfile.ZipFile(io.BytesIO(data)) as peer:
        expected = {name: peer.read(name) for name in peer.namelist()}
    assert listing.format == "zip"
    assert {member.path: unpack(source, listing, member) for member in listing.members} == expected
    assert [(m.size, m.crc) for m in listing.members] == [(len(e), zlib.crc32(e)) for e in expected.values()]


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.binary(max_size=3000), max_size=8))
def test_what_went_into_a_zip_comes_out(contents: dict[str, bytes]) -> None:
    source = Bytes(make_zip(*contents.items()))
    listing = list_members(source, "product")
    assert {member.path: unpack(source, listing, member) for member in listing.members} == contents


def test_a_zip_without_members_is_an_empty_listing() -> None:
    assert listed(make_zip()) == Listing("zip", ())


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"\x89HDF\r\n\x1a\n" + bytes(100_000), b"II*\0", b"GRIB", b"PK\5\6 is in this text", b"PK"],
    ids=["empty", "one byte", "netCDF", "TIFF", "GRIB", "an end record that does not end", "too short"],
)
def test_what_is_no_archive_is_one_bare_file(data: bytes) -> None:
    source = Bytes(data)
    listing = list_members(source, "S5P.nc")
    assert listing == Listing("file", (Member("S5P.nc", len(data), 0, 0, len(data)),))
    assert unpack(source, listing, listing.members[0]) == data


def test_the_last_format_takes_everything() -> None:
    assert FORMATS[-1].name == "file"
    assert FORMATS[-1].recognises(Bytes(b"anything"))


# --- reads ---


def test_a_zip_of_100_megabytes_and_15_members_is_listed_in_one_read() -> None:
    big = info("big.jp2", zipfile.ZIP_STORED)
    source = Bytes(make_zip((big, bytes(100_000_000)), *((f"P.SAFE/{n}.xml", b"<a/>") for n in range(14))))
    assert len(list_members(source, "product").members) == 15
    [(_, tail)] = source.reads
    assert tail < 66_000


def test_a_zip_of_65536_members_is_listed_in_two_reads_and_without_delay() -> None:
    names = (f"P.SAFE/GRANULE/IMG_DATA/{number:05}.jp2" for number in range(65_536))
    source = Bytes(make_zip(*((info(name, zipfile.ZIP_STORED), b"x") for name in names)))
    listing = list_members(source, "product")
    assert len(listing.members) == 65_536
    assert len(source.reads) == 2
    assert sum(size for _, size in source.reads) < 65_536 * 90
    # held against zipfile, which does less and takes about as long, a slow machine makes no failure
    ours = quickest(lambda: list_members(source, "product"))
    assert ours < 4 * quickest(lambda: zipfile.ZipFile(io.BytesIO(source.data)).close())


def quickest(work: Callable[[], object]) -> float:
    """Return the seconds of the quickest of three tries."""
    times = []
    for _ in range(3):
        begin = time.thread_time()
        work()
        times.append(time.thread_time() - begin)
    return min(times)


def test_a_bare_file_costs_its_first_bytes_and_its_end() -> None:
    source = Bytes(b"tail", hole=1 << 40)
    assert list_members(source, "x.tif").format == "file"
    assert sum(size for _, size in source.reads) < 67_000
    assert (0, 512) in source.reads


def test_a_zip_behind_a_hole_of_a_tebibyte_reads_only_its_end() -> None:
    source = Bytes(PLAIN, hole=1 << 40)
    listing = list_members(source, "product")
    assert sum(size for _, size in source.reads) < 67_000
    assert [len(unpack(source, listing, member)) for member in listing.members] == [6000, 10240, 0]


def test_an_error_of_the_source_passes_through() -> None:
    class Silent(Bytes):
        def read(self, offset: int, size: int, /) -> bytes:
            raise Stalled("the provider went silent")

    with pytest.raises(Stalled, match="went silent"):
        list_members(Silent(PLAIN), "product")
    with pytest.raises(Stalled, match="went silent"):
        data_offset(Silent(PLAIN), "zip", listed(PLAIN).members[0])


# --- names ---

NAMES = {
    "plain": ("P.SAFE/IMG/B01.jp2", "P.SAFE/IMG/B01.jp2"),
    "absolute": ("/etc/passwd", "etc/passwd"),
    "parent": ("../../a/../b", "a/b"),
    "nothing left": ("a/../..", "a"),
    "only dots": ("..", "_"),
    "backslashes": ("P\\IMG\\B01.jp2", "P/IMG/B01.jp2"),
    "backslashes to the parent": ("..\\..\\x", "x"),
    "drive": ("C:\\x\\y", "x/y"),
    "drives": ("/C:/D:/x", "x"),
    "no drive": ("T:2m.grib", "T:2m.grib"),
    "share": ("//host/share/x", "host/share/x"),
    "empty and dot parts": ("a//./b", "a/b"),
    "controls": ("a\x00b\x1f\x7f\x85\n", "a_b____"),
    "case": ("A/a/B.TIF", "A/a/B.TIF"),
    "three dots": (".../.a", ".../.a"),
    "accents": ("é/ü.txt", "é/ü.txt"),
}


@pytest.mark.says("Names inside an archive are cleaned: never absolute, never `..`, backslashes are separators.")
@pytest.mark.parametrize(("name", "path"), NAMES.values(), ids=NAMES)
def test_a_name_is_cleaned(name: str, path: str) -> None:
    source = Bytes(raw_zip(name.encode(), flags=0x800))
    listing = list_members(source, "product")
    assert [member.path for member in listing.members] == [path]
    assert unpack(source, listing, listing.members[0]) == b"x"


@pytest.mark.parametrize(
    ("name", "flags", "path"),
    [
        ("météo".encode("cp437"), 0, "météo"),
        ("météo".encode(), 0, "météo"),
        ("météo".encode(), 0x800, "météo"),
        ("météo".encode("latin-1"), 0x800, "m\udce9t\udce9o"),
        (b"\xff\xfe", 0x800, "\udcff\udcfe"),
    ],
    ids=["CP437", "UTF-8, not marked", "UTF-8", "Latin-1 marked as UTF-8", "bytes marked as UTF-8"],
)
def test_a_name_is_read_in_its_encoding_and_keeps_its_bytes(name: bytes, flags: int, path: str) -> None:
    source = Bytes(raw_zip(name, b"other", flags=flags))
    listing = list_members(source, "product")
    assert [member.path for member in listing.members] == [path, "other"]
    assert [unpack(source, listing, member) for member in listing.members] == [b"x", b"x"]


@pytest.mark.says("A part longer than 255 bytes is cut, with a hash.")
def test_long_parts_are_cut_with_a_hash_and_stay_apart() -> None:
    one, two = paths(make_zip(("é" * 200 + "1.tif", b""), ("é" * 200 + "2.tif", b"")))
    assert len(one.encode()) in {254, 255}
    assert one.endswith(".tif")
    assert one != two
    (no_suffix,) = paths(make_zip(("a." + "b" * 300, b"")))
    assert len(no_suffix) == 255


@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from(["..", ".", "/", "\\", "C:", "a", "\0", "é" * 150, ".tif"])).map("".join),
        st.binary(max_size=600).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
        st.text(st.characters(categories=["Cs"])),
    )
)
def test_a_cleaned_path_stays_inside_its_root(name: str) -> None:
    (member,) = listed(b"no archive", name).members
    parts = member.path.split("/")
    assert not {"", ".", ".."} & set(parts)
    assert all(len(part.encode("utf-8", "surrogateescape")) <= 255 for part in parts)
    assert not any(character < " " or character == "\\" for character in member.path)


def test_directory_entries_are_no_members_but_are_kept() -> None:
    data = make_zip(("P/", b""), ("P/a", b""), ("P/empty/", b""), ("win\\", b""), ("../", b""), ("/", b""))
    listing = listed(data)
    assert [member.path for member in listing.members] == ["P/a"]
    assert listing.directories == ("P", "P/empty", "win")


@pytest.mark.says("Of two members of one name the last counts.")
def test_the_last_of_two_entries_of_one_name_wins(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eofs.archive")
    source = Bytes(raw_zip(b"x/a", b"b", b"./x/a"))
    listing = list_members(source, "product")
    assert {member.path: member.offset for member in listing.members} == {"x/a": 66, "b": 34}
    assert "there more than once" in caplog.text
    assert "x/a" in caplog.text


@pytest.mark.says("A file that bears the name of a directory gets ` (1)`.")
@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "a/b"], ["a (1)", "a/b"]),
        (["a.tif/b", "a.tif"], ["a (1).tif", "a.tif/b"]),
        (["x/a.tif", "x/a.tif/"], ["x/a (1).tif"]),
        (["a", "a (1)", "a/b", "a (2)/c"], ["a (1)", "a (2)/c", "a (3)", "a/b"]),
        (["a", "a-b", "a.b", "ab"], ["a", "a-b", "a.b", "ab"]),
        ([".hidden", ".hidden/a"], [".hidden (1)", ".hidden/a"]),
    ],
    ids=[
        "a made-up directory",
        "the file comes later",
        "a listed directory",
        "taken numbers",
        "neighbours",
        "no suffix",
    ],
)
def test_a_file_that_bears_a_directorys_name_is_numbered(names: list[str], expected: list[str]) -> None:
    source = Bytes(raw_zip(*(name.encode() for name in names)))
    listing = list_members(source, "product")
    assert sorted(member.path for member in listing.members) == expected
    assert [unpack(source, listing, member) for member in listing.members] == [b"x"] * len(expected)


def test_a_numbered_file_with_a_long_name_is_found_too() -> None:
    name = b"n" * 251 + b".tif"
    source = Bytes(raw_zip(name, name + b"/b"))
    listing = list_members(source, "product")
    assert all(len(part) <= 255 for member in listing.members for part in member.path.split("/"))
    assert [unpack(source, listing, member) for member in listing.members] == [b"x", b"x"]


def symlink(path: str, method: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    return info(path, method, external_attr=(stat.S_IFLNK | 0o777) << 16)


@pytest.mark.parametrize(
    ("content", "target"),
    [
        (b"B01.jp2", "B01.jp2"),
        (b"../IMG/./B01.jp2", "../IMG/B01.jp2"),
        (b".", "."),
        (b"..", ".."),
        (b"..\\IMG\\B01.jp2", "../IMG/B01.jp2"),
        (b"a\nb", "a_b"),
        ("é".encode(), "é"),
        (b"\xff", "\udcff"),
    ],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_symbolic_link_leads_where_its_content_says(content: bytes, target: str, method: int) -> None:
    listing = listed(make_zip(("P/a", b"abc"), (symlink("P/link", method), content)))
    assert {member.path: member.link for member in listing.members} == {"P/a": None, "P/link": target}


@pytest.mark.parametrize(
    "entry",
    [
        (symlink("link"), b"/etc/passwd"),
        (symlink("link"), b"\\\\host\\share"),
        (symlink("link"), b"C:\\x"),
        (symlink("link"), b""),
        (symlink("link"), b"x" * 5000),
        (symlink("link"), b"x/" * 2000 + b"x" * 300),
        (symlink("link", zipfile.ZIP_BZIP2), b"a"),
    ],
    ids=["absolute", "share", "drive", "empty", "too long", "too long together", "packed in an odd way"],
)
def test_a_symbolic_link_that_leads_nowhere_here_is_left_out(
    entry: tuple[zipfile.ZipInfo, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "eofs.archive")
    assert paths(make_zip(entry, ("a", b""))) == ["a"]
    assert "symbolic links are left out: link" in caplog.text


def test_a_damaged_symbolic_link_is_left_out() -> None:
    assert paths(make_zip((symlink("link"), b"target"), ("a", b"")).replace(b"target", b"tarGet")) == ["a"]


# --- times ---


def timestamp(seconds: int) -> bytes:
    return struct.pack("<HHBl", 0x5455, 5, 1, seconds)


@pytest.mark.parametrize(
    ("attributes", "seconds"),
    [
        ({}, calendar.timegm(NOON)),
        ({"extra": struct.pack("<HHL", 0xCAFE, 4, 0) + timestamp(1_600_000_001)}, 1_600_000_001),
        ({"extra": timestamp(-5)}, 0),
        ({"extra": struct.pack("<HHB", 0x5455, 1, 0)}, calendar.timegm(NOON)),
        ({"date_time": (1980, 0, 0, 0, 0, 0)}, calendar.timegm((1980, 1, 1, 0, 0, 0))),
        ({"date_time": (2107, 12, 31, 23, 59, 58)}, 0xFFFFFFFF),
    ],
    ids=["DOS", "extended", "before 1970", "extended without a time", "no date", "after 2106"],
)
def test_the_time_of_a_member(attributes: dict[str, Any], seconds: int) -> None:
    (member,) = listed(make_zip((info("a", **attributes), b""))).members
    assert member.mtime == seconds * 1_000_000_000


# --- what is refused ---


@pytest.mark.parametrize(
    ("flags", "method", "says"),
    [
        (1, 8, "is encrypted; eofs cannot read it"),
        (0x41, 8, "is encrypted"),
        (0, 99, "is encrypted"),
        (0, 98, r"uses zip method 98 \(ppmd\)"),
        (0, 77, "uses zip method 77; eofs"),
    ],
    ids=["password", "strong", "AES", "PPMd", "unknown"],
)
def test_a_member_that_eofs_cannot_unpack_is_listed_and_refused(flags: int, method: int, says: str) -> None:
    (member,) = listed(raw_zip(b"secret.xml", flags=flags, method=method)).members
    with pytest.raises(NotSupported, match="secret.xml " + says):
        check_readable(member)


@pytest.mark.parametrize(
    ("size", "packed", "refused"),
    [
        ((1 << 40) + 1, 1 << 40, True),
        (1 << 40, 1 << 40, False),
        (1_032_000_000, 1_000_000, False),
        (1_200_000_000, 1_000_000, True),
        (99_000_000, 1, False),
        (200_000_000, 0, True),
    ],
    ids=["over 1 TiB", "1 TiB", "the best of deflate", "better than deflate", "small", "out of nothing"],
)
def test_a_bomb_is_refused_when_it_is_read(size: int, packed: int, refused: bool) -> None:
    member = Member("bomb", size, 0, 0, packed, "deflated")
    if refused:
        with pytest.raises(TooLarge, match="bomb claims"):
            check_readable(member)
    else:
        check_readable(member)


def test_a_stored_member_of_two_sizes_is_corrupt() -> None:
    (member,) = listed(raw_zip(b"a", size=2)).members
    with pytest.raises(Corrupt, match="two sizes"):
        check_readable(member)


def test_a_message_never_holds_bytes_that_are_no_text() -> None:
    with pytest.raises(NotSupported) as caught:
        check_readable(Member("\udcff", 1, 0, 0, 1, encrypted=True))
    assert str(caught.value).encode() == rb"\udcff is encrypted; eofs cannot read it"


def split(data: bytes) -> bytes:
    """Let the end record say that the index is in another file."""
    at = data.rindex(b"PK\5\6") + 4
    return data[:at] + b"\1\0\1\0" + data[at + 4 :]


def first_grown(data: bytes, packed: int) -> bytes:
    """Let the index say of its first member that it has `packed` bytes."""
    at = data.index(b"PK\1\2") + 20
    return data[:at] + struct.pack("<L", packed) + data[at + 4 :]


@pytest.mark.parametrize(
    "data",
    [raw_zip(b"a", b"b", offset=0), first_grown(raw_zip(b"a", b"b", data=b"y" * 50), 60)],
    ids=["the same bytes", "partly the same bytes"],
)
def test_members_that_share_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(TooLarge, match="a and b share their bytes"):
        listed(data)


def test_too_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "MAX_MEMBERS", 3)
    assert len(paths(raw_zip(b"a", b"b", b"c"))) == 3
    with pytest.raises(TooLarge, match="more than 3 members"):
        listed(raw_zip(b"a", b"b", b"c", b"d"))


def test_an_index_that_is_too_large_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "MAX_MEMBERS", 1000)
    source = Bytes(raw_zip(*(b"%0100d" % number for number in range(1500))))
    with pytest.raises(TooLarge, match="at most 1000 members"):
        list_members(source, "product")
    assert len(source.reads) == 1


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (PLAIN[:-1], Corrupt, "cut short or its index is damaged"),
        (PLAIN[:200], Corrupt, "cut short or its index is damaged"),
        (PLAIN.replace(b"PK\1\2", b"PK\1\3"), Corrupt, "index is damaged"),
        (PLAIN[100:], Corrupt, "has to be fetched again"),
        (raw_zip(b"a", offset=5000), Corrupt, "a is not inside"),
        (raw_zip(b"a", packed=5000), Corrupt, "a is not inside"),
        (split(raw_zip(b"a")), NotSupported, "one of several parts"),
    ],
    ids=["end", "most", "signature", "front", "offset", "size", "part"],
)
def test_a_damaged_zip_is_said_to_be_so(data: bytes, error: type[EofsError], says: str) -> None:
    with pytest.raises(error, match=says):
        listed(data)


def test_a_source_that_is_shorter_than_it_says_is_corrupt() -> None:
    class Short(Bytes):
        @property
        def size(self) -> int:
            return len(self.data) + 10

    with pytest.raises(Corrupt, match=f"cut short at byte {len(PLAIN)}"):
        list_members(Short(PLAIN), "product")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b"PK\3\4", b"PK\3\5"),
        lambda data: data.replace(b"P.SAFE/m", b"Q.SAFE/m", 1),
        lambda data: data[:28] + b"\xff\xff" + data[30:],
        lambda data: data[:20],
    ],
    ids=["no header there", "another name", "bytes beyond the end", "nothing there"],
)
def test_a_member_that_is_not_where_it_should_be_is_corrupt(damage: Any) -> None:
    member = listed(PLAIN).members[0]
    with pytest.raises(Corrupt):
        data_offset(Bytes(damage(PLAIN)), "zip", member)


@given(
    st.sampled_from(sorted(ZIPS)),
    st.integers(min_value=0),
    st.lists(st.tuples(st.integers(min_value=0), st.integers(1, 255))),
)
def test_a_damaged_zip_gives_a_listing_or_an_error_of_ours(kind: str, keep: int, flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(ZIPS[kind])
    for at, bits in flips:
        damaged[-1 - at % min(len(damaged), 400)] ^= bits  # the index is at the end
    source = Bytes(bytes(damaged[: len(damaged) - keep % 40 if keep % 3 == 0 else None]))
    try_all(source)


def test_thousands_of_flipped_bits_give_a_listing_or_an_error_of_ours() -> None:
    chance = random.Random(14)
    for data in ZIPS.values():
        for _ in range(300):
            damaged = bytearray(data)
            for _ in range(chance.randint(1, 4)):
                damaged[chance.randrange(max(0, len(data) - 600), len(data))] ^= 1 << chance.randrange(8)
            try_all(Bytes(bytes(damaged)))
            try_all(Bytes(data[: chance.randrange(len(data))]))


def try_all(source: Bytes) -> None:
    try:
        listing = list_members(source, "product")
    except EofsError:
        return
    for member in listing.members:
        try:
            check_readable(member)
            begin = data_offset(source, listing.format, member)
        except EofsError:
            continue
        assert 0 <= begin <= begin + member.packed <= source.size
