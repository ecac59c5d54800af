"""What is known of the kernel's bytes, and what stays with who has something open, without a kernel."""

from __future__ import annotations

import pytest
from test_tree import STARTED, Engine, product

from eofs.folders import Products
from eofs.layout import name_all, read_layout
from eofs.nodes import Held
from eofs.top import MANY, Top

LAYOUT = read_layout("{collection}/{title}")


def products(*titles: str) -> Products:
    found = [product(title, collection="C") for title in titles]
    return Products(name_all(found, LAYOUT), Engine(), "/mnt", STARTED, LAYOUT)


def test_what_the_kernel_has_of_a_file_is_right_from_its_second_sure_opening_on_until_another_root_is_shown() -> None:
    top = Top(products("A").root({}), 2)
    assert [top.is_right(7, sure=sure) for sure in (False, True, True, True, False, True, True)] == [
        False, False, True, True, False, False, True,
    ]  # fmt: skip
    assert top.show(products("B").root({}), ())
    assert [top.is_right(7, sure=True) for _ in range(2)] == [False, True]


def test_very_many_files_take_no_more_memory() -> None:
    top = Top(products().root({}), 2)
    for number in range(MANY):
        assert not top.is_right(number, sure=True)
    assert top.is_right(5, sure=True)
    assert [top.is_right(6, sure=True) for _ in range(2)] == [False, True]


@pytest.mark.parametrize("path", ["/C/A", "/C/A/status", "/C/A/data/A/b"])
def test_a_product_stays_with_who_has_something_of_it_open(path: str) -> None:
    before = products("A")
    top = Top(before.root({}), 2)
    with top.holding(path):
        number = top.keep(Held(b""))
    assert top.in_use() == {"C/A"}
    assert not top.show(products().root({}), {"C/A"})
    assert top.show(products().root({}), {"C/B"})
    assert top.left_behind(["C", "A"]) == before.folders["C/"]["A"]
    with top.holding(path):
        again = top.keep(Held(b""))
    for each in (number, again):
        assert top.left_behind(["C", "A"])
        top.close(path, each)
    assert top.left_behind(["C", "A"]) is None
    assert top.in_use() == set()


@pytest.mark.parametrize("path", ["/", "/C", "/none", "/C/none"])
def test_who_has_a_folder_open_holds_no_product(path: str) -> None:
    top = Top(products("A").root({}), 2)
    with top.holding(path):
        number = top.keep({})
    assert top.show(products().root({}), {"C/A"})
    assert top.left_behind(path.split("/")[1:]) is None
    assert top.close(path, number) == {}


def test_what_could_not_be_opened_is_not_held() -> None:
    top = Top(products("A").root({}), 2)
    with pytest.raises(ValueError, match="no"), top.holding("/C/A/status"):
        raise ValueError("no")
    assert top.in_use() == set()
