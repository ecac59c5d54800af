"""The life of a product, as a table; and the text that tells a user where it stands.

Three things are told apart: the provider's side (`StorageStatus`), the cache's side (`Local`, asked of the disk
whenever it is shown) and what eofs does at the moment (`Activity`). The tables below are the only place that says
which step may follow which; `move` refuses every other one. A change of the engine that needs a new step adds it
here first.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import TypeVar

import yaml


class StorageStatus(str, Enum):
    """Where the provider keeps the product (eodag's ``storageStatus``)."""

    OFFLINE = "OFFLINE"
    STAGING = "STAGING"
    ONLINE = "ONLINE"


class Local(str, Enum):
    """How much of the product the cache holds."""

    ABSENT = "absent"
    PARTIAL = "partial"
    COMPLETE = "complete"


class Activity(str, Enum):
    """What eofs does for the product at the moment."""

    IDLE = "idle"
    ORDERING = "ordering"
    WAITING = "waiting"
    DOWNLOADING = "downloading"
    FAILED = "failed"


# The provider's answer wins over anything believed before, so every storage status may follow every other one:
# a product said ONLINE turns out to be on tape (ONLINE → STAGING), an order expires (STAGING → OFFLINE).
STORAGE_MOVES: dict[StorageStatus, frozenset[StorageStatus]] = {
    status: frozenset(StorageStatus) for status in StorageStatus
}

ACTIVITY_MOVES: dict[Activity, frozenset[Activity]] = {
    # somebody opened the product
    Activity.IDLE: frozenset({Activity.ORDERING, Activity.WAITING, Activity.DOWNLOADING, Activity.FAILED}),
    # the provider took the order, or had the bytes at once
    Activity.ORDERING: frozenset({Activity.WAITING, Activity.DOWNLOADING, Activity.IDLE, Activity.FAILED}),
    # the wait ended: the bytes come, the deadline passed (the order stays placed), the order was lost
    Activity.WAITING: frozenset({Activity.DOWNLOADING, Activity.IDLE, Activity.ORDERING, Activity.FAILED}),
    # all arrived; or the provider put it back on tape in between
    Activity.DOWNLOADING: frozenset({Activity.IDLE, Activity.WAITING, Activity.FAILED}),
    # the next open tries again
    Activity.FAILED: frozenset({Activity.IDLE, Activity.ORDERING, Activity.WAITING, Activity.DOWNLOADING}),
}

# Words for the storage status in the dialects of eodag 2 to 4, and of STAC's extensions for orders and for object
# stores: of the tiers of Amazon and Azure those that give nothing before it was brought back, as "cool" and "cold" do.
_STORAGE_WORDS: dict[str, StorageStatus] = {
    "online": StorageStatus.ONLINE,
    "succeeded": StorageStatus.ONLINE,
    "staging": StorageStatus.STAGING,
    "ordered": StorageStatus.STAGING,
    "pending": StorageStatus.STAGING,
    "shipping": StorageStatus.STAGING,
    "offline": StorageStatus.OFFLINE,
    "orderable": StorageStatus.OFFLINE,
    "archive": StorageStatus.OFFLINE,
    "glacier": StorageStatus.OFFLINE,
    "deep_archive": StorageStatus.OFFLINE,
    "glacier deep archive": StorageStatus.OFFLINE,
}

Step = TypeVar("Step", StorageStatus, Activity)


def storage_status(word: object) -> StorageStatus:
    """Return the storage status that a search result's word stands for.

    Absent, null and unknown words mean ONLINE, as in every version of eodag: the product is tried.
    """
    return _STORAGE_WORDS.get(str(word).strip().lower(), StorageStatus.ONLINE)


def move(now: Step, then: Step) -> Step:
    """Return `then` when the tables allow it after `now`.

    Raises:
        RuntimeError: the step is not in the table; this is a fault of the program.
    """
    allowed = STORAGE_MOVES[now] if isinstance(now, StorageStatus) else ACTIVITY_MOVES[now]
    if then is not now and then not in allowed:
        raise RuntimeError(f"a product cannot go from {now.value} to {then.value}")
    return then


@dataclass(frozen=True, slots=True)
class Status:
    """Where one product stands; the fields, in this order, are the lines of its status file.

    `downloaded` and `size` are bytes; `order` and `error` are texts or None. No field ever holds a credential.
    """

    storageStatus: StorageStatus  # noqa: N815 - the name that eodag's users know
    local: Local
    activity: Activity
    message: str
    downloaded: int
    size: int | None
    provider: str
    id: str
    title: str
    location: str | None
    remote_location: str | None
    order: str | None
    error: str | None

    def values(self) -> dict[str, str | int | None]:
        """Return the fields by name, enumerations as their words."""
        return {key: value.value if isinstance(value, Enum) else value for key, value in asdict(self).items()}

    def text(self) -> str:
        """Return the status file: YAML, one ``key: value`` a line."""
        return yaml.dump(self.values(), Dumper=_Line, sort_keys=False, allow_unicode=True, width=1 << 30)


class _Line(yaml.SafeDumper):
    """Writes each text on one line: those that hold line breaks in double quotes, where breaks are escaped."""


def _on_one_line(dumper: _Line, text: str) -> yaml.ScalarNode:
    style = None if len(text.splitlines()) < 2 and text[-1:].isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Line.add_representer(str, _on_one_line)
