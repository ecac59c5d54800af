"""Who waits for a product, in words."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FEW = 3  # programs that are all named; of more only the one that has waited longest, with how many there are


def waits(waiters: Sequence[Mapping[str, Any]]) -> str:
    """Return who waits for a product, in one line.

    Args:
        waiters: as the extended attribute ``user.eofs.waiters`` of its directory has them, the most patient first.
    """
    first, *others = waiters
    if len(waiters) > FEW:
        return f"{_called(first)} and {len(others)} others have waited, {_time(first)} at the most"
    rest = [f", {_called(one)}{_for(one)} for {_time(one)}" for one in others]
    return f"{_called(first)} has waited{_for(first)} for {_time(first)}{''.join(rest)}"


def _called(waiter: Mapping[str, Any]) -> str:
    name = waiter["program"] or "a program"
    return f"{name} ({waiter['process']})" if waiter["process"] else f"{name} of another container"


def _for(waiter: Mapping[str, Any]) -> str:
    """Return what it waits for, where that is not the product itself."""
    return "" if waiter["for"] == "data" else f" for its {waiter['for']}"


def _time(waiter: Mapping[str, Any]) -> str:
    since = datetime.strptime(waiter["since"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    seconds = max(0, int(time.time() - since.timestamp()))
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
