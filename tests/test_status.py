"""The life of a product is a table; the status file is YAML of one line a key, whatever the texts hold."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from eofs.status import Activity, Local, Status, StorageStatus, move, storage_status

STATUS = Status(
    storageStatus=StorageStatus.STAGING,
    local=Local.ABSENT,
    activity=Activity.WAITING,
    message="ordered 2026-11-22T09:12:04Z, next check in 51 s, giving up at 09:32:04Z",
    downloaded=0,
    size=812345678,
    provider="peps",
    id="S2A_MSIL1C_20201229T110451_N0209_R094_T31TCL_20201229T131620",
    title="S2A_MSIL1C_20201229T110451_N0209_R094_T31TCL_20201229T131620",
    location="https://peps.cnes.fr/resto/collections/S2ST/42/download",
    remote_location="https://peps.cnes.fr/resto/collections/S2ST/42/download",
    order=None,
    error=None,
)

# Texts as people, providers and attackers write them; surrogates stand for bytes that are no UTF-8.
ODD = st.text(
    st.one_of(
        st.characters(codec=None),
        st.sampled_from("\n\r\t\x85\u2028\u2029\ufeff\0\x1b\ud800\udcff'\"#:-?![]{}&*|>%@`\\ ~=<é…😀"),
    )
)


@pytest.mark.says("Text that is also YAML, one `key: value` a line")
def test_the_status_file_is_the_one_of_the_documentation() -> None:
    assert STATUS.text() == (
        "storageStatus: STAGING\n"
        "local: absent\n"
        "activity: waiting\n"
        "message: ordered 2026-11-22T09:12:04Z, next check in 51 s, giving up at 09:32:04Z\n"
        "downloaded: 0\n"
        "size: 812345678\n"
        "provider: peps\n"
        "id: S2A_MSIL1C_20201229T110451_N0209_R094_T31TCL_20201229T131620\n"
        "title: S2A_MSIL1C_20201229T110451_N0209_R094_T31TCL_20201229T131620\n"
        "location: https://peps.cnes.fr/resto/collections/S2ST/42/download\n"
        "remote_location: https://peps.cnes.fr/resto/collections/S2ST/42/download\n"
        "order: null\n"
        "error: null\n"
    )


def test_an_unknown_size_is_null() -> None:
    assert "\nsize: null\n" in replace(STATUS, size=None).text()


@given(ODD, ODD, ODD)
def test_texts_of_any_kind_stay_on_one_line_each_and_are_read_back_as_they_were(
    message: str, title: str, error: str
) -> None:
    status = replace(STATUS, message=message, title=title, error=error)
    lines = status.text().splitlines()
    assert [line.partition(":")[0] for line in lines] == list(status.values())
    assert yaml.safe_load(status.text()) == status.values()
    for line, (key, value) in zip(lines, status.values().items(), strict=True):
        assert yaml.safe_load(line) == {key: value}
    status.text().encode("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "null", "~", "true", "no", "12", "1e3", "0x1f", "1_000", "12:30:45", "2020-01-01", "=", "<<", "- a",
        "? a", "a: b", "a #b", "#a", "'a", '"a', "'a'", "a\nb", "a\n", "\na", "a\r\nb", "a\u2028b", "\x85", "--- a",
        "...", "%a", "@a", "`a", "{a", "[a", "&a", "*a", "!a", "|", ">", "é…😀", "x" * 10_000, "x y " * 10_000,
    ],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_a_text_that_looks_like_something_else_stays_a_text(text: str) -> None:
    written = replace(STATUS, error=text).text()
    assert len(written.splitlines()) == 13
    assert yaml.safe_load(written)["error"] == text


def test_values_are_plain_words_numbers_and_nothing() -> None:
    values = STATUS.values()
    assert (values["storageStatus"], values["local"], values["activity"]) == ("STAGING", "absent", "waiting")
    assert {type(value) for value in values.values()} == {str, int, type(None)}


# -- the table ---------------------------------------------------------------------------------------------------------


@pytest.mark.says("What a result says is a snapshot: the provider's answer wins")
@pytest.mark.parametrize(("now", "then"), list(itertools.product(StorageStatus, repeat=2)))
def test_the_providers_answer_wins_over_whatever_was_believed(now: StorageStatus, then: StorageStatus) -> None:
    assert move(now, then) is then


FORBIDDEN = {(Activity.DOWNLOADING, Activity.ORDERING)}  # what is coming is not ordered


@pytest.mark.parametrize(("now", "then"), sorted(set(itertools.product(Activity, repeat=2)) - FORBIDDEN))
def test_a_move_of_the_table_is_allowed_and_so_is_staying(now: Activity, then: Activity) -> None:
    assert move(now, then) is then


@pytest.mark.parametrize(("now", "then"), sorted(FORBIDDEN))
def test_a_move_that_is_not_in_the_table_is_a_fault_of_the_program(now: Activity, then: Activity) -> None:
    with pytest.raises(RuntimeError, match=f"^a product cannot go from {now.value} to {then.value}$"):
        move(now, then)


@pytest.mark.says("A word of another dialect maps to one of ours")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["OFFLINE", "offline", "orderable", " Orderable "], StorageStatus.OFFLINE),
        (["STAGING", "staging", "ordered", "pending", "shipping", "SHIPPING"], StorageStatus.STAGING),
        (["ONLINE", "online", "succeeded", "Succeeded"], StorageStatus.ONLINE),
        ([None, "", "Not Available", "unknown", "failed", 0, True, [], {}], StorageStatus.ONLINE),
    ],
    ids=["offline", "staging", "online", "absent or unknown"],
)
def test_the_words_of_eodag_2_to_4_and_of_stac_are_understood(words: list[object], expected: StorageStatus) -> None:
    assert {storage_status(word) for word in words} == {expected}
