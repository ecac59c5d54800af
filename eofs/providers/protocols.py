"""How a provider takes orders, as its file says it: the readers of those settings (`eofs.model.OrderProtocol`)."""

from __future__ import annotations

from collections.abc import Mapping

from eofs.providers.values import Unexpected, is_blank, number, text

FIRST = ("usgs",)  # the rows of `eofs.orders.FIRST`, which stands on a higher floor

_HOURS = number("hours, more than 0", above=0)


def conditions(value: object) -> dict[str, tuple[str, ...]]:
    """Read the words that each name may stand for: one, or a list of them."""
    if not isinstance(value, Mapping):
        raise Unexpected("names with a word, or several, each")
    return {
        str(name): tuple(map(text, each)) if isinstance(each, list | tuple) else (text(each),)
        for name, each in value.items()
        if not is_blank(each)
    }


def hours(value: object) -> float:
    """Read a number of hours, and return it in seconds."""
    return 3600 * _HOURS(value)


def first(value: object) -> str:
    """Read what is asked before an order is placed."""
    if (word := text(value).strip()) not in FIRST:
        raise Unexpected(f"one of {', '.join(FIRST)}")
    return word
