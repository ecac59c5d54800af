"""Orders, quicklooks and what providers said survive the program; damage costs them, and nothing else."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engine_room import together
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eofs.cache import Records
from eofs.model import Checksum, Order, Product
from eofs.status import StorageStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86_400.0
ORDER = Order(placed=1_600_000_000.25, id="42", answer="état: en cours\n…")
NAMES = st.one_of(st.text(max_size=300), st.text("/.\\~-_ aA\0é", max_size=8), st.just("x" * 300))


def product(uid: str, provider: str = "peps") -> Product:
    return Product(
        id=uid, uid=uid, title=uid, provider=provider, status=StorageStatus.ONLINE, location=None, quicklook=None,
        size=None, checksum=None, collection=None, start=None, cloud_cover=None, feature=b"{}",
    )  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    """Records for tests that leave no trace that could matter to another one."""
    records = Records(tmp_path_factory.mktemp("cache") / "records")
    yield records
    records.close()


@pytest.mark.parametrize("order", [ORDER, Order(placed=0.0)], ids=["with all", "bare"])
def test_an_order_survives_the_program_until_it_is_filled(tmp_path: Path, order: Order) -> None:
    records = Records(tmp_path / "records")
    assert records.order(product("a")) is None
    records.note_order(product("a"), order)
    records.close()
    records = Records(tmp_path / "records")
    assert records.order(product("a")) == order
    assert records.order(product("b")) is None
    records.note_order(product("a"), None)
    records.note_order(product("a"), None)
    assert records.order(product("a")) is None
    records.close()


def test_what_products_are_called_survives_the_program_and_the_last_word_on_each_counts(tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    part = replace(product("a/B04", "é"), title="A/B04.tif", part_of="A")
    for each in (product("b"), part, product("b")):
        records.note_product(each, None)
    records.note_product(part, Checksum("sha256", "0" * 64))
    records.note_quicklook(product("c"), b"picture")
    records.take_turn("b", 1, 60, 0)
    records.close()
    records = Records(tmp_path / "records")
    found = {said.key: said for said in records.products()}
    assert set(found) == {("peps", "b"), ("é", "a/B04")}
    assert (found["peps", "b"].title, found["peps", "b"].part_of, found["peps", "b"].checksum) == ("b", "", None)
    said = found["é", "a/B04"]
    assert (said.title, said.part_of) == ("A/B04.tif", "A")
    assert said.checksum == Checksum("sha256", "0" * 64)
    records.close()


@pytest.mark.parametrize("size", [0, 1, 100, 1 << 20])
def test_a_quicklook_survives_the_program(tmp_path: Path, size: int) -> None:
    picture = random.Random(size).randbytes(size)
    records = Records(tmp_path / "records")
    assert records.quicklook(product("a")) is None
    records.note_quicklook(product("a"), picture)
    records.close()
    records = Records(tmp_path / "records")
    assert records.quicklook(product("a")) == picture
    assert records.volume() >= size
    records.close()


@pytest.mark.parametrize("storage", list(StorageStatus))
def test_what_a_provider_said_of_its_storage_is_believed_for_a_day(
    kept: Records, monkeypatch: pytest.MonkeyPatch, storage: StorageStatus
) -> None:
    now = time.time()
    kept.note_storage(product(storage.value), storage)
    assert kept.storage(product("another")) is None
    monkeypatch.setattr(time, "time", lambda: now + DAY - 60)
    assert kept.storage(product(storage.value)) is storage
    monkeypatch.setattr(time, "time", lambda: now + DAY + 60)
    assert kept.storage(product(storage.value)) is None


@given(NAMES, NAMES, NAMES, NAMES)
@settings(max_examples=100)
def test_records_of_one_product_are_never_taken_for_those_of_another(
    kept: Records, provider: str, uid: str, provider2: str, uid2: str
) -> None:
    assume((provider, uid) != (provider2, uid2))
    kept.note_order(product(uid, provider), ORDER)
    kept.note_order(product(uid2, provider2), None)
    assert kept.order(product(uid, provider)) == ORDER


def test_a_slash_does_not_mix_up_provider_and_uid(kept: Records) -> None:
    kept.note_order(product("b/c", "a"), ORDER)
    assert kept.order(product("c", "a/b")) is None


@pytest.mark.parametrize("damage", [b"no data base", b"SQLite format 3\0" + b"\xff" * 5000], ids=["text", "pages"])
def test_a_damaged_data_base_is_set_aside_and_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    records = Records(tmp_path / "records")
    records.note_order(product("a"), ORDER)
    records.close()
    for name in (tmp_path / "records").glob("cache.db*"):
        name.unlink()
    (tmp_path / "records" / "cache.db").write_bytes(damage)
    records = Records(tmp_path / "records")
    assert "were damaged and are begun anew" in caplog.text
    assert [(name / "cache.db").read_bytes() for name in tmp_path.glob("records.broken-*")] == [damage]
    assert records.order(product("a")) is None
    records.note_order(product("a"), ORDER)
    assert records.order(product("a")) == ORDER
    records.close()


def test_damage_that_shows_later_costs_what_was_noted_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records(tmp_path / "records")
    for number in range(200):
        records.note_order(product(f"{number}"), ORDER)
    records.close()
    database = tmp_path / "records" / "cache.db"
    size = database.stat().st_size
    with database.open("r+b") as file:  # the first pages, which say what tables there are, are sound
        file.seek(8 * 4096)
        file.write(b"\xff" * (size - 8 * 4096))
    records = Records(tmp_path / "records")
    read = [records.order(product(f"{number}")) for number in range(200)]
    assert set(read) <= {None, ORDER}
    records.note_order(product("new"), ORDER)
    assert "could not be" in caplog.text
    records.close()


def test_so_many_orders_as_a_provider_takes_get_a_turn_whoever_asks(tmp_path: Path) -> None:
    both = [Records(tmp_path / "records") for _ in range(2)]
    free = together(16, lambda: [records.take_turn("onda", 20, 3600.0, 1000.0) for records in both])
    assert sorted(str(each) for pair in free for each in pair) == ["4600.0"] * 12 + ["None"] * 20
    both[0].give_turn_back("onda", 1000.0)
    assert [both[1].take_turn("onda", 20, 3600.0, now) for now in (1500.0, 1501.0, 4600.0)] == [None, 4600.0, None]
    assert both[0].take_turn("wekeo_main", 1, 3600.0, 1501.0) is None
    for records in both:
        records.close()


def test_a_thread_that_ends_leaves_no_file_open(tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    for number in range(30):
        thread = threading.Thread(target=records.order, args=[product(f"{number}")])
        thread.start()
        thread.join()
    assert len(open_below(tmp_path)) <= 3 * 2  # SQLite has three, and closes one late
    records.close()


def open_below(directory: Path) -> list[str]:
    """Return the files in a directory that this process has open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the descriptor that the list itself is read from
            found.append(str(link.readlink()))
    return [name for name in found if name.startswith(str(directory))]
