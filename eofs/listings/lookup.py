"""Where a provider has a product of Sentinel, by the product's name: for one that its own provider serves no more.

The catalogue is OData's, as at the Copernicus Data Space, https://documentation.dataspace.copernicus.eu/APIs/OData.html.
``…/Products?$filter=Name eq 'NAME'&$expand=Assets`` is answered to anybody:

    {"value": [{"Id": UUID, "Name": NAME, "Online": true, "ContentLength": 812345678,
                "Checksum": [{"Algorithm": "MD5", "Value": …}], "Assets": [{"Type": "QUICKLOOK", "DownloadLink": …}]}]}

What is not known there is 0, empty or absent. A quote in a name is doubled. Archives may have been packed anew, so that
neither the size nor the checksum is that of another provider's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from eofs import checksums, faults
from eofs.catalog.values import number
from eofs.errors import NotSupported, ProviderFailed
from eofs.faults import Staging
from eofs.listings.questions import told
from eofs.model import Mirror
from eofs.status import StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from eofs.client import Client
    from eofs.model import Checksum

# How the products of a mission begin, and how their names end in a catalogue.
_NAMES = (
    (re.compile(r"S1[A-D]_[A-Z0-9]{2}_[A-Z]{3}[A-Z_]_"), ".SAFE"),
    (re.compile(r"S2[A-D]_(?:MSIL|OPER_)"), ".SAFE"),
    (re.compile(r"S3[A-D]_[A-Z]{2}_[0-9]_"), ".SEN3"),
    (re.compile(r"S5P_(?:OFFL|NRTI|RPRO)_"), ".nc"),
)
_SUFFIX = re.compile(r"\.(?:safe|sen3|nc|zip)$", re.IGNORECASE)
_ID = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_LATER = "try again later"


class _Sum(msgspec.Struct, rename="pascal"):
    algorithm: str = ""
    value: str = ""


class _Asset(msgspec.Struct, rename="pascal"):
    type: str | None = None
    download_link: str | None = None


class _Product(msgspec.Struct, rename="pascal"):
    id: str
    name: str
    online: bool | None = None
    content_length: Any = None
    checksum: list[_Sum] | None = None
    assets: list[_Asset] | None = None


class _Products(msgspec.Struct):
    value: list[_Product]


_READ = msgspec.json.Decoder(_Products).decode


def catalogue_name(title: str) -> str | None:
    """Return the name that catalogues know a product of Sentinel by; None where `title` is that of another product."""
    for beginning, suffix in _NAMES:
        if beginning.match(title):
            return _SUFFIX.sub("", title) + suffix
    return None


def look_up(client: Client, name: str, check: Callable[[], None], wait: Callable[[float], object]) -> Mirror | None:
    """Return where a provider has the product of that very name, on disk if it can be; None where it has none.

    Args:
        client: of a provider that has a catalogue (`Provider.lookup`); none of its connections is held.
        name: as `catalogue_name` returns it.
        check: raises where nobody wants to know any more.
        wait: waits so many seconds before another try.

    Raises:
        EofsError: the catalogue does not answer, or in a form that is not known.
    """
    provider = client.provider
    asked = {"$filter": "Name eq '{}'".format(name.replace("'", "''")), "$expand": "Assets"}
    url = f"{provider.lookup}?{urlencode(asked, safe='$', quote_via=quote)}"

    def once() -> _Products:
        with client.connection(check):
            check()
            return told(client, url, _READ, "products", _LATER)[0]

    try:
        answer = faults.patiently(once, provider, f"look-up of {name}", wait)
    except (Staging, NotSupported):
        raise ProviderFailed(f"{provider.name} does not say whether it has {name}; {_LATER}") from None
    found = [product for product in answer.value if product.name == name and _ID.fullmatch(product.id)]
    best = max(found, key=lambda product: product.online is not False, default=None)
    return _mirror(best, provider.name, provider.download_link or f"{provider.lookup}({{id}})/$value") if best else None


def _mirror(product: _Product, provider: str, link: str) -> Mirror:
    size = number(product.content_length)
    quicklooks = (asset.download_link for asset in product.assets or () if asset.type == "QUICKLOOK")
    return Mirror(
        provider=provider,
        id=product.id,
        location=link.replace("{id}", product.id),
        quicklook=next((href for href in quicklooks if href), None),
        size=int(size) if size and size > 0 else None,
        checksum=_checksum(product.checksum or ()),
        status=StorageStatus.OFFLINE if product.online is False else StorageStatus.ONLINE,
    )


def _checksum(said: Iterable[_Sum]) -> Checksum | None:
    for each in said:
        found = checksums.from_text(f"{each.algorithm}={each.value}") if each.value else None
        if found and checksums.is_known(found):
            return found
    return None
