"""What a search result says in its own words, made plain: texts, numbers, dates, checksums.

Every function takes any JSON value and returns None for what says nothing or cannot be understood; none raises.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec

from eofs import checksums

if TYPE_CHECKING:
    from eofs.model import Checksum

_MISSING = "not available"
_LARGEST = 2**63 - 1  # what a file's size can be

# REGARDS, the software behind GEODES, names each file after its MD5.
_GEODES_FILE = re.compile(r"/download/URN:[^/?]+/files/([0-9a-fA-F]{32})(?:\?|$)")


def text(value: object) -> str | None:
    """Return a text or a number as text; blanks and "Not Available" stand for missing."""
    if isinstance(value, str):
        value = value.strip()
        return None if not value or (len(value) == len(_MISSING) and value.lower() == _MISSING) else value
    if isinstance(value, float):
        return str(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: object) -> float | None:
    """Return a finite number, also of text such as "8.26330728E8"."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def percent(value: object) -> float | None:
    """Return a number from 0 to 100; -1 is how some providers say unknown."""
    found = number(value)
    return found if found is not None and 0 <= found <= 100 else None


def size(value: object) -> int | None:
    """Return a whole number of bytes above 0."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 < value <= _LARGEST else None
    found = number(value)
    return int(found) if found is not None and found.is_integer() and 0 < found <= _LARGEST else None


def moment(value: object) -> datetime | None:
    """Return a time of RFC 3339 in UTC; a mere date is its midnight, and what names no zone is in UTC."""
    if not isinstance(value, str):
        return None
    spelling = value.strip()
    return _rfc3339(spelling) or _rfc3339(f"{spelling}T00:00:00")


def _rfc3339(spelling: str) -> datetime | None:
    try:
        found = msgspec.convert(spelling, datetime)
        return found.astimezone(timezone.utc) if found.tzinfo else found.replace(tzinfo=timezone.utc)
    except (msgspec.ValidationError, OverflowError):
        return None


def checksum(value: object) -> Checksum | None:
    """Return the checksum that a provider writes as bare MD5, as ``name=hex`` or as a multihash."""
    return checksums.from_text(value) if isinstance(value, str) else None


def checksum_in_link(link: str | None) -> Checksum | None:
    """Return the MD5 that a download link of GEODES ends with."""
    match = _GEODES_FILE.search(link) if link else None
    return checksums.from_text(match[1]) if match else None
