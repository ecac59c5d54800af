"""Where products stand by the option `layout`: what templates mean, and the tree that comes of them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tree import S2, START, STARTED, Engine, product

from eofs.folders import Products
from eofs.layout import FLAT, Layout, name_all, read_layout, safe_name
from eofs.nodes import NOBODY, Directory, entries
from eofs.providers.values import Unexpected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eofs.model import Product

MONTHS = "{collection}/{start:%Y/%m}/{title}"


# -- templates ---------------------------------------------------------------------------------------------------------


def path_of(template: str, **said: object) -> str:
    [path] = name_all([product(**{"collection": "S2_MSI_L1C", **said})], read_layout(template))  # type: ignore[arg-type]
    return path


@pytest.mark.says(
    "`layout` is a template of the paths below the mount at which the products' directories stand",
    "Its fields are `title`, `id`, `provider`, `collection` and `start`",
    "the acquisition's start in UTC, as strftime(3) writes it by the form behind the colon, else as a date",
)
@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{title}", S2),
        ("{id}", "my id"),
        (MONTHS, f"S2_MSI_L1C/2020/12/{S2}"),
        ("{provider}/{id}-{title}", f"peps/my id-{S2}"),
        ("{start}/{title}", f"2020-12-29/{S2}"),
        ("{start:%Y-%m-%dT%H:%M:%S}/{title}", f"2020-12-29T11:04:51/{S2}"),
        ("{start:%Y/%m}-{title}", f"2020/12-{S2}"),
        ("by month/{collection}_{start:%G-W%V}/{title}.d", f"by month/S2_MSI_L1C_2020-W53/{S2}.d"),
        ("{start:year %Y/100%%}/{title}", f"year 2020/100%/{S2}"),
        ("a{{b}}/{title}", f"a{{b}}/{S2}"),
        ("{title}/{id}", f"{S2}/my id"),
    ],
)
def test_a_template_says_where_a_product_stands(template: str, path: str) -> None:
    assert path_of(template, id="my id") == path
    assert read_layout(template).levels == path.count("/") + 1


def test_times_are_in_utc() -> None:
    tokyo = START.replace(hour=3).astimezone(timezone(timedelta(hours=-9)))
    assert path_of("{start:%Y-%m-%d %H}/{title}", start=tokyo) == f"2020-12-29 03/{S2}"


@pytest.mark.says(
    "What a result does not say is `unknown`, in each part of a time.",
    "Only a slash of the template, or of a form, begins another directory; in what a product says it becomes `_`",
)
@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"collection": None}, f"unknown/2020/12/{S2}"),
        ({"collection": ""}, f"unknown/2020/12/{S2}"),
        ({"start": None}, f"S2_MSI_L1C/unknown/unknown/{S2}"),
        ({"collection": "a/b"}, f"a_b/2020/12/{S2}"),
        ({"collection": "../../etc"}, f".._.._etc/2020/12/{S2}"),
        ({"collection": ".."}, f"__/2020/12/{S2}"),
        ({"collection": "."}, f"_/2020/12/{S2}"),
        ({"collection": "a\0b\n"}, f"a_b_/2020/12/{S2}"),
        ({"title": "a/b"}, "S2_MSI_L1C/2020/12/a_b"),
        ({"collection": "{title}"}, f"{{title}}/2020/12/{S2}"),
    ],
    ids=repr,
)
def test_what_a_product_says_is_one_part_of_the_path(said: dict[str, object], path: str) -> None:
    assert path_of(MONTHS, **said) == path


@pytest.mark.says("Two of one path are told apart as two of one name are.")
def test_two_products_of_one_path_are_told_apart_and_two_of_one_title_in_two_folders_are_not() -> None:
    found = [product("T", number, number, collection=where) for number, where in (("2", "A"), ("1", "A"), ("3", "B"))]
    named = name_all(found, read_layout("{collection}/{title}"))
    assert {path: one.id for path, one in named.items()} == {"A/T": "1", "A/T-2": "2", "B/T": "3"}


@pytest.mark.says("A folder's name that is too long is cut, with a hash of itself")
def test_products_of_a_collection_with_a_long_name_stand_together() -> None:
    paths = name_all([product(id=name, title=name, collection="é" * 200) for name in "ab"], read_layout(MONTHS))
    [folder] = {path.partition("/")[0] for path in paths}
    assert 250 < len(folder.encode()) <= 255
    assert folder == safe_name("é" * 200, "é" * 200) != safe_name("é" * 200, "a")


@pytest.mark.says(
    "A template is refused that is absolute, or has empty parts, `.` or `..`",
    "other fields, other forms, or neither `{title}` nor `{id}` in its last part",
)
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        *[
            (template, "which is relative and has no empty parts")
            for template in ("", "/{title}", "{title}/", "a//{title}", "./{title}", "a/../{title}", "{start:/%Y}/{id}",
                             "{start:%Y//%m}/{id}", "{start:%Y/}/{id}", "{start:%Y/../%m}/{id}")
        ],
        *[
            (template, "{title} or {id} in its last part")
            for template in ("{collection}", "{title}/{start:%Y}", "a", "x/{{title}}", "{start:%Y/%m}")
        ],
        *[
            (template, "no fields but {title}, {id}, {provider}, {collection}, {start} and {start:%Y/%m}")
            for template in ("{platform}/{title}", "{}", "{title:10}", "{title!r}", "{start!s}/{id}", "{title.x}",
                             "{title[0]}", "{0}", "{ title}", "{Title}")
        ],
        *[
            (f"{{start:{form}}}/{{title}}", "%Y, %m, %d, %j, %H, %M and the like behind {start:")
            for form in ("%", "%Q", "%Y%", "%s", "%D", "%c", "a\0b", "\n", "\udcff", "{id}")
        ],
        *[(template, "a path such as {collection}") for template in ("{title", "title}", "{{title}")],
    ],
    ids=repr,
)  # fmt: skip
def test_a_template_that_cannot_be_meant(template: str, expected: str) -> None:
    with pytest.raises(Unexpected, match=re.escape(expected)):
        read_layout(template)


@pytest.mark.parametrize("template", ["{title}", "{collection}/{title}"])
def test_layouts_of_one_template_are_the_same(template: str) -> None:
    assert read_layout(template) == read_layout(template)
    assert (read_layout(template) == FLAT) is (template == "{title}")


# -- any products ------------------------------------------------------------------------------------------------------

ANY_TEXT = st.one_of(st.sampled_from(["T", "T-1", "T-1~2", "unknown", "2020", "a/b", "..", "x" * 300]), st.text())
PRODUCTS = st.lists(
    st.builds(
        product,
        title=ANY_TEXT.filter(bool),
        id=ANY_TEXT,
        uid=st.sampled_from("abc"),
        collection=st.one_of(st.none(), ANY_TEXT),
        start=st.one_of(st.none(), st.datetimes(timezones=st.just(timezone.utc))),
    ),
    max_size=8,
    unique_by=lambda one: (one.title, one.id, one.uid, one.collection, one.start),
).map(lambda found: [replace(one, feature=repr((one.collection, one.start, one.title)).encode()) for one in found])
LAYOUTS = st.sampled_from([
    "{title}", MONTHS, "{start:%Y/%m/%d}/{title}", "{collection}/{id}", "{title}/{title}", "{id}/{collection}/{title}",
    "{provider}/{collection}-{start}/{title}",
]).map(read_layout)  # fmt: skip


@given(PRODUCTS.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))), LAYOUTS)
def test_paths_are_stable_whatever_the_order_and_each_product_has_one_that_a_disk_could_hold(
    both: tuple[list[Product], list[Product]], layout: Layout
) -> None:
    first, second = (name_all(products, layout) for products in both)
    assert first == second
    assert sorted(map(repr, first.values())) == sorted(map(repr, both[0]))
    for path in first:
        parts = path.split("/")
        assert len(parts) == layout.levels
        assert all(0 < len(part.encode()) <= 255 and part not in {".", ".."} for part in parts)


def walk(folder: Any, path: str = "") -> Iterator[tuple[str, Directory]]:
    """Yield all directories down to those of products, with their paths."""
    for name, node in folder.items():
        assert isinstance(node, Directory)
        yield path + name, node
        if "levels" in str(node.attributes and node.attributes()):
            yield from walk(node.children(NOBODY), f"{path}{name}/")


@pytest.mark.says("All products of a mount are equally deep, so that none is where a folder of others is")
@given(PRODUCTS, LAYOUTS)
def test_the_tree_holds_each_product_at_its_path_and_nothing_but_folders_above_them(
    products: list[Product], layout: Layout
) -> None:
    named = name_all(products, layout)
    shown = Products(named, Engine(), "/mnt", STARTED, layout)
    nodes = dict(walk(shown.root({}).children(NOBODY)))
    deepest = [path for path in nodes if path.count("/") + 1 == layout.levels]
    assert sorted(deepest) == sorted(shown) == sorted(named)
    assert len(shown) == len(named)
    assert all(shown.product(path) == one for path, one in named.items())
    assert all(shown.product(path) is None for path in nodes.keys() - named.keys())
    assert all(any(path.startswith(f"{folder}/") for path in named) for folder in nodes.keys() - named.keys())
    assert len({node.ino for node in nodes.values()}) == len(nodes)
    for node in [shown.root({}), *nodes.values()]:
        inside = node.children(NOBODY)
        assert list(entries(inside)) == [(name, child.mode, child.ino) for name, child in inside.items()]


@pytest.mark.says("the time when its names last changed, at first that of the mount")
def test_a_folder_has_the_time_when_its_names_last_changed() -> None:
    layout = read_layout("{collection}/{title}")
    a, b, c = (product(title, collection=collection) for title, collection in (("A", "X"), ("B", "Y"), ("C", "Y")))
    before = Products(name_all([a, b], layout), Engine(), "/mnt", STARTED, layout)
    after = before.followed_by(name_all([replace(a, size=5), b, c], layout), STARTED + 7)
    assert {path: folder.mtime - STARTED for path, folder in before.folders.items()} == {"": 0, "X/": 0, "Y/": 0}
    assert {path: folder.mtime - STARTED for path, folder in after.folders.items()} == {"": 0, "X/": 0, "Y/": 7}
    gone = after.followed_by(name_all([b, c], layout), STARTED + 9)
    assert {path: folder.mtime - STARTED for path, folder in gone.folders.items()} == {"": 9, "Y/": 7}
    assert (gone.in_place_of(before.root({})).mtime, list(gone)) == (STARTED + 9, ["Y/B", "Y/C"])
