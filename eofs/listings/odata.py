"""*Nodes* of the Copernicus Data Space and of CREODIAS, https://documentation.dataspace.copernicus.eu/APIs/OData.html.

A product's download link is ``…/odata/v1/Products(UUID)/$value``. What it holds is listed a directory at a time, to
anybody, at ``…/Products(UUID)/Nodes`` and ``…/Products(UUID)/Nodes(NAME)/Nodes(NAME)/Nodes``:

    {"result": [{"Id": NAME, "Name": NAME, "ContentLength": 0, "ChildrenNumber": 9, "Nodes": {"uri": …}}]}

A directory has children and no length. The bytes of a file are at ``…/Nodes(NAME)/$value``, for users who logged in.
Names stand there without quotes. OData's own name for ``result`` is ``value``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from eofs.archive.listing import clean
from eofs.catalog.values import number
from eofs.listings.files import Files, split
from eofs.listings.questions import Question, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eofs.client import Client
    from eofs.model import Asset, Product

DEEPEST = 32  # directories inside of each other
_PRODUCT = re.compile(r"(?P<product>.*/Products\([^/]+\))(?:/(?:\$|%24)(?:value|zip))?/?")


class _Node(msgspec.Struct, rename="pascal"):
    name: str
    content_length: Any = None
    children_number: Any = None


class _Nodes(msgspec.Struct):
    result: list[_Node] | None = None
    value: list[_Node] | None = None
    more: Any = msgspec.field(name="@odata.nextLink", default=None)


_READ = msgspec.json.Decoder(_Nodes).decode


def list_files(client: Client, url: str, product: Product, check: Callable[[], None]) -> tuple[Asset, ...]:
    """Return the files of a product, see `eofs.listings`."""
    parts, link = split(url, product, _PRODUCT, "form Products(UUID)")
    files = Files(client.provider.name, product)

    def take(question: Question, answer: _Nodes) -> Iterator[Question]:
        nodes = answer.value if answer.result is None else answer.result
        if nodes is None or answer.more:
            raise files.unusable("it does not say what is in a directory")
        for node in nodes:
            name = clean(node.name)
            path = f"{question.path}/{name}".lstrip("/")
            size, children = _whole(node.content_length), _whole(node.children_number)
            if not name:  # it leads out of the product
                continue
            if children or (children is None and not size):
                if path.count("/") >= DEEPEST:
                    raise files.unusable(f"there are more than {DEEPEST} directories inside of each other")
                yield Question(path, _address(question, node, "Nodes"))
            elif size != 0 or "." in name:  # else it is a directory without files, for files have suffixes
                files.add(path, _address(question, node, "$value"), size)

    first = Question("", urlunsplit(parts._replace(path=f"{link['product']}/Nodes")))
    ask(client, first, _READ, take, check)
    return files.all()


def _address(question: Question, node: _Node, what: str) -> str:
    """Return the address of the `Nodes` or the `$value` of a node that the directory of `question` holds."""
    parts = urlsplit(question.url)
    return urlunsplit(parts._replace(path=f"{parts.path}({quote(node.name, safe='')})/{what}"))


def _whole(value: object) -> int | None:
    """Return a number of bytes or children, 0 or more, also of text; None where it says nothing."""
    found = number(value)
    return int(found) if found is not None and found.is_integer() and 0 <= found < 2**63 else None
