"""A provider's connections: never more than allowed, and what is waited for goes first."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
from engine_room import aside, together, until

from eofs.slots import Slots


def nothing() -> None:
    """Go on waiting."""


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eofs.slots.QUIET", 0.0)


def is_pressed(slots: Slots) -> bool:
    return slots.pressed


def never() -> bool:
    return False


def test_no_more_are_taken_at_a_time_than_there_are() -> None:
    slots, now, most, lock = Slots(3), [0], [0], threading.Lock()

    def work() -> None:
        for urgent in (True, False):
            with slots.taken(nothing, lambda urgent=urgent: urgent):  # type: ignore[misc]
                with lock:
                    now[0] += 1
                    most[0] = max(most[0], now[0])
                with lock:
                    now[0] -= 1

    assert together(20, work) == [None] * 20
    assert 1 <= most[0] <= 3
    assert not is_pressed(slots)


def test_what_is_urgent_presses_from_the_moment_that_it_waits_until_it_is_over() -> None:
    slots, go = Slots(1), threading.Event()

    def urgent() -> None:
        with slots.taken(nothing):
            go.wait(60)

    with slots.taken(nothing, never):
        assert not is_pressed(slots)
        waiting = aside(urgent)
        until(lambda: is_pressed(slots))
    assert is_pressed(slots)
    go.set()
    waiting.result(60)
    assert not is_pressed(slots)


def test_what_becomes_urgent_while_it_has_a_connection_presses_from_then_on() -> None:
    slots, wanted = Slots(2), threading.Event()
    with slots.taken(nothing, wanted.is_set):
        assert not is_pressed(slots)
        wanted.set()
        assert is_pressed(slots)


def test_what_is_urgent_gets_the_next_free_connection_however_long_others_have_waited() -> None:
    slots, order = Slots(1), []
    with ExitStack() as held:
        held.enter_context(slots.taken(nothing, never))

        def take(name: str, urgent: bool) -> None:
            with slots.taken(nothing, lambda: urgent):
                order.append(name)

        patient = aside(take, "fills", False)
        until(lambda: len(slots._turns) == 2)
        pressing = aside(take, "waited for", True)
        until(lambda: is_pressed(slots))
        held.close()
        pressing.result(60)
        patient.result(60)
    assert order == ["waited for", "fills"]


def test_who_waits_can_give_up() -> None:
    slots = Slots(1)

    def give_up() -> None:
        raise TimeoutError

    with slots.taken(nothing), pytest.raises(TimeoutError), slots.taken(give_up):
        pass
    assert not is_pressed(slots)


def test_what_only_fills_goes_on_a_while_after_the_last_who_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eofs.slots.QUIET", 3600.0)
    slots = Slots(1)
    assert not is_pressed(slots)
    with slots.taken(nothing):
        assert is_pressed(slots)
    assert is_pressed(slots)
    monkeypatch.setattr("eofs.slots.QUIET", 0.0)
    assert not is_pressed(slots)
