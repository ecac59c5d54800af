"""An area that products are to lie in, as users write it: a GeoJSON file, WKT, or a box of longitudes and latitudes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from eofs.catalog.envelope import split, unpack
from eofs.catalog.geometry import area_of, footprint, shape_in
from eofs.catalog.values import number
from eofs.errors import ResultError
from eofs.providers.values import Unexpected

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from eofs.model import Product

_WKT = re.compile(r"(MULTI)?(POINT|LINESTRING|POLYGON)\b|GEOMETRYCOLLECTION\b", re.IGNORECASE)
_EXPECTED = "a GeoJSON file, WKT, or minlon,minlat,maxlon,maxlat"


@dataclass(frozen=True, slots=True)
class Area:
    """An area on the Earth, in degrees, longitude first; `written` is how the user named it."""

    written: str
    shape: BaseGeometry

    def overlap(self, product: Product) -> float | None:
        """Return how many percent of the product lie in the area or of the area in the product, whichever is more.

        None where they do not meet, or nobody knows where the product lies.
        """
        where = footprint(product)
        if where is None or not self.shape.intersects(where):
            return None
        smaller = min(area_of(where), area_of(self.shape))
        return 100 * area_of(self.shape.intersection(where)) / smaller if smaller else 100.0


def read_area(written: str) -> Area:
    """Return the area that a user means.

    Raises:
        Unexpected: there is no such file, or nothing in it, or what was written is no place on the Earth.
    """
    import shapely  # noqa: PLC0415 - takes a fifth of a second, and few commands ask

    written = written.strip()
    numbers = [number(part) for part in written.split(",")]
    try:
        if len(numbers) > 1 and all(found is not None for found in numbers):
            shape = _box([found for found in numbers if found is not None])
        elif _WKT.match(written):
            shape = shapely.make_valid(shapely.force_2d(shapely.from_wkt(written)))
        else:
            shape = _of_file(Path(written).expanduser())
    except shapely.errors.ShapelyError:
        raise Unexpected(f"{_EXPECTED}; this is no WKT that can be understood") from None
    if shape.is_empty or not all(map(isfinite, shape.bounds)):
        raise Unexpected(f"{_EXPECTED}; there is no geometry in this one")
    shapely.prepare(shape)
    return Area(written, shape)


def _box(numbers: list[float]) -> BaseGeometry:
    """Return a box; one whose west is greater than its east crosses the date line (RFC 7946, section 5.2)."""
    import shapely  # noqa: PLC0415 - see above

    if len(numbers) != 4 or numbers[1] > numbers[3] or any(abs(lat) > 90 for lat in numbers[1::2]):
        raise Unexpected(f"{_EXPECTED}, in degrees, the southern latitude first")
    west, south, east, north = numbers
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.box(west, south, 180, north).union(shapely.box(-180, south, east, north))


def _of_file(path: Path) -> BaseGeometry:
    try:
        text = unpack(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Unexpected(f"{_EXPECTED}; there is no such file ({getattr(error, 'strerror', None) or error})") from None
    except ResultError as error:
        raise Unexpected(f"{_EXPECTED}; the file {error}") from None
    try:
        features = split(text)
    except ResultError:  # perhaps a geometry by itself
        features = [b'{"geometry": ' + text + b"}"]
    shapes = [shape for feature in features if (shape := shape_in(bytes(feature))) is not None]
    if not shapes:
        raise Unexpected(f"{_EXPECTED}; there is no geometry in this file")
    return reduce(lambda one, other: one.union(other), shapes)
