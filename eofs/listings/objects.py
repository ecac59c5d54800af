"""The objects of a store of the kind of Amazon S3 that lie under a product's link, which is a folder there.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html; a store that knows the first version only, as
Mundi's did, is understood as well. A list comes in pages of a thousand:

    <ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
      <NextContinuationToken>…</NextContinuationToken><Contents><Key>…</Key><Size>…</Size></Contents>…

The files stand under their names below the folder. The tiles of Sentinel-2 at Amazon have a second folder, which eodag
calls ``productPath``: what belongs to the whole product, of which a tile is a part. Its files stand in a directory of
its own name beside the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus, urlencode
from xml.etree import ElementTree as ET

import msgspec

from eofs import buckets
from eofs.archive.listing import clean
from eofs.catalog.envelope import NOT_JSON, decode
from eofs.catalog.values import text
from eofs.errors import Gone, NotSupported
from eofs.listings.files import Files
from eofs.listings.questions import Question, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eofs.buckets import Place
    from eofs.client import Client
    from eofs.model import Asset, Product


class _Properties(msgspec.Struct):
    product_path: object = msgspec.field(name="eodag:product_path", default=None)
    former_product_path: object = msgspec.field(name="productPath", default=None)


class _Feature(msgspec.Struct):
    properties: _Properties


_FEATURE = msgspec.json.Decoder(_Feature)


@dataclass(frozen=True, slots=True)
class _Page:
    """What is on a page of a list: the objects' keys and sizes, and what leads to the next page."""

    objects: tuple[tuple[str, int | None], ...]
    following: dict[str, str] | None


def list_files(client: Client, url: str, product: Product, check: Callable[[], None]) -> tuple[Asset, ...]:
    """Return the files of a product, see `eofs.listings`."""
    endpoint = client.provider.s3_endpoint
    place = buckets.find(url, endpoint) or (buckets.of_path(url) if endpoint else None)
    if place is None or not place.key.strip("/"):
        raise NotSupported(f"the files of {product.title} cannot be listed: its link is not of a folder of a bucket")
    files = Files(client.provider.name, product)
    for folder, directory in _folders(place, product):
        _list(client, folder, directory, files, check)
    if not files:
        raise Gone(f"{client.provider.name} has nothing below s3://{place.bucket}/{place.key}; search again")
    return files.all()


def _folders(place: Place, product: Product) -> Iterator[tuple[Place, str]]:
    """Yield the product's folders, and in which directory the files of each stand."""
    yield replace(place, key=f"{place.key.rstrip('/')}/"), ""
    if path := _product_path(product).strip("/"):
        yield replace(place, key=f"{path}/"), f"{path.rpartition('/')[2]}/"


def _product_path(product: Product) -> str:
    try:
        properties = decode(_FEATURE, bytes(product.feature)).properties
    except NOT_JSON:
        return ""
    return text(properties.product_path) or text(properties.former_product_path) or ""


def _list(client: Client, folder: Place, directory: str, files: Files, check: Callable[[], None]) -> None:
    def asking(**more: str) -> Question:
        query = {"encoding-type": "url", "list-type": "2", "prefix": folder.key, **more}
        at = replace(folder, key="", query=urlencode(query, quote_via=quote, safe=""))
        return Question("", at.address(client.provider.s3_endpoint))

    def take(_: Question, page: _Page) -> Iterator[Question]:
        for key, size in page.objects:
            path = clean(key[len(folder.key) :]) if key.startswith(folder.key) and not key.endswith("/") else ""
            if path:  # else it stands for the folder itself, or leads out of it
                files.add(directory + path, f"s3://{folder.bucket}/{key}", size)
        if page.following:
            yield asking(**page.following)

    ask(client, asking(), _read, take, check)


def _read(said: bytes) -> _Page:
    """Read a page.

    Raises:
        ValueError: it is none.
    """
    written = said.decode()
    if "<!" in written:  # a document type, whose entities may stand for any number of bytes; S3 has no use for one
        raise ValueError
    try:
        root = ET.fromstring(written)  # noqa: S314 - no entity is declared in it, and its size has a limit
    except ET.ParseError as error:
        raise ValueError from error
    if _name(root) != "ListBucketResult":
        raise ValueError
    told = {_name(child): child.text or "" for child in root}
    quoted = told.get("EncodingType") == "url"
    objects = tuple(_object(child, quoted=quoted) for child in root if _name(child) == "Contents")
    if told.get("IsTruncated", "").strip().lower() != "true":
        return _Page(objects, None)
    if token := told.get("NextContinuationToken"):
        return _Page(objects, {"continuation-token": token})
    if not objects:
        raise ValueError
    return _Page(objects, {"marker": objects[-1][0]})


def _object(contents: ET.Element, *, quoted: bool) -> tuple[str, int | None]:
    told = {_name(child): child.text or "" for child in contents}
    key, size = told.get("Key", ""), told.get("Size", "").strip()
    return unquote_plus(key) if quoted else key, int(size) if re.fullmatch(r"[0-9]{1,18}", size) else None


def _name(element: ET.Element) -> str:
    """Return an element's name without its name space, of which there are several."""
    return element.tag.rpartition("}")[2]
