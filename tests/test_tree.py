"""The tree of the mount: names, product roots, what stands where, and that only looking inside costs anything."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from eofs.archive import Listing
from eofs.errors import NotReady
from eofs.fetch import quicklooks
from eofs.folders import Products
from eofs.layout import name_all, safe_name
from eofs.model import Member, Product
from eofs.nodes import NOBODY, Caller, Directory, File, Held, Text, entries
from eofs.status import Activity, Local, Status, StorageStatus
from eofs.tree import root_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eofs.nodes import Node, Reader

STARTED = 1_700_000_000 * 10**9
START = datetime(2020, 12, 29, 11, 4, 51, tzinfo=timezone.utc)
S2 = "S2A_MSIL1C_20201229T110451_N0209_R094_T31TCL_20201229T131620"
S3 = "S3A_OL_1_EFR____20200101T000000"


def product(title: str = S2, id: str | None = None, uid: str = "uid", **values: object) -> Product:  # noqa: A002 - its name
    made = Product(
        id=title if id is None else id, uid=uid, title=title, provider="peps", status=StorageStatus.ONLINE,
        location=None, quicklook=None, size=None, checksum=None, collection=None, start=START, cloud_cover=None,
        feature=b'{ "type":\t"Feature", "id" : "\xc3\xa9" }\n',
    )  # fmt: skip
    return replace(made, **values)  # type: ignore[arg-type]  # a test says which fields it means


def member(path: str, size: int = 3, mtime: int = 5) -> Member:
    return Member(path=path, size=size, mtime=mtime, offset=0, packed=size)


def listing(*paths: str) -> Listing:
    """A listing of files and, with a slash at their end, directories."""
    files = tuple(member(path) for path in paths if not path.endswith("/"))
    return Listing("zip", files, tuple(sorted(path[:-1] for path in paths if path.endswith("/"))))


@dataclass
class Engine:
    """Brings at once what the test has put into it, and notes what it was asked for."""

    listed: Listing = field(default_factory=lambda: Listing("zip", ()))
    asked: list[str] = field(default_factory=list)

    def status(self, product: Product, product_root: str) -> Status:
        self.asked.append("status")
        return Status(
            storageStatus=StorageStatus.OFFLINE, local=Local.ABSENT, activity=Activity.IDLE, message="two\nlines: é",
            downloaded=0, size=None, provider=product.provider, id=product.id, title=product.title,
            location=f"file://{product_root}", remote_location=None, order=None, error='"odd',
        )  # fmt: skip

    def listing(self, product: Product, caller: Caller) -> Listing:
        self.asked.append("listing")
        caller.check()
        return self.listed

    def open(self, product: Product, member: Member, caller: Caller) -> Reader:
        self.asked.append("open")
        return Held(f"{product.title} {member.path}".encode())

    def quicklook(self, product: Product, caller: Caller) -> bytes:
        self.asked.append("quicklook")
        return b"picture"

    def quicklook_name(self, product: Product) -> str | None:
        return quicklooks.file_name(product)


def mounted(engine: Engine, *products: Product) -> Directory:
    return Products(name_all(products), engine, "/mnt", STARTED).root({"pid": "42"})


def children(node: Node) -> dict[str, Node]:
    assert isinstance(node, Directory)
    return dict(node.children(NOBODY))


def at(node: Node, *names: str) -> Node:
    for name in names:
        node = children(node)[name]
    return node


def walk(top: Node, *, inside: bool = True) -> Iterator[tuple[str, Node]]:
    """Yield all below `top` with its path; into product roots only where `inside`."""
    todo = [("", top)]
    while todo:
        path, node = todo.pop()
        if path:
            yield path, node
        if isinstance(node, Directory) and (inside or not node.lazy):
            todo += [(f"{path}/{name}".lstrip("/"), child) for name, child in children(node).items()]


def shown(top: Node) -> set[str]:
    """Return all paths below `top`, those of directories with a slash at their end."""
    return {f"{path}/" if isinstance(node, Directory) else path for path, node in walk(top)}


def in_root(paths: Iterable[str], title: str = S2) -> set[str]:
    """Return what a product root shows of an archive with these paths."""
    one = product(title)
    return shown(at(mounted(Engine(listing(*paths)), one), title, "data", root_name(one)))


# -- the shape ---------------------------------------------------------------------------------------------------------


def test_the_tree_is_the_one_of_the_documentation() -> None:
    band = f"{S2}.SAFE/GRANULE/L1C/IMG_DATA/B04.jp2"
    engine = Engine(listing(f"{S2}.SAFE/manifest.safe", band))
    assert shown(mounted(engine, product(quicklook="https://peps.cnes.fr/q.jpg"))) == {
        f"{S2}/",
        f"{S2}/quicklook.jpg",
        f"{S2}/status",
        f"{S2}/metadata.json",
        f"{S2}/data/",
        f"{S2}/data/{S2}.SAFE/",
        f"{S2}/data/{S2}.SAFE/manifest.safe",
        f"{S2}/data/{S2}.SAFE/GRANULE/",
        f"{S2}/data/{S2}.SAFE/GRANULE/L1C/",
        f"{S2}/data/{S2}.SAFE/GRANULE/L1C/IMG_DATA/",
        f"{S2}/data/{S2}.SAFE/GRANULE/L1C/IMG_DATA/B04.jp2",
    }


@pytest.mark.says("`data/` always lists exactly one directory, the product root")
def test_data_lists_exactly_the_product_root_and_only_that_is_lazy() -> None:
    root = mounted(Engine(listing("a/b/c", "d")), product())
    assert list(children(at(root, S2, "data"))) == [f"{S2}.SAFE"]
    assert [path for path, node in walk(root) if isinstance(node, Directory) and node.lazy] == [f"{S2}/data/{S2}.SAFE"]


@pytest.mark.says("A title that already ends so is not doubled.")
@pytest.mark.parametrize(
    ("title", "root"),
    [
        (S2, f"{S2}.SAFE"),
        (f"{S2}.SAFE", f"{S2}.SAFE"),
        (f"{S2}.safe", f"{S2}.safe"),
        ("S1A_IW_SLC__1SDV_2020", "S1A_IW_SLC__1SDV_2020.SAFE"),
        ("S1C_IW", "S1C_IW.SAFE"),
        (S3, f"{S3}.SEN3"),
        (f"{S3}.SEN3", f"{S3}.SEN3"),
        ("S5P_OFFL_L2__NO2", "S5P_OFFL_L2__NO2"),
        ("SENTINEL2A_20200101-105852-555_L2A_T31TCJ_D", "SENTINEL2A_20200101-105852-555_L2A_T31TCJ_D"),
        ("LC08_L1TP_198030_20200101", "LC08_L1TP_198030_20200101"),
        ("a/b", "a_b"),
        ("S2A_/..", "S2A__...SAFE"),
    ],
)
def test_the_product_root_is_known_by_the_title(title: str, root: str) -> None:
    assert root_name(product(title)) == root


@pytest.mark.says("Where the archive's only top-level directory bears the product root's name, the two are one")
@pytest.mark.parametrize(
    ("title", "paths", "expected"),
    [
        ("X", ["X/a", "X/b/c"], {"a", "b/", "b/c"}),
        ("X", ["X/"], set()),
        ("X", ["X/", "X/a", "X/empty/"], {"a", "empty/"}),
        ("X", ["X/X/a"], {"X/", "X/a"}),
        ("X", ["X_V2-0/a"], {"X_V2-0/", "X_V2-0/a"}),
        ("X", ["X/a", "b"], {"X/", "X/a", "b"}),
        ("X", ["X/a", "Y/"], {"X/", "X/a", "Y/"}),
        ("X", ["B1.TIF", "B2.TIF"], {"B1.TIF", "B2.TIF"}),
        ("X", ["X"], {"X"}),
        ("X.nc", ["X.nc"], {"X.nc"}),
        ("X", ["a/b/c/d"], {"a/", "a/b/", "a/b/c/", "a/b/c/d"}),
        ("X", [], set()),
        ("S2A_X", ["S2A_X.SAFE/a"], {"a"}),
        ("S2A_X", ["S2A_X/a"], {"S2A_X/", "S2A_X/a"}),
        ("S2A_X.SAFE", ["S2A_X.SAFE/a"], {"a"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_the_only_top_directory_of_that_name_is_the_product_root_all_else_stands_inside(
    title: str, paths: list[str], expected: set[str]
) -> None:
    assert in_root(paths, title) == expected


FOLDERS = st.lists(st.sampled_from("XAB"), max_size=4)


@pytest.mark.says(
    "The product root holds the archive's tree as it is.",
    "Directories that the archive does not list are made up.",
)
@given(st.sets(FOLDERS.map(lambda names: "".join(f"{n}/" for n in names) + "f")), st.sets(FOLDERS.map("/".join)))
def test_every_file_and_directory_of_any_archive_is_there_once_and_nothing_else(
    files: set[str], directories: set[str]
) -> None:
    paths = files | {f"{path}/" for path in directories if path}
    parents = {f"{path[:end]}" for path in paths for end in range(1, len(path)) if path[end - 1] == "/"}
    expected = paths | parents
    if {path.partition("/")[0] for path in expected} == {"X"}:
        expected = {path[2:] for path in expected} - {""}
    assert in_root(paths, "X") == expected


def test_deep_paths_are_no_danger() -> None:
    top = at(mounted(Engine(listing("d/" * 5_000 + "file")), product("X")), "X", "data", "X")
    for _ in range(5_000):
        top = children(top)["d"]
    assert list(children(top)) == ["file"]


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.says(
    "A product's directory is named after its title, else its id.",
    "`/`, NUL and control characters become `_`.",
)
@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("a title", "a title"),
        ("é…😀", "é…😀"),
        ("a/b", "a_b"),
        ("/", "_"),
        ("a\0b\nc\td\x1b\x7fe\x85", "a_b_c_d__e_"),
        (".", "_"),
        ("..", "__"),
        ("...", "..."),
        (".hidden", ".hidden"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("x" * 255, "x" * 255),
        ("not \udcff text", "not \udcff text"),
    ],
)
def test_a_name_keeps_all_that_a_file_system_can_hold(title: str, name: str) -> None:
    assert safe_name(title, "id") == name


@pytest.mark.says("A name longer than 255 bytes is cut, with a hash of the id at its end.")
@pytest.mark.parametrize("title", ["x" * 256, "é" * 128, "x" + "😀" * 100])
def test_a_name_that_is_too_long_is_cut_with_the_hash_of_the_id_at_its_end(title: str) -> None:
    name = safe_name(title, "my id")
    assert 251 < len(name.encode()) <= 255
    assert name.endswith("-" + hashlib.sha256(b"my id").hexdigest()[:12])
    assert title.startswith(name[:-13])
    assert safe_name(title, "another id") != name


def test_a_suffix_that_makes_a_product_root_too_long_is_cut_too() -> None:
    assert len(root_name(product("S2A_" + "x" * 250)).encode()) == 255


def ids(*products: Product) -> dict[str, str]:
    return {name: one.uid for name, one in name_all(products).items()}


@pytest.mark.says("Of two products of one name, the second and later carry `-<id>`")
def test_of_two_products_of_one_name_the_second_carries_its_id() -> None:
    assert ids(product("T", "2", "b"), product("T", "1", "a")) == {"T": "a", "T-2": "b"}


def test_a_number_is_added_where_even_that_collides() -> None:
    same = [product("T", "1", uid) for uid in "abc"]
    assert ids(*same) == {"T": "a", "T-1": "b", "T-1~2": "c"}
    assert ids(*same, product("T-1", "0", "x")) == {"T": "a", "T-1": "x", "T-1~2": "b", "T-1~3": "c"}


def test_names_that_become_equal_only_when_they_are_cleaned_are_told_apart() -> None:
    assert ids(product("a/b", "1", "a"), product("a_b", "2", "b")) == {"a_b": "a", "a_b-2": "b"}


PRODUCTS = st.lists(
    st.builds(
        product,
        title=st.sampled_from(["T", "T-1", "T-1~2", "a/b", "a_b", "x" * 300, "x" * 299, "x" * 255]),
        id=st.sampled_from(["1", "2", "/", "x" * 300]),
        uid=st.sampled_from("abc"),
        feature=st.sampled_from([b"{}", b"[]"]),
    ).map(lambda one: replace(one, feature=one.title.encode() + bytes(one.feature))),  # where all else was read from
    max_size=7,
)


@pytest.mark.says("names do not depend on the order in the file.")
@given(PRODUCTS.flatmap(lambda products: st.tuples(st.just(products), st.permutations(products))))
def test_names_are_stable_whatever_the_order_and_each_product_has_one(
    both: tuple[list[Product], list[Product]],
) -> None:
    first, second = map(name_all, both)
    assert first == second
    assert list(first) == list(second) == sorted(first)
    assert sorted(map(repr, first.values())) == sorted(map(repr, both[0]))
    for name in first:
        assert 0 < len(name.encode()) <= 255
        assert "/" not in name


@given(st.text(), st.text())
def test_any_title_makes_a_name_that_is_one_part_of_a_path(title: str, product_id: str) -> None:
    name = safe_name(title, product_id)
    assert 0 < len(name.encode()) <= 255
    assert name not in {".", ".."}
    assert "/" not in name
    assert not any(unicodedata.category(character) == "Cc" for character in name)


# -- what costs --------------------------------------------------------------------------------------------------------


def test_looking_at_everything_but_the_inside_of_a_product_root_asks_for_nothing() -> None:
    engine = Engine(listing("a"))
    root = mounted(engine, product(quicklook="https://peps.cnes.fr/q.jpg"), product(S3))
    seen = dict(walk(root, inside=False))
    assert len(seen) == 2 + 2 * 4 + 1
    for path, node in seen.items():
        if isinstance(node, File) and path.endswith("metadata.json"):
            node.size(NOBODY)
            node.open(NOBODY).read(0, 1000, NOBODY)
    assert engine.asked == []


def test_the_status_and_the_attributes_ask_for_the_status_alone() -> None:
    engine = Engine(listing("a"))
    directory = at(mounted(engine, product()), S2)
    assert isinstance(directory, Directory)
    assert directory.attributes
    directory.attributes()
    status = at(directory, "status")
    assert isinstance(status, Text)
    status.content()
    assert set(engine.asked) == {"status"}


@pytest.mark.parametrize("how", ["size", "open"])
def test_the_quicklook_is_asked_for_when_it_is_looked_at(how: str) -> None:
    engine = Engine()
    picture = at(mounted(engine, product(quicklook="https://peps.cnes.fr/q.jpg")), S2, "quicklook.jpg")
    assert isinstance(picture, File)
    if how == "size":
        assert picture.size(NOBODY) == len(b"picture")
    else:
        assert picture.open(NOBODY).read(0, 100, NOBODY) == b"picture"
    assert engine.asked == ["quicklook"]


def test_looking_into_the_product_root_asks_for_the_list_of_files_and_a_file_for_its_bytes() -> None:
    engine = Engine(listing("a/b"))
    file = at(mounted(engine, product("X")), "X", "data", "X", "a", "b")
    assert engine.asked == ["listing"]
    assert isinstance(file, File)
    assert file.size(NOBODY) == 3
    assert engine.asked == ["listing"]
    assert file.open(NOBODY).read(0, 100, NOBODY) == b"X a/b"
    assert engine.asked == ["listing", "open"]


def test_who_looks_inside_is_told_why_that_is_not_possible() -> None:
    def check() -> None:
        raise NotReady("not ready")

    root = at(mounted(Engine(), product("X")), "X", "data", "X")
    assert isinstance(root, Directory)
    with pytest.raises(NotReady):
        root.children(Caller(check))


def test_a_product_that_was_fetched_afresh_shows_what_it_holds_now() -> None:
    engine = Engine(listing("old"))
    root = at(mounted(engine, product("X")), "X", "data", "X")
    assert list(children(root)) == ["old"]
    engine.listed = listing("new")
    assert list(children(root)) == ["new"]


def test_a_product_directory_that_is_asked_for_again_and_again_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []
    monkeypatch.setattr(Engine, "quicklook_name", lambda _, one: made.append(one.title))
    root = mounted(Engine(listing("a")), product("X"), product("Y"))
    for _ in range(3):
        at(root, "X", "data", "X", "a")
    assert made == ["X"]


# -- what nodes say ----------------------------------------------------------------------------------------------------


@pytest.mark.says("Inode numbers are unique, and the same from mount to mount.")
def test_inode_numbers_are_unique_and_the_same_in_every_mount() -> None:
    products = [product(title, quicklook="https://peps.cnes.fr/q.png") for title in ("X", "Y", "X/data", S2)]
    paths = ["member/a", "member/b/", "a", "b", "X/a", "X/member/a", "status", "data/X/a"]
    numbers = []
    for several in (products, products[::-1]):
        root = mounted(Engine(listing(*paths)), *several)
        numbers.append({"": root.ino} | {path: node.ino for path, node in walk(root)})
    assert numbers[0] == numbers[1]
    assert len(set(numbers[0].values())) == len(numbers[0]) > 60
    assert all(1 < number < 1 << 63 for number in numbers[0].values())


def test_a_listing_says_the_same_of_each_name_as_its_node() -> None:
    root = mounted(Engine(listing("a/b", "c")), product("X", quicklook="https://peps.cnes.fr/q.png"), product("Y"))
    for path, node in [("", root), *walk(root)]:
        if isinstance(node, Directory):
            inside = node.children(NOBODY)
            said = [(name, child.mode, child.ino) for name, child in inside.items()]
            assert list(entries(inside)) == said, path


@pytest.mark.says("A product's directory has the time of its acquisition's start")
def test_times_are_the_acquisition_start_and_inside_data_the_members_own() -> None:
    engine = Engine(Listing("zip", (member("a/b", mtime=123_456_789),), ("empty",)))
    root = mounted(engine, product("X", quicklook="https://peps.cnes.fr/q.png"))
    start = int(START.timestamp()) * 10**9
    assert root.mtime == STARTED
    assert {path: node.mtime for path, node in walk(root)} == {
        "X": start,
        "X/quicklook.png": start,
        "X/metadata.json": start,
        "X/status": STARTED,
        "X/data": start,
        "X/data/X": start,
        "X/data/X/a": start,
        "X/data/X/empty": start,
        "X/data/X/a/b": 123_456_789,
    }


def test_a_product_without_an_acquisition_time_is_as_old_as_the_mount() -> None:
    assert at(mounted(Engine(), product("X", start=None)), "X").mtime == STARTED


@pytest.mark.says("`metadata.json` is the feature as the result holds it, byte for byte.")
def test_metadata_is_the_feature_byte_for_byte() -> None:
    one = product()
    file = at(mounted(Engine(), one), S2, "metadata.json")
    assert isinstance(file, File)
    assert file.size(NOBODY) == len(one.feature)
    reader = file.open(NOBODY)
    assert reader.read(0, 1000, NOBODY) == one.feature
    assert reader.read(5, 3, NOBODY) == one.feature[5:8]
    reader.close()


def test_the_extended_attributes_say_the_same_as_the_lines_of_the_status_file() -> None:
    directory = at(mounted(Engine(), product()), S2)
    assert isinstance(directory, Directory)
    assert directory.attributes
    status = at(directory, "status")
    assert isinstance(status, Text)
    lines = yaml.safe_load(status.content().decode())
    assert len(status.content().splitlines()) == len(lines)
    said = {name: value.decode() for name, value in directory.attributes().items()}
    assert said == {f"user.eofs.{key}": "null" if value is None else str(value) for key, value in lines.items()}
    assert said["user.eofs.location"] == f"file:///mnt/{S2}/data/{S2}.SAFE"


def test_the_mount_itself_says_about_itself() -> None:
    root = mounted(Engine())
    assert root.attributes
    assert root.attributes() == {"user.eofs.pid": b"42", "user.eofs.levels": b"1"}
    assert children(root) == {}


@pytest.mark.says("It is absent where the result names none.")
@pytest.mark.parametrize(
    ("link", "name"),
    [
        (None, None),
        ("https://peps.cnes.fr/a.jpg", "quicklook.jpg"),
        ("data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode(), "quicklook.png"),
    ],
    ids=["none", "a link", "inline"],
)
def test_a_quicklook_is_there_where_the_result_names_one(link: str | None, name: str | None) -> None:
    names = set(children(at(mounted(Engine(), product(quicklook=link)), S2)))
    assert names - {"status", "metadata.json", "data"} == ({name} if name else set())


def test_the_directories_of_very_many_products_are_made_when_they_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []
    monkeypatch.setattr(Engine, "quicklook_name", lambda _, one: made.append(one.title))
    root = mounted(Engine(), *(product(f"T{number}") for number in range(20_000)))
    names = root.children(NOBODY)
    assert len(names) == len(list(names)) == 20_000
    assert names.get("T20000") is None
    assert made == []
    children(names["T19999"])
    assert made == ["T19999"]
