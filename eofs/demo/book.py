"""The provider's book: every request and what became of it, counted and written to the access log.

Threads: the connections' threads call `begin` and `end`, anyone may count. All is guarded by one condition, which is
held for a few lines at a time and while the log gets its line, never while anything is sent.
"""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eofs.demo.replies import Kind, Request


class Book:
    """What has been asked and answered.

    Attributes:
        requests: in the order in which they ended.
        peak: the most requests that were under way at a time.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.peak = 0
        self._under_way = 0
        self._changed = threading.Condition()
        self._log: TextIO | None = None

    def open_log(self, path: Path | None) -> None:
        """Write a line for each further request to the end of a file: time, method, path, status, bytes."""
        self._log = path.open("a", encoding="utf-8", buffering=1) if path else None

    def close_log(self) -> None:
        """Write no more lines."""
        if self._log:
            self._log.close()
            self._log = None

    @property
    def under_way(self) -> int:
        """Return how many requests have begun and not ended."""
        return self._under_way

    def begin(self) -> None:
        """Take note that a request is under way."""
        with self._changed:
            self._under_way += 1
            self.peak = max(self.peak, self._under_way)
            self._changed.notify_all()

    def end(self, request: Request) -> None:
        """Write down a request that has ended."""
        when = datetime.fromtimestamp(request.time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        with self._changed:
            self._under_way -= 1
            self.requests.append(request)
            if self._log:
                self._log.write(f"{when} {request.method} {request.path} {request.status} {request.sent}\n")
            self._changed.notify_all()

    def count(self, uid: str | None = None, kind: Kind | None = None, status: int | None = None) -> int:
        """Return how many requests have ended: of one product, of one kind, with one status, or all."""
        return sum(status in {None, request.status} for request in self._about(uid, kind))

    def bytes_sent(self, uid: str | None = None, kind: Kind | None = "download") -> int:
        """Return how many bytes of bodies were sent for one product, or for all."""
        return sum(request.sent for request in self._about(uid, kind))

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60) -> bool:
        """Wait until `condition` holds, looking again whenever a request begins or ends; return whether it does."""
        with self._changed:
            return self._changed.wait_for(condition, seconds)

    def _about(self, uid: str | None, kind: Kind | None) -> list[Request]:
        with self._changed:
            return [request for request in self.requests if uid in {None, request.uid} and kind in {None, request.kind}]
