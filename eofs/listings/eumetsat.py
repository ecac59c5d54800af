"""The entries of a product of EUMETSAT's Data Store, as EUMETSAT's own client eumdac reads them.

A product's download link is ``…/data/download/1.0.0/collections/COLLECTION/products/ID``. Its entries are told, to
anybody, at ``…/data/browse/1.0.0/collections/COLLECTION/products/ID?format=json``:

    {"properties": {"links": {"sip-entries": [{"title": PATH, "href": …, "mediaType": …}]}}}

The bytes of one are at ``DOWNLOAD LINK/entry?name=PATH``, for users who logged in. Nothing tells their sizes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec

from eofs.archive.listing import clean
from eofs.listings.files import Files, split
from eofs.listings.questions import Question, ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from urllib.parse import SplitResult

    from eofs.client import Client
    from eofs.model import Asset, Product

_PRODUCT = re.compile(r"(?P<data>.*/data)/download(?P<product>/[^/]+/collections/[^/]+/products/[^/]+)/?")


class _Entry(msgspec.Struct):
    title: str


class _Links(msgspec.Struct):
    entries: list[_Entry] = msgspec.field(name="sip-entries")


class _Properties(msgspec.Struct):
    links: _Links


class _Description(msgspec.Struct):
    properties: _Properties


_READ = msgspec.json.Decoder(_Description).decode


def list_files(client: Client, url: str, product: Product, check: Callable[[], None]) -> tuple[Asset, ...]:
    """Return the files of a product, see `eofs.listings`."""
    parts, link = split(url, product, _PRODUCT, "Data Store")
    files = Files(client.provider.name, product)

    def take(question: Question, answer: _Description) -> tuple[Question, ...]:
        download = urlsplit(question.url)._replace(path=f"{parts.path.rstrip('/')}/entry", query=parts.query)
        for entry in answer.properties.links.entries:
            if path := clean(entry.title):
                files.add(path, _asking(download, name=entry.title))
        return ()

    browse = parts._replace(path=f"{link['data']}/browse{link['product']}")
    ask(client, Question("", _asking(browse, format="json")), _READ, take, check)
    return files.all()


def _asking(parts: SplitResult, **asked: str) -> str:
    """Return an address with more in its query."""
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *asked.items()], quote_via=quote)
    return urlunsplit(parts._replace(query=query))
