"""How far a command is that brings many products: bars on a terminal, else a line for each thing that happens.

All of it is said on standard error, and by one thread.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from eofs.status import Activity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WIDTH = 40  # characters of a product's name beside its bar


class Display(Protocol):
    """What shows how far things are."""

    def look(self, name: str, status: Mapping[str, Any]) -> None:
        """Show where a product stands that is under way; `status` as in its status file."""

    def end(self, name: str, failure: str) -> None:
        """Show that a product is done, or why it failed."""

    def tell(self, line: str) -> None:
        """Print a line on standard output."""


@contextlib.contextmanager
def display(total: int, what: str) -> Iterator[Display]:
    """Show how far `total` things are, called `what`."""
    if not sys.stderr.isatty():
        yield Lines(total)
        return
    tqdm.monitor_interval = 0  # a thread of tqdm's own, which has nothing to do here
    with logging_redirect_tqdm([logging.getLogger("eofs")]), contextlib.closing(Bars(total, what)) as bars:
        yield bars


class Bars:
    """A bar for all, and one for each product that is under way."""

    def __init__(self, total: int, what: str) -> None:
        self._all = _bar(total=total, desc=what, unit="")
        self._each: dict[str, tqdm[Any]] = {}

    def look(self, name: str, status: Mapping[str, Any]) -> None:
        """Show where a product stands."""
        bar = self._each.get(name)
        if bar is None:
            bar = self._each[name] = _bar(desc=_short(name), unit="B", unit_scale=True, unit_divisor=1024, leave=False)
        bar.total, bar.n = status["size"], status["downloaded"]
        idle = status["activity"] in {Activity.IDLE.value, Activity.DOWNLOADING.value}
        bar.set_postfix_str("" if idle else f"{status['activity']}: {status['message']}", refresh=False)
        bar.refresh()

    def end(self, name: str, failure: str) -> None:  # noqa: ARG002 - failures are told at the end
        """Take a product's bar away."""
        if bar := self._each.pop(name, None):
            bar.close()
        self._all.update()

    def tell(self, line: str) -> None:
        """Print a line above the bars."""
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        """Take the bars away; the one for all stays as it is."""
        for bar in (*self._each.values(), self._all):
            bar.close()


class Lines:
    """A line whenever a product begins, waits, comes or is done."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._before: dict[str, str] = {}

    def look(self, name: str, status: Mapping[str, Any]) -> None:
        """Say what a product does, if it did something else before."""
        now = status["activity"]
        if now != self._before.get(name) and now not in {Activity.IDLE.value, Activity.FAILED.value}:
            _say(f"{name}: {status['message'] if now == Activity.WAITING.value else now}")
        self._before[name] = now

    def end(self, name: str, failure: str) -> None:
        """Say that a product is done."""
        self._done += 1
        _say(f"{name}: {failure or 'done'} ({self._done} of {self._total})")

    def tell(self, line: str) -> None:
        """Print a line."""
        print(line, flush=True)


def _bar(**how: Any) -> tqdm[Any]:
    return tqdm(file=sys.stderr, dynamic_ncols=True, **how)


def _short(name: str) -> str:
    return name if len(name) <= WIDTH else f"{name[: WIDTH // 2]}…{name[-WIDTH // 2 + 1 :]}"


def _say(line: str) -> None:
    print(f"eofs: {line}", file=sys.stderr, flush=True)
