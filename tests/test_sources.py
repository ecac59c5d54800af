"""What a user names as a search result: files, directories of them, several; read as one, and again."""

from __future__ import annotations

import gzip
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from eofs.catalog.filters import Choice, parse
from eofs.catalog.sources import Sources
from eofs.demo import ten_products
from eofs.errors import ResultError
from eofs.folders import Products, changes
from eofs.inotify import Inotify
from eofs.layout import name_all

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from eofs.model import Product

TEN = ten_products()
TITLES = [str(feature["properties"]["title"]) for feature in TEN]


def write(file: Path, numbers: Iterable[int], **said: object) -> Path:
    """Write a result of some of the ten products, of which each says this as well."""
    found = [{**TEN[number], "properties": {**TEN[number]["properties"], **said}} for number in numbers]
    text = json.dumps({"type": "FeatureCollection", "features": found}).encode()
    file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    return file


def titles(products: Iterable[Product]) -> list[str]:
    return sorted(product.title for product in products)


def of(*numbers: int) -> list[str]:
    return sorted(TITLES[number] for number in numbers)


# -- what is named -----------------------------------------------------------------------------------------------------


def test_a_directory_is_all_results_in_it_and_nothing_below(tmp_path: Path) -> None:
    write(tmp_path / "a.geojson", [0])
    write(tmp_path / "b.JSON", [1])
    write(tmp_path / "c.json.gz", [2])
    write(tmp_path / ".d.json", [3])
    write(tmp_path / "e.txt", [4])
    write(tmp_path / "f.json.part", [5])
    (tmp_path / "g.json").mkdir()
    write(tmp_path / "g.json/h.json", [6])
    assert titles(Sources([str(tmp_path)]).load()) == of(0, 1, 2)


@pytest.mark.says("unless a file has that very name")
def test_names_with_a_colon_between_are_several_unless_a_file_is_called_so(tmp_path: Path) -> None:
    one, other = write(tmp_path / "a.json", [0]), write(tmp_path / "b.json", [1])
    assert titles(Sources([f"{one}:{other}"]).load()) == of(0, 1)
    assert titles(Sources([str(one), str(other)]).load()) == of(0, 1)
    assert titles(Sources([str(write(tmp_path / "T10:20.json", [2]))]).load()) == of(2)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["no"], "no does not exist"),
        (["2021-03-01T10:20.json"], "2021-03-01T10:20.json does not exist"),
        (["a.json:no"], "no does not exist"),
        (["a.json", "broken.json"], "broken.json is not JSON"),
        (["none"], "none holds no search result (*.json, *.geojson), and is no mount of eofs"),
        (["bad"], "bad/x.json is not JSON"),
        (["empty.json"], "empty.json holds no products; widen the search"),
        ([""], "is a directory; name the GeoJSON file of a search result"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_read_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.json", [0])
    write(tmp_path / "empty.json", [])
    (tmp_path / "broken.json").write_text("<html>", encoding="utf-8")
    (tmp_path / "none").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.json").write_text("<html>", encoding="utf-8")
    with pytest.raises(ResultError) as caught:
        Sources(names).load()
    assert reason in str(caught.value)


@pytest.mark.says("left out where it lies in a directory")
def test_in_a_directory_one_file_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [0])
    write(tmp_path / "b.json", [])
    (tmp_path / "c.json").write_text("{}", encoding="utf-8")
    sources = Sources([str(tmp_path)])
    assert titles(sources.load()) == of(0)
    assert len(sources.left_out) == 2
    assert all(sentence.endswith("it is left out") for sentence in sources.left_out)
    assert not sources.are_news(sources.marks())


@pytest.mark.says(
    "A product that several of them hold is shown once, as the file has it that was written last.",
)
def test_of_a_product_in_several_files_the_one_counts_that_was_written_last(tmp_path: Path) -> None:
    now = time.time_ns()
    for name, age in {"a": 2, "b": 1, "c": 3}.items():
        file = write(tmp_path / f"{name}.json", [0, 1], downloadLink=f"https://provider.example/{name}")
        os.utime(file, ns=(now - age, now - age))
    products = Sources([str(tmp_path)]).load()
    assert {product.location for product in products} == {"https://provider.example/b"}
    assert len(products) == 2


def test_what_is_wanted_is_wanted_of_all_together(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [0], cloudCover=10)
    write(tmp_path / "b.json", [1], cloudCover=90)
    assert titles(Sources([str(tmp_path)], Choice((parse("cloudCover<20"),))).load()) == of(0)
    with pytest.raises(ResultError, match="none of its 2 products passes cloudCover<5; ask for less"):
        Sources([str(tmp_path)], Choice((parse("cloudCover<5"),))).load()


# -- read again --------------------------------------------------------------------------------------------------------


def test_only_what_was_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = write(tmp_path / "a.json", [0]), write(tmp_path / "b.json", [1])
    sources = Sources([str(one), str(other)])
    before = {product.title: product for product in sources.load()}
    write(other, [1, 2])
    after = {product.title: product for product in sources.read(sources.marks())}
    assert titles(after.values()) == of(0, 1, 2)
    assert after[TITLES[0]] is before[TITLES[0]]
    assert after[TITLES[1]] is not before[TITLES[1]]
    sources.forget()
    assert sources.are_news(sources.marks())
    assert {product.title: product for product in sources.read(sources.marks())}[TITLES[0]] is not before[TITLES[0]]


def test_a_file_that_is_gone_stays_where_it_was_named_and_goes_where_it_lay_in_a_directory(tmp_path: Path) -> None:
    named, lying = write(tmp_path / "a.json", [0]), tmp_path / "d"
    lying.mkdir()
    write(lying / "b.json", [1])
    sources = Sources([str(named), str(lying)])
    sources.load()
    named.unlink()
    (lying / "b.json").unlink()
    assert titles(sources.read(sources.marks())) == of(0)
    write(lying / "b.json", [2])
    assert titles(sources.read(sources.marks())) == of(0, 2)
    lying.rename(tmp_path / "away")
    assert titles(sources.read(sources.marks())) == of(0, 2)


def test_changes_are_told_near_each_name_and_what_a_link_leads_to(tmp_path: Path) -> None:
    for name in ("here", "there", "all"):
        (tmp_path / name).mkdir()
    write(tmp_path / "there/a.json", [0])
    (tmp_path / "here/a.json").symlink_to(tmp_path / "there/a.json")
    write(tmp_path / "all/b.json", [1])
    sources = Sources([str(tmp_path / "here/a.json"), str(tmp_path / "all")])
    sources.load()
    assert sources.directories() == {str(tmp_path / name) for name in ("here", "there", "all")}


def test_a_word_comes_when_a_file_is_written_comes_or_goes_and_when_somebody_wakes_us(tmp_path: Path) -> None:
    inotify = Inotify()
    inotify.watch(str(tmp_path / "nowhere"))
    inotify.watch(str(tmp_path))
    for act in (
        lambda: (tmp_path / "a").write_text("a", encoding="utf-8"),
        lambda: (tmp_path / "a").rename(tmp_path / "b"),
        (tmp_path / "b").unlink,
        inotify.wake,
    ):
        act()
        inotify.wait(1e5)  # and the test ends


# -- what becomes of names ---------------------------------------------------------------------------------------------


def test_names_are_new_or_gone_or_say_something_else_or_are_anothers(tmp_path: Path) -> None:
    def named(*numbers: int, **said: object) -> dict[str, Product]:
        return name_all(Sources([str(write(tmp_path / "r.json", numbers, **said))]).load())

    engine: Any = None
    before = Products(named(0, 1, 2, 3), engine, "/mnt", 0)
    now = {
        **named(0, 4, remark="eofs knows nothing of this"),
        **named(1, storageStatus="STAGING"),
        **named(2),
    }
    now[TITLES[2]] = now[TITLES[4]]
    found = changes(before, now)
    assert (found.new, found.gone) == ({TITLES[4]}, {TITLES[3]})
    assert found.renewed == {TITLES[1]: before.product(TITLES[1])}
    assert found.replaced == {TITLES[2]}
    assert found.paths == {TITLES[number] for number in (1, 2, 3, 4)}
    assert str(found) == "1 new, 1 gone, 2 changed"
