"""The addresses of a search result: how a product is asked for, and how an address is shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from eofs import buckets
from eofs.errors import NotSupported

if TYPE_CHECKING:
    from eofs.model import Product, Provider


# A file that calls itself a web page, or JSON; as a file of OData's Nodes too.
_PAGE = re.compile(r"\.(?:x?html?|(?:geo)?json)(?:\)/\$value)?(?:[?#&]|$)", re.IGNORECASE)


def download_url(product: Product, provider: Provider) -> str:
    """Return the address of the product's own download link; raises as `address_of`."""
    return address_of(product.location or "", product, provider)


def address_of(location: str, product: Product, provider: Provider) -> str:
    """Return the address at which `provider` has what is at one location of the product.

    Raises:
        NotSupported: there is none, or none that can be asked.
    """
    if provider.base_uri:
        location = location.replace("%(base_uri)s", provider.base_uri.rstrip("/"))
    if place := buckets.of_link(location):
        return place.address(provider.s3_endpoint)
    try:
        parts = urlsplit(location)
    except ValueError as error:
        raise NotSupported(f"{product.title} cannot be fetched: its link cannot be read ({error})") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        what = f"its link ({parts.scheme}://…) is" if parts.scheme else "the search result names"
        how = "not served by this version of eofs" if parts.scheme or product.assets else "no download link for it"
        raise NotSupported(f"{product.title} cannot be fetched: {what} {how}")
    added = provider.dl_url_params
    if not added:  # a signed query has to stay as it is, to the letter
        return location
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in added]
    return urlunsplit(parts._replace(query=urlencode([*query, *added.items()])))


def host_of(url: str) -> str:
    """Return the host of an address, or the bucket of an ``s3://`` link, in lower case; empty where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def last_part(url: str) -> str:
    """Return the last part of an address' path as a name; empty where it has none."""
    if place := buckets.of_link(url):
        return place.key.rpartition("/")[2]
    try:
        return unquote(urlsplit(url).path).rpartition("/")[2]
    except ValueError:
        return ""


def names_a_page(url: str) -> bool:
    """Tell whether what is asked for calls itself a web page or JSON, so that such a reply is no message instead."""
    return bool(_PAGE.search(unquote(url)))


def plain(url: str | None) -> str | None:
    """Return an address without what may be secret in it: user, password, query; None where it cannot be read."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) or None
