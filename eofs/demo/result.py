"""The search result that the demo provider's catalogue would give: GeoJSON as eodag 2.x saves it, PEPS' properties."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eofs.demo.store import Archive

    Feature = Mapping[str, Any]

# Where PEPS keeps a product of each storage status.
_MODES = {"ONLINE": "disk", "STAGING": "staging", "OFFLINE": "tape"}


def ten_products() -> list[dict[str, Any]]:
    """Return the features of the ten products of eodag's user guide; five of them are OFFLINE."""
    text = Path(__file__).with_name("products.geojson").read_text(encoding="utf-8")
    features: list[dict[str, Any]] = json.loads(text)["features"]
    return features


def title_of(feature: Feature) -> str:
    """Return a product's title, or its id where it has none."""
    return str(feature["properties"].get("title") or feature["id"])


def uid_of(feature: Feature) -> str:
    """Return what the provider calls a product."""
    return str(feature["properties"].get("uid") or feature["id"])


def collection(features: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a GeoJSON FeatureCollection."""
    return {"type": "FeatureCollection", "features": features}


def listed(feature: Feature, *, url: str, status: str, archive: Archive, upper: bool) -> dict[str, Any]:
    """Return a feature as the catalogue at `url` lists it at the moment.

    Args:
        feature: what is known of the product; a ``quicklook`` of null stays null.
        url: the provider's, without a slash at its end.
        status: ``OFFLINE``, ``STAGING`` or ``ONLINE``.
        archive: the product's bytes.
        upper: write the checksum in capitals. PEPS writes both.
    """
    known = feature["properties"]
    title = quote(title_of(feature), safe="")
    link = f"{url}/resto/collections/S2ST/{quote(uid_of(feature), safe='')}/download"
    checksum = archive.md5.upper() if upper else archive.md5
    quicklook = None if known.get("quicklook", "") is None else f"{url}/quicklook/{title}_quicklook.jpg"
    properties = {
        **known,
        "eodag_provider": "demo",
        "quicklook": quicklook,
        "thumbnail": None,
        "downloadLink": link,
        "storageStatus": status,
        "resourceSize": archive.size,
        "resourceChecksum": checksum,
        "services": {
            "download": {
                "url": link,
                "mimeType": "application/zip",
                "size": archive.size,
                "checksum": checksum,
            }
        },
        "storage": {"mode": _MODES[status]},
    }
    return {**feature, "properties": properties}
