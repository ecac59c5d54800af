"""A product that comes as loose files: what they are called, and each of them as a product of its own.

So each is ordered, waited for, brought, verified, resumed and evicted by the very code that does so with an archive.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eofs.archive import Listing
from eofs.archive.listing import clean
from eofs.links import last_part
from eofs.model import Asset, Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from eofs.model import Product


@dataclass(frozen=True, slots=True)
class Parts:
    """The files of a product, each a product of its own, by their paths; the list has those whose size is known."""

    files: Mapping[str, Product]
    listing: Listing

    @property
    def unknown(self) -> list[Product]:
        """Return the files whose size is not known."""
        return [part for part in self.files.values() if part.size is None]


def parts_of(product: Product, assets: Sequence[Asset], sizes: Mapping[str, int | None]) -> Parts:
    """Return the files that a product is made of.

    Args:
        product: the product.
        assets: its own, and those that its provider lists; folders are no files.
        sizes: what is known better than by `assets`, by their keys: bytes, or None where there is no such file.
    """
    files = {
        path: _part(product, asset, path, sizes.get(asset.key, asset.size))
        for path, asset in _named([asset for asset in assets if not _is_folder(asset)]).items()
        if sizes.get(asset.key, 0) is not None
    }
    mtime = int(product.start.timestamp()) * 10**9 if product.start else 0
    members = (Member(path, part.size, mtime, 0, part.size) for path, part in files.items() if part.size is not None)
    return Parts(files, Listing("files", tuple(members)))


def folders(product: Product) -> list[Asset]:
    """Return those of a product's assets that are folders of a store, whose files have to be listed."""
    return [asset for asset in product.assets if _is_folder(asset)]


def key_of(product: Product, part: Product) -> str:
    """Return the key of the asset that a file of the product is."""
    return part.uid[len(product.uid) + 1 :]


def to_text(listed: Iterable[Asset], sizes: Mapping[str, int | None]) -> str:
    """Return what is to be remembered of a product's files; the links of its own assets stand in the result."""
    kept = [(asset.key, asset.href, asset.size, *asset.alternates) for asset in listed]
    return json.dumps({"listed": kept, "sizes": sizes})


def from_text(text: str | None) -> tuple[tuple[Asset, ...], dict[str, int | None]]:
    """Return what `to_text` was given: the files that the provider lists, and the sizes."""
    said = json.loads(text) if text else {"listed": [], "sizes": {}}
    kept = ((key, href, size, tuple(others)) for key, href, size, *others in said["listed"])
    return tuple(Asset(key, href, size, alternates=others, path=key) for key, href, size, others in kept), said["sizes"]


def _is_folder(asset: Asset) -> bool:
    return asset.href.endswith("/")


def _part(product: Product, asset: Asset, path: str, size: int | None) -> Product:
    return replace(
        product,
        uid=f"{product.uid}/{asset.key}",
        title=f"{product.title}/{path}",
        location=asset.href,
        alternates=asset.alternates,
        size=size,
        checksum=asset.checksum,
        assets=(),
        quicklook=None,
        part_of=product.title,
    )


def _named(assets: Sequence[Asset]) -> dict[str, Asset]:
    """Return the assets under their paths: the same paths in whatever order they come."""
    wanted = {asset.key: _path(asset) for asset in assets}
    directories = {path[:cut] for path in wanted.values() for cut, sign in enumerate(path) if sign == "/"}
    named: dict[str, Asset] = {}
    for asset in sorted(assets, key=lambda asset: asset.key):
        path, number = wanted[asset.key], 1
        while path in directories or (path in named and named[path].href != asset.href):
            number += 1
            path = _numbered(wanted[asset.key], number)
        named.setdefault(path, asset)  # an asset may be there twice, by two keys
    return dict(sorted(named.items()))


def _path(asset: Asset) -> str:
    """Return where an asset stands in its product: where the result says, else by its file's own name, else its key."""
    names = [last_part(link) for link in (asset.href, *asset.alternates)]
    told = (asset.path or "", *(name for name in names if not name.startswith("$")), asset.key.replace("/", "_"))
    return next(filter(None, map(clean, told)), "_")


def _numbered(path: str, number: int) -> str:
    """Return ``a/b~2.tif`` for ``a/b.tif``."""
    directory, slash, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".") if "." in name[1:] else (name, "", "")
    return directory + slash + clean(f"{stem}~{number}{dot}{suffix}")
