"""A provider's connections: so many at a time, and what is waited for goes first.

Threads: one lock guards the turns. What tells whether a turn is urgent is asked under it, and has to be plain.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


QUIET = 1.0  # seconds for which nobody has waited before what only fills goes on: a reader that reads on has it all


def always() -> bool:
    """Tell that somebody waits for it all the time."""
    return True


@dataclass(slots=True, eq=False)
class _Turn:
    """Somebody who has one of the connections, or waits for one."""

    urgent: Callable[[], bool]
    waits: bool = True


class Slots:
    """So many connections as the provider allows at a time."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._turns: list[_Turn] = []
        self._urgent = -math.inf  # when something urgent was last seen, in seconds of the monotonic clock
        self._news = threading.Condition()

    @contextlib.contextmanager
    def taken(self, check: Callable[[], None], urgent: Callable[[], bool] = always) -> Iterator[None]:
        """Take one of the connections; waits for it, calling `check`, which may raise to give up.

        `urgent` tells at any time whether somebody waits for what the connection is to bring. As long as it does, it
        goes before the others, and `pressed` tells them to begin nothing.
        """
        turn = _Turn(urgent)
        with self._news:
            self._turns.append(turn)
        try:
            while not self._begun(turn):
                check()
            yield
        finally:
            with self._news:
                self._turns.remove(turn)
                self._news.notify_all()

    def _begun(self, turn: _Turn) -> bool:
        """Wait for a change, or a moment, unless it is the turn's time."""
        with self._news:
            free = sum(not other.waits for other in self._turns) < self.number
            if urgent := turn.urgent():
                self._urgent = time.monotonic()
            if free and (urgent or not self._starved()):
                turn.waits = False
                return True
            self._news.wait(0.1)
            return False

    def _starved(self) -> bool:
        return any(turn.waits and turn.urgent() for turn in self._turns)

    @property
    def urgent(self) -> bool:
        """Tell whether something urgent is under way."""
        with self._news:
            urgent = any(turn.urgent() for turn in self._turns)
            if urgent:
                self._urgent = time.monotonic()
            return urgent

    @property
    def pressed(self) -> bool:
        """Tell whether something urgent is under way, or was a moment ago, so that what only fills is not to begin."""
        return self.urgent or time.monotonic() - self._urgent < QUIET
