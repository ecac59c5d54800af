"""A provider's connections: so many at a time, and what is waited for goes first.

Threads: a semaphore counts the connections; one lock guards the numbers of those that are urgent.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Slots:
    """So many connections as the provider allows at a time."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._free = threading.BoundedSemaphore(number)
        self._urgent = self._waiting = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def taken(self, check: Callable[[], None], *, urgent: bool = False) -> Iterator[None]:
        """Take one of the connections; waits for it, calling `check`, which may raise to give up.

        While one that is `urgent` is taken, `pressed` tells the others to stand still; while one is waited for,
        `starved` tells them to give theirs back.
        """
        with self._counted(urgent, 0):
            if not self._free.acquire(blocking=False):
                with self._counted(0, urgent):
                    while not self._free.acquire(timeout=0.1):
                        check()
            try:
                yield
            finally:
                self._free.release()

    @contextlib.contextmanager
    def _counted(self, urgent: int, waiting: int) -> Iterator[None]:
        with self._lock:
            self._urgent, self._waiting = self._urgent + urgent, self._waiting + waiting
        try:
            yield
        finally:
            with self._lock:
                self._urgent, self._waiting = self._urgent - urgent, self._waiting - waiting

    @property
    def pressed(self) -> bool:
        """Tell whether something urgent is under way, so that what only fills stands still."""
        with self._lock:
            return self._urgent > 0

    @property
    def starved(self) -> bool:
        """Tell whether something urgent waits for a connection."""
        with self._lock:
            return self._waiting > 0
