"""The files of a product, as its provider lists them: where an archive is made on the fly, they can be read without it.

Each row of `LISTINGS` is one protocol, which a provider's ``download.files`` names. It asks the provider, and returns
all files of a product, sorted by their paths:

    key     the path inside the product, clean, its root directory included (``X.SAFE/GRANULE/…/x_B04.jp2``)
    path    the same
    href    the address of the bytes; it may want credentials where the list wanted none
    size    bytes, or None where the provider does not say

Paths are each once, and none is a directory of another. A list that does not fit is refused as a whole, for the archive
has all files, and its reading knows what to do with odd names. Directories without files are not told.

A row may be called in any thread that holds none of the provider's connections.

Raises:
    NotSupported: the download link is not one of this protocol.
    Gone: the provider has no such list.
    EofsError: the list cannot be had, or not be used; what `check` raises passes through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eofs.listings import eumetsat, objects, odata

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eofs.client import Client
    from eofs.model import Asset, Product

    # The client, the product's download link, the product, and what raises where nobody wants the list any more.
    ListFiles = Callable[[Client, str, Product, Callable[[], None]], tuple[Asset, ...]]

FOLDERS = frozenset({"s3-objects"})  # there is no archive beside the list, unless that is empty
LISTINGS: Mapping[str, ListFiles] = {
    "odata-nodes": odata.list_files,
    "eumetsat-entries": eumetsat.list_files,
    "s3-objects": objects.list_files,
}
