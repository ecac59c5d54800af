"""What a provider's own words say, where it answers with an error: why, and when to come back. Values only."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import msgspec

from eofs import credentials
from eofs.faults import retry_after

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from eofs.model import Provider

LONGEST = 200  # characters of a provider's words that are shown

# Where providers say in JSON what went wrong, most telling first; such a member may hold others.
_WORDS = ("errorMessage", "message", "reason", "detail", "description", "error_description", "title", "error", "status")
_QUERY = re.compile(r"""(https?://[^\s?"'<>]+)\?[^\s"'<>]*""")


def in_words(provider: Provider, body: bytes) -> str:
    """Return what the body of an answer says, in one line as `cleaned`; empty where it says nothing."""
    if body.lstrip().startswith(b"<"):
        return ""  # a web page
    said = decoded(body)
    words = body.decode("utf-8", "replace") if said is None else next(_told(said), "")
    return cleaned(provider, words)


def cleaned(provider: Provider, words: str) -> str:
    """Return a provider's words fit for a message: in one line, not too long, without credentials and queries."""
    for secret in credentials.in_hand(provider):
        words = words.replace(secret, "…")
    words = " ".join(_QUERY.sub(r"\1", "".join(c if c.isprintable() else " " for c in words)).split())
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 1]}…"


def pause(headers: Mapping[str, str], body: bytes) -> float | None:
    """Return the seconds after which a provider wants to be asked again; None where it does not say.

    EUMETSAT says in JSON when a quota of traffic is open again, in milliseconds since the epoch (its client eumdac,
    `eumdac/request.py`); others use ``Retry-After``.
    """
    asked = retry_after(headers)
    if asked is not None:
        return asked
    said = decoded(body)
    said = said.get("message", said) if isinstance(said, dict) else None
    then = said.get("retryAfter") if isinstance(said, dict) else None
    return max(0.0, then / 1000 - time.time()) if isinstance(then, int | float) else None


def decoded(body: bytes) -> Any:
    """Return what JSON says, None where it is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _told(said: object) -> Iterator[str]:
    """Yield the texts in a message, the most telling first."""
    if isinstance(said, str):
        yield said
    elif isinstance(said, dict):
        for name in _WORDS:
            yield from _told(said.get(name))
    elif isinstance(said, list):
        for each in said[:10]:
            yield from _told(each)
