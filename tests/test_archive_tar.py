"""Tars of every kind are listed by their headers, with few reads, and their links stay inside."""

from __future__ import annotations

import io
import logging
import random
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from archives import Bytes, unpack
from hypothesis import given
from hypothesis import strategies as st

from eofs.archive import Listing, check_readable, list_members
from eofs.archive import tar as tars
from eofs.errors import Corrupt, EofsError, NotSupported, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "GNU": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NOON = 1_614_859_200


def entry(name: str, kind: bytes = tarfile.REGTYPE, **attributes: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.mtime = kind, NOON
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.LNKTYPE, linkname=target), b""


def symbolic(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.SYMTYPE, linkname=target), b""


def make_tar(
    *entries: tuple[tarfile.TarInfo | str, bytes], form: int = tarfile.GNU_FORMAT, encoding: str = "utf-8"
) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form, encoding=encoding) as made:
        for name, data in entries:
            info = entry(name) if isinstance(name, str) else name
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return file.getvalue()


def listed(data: bytes, *, mend: bool = False) -> Listing:
    return list_members(Bytes(data), "product", mend=mend)


def paths(data: bytes) -> list[str]:
    return [member.path for member in listed(data).members]


def contents(data: bytes) -> dict[str, bytes]:
    source = Bytes(data)
    listing = list_members(source, "product")
    return {m.path: unpack(source, listing, m) for m in listing.members if m.link is None}


def summed(block: bytes) -> bytes:
    """Return a header with its sum put right."""
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def old(name: bytes, data: bytes, kind: bytes = b"\0") -> bytes:
    """Return a member as Unix wrote it in 1979."""
    header = name.ljust(100, b"\0") + b"   644 \0     0 \0     0 \0%11o %11o " % (len(data), NOON)
    header += b" " * 8 + kind + bytes(100)
    return summed(header.ljust(512, b"\0")) + data + bytes(-len(data) % 512)


BIG = bytes(range(256)) * 40
PLAIN = make_tar(("P.SAFE/manifest.safe", b"<xml/>" * 999), ("P.SAFE/IMG/B01.jp2", BIG), ("P.SAFE/empty", b""))


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@given(st.dictionaries(st.from_regex(r"[a-z]{1,90}", fullmatch=True), st.binary(max_size=3000), max_size=8))
def test_what_went_into_a_tar_comes_out(form: int, made: dict[str, bytes]) -> None:
    data = make_tar(*made.items(), form=form)
    assert listed(data).format == "tar"
    assert contents(data) == made


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_size_time_and_place_of_a_member(form: int) -> None:
    _, member, _ = listed(make_tar(("a", b""), ("P/b", BIG), ("c", b""), form=form)).members
    assert (member.path, member.size, member.packed, member.mtime) == ("P/b", 10240, 10240, NOON * 10**9)
    assert (member.offset, member.method, member.crc) == (1024, "stored", None)


@pytest.mark.parametrize("length", [99, 100, 101, 155, 250, 256, 300, 1000])
@pytest.mark.parametrize("form", ["GNU", "pax"])
def test_long_names_and_targets_come_whole_up_to_what_a_file_system_can_hold(form: str, length: int) -> None:
    name = "/".join(["d" * 50] * (length // 51)) + "/" + "n" * (length % 51 or 1)
    data = make_tar((name, b"x"), hard("twin", name), symbolic("link", name), form=FORMATS[form])
    one, twin, link = listed(data).members
    assert one.path == name.strip("/")
    assert (twin.same_as, link.link) == (one.path, None if name.startswith("/") else name)


def test_a_name_of_300_bytes_is_cut_with_a_hash() -> None:
    one, two = paths(make_tar(("n" * 299 + "1", b""), ("n" * 299 + "2", b"")))
    assert len(one) == len(two) == 255
    assert one != two


def test_a_ustar_name_in_two_parts_is_put_together() -> None:
    name = "d" * 90 + "/" + "n" * 90
    assert paths(make_tar((name, b""), form=tarfile.USTAR_FORMAT)) == [name]


def test_an_old_tar_without_a_mark_is_one_all_the_same() -> None:
    data = old(b"P/", b"") + old(b"P/a.txt", b"abc") + old(b"b.txt", b"") + bytes(1024)
    assert listed(data).directories == ("P",)
    assert contents(data) == {"P/a.txt": b"abc", "b.txt": b""}


def test_a_sum_of_signed_bytes_is_right_too() -> None:
    data = old("é".encode(), b"abc")
    said = int(data[148:154], 8)
    data = data[:148] + b"%06o" % (said - 2 * 256) + data[154:] + bytes(1024)
    assert contents(data) == {"é": b"abc"}


class Long(Bytes):
    """A source that goes on with so many zeros behind its bytes."""

    zeros = (9 << 30) + 1024

    @property
    def size(self) -> int:
        return len(self.data) + self.zeros

    def read(self, offset: int, size: int, /) -> bytes:
        return super().read(offset, size).ljust(min(size, self.size - offset), b"\0")


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["GNU", "pax"])
def test_a_size_beyond_octal_digits_is_read(form: Any) -> None:
    header = entry("big", size=9 << 30).tobuf(form)
    (member,) = list_members(Long(header), "product").members
    assert (member.size, member.offset) == (9 << 30, len(header))


@pytest.mark.parametrize(
    ("mtime", "nanoseconds"),
    [(1.5, 1_500_000_000), (-3, 0), (1 << 40, 0xFFFFFFFF * 10**9)],
    ids=["a fraction", "before 1970", "after 2106"],
)
def test_the_time_of_a_member(mtime: float, nanoseconds: int) -> None:
    (member,) = listed(make_tar((entry("a", mtime=mtime), b""), form=tarfile.PAX_FORMAT)).members
    assert member.mtime == nanoseconds


@pytest.mark.parametrize("mtime", ["", "soon", "1e999999999", "nan", "9" * 50])
def test_a_pax_time_that_is_none_says_nothing(mtime: str) -> None:
    (member,) = listed(make_tar((entry("a", pax_headers={"mtime": mtime}), b""), form=tarfile.PAX_FORMAT)).members
    assert member.mtime == NOON * 10**9


def test_a_global_header_holds_for_all_that_follow() -> None:
    file = io.BytesIO()
    with tarfile.open(
        fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"mtime": "77", "comment": "é"}
    ) as made:
        made.addfile(tarfile.TarInfo("a"))
        made.addfile(tarfile.TarInfo("b"))
    assert [member.mtime for member in listed(file.getvalue()).members] == [77 * 10**9] * 2


def test_names_that_are_no_utf_8_keep_their_bytes() -> None:
    assert paths(make_tar(("m\udce9t\udce9o", b""))) == ["m\udce9t\udce9o"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/etc/passwd", "etc/passwd"),
        ("../../a/../b", "a/b"),
        ("./P/a", "P/a"),
        ("P\\a", "P/a"),
        ("..", "_"),
        ("a\nb", "a_b"),
    ],
)
def test_names_stay_inside(name: str, path: str) -> None:
    assert contents(make_tar((name, b"x"))) == {path: b"x"}


@pytest.mark.says("Devices and pipes are not shown.")
def test_directories_are_listed_and_devices_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eofs")
    odd = [entry(kind, kind.encode()) for kind in "346"]
    data = make_tar(
        (entry("P", tarfile.DIRTYPE), b""), (entry("./", tarfile.DIRTYPE), b""), *((o, b"") for o in odd), ("a", b"x")
    )
    assert listed(data).directories == ("P",)
    assert paths(data) == ["a"]
    assert "links and devices are left out: 3, 4, 6" in caplog.text


def test_an_unknown_kind_is_taken_for_a_file_as_posix_wants() -> None:
    assert contents(make_tar((entry("a", b"Z"), b"x"), ("b", b"y"))) == {"a": b"x", "b": b"y"}


def test_the_last_of_two_files_of_one_name_counts() -> None:
    assert contents(make_tar(("a", b"old"), ("a", b"new"))) == {"a": b"new"}


def test_a_file_that_bears_a_directorys_name_is_numbered() -> None:
    assert contents(make_tar(("a", b"x"), ("a/b", b"y"))) == {"a (1)": b"x", "a/b": b"y"}


# --- links ---


def test_a_hard_link_is_the_same_file_as_its_target() -> None:
    data = make_tar(("P/a", b"abc"), hard("b", "P/a"), hard("c", "./b"))
    assert contents(data) == {"P/a": b"abc", "b": b"abc", "c": b"abc"}
    assert {member.path: member.same_as for member in listed(data).members} == {"P/a": None, "b": "P/a", "c": "P/a"}


def test_a_hard_link_means_the_file_that_was_there_before_it() -> None:
    assert contents(make_tar(("a", b"old"), hard("b", "a"), ("a", b"new"))) == {"a": b"new", "b": b"old"}


@pytest.mark.parametrize("target", ["missing", "P", "later", "link", ""])
def test_a_hard_link_to_no_file_before_it_is_left_out(target: str) -> None:
    data = make_tar((entry("P", tarfile.DIRTYPE), b""), hard("link", target), ("later", b""))
    assert paths(data) == ["later"]


def test_a_hard_link_to_itself_changes_nothing() -> None:
    assert contents(make_tar(("a", b"abc"), hard("a", "a"))) == {"a": b"abc"}


def test_hard_links_that_carry_a_size_have_no_data() -> None:
    link = summed(old(b"b", b"", b"1")[:124] + b"%11o " % 700 + old(b"b", b"", b"1")[136:157] + b"a".ljust(355, b"\0"))
    assert contents(old(b"a", b"abc") + link + old(b"c", b"xyz") + bytes(1024)) == {
        "a": b"abc",
        "b": b"abc",
        "c": b"xyz",
    }


def test_symbolic_links_lead_where_they_say() -> None:
    targets = {"P/one": "a", "P/two": "../b/c", "loop": "loop", "P/dangling": "nothing", "dot": "."}
    listing = listed(make_tar(*(symbolic(*pair) for pair in targets.items())))
    assert {member.path: member.link for member in listing.members} == targets


def test_a_hard_link_to_a_symbolic_one_is_one_too() -> None:
    _, two = listed(make_tar(symbolic("one", "a"), hard("two", "one"))).members
    assert (two.link, two.same_as) == ("a", "one")


@pytest.mark.parametrize("target", ["/etc/passwd", "", "\\\\host\\share", "C:/x", "x/" * 2400])
def test_a_symbolic_link_that_leads_nowhere_here_is_left_out(target: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eofs")
    data = make_tar(symbolic("link", target), ("a", b"x"))
    assert paths(data) == ["a"]
    assert "left out: link" in caplog.text


# --- sparse files ---


def sparse_gnu(extended: int = 0) -> bytes:
    """Return a file in GNU's old layout: 2 bytes of data, 1 MB of size, and blocks that go on with the map."""
    header = old(b"sparse", b"", b"S")
    header = header[:124] + b"%11o " % 2 + header[136:]
    header = (
        header[:257] + b"ustar  \0" + header[265:482] + bytes([extended > 0]) + b"%11o\0" % 1_000_000 + header[495:]
    )
    blocks = b"".join(bytes(504) + bytes([n + 1 < extended]) + bytes(7) for n in range(extended))
    return summed(header) + blocks + b"ab".ljust(512, b"\0")


def pax(**records: str) -> bytes:
    texts = [f"{key.replace('_', '.')}={value}\n" for key, value in records.items()]
    return old(b"pax", b"".join(b"%d %s" % (len(text) + 3, text.encode()) for text in texts), b"x")


SPARSE = {
    "GNU": sparse_gnu(),
    "GNU with more blocks": sparse_gnu(3),
    "pax 1.0": pax(GNU_sparse_major="1", GNU_sparse_name="sparse", GNU_sparse_realsize="1000000")
    + old(b"GNUSparseFile.0/x", b"1\n0\n2\n".ljust(512, b"\0") + b"ab"),
    "pax 0.1": pax(GNU_sparse_size="1000000", GNU_sparse_map="0,2") + old(b"sparse", b"ab"),
}


@pytest.mark.says("Encrypted ones, ones packed in another way and sparse files of a tar are listed with their sizes")
@pytest.mark.parametrize("sparse", SPARSE.values(), ids=SPARSE)
def test_a_sparse_file_is_listed_with_its_size_and_refused(sparse: bytes) -> None:
    one, other = listed(sparse + old(b"other", b"xyz") + bytes(1024)).members
    assert (one.path, one.size, other.path) == ("sparse", 1_000_000, "other")
    check_readable(other)
    with pytest.raises(NotSupported, match="sparse uses tar's sparse layout"):
        check_readable(one)


# --- reads ---


def test_the_headers_of_15_large_files_are_read_and_none_of_their_data() -> None:
    size = 5_000_000
    data = make_tar(*((f"P/B{n}.jp2", bytes(size)) for n in range(15)), *((f"P/{n}.xml", b"<a/>") for n in range(200)))
    source = Bytes(data)
    assert len(list_members(source, "product").members) == 215
    assert len(source.reads) < 30
    assert sum(size for _, size in source.reads) < 1_000_000


def test_a_tar_of_65536_members_is_listed_with_few_reads() -> None:
    data = b"".join(old(b"P/%05d" % n, b"x") for n in range(65_536)) + bytes(1024)
    source = Bytes(data)
    assert len(list_members(source, "product").members) == 65_536
    assert len(source.reads) < 100
    assert sum(size for _, size in source.reads) < 1.1 * len(data)


# --- what is wrong ---


@pytest.mark.parametrize("size", [1024, 1536, 10240])
def test_a_tar_without_members_is_an_empty_listing(size: int) -> None:
    assert listed(bytes(size)) == Listing("tar", ())


@pytest.mark.parametrize("data", [bytes(512), bytes(1000), bytes(20480), b"a" + bytes(1023), b""])
def test_zeros_that_are_no_tar_are_a_bare_file(data: bytes) -> None:
    assert listed(data).format == "file"


CUT = {
    "in the second file": (1024 + 5994 + 2000, ["P.SAFE/manifest.safe"]),
    "in its header": (512 + 6144 + 100, ["P.SAFE/manifest.safe"]),
    "between two files": (512 + 6144, ["P.SAFE/manifest.safe"]),
    "before the end": (512 * 3 + 6144 + 10240, ["P.SAFE/manifest.safe", "P.SAFE/IMG/B01.jp2", "P.SAFE/empty"]),
}


@pytest.mark.parametrize(("size", "whole"), CUT.values(), ids=CUT)
def test_of_a_tar_that_is_cut_short_what_is_whole_is_listed_if_it_has_to_be(
    size: int, whole: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Corrupt, match="cut short"):
        listed(PLAIN[:size])
    assert [member.path for member in listed(PLAIN[:size], mend=True).members] == whole
    assert f"the tar is cut short; {len(whole)} files of it are whole" in caplog.text


@pytest.mark.parametrize("mend", [False, True])
def test_a_tar_of_which_nothing_is_whole_is_corrupt(mend: bool) -> None:
    with pytest.raises(Corrupt, match="the tar archive is cut short; it has to be fetched again"):
        listed(PLAIN[:3000], mend=mend)


def test_a_tar_with_a_damaged_header_is_listed_up_to_it_if_it_has_to_be() -> None:
    data = PLAIN.replace(b"P.SAFE/IMG", b"P.SAFE/img")
    with pytest.raises(Corrupt, match="damaged"):
        listed(data)
    assert [member.path for member in listed(data, mend=True).members] == ["P.SAFE/manifest.safe"]


@pytest.mark.parametrize(
    "records",
    [b"", b"99 path=x\n", b"8 path=x\n", b"x path=y\n", b"10 path=xyz", b"4 =\n", b"0 a=b\n", b"99999999 a=b\n"],
)
def test_pax_records_that_are_none_are_damage(records: bytes) -> None:
    data = old(b"a", b"x") + old(b"pax", records, b"x") + old(b"b", b"y") + bytes(1024)
    found = [member.path for member in listed(data, mend=True).members]
    assert found == (["a"] if records else ["a", "b"])


def test_an_extension_that_is_too_large_is_not_read() -> None:
    header = summed(old(b"pax", b"", b"x")[:124] + b"%11o " % (1 << 30) + old(b"pax", b"", b"x")[136:])
    source = Bytes(old(b"a", b"x") + header)
    assert len(list_members(source, "product", mend=True).members) == 1
    assert sum(size for _, size in source.reads) < 100_000


def test_too_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "MAX_MEMBERS", 2)
    with pytest.raises(TooLarge, match="more than 2 members"):
        listed(PLAIN)


def test_thousands_of_flipped_bits_give_a_listing_or_an_error_of_ours() -> None:
    chance = random.Random(15)
    name = "é" * 49 + "/" + "é" * 30
    for data in (*(make_tar((name, b"abc"), hard("b", "a"), form=form) for form in FORMATS.values()), PLAIN):
        for _ in range(300):
            damaged = bytearray(data[:4096] if chance.random() < 0.5 else data[: chance.randrange(len(data))])
            for _ in range(chance.randint(1, 4) if damaged else 0):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            for at in range(0, len(damaged) - 511, 512):  # so that more than one header in a thousand gets past its sum
                damaged[at : at + 512] = summed(bytes(damaged[at : at + 512]))
            try_all(Bytes(bytes(damaged)))


def try_all(source: Bytes) -> None:
    try:
        listing = list_members(source, "product", mend=True)
    except EofsError:
        return
    for member in listing.members:
        assert 0 <= member.offset <= member.offset + member.packed <= source.size


def test_listings_agree_with_those_of_tarfile() -> None:
    made: Iterable[tuple[tarfile.TarInfo | str, bytes]] = [
        ("é/" * 60 + "a", BIG),
        hard("t", "é/" * 60 + "a"),
        ("b", b""),
    ]
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = make_tar(*made, form=form)
        with tarfile.open(fileobj=io.BytesIO(data)) as peer:
            theirs = {m.name: (file.read() if (file := peer.extractfile(m)) else None) for m in peer}
        assert contents(data) == theirs
