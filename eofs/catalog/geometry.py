"""Where a product lies on the Earth: read from its feature when somebody asks, not before."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite, radians, sin
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from eofs.catalog.envelope import NOT_JSON, decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shapely import Polygon
    from shapely.geometry.base import BaseGeometry

    from eofs.model import Product

_EARTH = 6371.0072  # km, the radius of the sphere that has the ellipsoid's (WGS 84) area

# The coordinates of each kind of geometry (RFC 7946, section 3.1). They are checked here and not left to GEOS, whose
# own reader of GeoJSON ends the program at odd ones (seen with GEOS 3.11). A ring may lack its closing position.
# Numbers that are no place on any map overflow in GEOS.
_Number = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]
_Position = Annotated[list[_Number], msgspec.Meta(min_length=2)]
_Ring = Annotated[list[_Position], msgspec.Meta(min_length=3)]
_Rings = Annotated[list[_Ring], msgspec.Meta(min_length=1)]
_COORDINATES: dict[str, Any] = {
    "Point": _Position,
    "MultiPoint": list[_Position],
    "LineString": list[_Position],
    "MultiLineString": list[list[_Position]],
    "Polygon": _Rings,
    "MultiPolygon": list[_Rings],
}


class _Geometry(msgspec.Struct):
    type: str
    coordinates: Any = None
    geometries: list[_Geometry] = []


class _Located(msgspec.Struct):
    geometry: _Geometry | None = None


_LOCATED = msgspec.json.Decoder(_Located)


def footprint(product: Product) -> BaseGeometry | None:
    """Return the product's geometry in degrees, longitude first, without heights; repaired where it is invalid.

    None where the feature has no geometry, an empty one, or one that cannot be understood.
    """
    return shape_in(bytes(product.feature))


def shape_in(feature: bytes) -> BaseGeometry | None:
    """Return the geometry of a feature, as `footprint` does."""
    import shapely  # noqa: PLC0415 - takes a fifth of a second, and most commands never ask

    try:
        geometry = decode(_LOCATED, feature).geometry
        if geometry is None:
            return None
        shape = shapely.geometry.shape(_checked(geometry))
        if not shape.is_valid:  # part by part: parts that overlap add up, while make_valid would cut them out
            parts = [shapely.make_valid(part) for part in getattr(shape, "geoms", [shape])]
            shape = shapely.unary_union(parts)
        return None if shape.is_empty or not all(map(isfinite, shape.bounds)) else shape
    except (shapely.errors.ShapelyError, *NOT_JSON):
        return None


def area(product: Product) -> float:
    """Return the footprint's area on the sphere in km²; 0.0 where it has none."""
    shape = footprint(product)
    return area_of(shape) if shape is not None else 0.0


def area_of(shape: BaseGeometry) -> float:
    """Return the area of a shape in degrees on the sphere in km²; 0.0 for points and lines.

    Edges are taken as straight in longitude and latitude, as GeoJSON (RFC 7946) has them.
    """
    return sum(map(_polygon_area, _polygons(shape)))


def _checked(geometry: _Geometry) -> dict[str, Any]:
    """Return the geometry as plain GeoJSON that is sure to be well formed.

    Raises:
        ValueError: it is not.
    """
    if geometry.type == "GeometryCollection":
        return {"type": geometry.type, "geometries": [_checked(part) for part in geometry.geometries]}
    if geometry.type not in _COORDINATES:
        raise ValueError(f"no geometry: {geometry.type}")
    coordinates = msgspec.convert(geometry.coordinates, _COORDINATES[geometry.type])
    return {"type": geometry.type, "coordinates": _plain(coordinates)}


def _plain(coordinates: list[Any]) -> list[Any]:
    """Return coordinates without heights, to 1e-9 degrees (0.1 mm): GEOS divides by what is smaller by far."""
    if coordinates and isinstance(coordinates[0], float):
        return [round(number, 9) for number in coordinates[:2]]
    return [_plain(part) for part in coordinates]


def _polygons(shape: BaseGeometry) -> Iterator[Polygon]:
    if shape.geom_type == "Polygon":
        yield shape
    for part in getattr(shape, "geoms", ()):
        yield from _polygons(part)


def _polygon_area(polygon: Polygon) -> float:
    holes = sum(_ring_area(hole) for hole in polygon.interiors)
    return max(0.0, _ring_area(polygon.exterior) - holes)


def _ring_area(ring: Any) -> float:
    """Lambert's cylindrical projection keeps areas: x is the longitude, y the sine of the latitude."""
    points = [(radians(lon), sin(radians(max(-90.0, min(90.0, lat))))) for lon, lat in ring.coords]
    doubled = sum((x2 - x1) * (y1 + y2) for (x1, y1), (x2, y2) in pairwise(points))
    return abs(doubled) / 2 * _EARTH**2
