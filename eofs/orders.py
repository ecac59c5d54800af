"""How a product is ordered: what is asked, and what the answers mean. Values only; `eofs.fetch.ordering` asks.

The settings are those of eodag's plug-in `HTTPDownload`, under their names (its documentation, "Download plugins":
`order_on_response`, `order_status`); links and ids of the search result go before them. What a *mapping* gives for a
name is one of

    $.json.data.id, $.headers.Location         a path into the answer
    $.json.links[?rel=="self"].href            one through a list: the first member that says so; ``[0]`` is the first
    https://example.org/orders/{order_id}      a template: names of this mapping, of the product, of what has been said
                                               of the order before; ``{{`` is a brace. Links may be relative
    GET                                        anything else: a text

The names that mean something are the rows of `NAMES`; any other may stand in a template.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urljoin

import msgspec

from eofs import auth, complaints, credentials, signatures
from eofs.errors import NotSupported, ProviderFailed
from eofs.links import download_url, last_part
from eofs.model import OrderProtocol
from eofs.templates import evaluated, filled
from eofs.tokens import Question

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eofs.model import Product, Provider
    from eofs.tokens import Answer

# What a name means, however eodag 2, 3 and 4 and STAC's order extension call it.
NAMES: dict[str, tuple[str, ...]] = {
    "order_link": ("eodag:order_link", "orderLink"),
    "order_id": ("eodag:order_id", "orderId", "order:id"),
    "status_link": ("eodag:status_link", "orderStatusLink"),
    "search_link": ("eodag:search_link", "searchLink"),
    "download_link": ("eodag:download_link", "downloadLink"),
    "order_status": ("eodag:order_status", "orderStatus", "order:status", "status"),
    "message": ("eodag:order_message", "error_message"),
    "percent": ("eodag:order_percent",),
}
_MEANING = {name: meaning for meaning, names in NAMES.items() for name in names}
_OF_AN_ORDER = ("order_id", "status_link", "search_link")


@dataclass(frozen=True, slots=True)
class Word:
    """What a provider says of an order.

    Attributes:
        state: ``ready``, ``failed`` or ``waiting``.
        words: for a user to read.
    """

    state: str
    words: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How one product is ordered.

    Attributes:
        values: what templates may say of it, by name.
        earlier: what the result says of an order that another program has placed; nothing where it says of none.
    """

    provider: Provider
    protocol: OrderProtocol
    values: Mapping[str, Any] = field(repr=False)
    earlier: Mapping[str, str] = field(repr=False)

    @property
    def is_possible(self) -> bool:
        """Tell whether orders are requests of their own here, and it is known where to."""
        if self.provider.order == "none":
            return False
        if self.provider.protocol:
            return "order_link" in self.values or self.protocol.link is not None
        return auth.may_receive(self.provider, _address(self.values.get("order_link", "")))

    @property
    def final(self) -> frozenset[int]:
        """Return the statuses by which an order is answered, also where they redirect."""
        return frozenset(int(code) for code in self.protocol.success.get("http_code", ()) if code.isdecimal())

    def order(self) -> Question:
        """Return the request that orders.

        Raises:
            NotSupported: it would have to say what the result does not say.
        """
        link = self.values.get("order_link") or filled(self.protocol.link or "", self.values, meaning)
        if not link:
            raise NotSupported(
                f"the search result does not say all that an order of {self.provider.name} wants; search again"
            )
        return _question(str(link), self.protocol.method, self.protocol.headers)

    def placed(self, answer: Answer) -> dict[str, str]:
        """Return what the answer to an order says of it.

        Raises:
            ProviderFailed: that it was not taken.
        """
        said, body = self.known({}, answer), complaints.decoded(answer.body)
        word = self.word(answer, said)
        wants_id = "order_id" in {meaning(name) for name in self.protocol.on_response}
        if word.state == "failed" or (wants_id and "order_id" not in said):
            words = complaints.in_words(self.provider, answer.body) if body is not None else ""
            raise ProviderFailed(f"{self.provider.name} took no order{words and ': '}{words}; try again later")
        return said

    def known(self, said: Mapping[str, str], answer: Answer | None = None) -> dict[str, str]:
        """Return what is known of an order: what has been said of it, and what follows from that; links are whole."""
        found = {**self._evaluated(self.protocol.on_response, said, answer), **said}
        return {name: self._whole(name, str(value)) for name, value in found.items()}

    def asking(self, said: Mapping[str, str]) -> Question | None:
        """Return the request that asks how far an order is; None where nobody says where to ask."""
        link = said.get("status_link")
        return _question(link, self.protocol.status_method, self.protocol.status_headers) if link else None

    def searching(self, said: Mapping[str, str]) -> Question | None:
        """Return the request that asks where the product is, once it is ready; None where there is none."""
        link = said.get("search_link") if self.protocol.need_search else None
        return _question(link, "GET", self.protocol.status_headers) if link else None

    def word(self, answer: Answer, said: Mapping[str, str]) -> Word:
        """Return what an answer says of how far an order is."""
        protocol = self.protocol
        found = self._evaluated(protocol.status, said, answer)
        failed = _holds(protocol.error, found, answer)
        told = [found.get("order_status"), found.get("percent") and f"{found['percent']} %", found.get("message")]
        if failed and not told[-1]:
            told[-1] = complaints.in_words(self.provider, answer.body)
        words = complaints.cleaned(self.provider, ", ".join(str(each) for each in told if each)) or answer.said
        if failed:
            return Word("failed", words)
        waits = answer.status == 202 or _holds(protocol.ordered, found, answer)
        if waits or (protocol.success and not _holds(protocol.success, found, answer)):
            return Word("waiting", words)
        return Word("ready", words)

    def link(self, answer: Answer, said: Mapping[str, str]) -> str:
        """Return where the product is, as the answer says that tells that it is ready, or that to the search.

        Raises:
            ProviderFailed: it does not say.
        """
        found = self._evaluated(self.protocol.status, said, answer)
        mapping = self.protocol.on_success
        found = {**found, **self._evaluated(mapping, {**said, **{n: str(v) for n, v in found.items()}}, answer)}
        if "download_link" not in found and "download_link" not in {meaning(name) for name in mapping}:
            found = {**self.values, **self.known(said)}
        if not (link := found.get("download_link")):
            raise ProviderFailed(f"{self.provider.name} says that the order is ready, but not where; try again later")
        return self._whole("", str(link))

    def link_at_once(self, answer: Answer) -> str | None:
        """Return where the product is if the answer to its order says so."""
        mapping = {name: path for name, path in self.protocol.on_response.items() if path.startswith("$")}
        link = self._evaluated(mapping, {}, answer).get("download_link")
        return self._whole("", str(link)) if link else None

    def to_keep(self, said: Mapping[str, str]) -> dict[str, str]:
        """Return what may be kept on disk of what was said of an order: nothing that is signed, no credential."""
        secrets = credentials.in_hand(self.provider)
        return {
            name: value
            for name, value in said.items()
            if name != "download_link"
            and signatures.unsigned(value) == value
            and not any(secret in value for secret in secrets)
        }

    def _evaluated(self, mapping: Mapping[str, str], said: Mapping[str, str], answer: Answer | None) -> dict[str, Any]:
        roots = {"json": complaints.decoded(answer.body), "headers": answer.headers} if answer else {}
        named = {meaning(name): each for name, each in mapping.items()}
        try:
            return evaluated(named, roots, {**self.values, **said}, meaning)
        except ValueError as error:
            raise NotSupported(f"the settings of {self.provider.name} for orders say {error}") from None

    def _whole(self, name: str, link: str) -> str:
        """Return a link in full; one that would not be encrypted is, where the host is the provider's."""
        if name and not name.endswith("_link"):
            return link
        address, mark, query = link.partition("?")
        whole = urljoin(_address(str(self.values.get("order_link") or self.protocol.link or "")), address)
        safe = whole.replace("http://", "https://", 1)
        if name and not auth.may_receive(self.provider, whole) and auth.may_receive(self.provider, safe):
            whole = safe
        return f"{whole}{mark}{query}"


def plan(product: Product, provider: Provider) -> Plan:
    """Return how a product is ordered."""
    try:
        # What the result says is of the product's own provider, and not of a mirror.
        feature = b"" if product.mirror else bytes(product.feature)
        properties = json.loads(feature or b"{}").get("properties") or {}
    except (ValueError, AttributeError):
        properties = {}
    said = {meaning(name): value for name, value in properties.items() if _says(value)}
    uid = product.mirror.id if product.mirror else product.uid
    own = {"id": product.id, "uid": uid, "title": product.title, "collection": product.collection}
    try:
        link = download_url(product, provider)
    except NotSupported:
        link = product.location or ""
    said |= {**{name: value for name, value in own.items() if value}, "download_link": link, "file": last_part(link)}
    earlier = {name: str(said.pop(name)) for name in _OF_AN_ORDER if name in said}
    return Plan(provider, provider.protocol or OrderProtocol(), said, earlier)


def _says(value: object) -> bool:
    return isinstance(value, str | int | float) and value not in {"", "Not Available"}


def meaning(name: str) -> str:
    """Return the name of `NAMES` that a name stands for; itself where it stands for none."""
    return _MEANING.get(name, name)


def _address(link: str) -> str:
    return link.partition("?")[0]


def _question(link: str, method: str, headers: Mapping[str, str]) -> Question:
    """Return a request; what follows the question mark of a link is the body of a POST, in JSON."""
    if method == "GET":
        return Question(link, method, headers)
    address, _, text = link.partition("?")
    body = None if (said := _said(text)) is None else msgspec.json.encode(said)
    return Question(address, method, {"Content-Type": "application/json", **headers}, body)


def _said(text: str) -> Any:
    """Return what the query of an order link says, in JSON or as a form; eodag 3 wrote the braces around JSON twice."""
    if not text:
        return None
    for spelling in (text, text[1:-1], unquote(text)):
        if (said := complaints.decoded(spelling.encode("utf-8", "surrogateescape"))) is not None:
            return said
    return parse_qs(text) or None


def _holds(conditions: Mapping[str, tuple[str, ...]], found: Mapping[str, Any], answer: Answer) -> bool:
    """Tell whether an answer says what all the conditions want; never where there are none."""
    said = {**found, "http_code": answer.status}
    return bool(conditions) and all(
        any(fnmatchcase(_word(said.get(meaning(name))), word) for word in words) for name, words in conditions.items()
    )


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _usgs(plan: Plan, ask: Callable[[Question], Answer]) -> dict[str, Any]:
    """Return which scene and which of its files to order, as M2M calls them.

    eodag notes both, and the data set in the link. Else see ``download-options`` in m2m.cr.usgs.gov/api/docs/reference.
    """
    values = plan.values
    *_, dataset, entity, _, _ = ("", "", "", *str(values.get("download_link")).split("/"))[-6:]
    entity = values.get("usgs:entityId", values.get("entityId", entity))
    product = values.get("usgs:productId", values.get("productId"))
    if not product:
        wanted = json.dumps({"datasetName": dataset, "entityIds": [entity]})
        link = urljoin(plan.protocol.link or "", "download-options")
        said = complaints.decoded(ask(_question(f"{link}?{wanted}", "POST", {})).body)
        options = said.get("data") if isinstance(said, dict) else None
        usable = [o for o in options or () if o.get("available") and o.get("downloadSystem") != "folder"]
        sized = sorted(usable, key=lambda option: option.get("filesize") or 0)  # all of the scene is the largest
        product = sized[-1].get("id") if sized else None
    if not product:
        raise ProviderFailed(f"{plan.provider.name} has no file of the scene {entity} to order; search again")
    return {"entity": entity, "product": product}


# What has to be asked before a product can be ordered: each returns further values, and asks by what it is given.
FIRST: dict[str, Callable[[Plan, Callable[[Question], Answer]], dict[str, Any]]] = {"usgs": _usgs}
