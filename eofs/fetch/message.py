"""What the status file says in words: the lines ``message`` and ``order``."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from eofs.status import Activity, Local, StorageStatus

if TYPE_CHECKING:
    from eofs.fetch.stage import Stage
    from eofs.model import Order


def message(stage: Stage, local: Local, deadline: float | None, now: float, elsewhere: str | None) -> str:
    """Return what has been done, what comes next and until when.

    Args:
        stage: how far it is.
        local: how much of it is here.
        deadline: when a wait is given up; times are seconds since the epoch.
        now: the time.
        elsewhere: in words, who is asked in the place of the product's own provider.
    """
    if local is Local.COMPLETE:
        return f"complete, {elsewhere}" if elsewhere else "complete"
    parts = [elsewhere] if elsewhere else []
    if stage.order:
        parts.append(f"ordered {_when(stage.order)}")
    if stage.note:
        parts.append(stage.note)
    if stage.next_check is not None:
        parts.append(f"next check in {max(0, round(stage.next_check - now))} s")
    if deadline is not None and stage.activity in {Activity.ORDERING, Activity.WAITING}:
        parts.append(f"giving up at {moment(deadline)[11:]}")
    if not parts and stage.activity is Activity.IDLE:
        return _IDLE[stage.storage]
    return ", ".join(parts) or stage.activity.value


_IDLE = {
    StorageStatus.OFFLINE: "on tape; opening its data/ orders it",
    StorageStatus.STAGING: "on its way from tape; opening its data/ waits for it",
    StorageStatus.ONLINE: "reading its files downloads it",
}


def order_line(order: Order | None) -> str | None:
    """Return the order's id where there is one, when it was placed and what the provider answered last."""
    if not order:
        return None
    answer = f"last answer {order.answer}" if order.answer else None
    return ", ".join(part for part in (order.id, f"placed {_when(order)}", answer) if part)


def _when(order: Order) -> str:
    return "by another program" if order.placed is None else moment(order.placed)


def moment(seconds: float) -> str:
    """Return a time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
