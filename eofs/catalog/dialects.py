"""One feature, whatever dialect it was written in, as a `Product`.

`NAMES` is the whole difference between the dialects: eodag 2 and 3, eodag 4, plain STAC, eodag-server. A name that
a further dialect uses is added to its row.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from eofs.buckets import is_link
from eofs.catalog.assets import arrange, choose_picture, files_beside, fill, is_picture, picture, read_assets
from eofs.catalog.envelope import NOT_JSON, decode
from eofs.catalog.values import checksum, checksum_in_link, moment, percent, size, text
from eofs.errors import ResultError
from eofs.model import Asset, Product
from eofs.status import storage_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from eofs.catalog.packing import PackedFeature

Found = TypeVar("Found")

# What is sought, and the properties that may hold it; the first that says something wins. A dot steps inside.
NAMES: dict[str, tuple[str, ...]] = {
    "uid": ("uid",),
    "title": ("title", "s2:product_uri", "sentinel:product_id", "landsat:scene_id"),
    "provider": ("eodag:provider",),
    "provider of eodag 2 and 3": ("eodag_provider",),
    "backend": ("federation:backends",),
    "collection": ("eodag:collection", "eodag_product_type"),
    "status": ("order:status", "storageStatus", "storage:tier"),
    "location": ("eodag:download_link", "downloadLink"),
    "quicklook": ("eodag:quicklook", "quicklook", "eodag:thumbnail", "thumbnail"),
    "size": (
        "file:size",
        "resourceSize",
        "peps:resourceSize",
        "services.download.size",
        "size",
        "productDatapackSize",
    ),
    "checksum": (
        "file:checksum",
        "resourceChecksum",
        "peps:resourceChecksum",
        "services.download.checksum",
        "checksum",
    ),
    "start": ("start_datetime", "startTimeFromAscendingNode", "datetime"),
    "cloud_cover": ("eo:cloud_cover", "cloudCover"),
}

RENAMED = {"theia": "theia_muscate"}

# msgspec decodes only the members that a structure names, so one is made that names all of the above.
_NAMES = [name for names in NAMES.values() for name in names]
_ROOTS = {root: f"member_{place}" for place, root in enumerate({name.split(".")[0]: None for name in _NAMES})}
_NESTED = {name.split(".")[0] for name in _NAMES if "." in name}  # left raw until somebody steps inside
_Properties = msgspec.defstruct(
    "_Properties",
    [(member, msgspec.Raw if root in _NESTED else Any, None) for root, member in _ROOTS.items()],
    rename={member: root for root, member in _ROOTS.items()},
)
_Feature = msgspec.defstruct(
    "_Feature",
    [
        ("id", Any, None),
        ("collection", Any, None),
        ("properties", _Properties | None, None),
        ("assets", msgspec.Raw, None),
        ("links", msgspec.Raw, None),
    ],
)
_NO_PROPERTIES = _Properties()
_FEATURE: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Feature)


class _Relation(msgspec.Struct):
    rel: Any = None
    href: Any = None


class _AllProperties(msgspec.Struct):
    properties: dict[str, Any]


_ALL_PROPERTIES = msgspec.json.Decoder(_AllProperties)
_storage_status = lru_cache(maxsize=64)(storage_status)  # a result has few words for it, and very many products


def read_product(feature: bytes, packed: PackedFeature) -> Product:
    """Return the product that a feature stands for; what is kept of the feature itself is `packed`.

    Raises:
        ResultError: the feature is not an object, or has neither id nor title; the sentence lacks its subject.
    """
    head = _head(feature)
    properties = head.properties or _NO_PROPERTIES
    title = _first(properties, "title", text)
    id_ = text(head.id) or title
    if id_ is None:
        raise ResultError("has neither an id nor a title")
    assets = read_assets(head.assets)
    location, archive, loose = arrange(_first(properties, "location", text), assets)
    provider = _named_provider(properties) or _host(location, assets, head.links)
    collection = text(head.collection) or _first(properties, "collection", text)
    return Product(
        id=id_,
        uid=_shared(_first(properties, "uid", text) or (_in_its_collection(id_, head) if loose else None), id_),
        title=_shared(title, id_),
        provider=sys.intern(provider),
        status=_storage_status(_first(properties, "status", text)),
        location=location,
        quicklook=_quicklook(properties, feature, id_) or choose_picture(assets),
        size=(archive and archive.size) or _first(properties, "size", size) or _sum(loose),
        checksum=(archive and archive.checksum)
        or _first(properties, "checksum", checksum)
        or checksum_in_link(location),
        collection=sys.intern(collection) if collection else None,
        start=_first(properties, "start", moment),
        cloud_cover=_first(properties, "cloud_cover", percent),
        feature=packed,
        assets=loose,
    )


def read_files(feature: bytes) -> tuple[Asset, ...]:
    """Return the files that a feature names one by one, whether or not there is an archive of them."""
    try:
        return files_beside(read_assets(_head(feature).assets))
    except ResultError:
        return ()


def _head(feature: bytes) -> Any:
    try:
        return decode(_FEATURE, feature)
    except msgspec.ValidationError:
        raise ResultError("is not a feature: it, or its properties, are not an object") from None
    except RecursionError:
        raise ResultError("is nested too deeply") from None
    except ValueError as error:
        raise ResultError(f"is not JSON ({error})") from None


def _getter(name: str) -> Callable[[Any], Any]:
    root, *steps = name.split(".")
    member = attrgetter(_ROOTS[root])
    if not steps:
        return member

    def walk(properties: object) -> object:
        raw = member(properties)
        value = None if raw is None else _plain(raw)
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        return value

    return walk


def _plain(raw: msgspec.Raw) -> object:
    try:
        return msgspec.json.decode(raw)
    except NOT_JSON:
        return None


_GETTERS = {sought: tuple(_getter(name) for name in names) for sought, names in NAMES.items()}


def _first(properties: object, sought: str, understand: Callable[[object], Found | None]) -> Found | None:
    """Return the first of the row's properties that can be understood."""
    for get in _GETTERS[sought]:
        value = get(properties)
        if value is not None and (found := understand(value)) is not None:
            return found
    return None


def _shared(value: str | None, id_: str) -> str:
    """Return `value`, or `id_` itself where it is missing or the same, which saves a copy a product."""
    return id_ if value is None or value == id_ else value


def _sum(assets: tuple[Asset, ...]) -> int | None:
    """Return the bytes of all of them, if each says how many it has."""
    sizes = [asset.size for asset in assets if asset.size is not None]
    return sum(sizes) if sizes and len(sizes) == len(assets) else None


def _in_its_collection(id_: str, head: Any) -> str:
    """Return what stands for an item of STAC, whose id is unique within its collection only."""
    collection = text(head.collection)
    return f"{collection}/{id_}" if collection else id_


def _named_provider(properties: object) -> str | None:
    """Return the provider that a result names; eodag has given a name of its versions 2 and 3 to another since."""
    before = _first(properties, "provider of eodag 2 and 3", _provider)
    return (
        _first(properties, "provider", _provider)
        or (RENAMED.get(before, before) if before else None)
        or _first(properties, "backend", _provider)
    )


def _provider(value: object) -> str | None:
    name = text(value[0] if isinstance(value, list) and value else value)
    return name.lower() if name else None


def _host(location: str | None, assets: tuple[Asset, ...], links: msgspec.Raw | None) -> str:
    """Return the host that serves the product, else the host of its item or of its pictures, else its bucket."""
    files = (asset.href for asset in assets if not is_picture(asset))
    elsewhere = (link for asset in assets if not is_picture(asset) for link in asset.alternates)
    pictures = (asset.href for asset in assets if is_picture(asset))
    return (
        next(filter(None, map(_web_host, chain([location], files, elsewhere))), None)
        or next(filter(None, map(_web_host, _self_links(links))), None)
        or next(filter(None, map(_web_host, pictures)), None)
        or next(filter(None, map(_bucket, [location, *(asset.href for asset in assets)])), None)
        or "unknown"
    )


def _web_host(href: str | None) -> str | None:
    return _net_location(href) if href and href.lower().startswith(("http://", "https://")) else None


def _bucket(href: str | None) -> str | None:
    return _net_location(href) if href and is_link(href) else None


def _net_location(href: str) -> str | None:
    try:
        return urlsplit(href).hostname
    except ValueError:
        return None


def _self_links(links: msgspec.Raw | None) -> list[str]:
    if links is None:
        return []
    try:
        relations = msgspec.json.decode(links, type=list[_Relation])
    except NOT_JSON:
        return []
    return [href for link in relations if link.rel == "self" and (href := text(link.href))]


def _quicklook(properties: object, feature: bytes, id_: str) -> str | None:
    found = _first(properties, "quicklook", picture)
    if found is None or "{" not in found:
        return found
    try:
        every = decode(_ALL_PROPERTIES, feature).properties
    except NOT_JSON:
        return found
    return fill(found, {"id": id_, **every})
