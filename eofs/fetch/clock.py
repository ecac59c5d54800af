"""Time, as the engine sees it; tests bring their own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading


class Clock(Protocol):
    """Time, as the engine sees it; tests bring their own."""

    def now(self) -> float:
        """Return seconds since the epoch."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Return True as soon as `event` is set, False after `seconds`."""


class WallClock:
    """The real time."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Return True as soon as `event` is set, False after `seconds`."""
        return event.wait(seconds)
