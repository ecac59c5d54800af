"""The addresses of a search result: how a product is asked for, and how an address is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from eofs.errors import NotSupported

if TYPE_CHECKING:
    from eofs.model import Product, Provider


def download_url(product: Product, provider: Provider) -> str:
    """Return the address of the product's bytes.

    Raises:
        NotSupported: the result names none, or one that is not http.
    """
    location = product.location or ""
    if provider.base_uri:
        location = location.replace("%(base_uri)s", provider.base_uri.rstrip("/"))
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


def plain(url: str | None) -> str | None:
    """Return an address without what may be secret in it: user, password, query; None where it cannot be read."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) or None
