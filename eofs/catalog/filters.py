"""Which products are wanted: by what their features say (``cloudCover<20``) and by where they lie."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from eofs.catalog.dialects import NAMES, RENAMED
from eofs.catalog.envelope import NOT_JSON, decode
from eofs.catalog.values import moment, number
from eofs.errors import ResultError
from eofs.providers.values import Unexpected
from eofs.status import StorageStatus, storage_status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eofs.catalog.areas import Area
    from eofs.model import Product

_FILTER = re.compile(r"\s*([^\s=<>!]+)\s*(!=|<=|>=|==?|<|>)\s*(.*?)\s*", re.DOTALL)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_STATUSES = ", ".join(StorageStatus.__members__)

# What eofs knows of every product, whatever its feature calls it: the row of `NAMES`, the value, an example.
_KNOWN: dict[str, tuple[str, Callable[[Product], object], str]] = {
    "storageStatus": ("status", lambda product: product.status.value, f"one of {_STATUSES}"),
    "cloudCover": ("cloud_cover", lambda product: product.cloud_cover, "a number, as in cloudCover<20"),
    "size": ("size", lambda product: product.size, "a number of bytes, as in size<1000000000"),
    "start": ("start", lambda product: product.start, "a date or a time, as in start>=2021-03-01"),
    "title": ("title", lambda product: product.title, "= or != behind title, as in title=*T31TCL*"),
    "id": ("", lambda product: product.id, "= or != behind id"),
    "collection": ("collection", lambda product: product.collection, "= or != behind collection"),
    "provider": ("provider", lambda product: product.provider, "= or != behind provider"),
}
_CALLED = {name.lower(): name for name in _KNOWN} | {
    alias.lower(): name for name, (row, _, _) in _KNOWN.items() for alias in NAMES.get(row, ())
}
_PROVIDER_BEFORE = NAMES["provider of eodag 2 and 3"]
_CALLED |= dict.fromkeys(_PROVIDER_BEFORE, "provider")
_HOLDS: dict[str, Callable[[Any, Any, Any], bool]] = {
    "=": lambda value, first, last: bool(first <= value <= last),
    "<": lambda value, first, _: bool(value < first),
    "<=": lambda value, _, last: bool(value <= last),
    ">": lambda value, _, last: bool(value > last),
    ">=": lambda value, first, _: bool(value >= first),
}


class _Said(msgspec.Struct):
    properties: dict[str, Any] = {}


_SAID = msgspec.json.Decoder(_Said)


@dataclass(frozen=True, slots=True)
class Filter:
    """One comparison of what a product says with what the user wants.

    Attributes:
        key: a name of `_KNOWN`, or a property of the feature as it is written there; a dot steps inside.
        operator: ``=``, ``!=``, ``<``, ``<=``, ``>`` or ``>=``.
        wanted: the text behind it; with ``=`` and ``!=`` a pattern (`fnmatch`), upper and lower case alike.
        number: what `wanted` is as a number, if it is one.
        span: the first and the last moment that `wanted` means, if it is a time; a date means all of its day, in UTC.
    """

    key: str
    operator: str
    wanted: str
    number: float | None
    span: tuple[datetime, datetime] | None

    def __str__(self) -> str:
        return f"{self.key}{self.operator}{self.wanted}"

    def value(self, product: Product) -> object:
        """Return what the product says; None where it says nothing."""
        if self.key in _KNOWN:
            return _KNOWN[self.key][1](product)
        try:
            value: object = decode(_SAID, bytes(product.feature)).properties
        except NOT_JSON:
            return None
        for step in [self.key] if isinstance(value, dict) and self.key in value else self.key.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def takes(self, product: Product) -> bool:
        """Tell whether the product is wanted. One that says nothing is only where something is not to be said."""
        found = self.value(product)
        values = found if isinstance(found, list) else [] if found is None else [found]
        if self.operator == "!=":
            return not any(self._holds("=", value) for value in values)
        return any(self._holds(self.operator, value) for value in values)

    def _holds(self, operator: str, value: object) -> bool:
        when = value if isinstance(value, datetime) else moment(value)
        if when and self.span:
            return _HOLDS[operator](when, *self.span)
        amount = None if isinstance(value, str) and operator == "=" else number(value)  # "0209" is not 209
        if amount is not None and self.number is not None:
            return _HOLDS[operator](amount, self.number, self.number)
        said = str(value).lower() if isinstance(value, bool) else str(value)
        return operator == "=" and fnmatch.fnmatchcase(said.casefold(), self.wanted.casefold())


def parse(written: str) -> Filter:
    """Return the filter that a user has written: ``storageStatus=ONLINE``, ``cloudCover<20``, ``start>=2021-03-01``.

    Raises:
        Unexpected: it cannot be meant.
    """
    found = _FILTER.fullmatch(written)
    if not found or not found[3]:
        raise Unexpected("a name, one of = != < <= > >=, and a value, as in cloudCover<20 or storageStatus=ONLINE")
    key, operator, wanted = _CALLED.get(found[1].lower(), found[1]), found[2].replace("==", "="), found[3]
    if key == "storageStatus":
        wanted = _status(wanted, operator)
    elif found[1].lower() in _PROVIDER_BEFORE:
        wanted = RENAMED.get(wanted.lower(), wanted)
    made = Filter(key, operator, wanted, number(wanted), _span(wanted))
    if key in {"cloudCover", "size"}:
        meant: object = made.number
    elif key == "start":
        meant = made.span
    else:
        meant = operator in {"=", "!="} or (key not in _KNOWN and (made.span or made.number is not None))
    if meant is None or meant is False:
        raise Unexpected(_KNOWN[key][2] if key in _KNOWN else f"a number or a date behind {operator}")
    return made


def _status(wanted: str, operator: str) -> str:
    status = storage_status(wanted)
    known = status is not StorageStatus.ONLINE or wanted.lower() in {"online", "succeeded"}
    if operator not in {"=", "!="} or not known:
        raise Unexpected(f"= or != and one of {_STATUSES} behind storageStatus")
    return status.value


def _span(wanted: str) -> tuple[datetime, datetime] | None:
    first = moment(wanted)
    if first is None:
        return None
    return first, first + timedelta(days=1, microseconds=-1) if _DATE.fullmatch(wanted) else first


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a search result is wanted; all of it unless something is said.

    Attributes:
        filters: all of them have to hold.
        area: where a product has to lie, at least with a part of it.
        least: percent of the product or of the area that has to be shared.
    """

    filters: tuple[Filter, ...] = ()
    area: Area | None = None
    least: float = 0.0

    def __str__(self) -> str:
        area = [f"intersects={self.area.written}"] if self.area else []
        least = [f"min_overlap={self.least:g}"] if self.least else []
        return ", ".join([*map(str, self.filters), *area, *least])

    def takes(self, product: Product) -> bool:
        """Tell whether a product is wanted."""
        if not all(wish.takes(product) for wish in self.filters):
            return False
        overlap = self.area.overlap(product) if self.area else 100.0
        return overlap is not None and overlap >= self.least

    def of(self, products: Sequence[Product], source: str) -> tuple[Product, ...]:
        """Return those that are wanted.

        Raises:
            ResultError: there is none; the sentence begins with `source`.
        """
        wanted = tuple(product for product in products if self.takes(product))
        if wanted or not products:
            return wanted
        for wish in self.filters:
            if wish.key not in _KNOWN and all(wish.value(product) is None for product in products):
                raise ResultError(
                    f"{source}: no product has a property {wish.key!r}; eofs itself knows {', '.join(_KNOWN)}"
                )
        raise ResultError(f"{source}: none of its {len(products)} products passes {self}; ask for less")
