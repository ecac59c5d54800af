"""Which range of a file is brought next."""

from __future__ import annotations

import time

import pytest

from eofs.extents import Extents
from eofs.jobs import LINGER, Job, Want, Work, choose

KB, MB = 1 << 10, 1 << 20
SIZE = 100 * MB


def job(start: int, stop: int, at: int | None = None, until: int = 0, seconds: float = 1.0) -> Job:
    """A job that has come as far as `at` in so many seconds."""
    now = time.monotonic()
    return Job(start, stop, until, start if at is None else at, reader=start, begun=now - seconds, touched=now)


def is_urgent(asked: Job) -> bool:
    return asked.urgent


@pytest.mark.parametrize(
    ("here", "wants", "fill", "found"),
    [
        pytest.param([], [], 0, None, id="nothing is wanted"),
        pytest.param([], [(5, 9, 9)], 0, (5, 9, 9), id="just what is waited for"),
        pytest.param([], [(5, 9, 50)], 0, (5, 50, 50), id="as far as it is going to be read"),
        pytest.param([(0, 7)], [(5, 9, 9)], 0, (7, 9, 9), id="not what is here"),
        pytest.param([(20, 30)], [(5, 9, 50)], 0, (5, 20, 50), id="up to what is here"),
        pytest.param([(0, 10)], [(5, 9, 9)], 0, None, id="all is here"),
        pytest.param([(0, SIZE - 9)], [], MB, (SIZE - 9, SIZE, 0), id="not beyond the end"),
        pytest.param([], [], MB, (0, MB, 0), id="what is missing, from the front"),
        pytest.param([(0, MB)], [], MB, (MB, 2 * MB, 0), id="behind what is here"),
        pytest.param(
            [], [(9 * MB, 9 * MB + 1, 9 * MB + 1)], MB, (9 * MB, 9 * MB + 1, 9 * MB + 1), id="what is waited for first"
        ),
        pytest.param([(0, SIZE)], [], MB, None, id="nothing is missing"),
    ],
)
def test_without_jobs_under_way(
    here: list[tuple[int, int]], wants: list[tuple[int, int, int]], fill: int, found: tuple[int, int, int] | None
) -> None:
    assert choose(Extents(here), [Want(*want) for want in wants], [], [], SIZE, 0, fill) == found


def test_what_a_job_brings_soon_is_not_asked_for_by_itself() -> None:
    fast = job(0, 50 * MB, at=25 * MB)
    want = Want(27 * MB, 28 * MB, 28 * MB)
    assert choose(Extents([(0, 25 * MB)]), [want], [], [fast], SIZE, 0, 0) is None


@pytest.mark.parametrize("at", [0, 2 * MB], ids=["not begun", "slow"])
def test_what_a_job_would_bring_much_later_is_taken_over_from_it(at: int) -> None:
    slow = job(0, 50 * MB, at=at)
    start = at + MB
    assert choose(Extents([(0, at)]), [Want(start, start + KB, start + KB)], [], [slow], SIZE, 0, 0) == (
        start,
        start + KB,
        start + KB,
    )
    assert slow.stop == start


def test_a_range_ends_where_another_job_brings_what_follows() -> None:
    jobs = [job(20 * MB, 30 * MB)]
    want = Want(5 * MB, 6 * MB, 40 * MB)
    assert choose(Extents(), [want], [], jobs, SIZE, 0, 0) == (5 * MB, 20 * MB, 40 * MB)


@pytest.mark.parametrize(
    ("start", "found"),
    [
        pytest.param(5, (5, 5 + MB, 9), id="and what lies next to it"),
        pytest.param(SIZE - 4, (SIZE - 4, SIZE, SIZE), id="not beyond the end"),
    ],
)
def test_where_all_is_wanted_more_comes_with_what_somebody_waits_for(start: int, found: tuple[int, int, int]) -> None:
    assert choose(Extents(), [Want(start, start + 4, start + 4)], [], [], SIZE, MB, 0) == found


def test_what_fills_goes_between_the_jobs_under_way() -> None:
    jobs = [job(0, 10 * MB, at=MB), job(12 * MB, 14 * MB)]
    assert choose(Extents([(0, MB)]), [], [], jobs, SIZE, 0, 16 * MB) == (10 * MB, 12 * MB, 0)


@pytest.mark.parametrize(
    ("until", "found"),
    [
        pytest.param(10 * MB, None, id="half of it is coming"),
        pytest.param(13 * MB, (8 * MB, 13 * MB, 13 * MB), id="half of it is not coming"),
    ],
)
def test_a_reader_that_reads_on_is_brought_more_when_it_is_half_way_there(
    until: int, found: tuple[int, int, int] | None
) -> None:
    hope = Want(4 * MB, 5 * MB, until)
    assert choose(Extents([(0, 6 * MB)]), [], [hope], [job(6 * MB, 8 * MB)], SIZE, 0, 0) == found


def test_what_is_hoped_for_comes_after_what_is_waited_for_and_before_what_only_fills() -> None:
    hope, want = Want(4 * MB, 5 * MB, 9 * MB), Want(50 * MB, 51 * MB, 51 * MB)
    here = Extents([(4 * MB, 5 * MB)])
    assert choose(here, [want], [hope], [], SIZE, 0, MB) == (50 * MB, 51 * MB, 51 * MB)
    assert choose(here, [], [hope], [], SIZE, 0, MB) == (5 * MB, 9 * MB, 9 * MB)


def test_a_reader_that_has_what_it_is_going_to_read_causes_nothing() -> None:
    work = Work()
    assert not work.note_reader(Extents([(0, MB)]), 0, KB, MB)
    assert work.next_job(Extents([(0, MB)]), SIZE, 0, 0) is None


def test_a_reader_that_has_gone_elsewhere_causes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    work, here = Work(), Extents([(0, KB)])
    assert work.note_reader(here, 0, KB, MB)
    monkeypatch.setattr("eofs.jobs.LINGER", 0.0)
    assert work.next_job(here, SIZE, 0, 0) is None


def test_a_reader_makes_the_jobs_urgent_that_bring_what_it_is_going_to_read() -> None:
    work, here = Work(), Extents([(0, KB)])
    filling = work.next_job(here, SIZE, 0, 8 * MB)
    assert filling
    assert not is_urgent(filling)
    work.note_reader(here, 0, KB, MB)
    assert is_urgent(filling)
    assert filling.until == MB


def test_a_job_is_urgent_up_to_where_somebody_reads_and_for_a_moment_after_he_did() -> None:
    reading = job(0, 10 * MB, until=2 * MB)
    assert is_urgent(reading)
    reading.at = 2 * MB
    assert not is_urgent(reading)
    left = job(0, 10 * MB, until=2 * MB)
    left.touched -= LINGER
    assert not is_urgent(left)
