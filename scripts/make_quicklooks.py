"""Make the ten quicklooks of the demo provider: small JPEG files that look like a Sentinel-2 tile from afar.

Fractal noise stands for the land, the woods and the clouds; cloud cover and footprint are those of the products.
The pictures are kept in the repository, so this is run only to change them. It needs numpy and Pillow, which the
project does not:  python scripts/make_quicklooks.py
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw  # type: ignore[import-not-found,unused-ignore]  # not a dependency of the project

DEMO = Path(__file__).resolve().parent.parent / "eofs" / "demo"
SIZE = 343  # pixels, as the quicklooks of Sentinel-2 level 1C

Layer = NDArray[np.float64]


def fractal(random: np.random.Generator, coarsest: int, roughness: float) -> Layer:
    """Return noise between 0 and 1, with an even spread: octaves of random grids, each finer and weaker."""
    total = np.zeros((SIZE, SIZE))
    cells, weight = coarsest, 1.0
    while cells < SIZE:
        grid = Image.fromarray(random.random((cells, cells)).astype(np.float32))
        total += weight * np.asarray(grid.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float64)
        cells, weight = cells * 2, weight * roughness
    ranks = total.ravel().argsort().argsort()
    return ranks.reshape(SIZE, SIZE) / (SIZE * SIZE - 1.0)


def land(random: np.random.Generator) -> Layer:
    """Return fields, woods, a river and bare soil in colour, values up to 255."""
    woods, soil, fields = fractal(random, 3, 0.6), fractal(random, 4, 0.65), fractal(random, 40, 0.8)
    stops = np.array([0.0, 0.35, 0.6, 0.85, 1.0])
    colours = np.array([[34, 52, 34], [58, 76, 44], [92, 98, 58], [136, 118, 80], [168, 146, 108]], dtype=float)
    mixed = np.clip(0.5 * woods + 0.3 * soil + 0.2 * fields, 0, 1)
    picture = np.stack([np.interp(mixed, stops, colours[:, band]) for band in range(3)], axis=-1)
    river = np.abs(fractal(random, 2, 0.45) - 0.5) < 0.006
    picture[river] = [38, 52, 58]
    return picture * (0.9 + 0.2 * fields[..., None])


def clouds(random: np.random.Generator, cover: float) -> tuple[Layer, Layer]:
    """Return how thick the clouds are, 0 to 1, so that they cover `cover` percent; and how bright their tops."""
    thickness = np.clip((fractal(random, 3, 0.62) - (1 - cover / 100)) / 0.18 + 0.3, 0, 1)
    return (thickness if cover >= 1 else thickness * 0), 205 + 50 * fractal(random, 12, 0.7)


def footprint(feature: dict[str, Any]) -> NDArray[np.bool_]:
    """Return which pixels the sensor has seen; the tile's corners are those of the full footprint."""
    ring = feature["geometry"]["coordinates"][0][0]
    south = min(lat for _, lat in ring)
    north = max(lat for _, lat in ring)
    west, east = min(lon for lon, _ in ring), min(lon for lon, _ in ring) + 1.43
    image = Image.new("1", (SIZE, SIZE))
    points = [((lon - west) / (east - west) * SIZE, (north - lat) / (north - south) * SIZE) for lon, lat in ring]
    ImageDraw.Draw(image).polygon(points, fill=1)
    full = max(lon for lon, _ in ring) > west + 1.3
    return np.ones((SIZE, SIZE), dtype=bool) if full else np.asarray(image, dtype=bool)


def quicklook(feature: dict[str, Any]) -> Image.Image:
    """Return the picture of a product."""
    random = np.random.default_rng(zlib.crc32(feature["id"].encode()))
    # the same tile has the same land, whatever the day
    ground = land(np.random.default_rng(zlib.crc32(feature["properties"]["mgrs"].encode())))
    thickness, tops = clouds(random, feature["properties"]["cloudCover"])
    shadow = np.pad(thickness, ((6, 0), (0, 8)), mode="edge")[:SIZE, 8:]
    picture = ground * (1 - 0.45 * shadow[..., None])
    picture += thickness[..., None] * (tops[..., None] * [0.98, 1.0, 1.02] - picture)
    picture[~footprint(feature)] = 0
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def main() -> None:
    """Write all pictures."""
    folder = DEMO / "quicklooks"
    folder.mkdir(exist_ok=True)
    for feature in json.loads((DEMO / "products.geojson").read_text(encoding="utf-8"))["features"]:
        path = folder / f"{feature['properties']['title']}.jpg"
        quicklook(feature).save(path, quality=75, optimize=True)
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
