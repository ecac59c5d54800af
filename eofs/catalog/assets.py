"""The assets of a feature: which of them are the product, which one is its archive, which one its picture."""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from eofs.buckets import is_link
from eofs.catalog.envelope import NOT_JSON, decode
from eofs.catalog.values import checksum, size, text
from eofs.model import Asset

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Keys of an asset that is the whole product: whatever its type, and where its type is that of an archive.
_DOWNLOADS = frozenset({"downloadlink", "eodag:download_link"})
_ARCHIVES = frozenset({"product", "archive", "data"})
_ARCHIVE_TYPE = re.compile(r"\b(?:x-)?(?:g?zip|g?tar)\b", re.IGNORECASE)
_ARCHIVE_FILE = re.compile(r"\.(?:zip|tar|tgz|gz|bz2|xz|7z)$", re.IGNORECASE)

# STAC's description of an item. For its STAC providers eodag takes it as the download link, and the assets as the
# product.
_ITEM_PAGE = re.compile(r"/collections/[^/]+/items/[^/]+/?(?:\?.*)?$|\.(?:geo)?json$", re.IGNORECASE)

# Assets that are no files: Planetary Computer's services, web pages, other items.
_SERVICES = frozenset({"rendered_preview", "tilejson"})
_SERVICE_ROLES = frozenset({"tiles", "tilejson", "wms", "wmts"})
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_ITEM = re.compile(r"/collections/[^/]+/items/[^/]+/?(?:\?.*)?$", re.IGNORECASE)

_PICTURE_ROLES = ("overview", "thumbnail")
_PICTURE_KEYS = ("quicklook", "thumbnail", "browse")
_RASTER_FILE = re.compile(r"\.(?:tiff?|jp2)(?:\?|$)", re.IGNORECASE)
_PICTURE_TYPE = re.compile(r"image/(?:jpe?g|png|gif|webp)\b", re.IGNORECASE)
_PICTURE_LINK = re.compile(r"(?:https?|s3)://\S+", re.IGNORECASE)
# How JPEG, PNG, GIF and WebP begin in base64.
_INLINE = re.compile(r"data:image/[^,]*;base64,.+|(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR)[A-Za-z0-9+/\s]*=*", re.DOTALL)
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


class _Link(msgspec.Struct):
    href: Any = None
    type: Any = None
    roles: Any = None
    size: Any = msgspec.field(name="file:size", default=None)
    checksum: Any = msgspec.field(name="file:checksum", default=None)
    alternate: Any = None
    path: Any = msgspec.field(name="file:local_path", default=None)


_LINK = msgspec.json.Decoder(_Link)
_LINKS = msgspec.json.Decoder(dict[str, _Link])
_PARTS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Arrangement(NamedTuple):
    """What a product is made of: an archive at `location`, or loose `assets`.

    `archive` is the asset that describes the archive, where one does.
    """

    location: str | None
    archive: Asset | None
    assets: tuple[Asset, ...]


def read_assets(member: msgspec.Raw | None) -> tuple[Asset, ...]:
    """Return the assets of a feature's ``assets`` member, in its order; those without a link are left out.

    eodag-server's own links stand for its providers' ones, which it names as their ``origin``: those are taken.
    """
    found = []
    for key, link in _links(member):
        alternates = _alternates(link)
        if href := alternates.pop("origin", None) or text(link.href):
            kind = text(link.type)
            found.append(
                Asset(
                    key=sys.intern(key),
                    href=href,
                    size=None if link.size is None else size(link.size),
                    checksum=None if link.checksum is None else checksum(link.checksum),
                    roles=_roles(link.roles),
                    media_type=sys.intern(kind) if kind else None,
                    alternates=tuple(alternates.values()),
                    path=text(link.path),
                )
            )
    return tuple(found)


def arrange(link: str | None, assets: tuple[Asset, ...]) -> Arrangement:
    """Tell an archive from loose files, given the download link and the assets that a feature names."""
    if not assets:
        return Arrangement(link, None, ())
    loose = any(not is_picture(asset) and asset.key.lower() not in _DOWNLOADS for asset in assets)
    if link and not (loose and (_ITEM_PAGE.search(link) or _is_folder(link))):
        return Arrangement(link, next((asset for asset in assets if asset.href == link), None), ())
    for asset in assets:
        if _is_archive(asset) and not (loose and _ITEM_PAGE.search(asset.href)):
            return Arrangement(asset.href, asset, ())
    return Arrangement(link, None, tuple(asset for asset in assets if _is_file(asset)))


def files_beside(assets: tuple[Asset, ...]) -> tuple[Asset, ...]:
    """Return the files that a product is made of, also where there is an archive of them, which is what it is then."""
    return tuple(asset for asset in assets if _is_file(asset) and not _is_archive(asset) and not is_picture(asset))


def choose_picture(assets: tuple[Asset, ...]) -> str | None:
    """Return the link of the asset that shows the product, in a format that any viewer opens."""
    pictures = [asset for asset in assets if _is_viewable(asset)]
    by_role = (a for role in _PICTURE_ROLES for a in pictures if role in a.roles)
    by_key = (a for key in _PICTURE_KEYS for a in pictures if a.key.lower() == key)
    return next((a.href for group in (by_role, by_key) for a in group), None)


def picture(value: object) -> str | None:
    """Return what a quicklook property holds when it is a link or the picture itself in base64."""
    found = text(value)
    return found if found and (_PICTURE_LINK.fullmatch(found) or _INLINE.fullmatch(found)) else None


def fill(template: str, properties: Mapping[str, object]) -> str:
    """Fill ``{property}`` placeholders in; those that name no property stay."""
    return _PLACEHOLDER.sub(lambda match: text(properties.get(match[1])) or match[0], template)


def _links(member: msgspec.Raw | None) -> Iterator[tuple[str, _Link]]:
    if member is None:
        return
    try:
        yield from _LINKS.decode(member).items()
    except NOT_JSON:
        yield from ((key, link) for key, part in _parts(member).items() if (link := _link(part)) is not None)


def _parts(member: msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _PARTS.decode(member)
    except NOT_JSON:
        return {}


def _link(part: msgspec.Raw) -> _Link | None:
    try:
        return decode(_LINK, part)
    except NOT_JSON:
        return None


def _alternates(link: _Link) -> dict[str, str]:
    """Return the further links of an asset by name (https://github.com/stac-extensions/alternate-assets)."""
    named = link.alternate.items() if isinstance(link.alternate, dict) else ()
    return {name: href for name, other in named if isinstance(other, dict) and (href := text(other.get("href")))}


def _roles(value: object) -> tuple[str, ...]:
    return _shared(tuple([role for role in value if isinstance(role, str)])) if isinstance(value, list) else ()


@lru_cache(maxsize=256)
def _shared(roles: tuple[str, ...]) -> tuple[str, ...]:
    """Return one and the same tuple for all assets of these roles, which are few, while assets are many."""
    return roles


def _is_file(asset: Asset) -> bool:
    """Tell a file of the product from what only leads to it, or shows it: pages, services, directories."""
    key, kind = asset.key.lower(), (asset.media_type or "").partition(";")[0].strip().lower()
    serves = key in _SERVICES or not _SERVICE_ROLES.isdisjoint(asset.roles) or bool(_ITEM.search(asset.href))
    is_directory = asset.href.endswith("/") and not is_link(asset.href)  # a folder of a store can be listed
    return key not in _DOWNLOADS and kind not in _PAGES and not serves and not is_directory


def _is_archive(asset: Asset) -> bool:
    key = asset.key.lower()
    return key in _DOWNLOADS or (key in _ARCHIVES and bool(_ARCHIVE_TYPE.search(asset.media_type or "")))


def _is_folder(link: str) -> bool:
    return is_link(link) and not _ARCHIVE_FILE.search(link)


def is_picture(asset: Asset) -> bool:
    """Tell whether an asset only shows the product."""
    return asset.key.lower() in _PICTURE_KEYS or any(role in _PICTURE_ROLES for role in asset.roles)


def _is_viewable(asset: Asset) -> bool:
    if asset.media_type and not _PICTURE_TYPE.match(asset.media_type):
        return False
    return bool(_PICTURE_LINK.fullmatch(asset.href)) and not _RASTER_FILE.search(asset.href)
