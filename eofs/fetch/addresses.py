"""Where a product's bytes can be asked for, whom that is asked, and where first.

What one address has, the others have as well (STAC's ``alternate``, and the stores that hold one bucket). Each is asked
by the provider to whom it belongs, so that a product may come by one log-in or by another.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from eofs import auth, buckets
from eofs.catalog.terms import read_terms
from eofs.errors import BY_PROVIDER, AccessRefused, EofsError, NotAllowed, NotSupported
from eofs.links import address_of, host_of
from eofs.model import Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from eofs.cache import Records
    from eofs.client import Client
    from eofs.model import Product, Provider

log = logging.getLogger(__name__)

ELSEWHERE = (*BY_PROVIDER, NotAllowed, NotSupported)  # reasons to ask another address

Answer = TypeVar("Answer")


class Chance(IntEnum):
    """How likely an address is to give the bytes, the best first."""

    OPEN = 0  # nothing says that it takes a log-in
    LOGGED_IN = 1  # it takes one, and the credentials are there
    KEYS = 2  # an object store whose keys are there
    DOUBTFUL = 3  # a host whose results a provider serves from elsewhere
    NO_LOG_IN = 4
    NO_KEYS = 5
    BILLED = 6  # who asks pays, and the user has not said that he does


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a product, and who asks there."""

    url: str
    client: Client
    terms: Terms
    chance: Chance


def chance_of(link: str, provider: Provider, terms: Terms) -> Chance:
    """Return how likely it is that `provider` gives what is at a link of a search result."""
    pays = provider.login.get("requester_pays")
    if terms.requester_pays and not pays:
        return Chance.BILLED
    if buckets.is_link(link):  # who pays has keys, if not in the configuration
        return Chance.KEYS if provider.auth == "s3" and (provider.credentials or pays) else Chance.NO_KEYS
    if terms.is_open:
        return Chance.OPEN
    if not auth.may_receive(provider, link) and host_of(link) in provider.known_by:
        return Chance.DOUBTFUL
    if provider.auth == "none" or not auth.may_receive(provider, link):
        return Chance.NO_LOG_IN if terms.login else Chance.OPEN
    return Chance.NO_LOG_IN if provider.auth not in auth.KINDS or auth.missing(provider) else Chance.LOGGED_IN


def addresses(product: Product, client_of: Callable[[str], Client]) -> list[Address]:
    """Return where the product's bytes can be asked for, best first; of two that are alike as the result has them.

    Args:
        product: the product.
        client_of: returns who asks at a link.

    Raises:
        NotSupported: the result names no address, or none that can be asked.
    """
    said = read_terms(bytes(product.feature))
    found: list[Address] = []
    refused: NotSupported | None = None
    for link in (product.location or "", *product.alternates):
        for terms in said.get(link, (Terms(),)):
            store = buckets.of_link(link) if terms.endpoint else None
            at = store.address(terms.endpoint) if store else link
            client = client_of(at)
            try:
                url = address_of(at, product, client.provider)
            except NotSupported as error:
                refused = refused or error
            else:
                found.append(Address(url, client, terms, chance_of(link, client.provider, terms)))
    if refused and not found:
        raise refused
    return sorted(found, key=lambda address: address.chance)


def owner(link: str, own: Client, by_host: Callable[[str], Client]) -> Client:
    """Return who asks at a link: the product's own provider, unless the link's host, or its bucket, is another's.

    Args:
        link: of the search result.
        own: speaks with the product's provider.
        by_host: returns who speaks with the provider of a host or a bucket; named after it where nobody knows it.
    """
    host, provider = host_of(link), own.provider
    if not host or (provider.auth == "s3" and buckets.is_link(link)):
        return own
    other = by_host(host)
    if other.provider.name == host:
        return own
    # A store may stand among the hosts of a provider whose log-in is none for it.
    is_store = other.provider.auth == "s3" and buckets.find(link, other.provider.s3_endpoint) is not None
    return own if auth.may_receive(provider, link) and not is_store else other


def one_of(
    product: Product,
    client_of: Callable[[str], Client],
    records: Records,
    ask: Callable[[Address], Answer],
    before_next: Callable[[], None] = lambda: None,
) -> Answer:
    """Return what `ask` answers for one of the product's addresses: that which was of use last comes first.

    Raises:
        EofsError: what `ask` raises where asking elsewhere is no help; else what it raised for one of them.
    """
    places = addresses(product, client_of)
    first = records.source(product) % len(places)
    failures: list[tuple[Chance, EofsError]] = []
    for place in (*range(first, len(places)), *range(first)):
        if failures:
            log.warning("%s: %s; it is asked for elsewhere", product.title, failures[-1][1])
            before_next()
            records.note_source(product, place)
        try:
            return _asked(places[place], ask)
        except ELSEWHERE as error:
            failures.append((places[place].chance, _in_the_light_of(error, places[place])))
    if len(places) > 1:
        records.note_source(product, 0)
    raise _most_telling(failures)


def _asked(address: Address, ask: Callable[[Address], Answer]) -> Answer:
    if address.chance is Chance.BILLED:
        raise NotAllowed(
            f"{host_of(address.url)} bills who asks, the search result says; if you want to pay for it, set "
            f"{address.client.provider.name}.auth.requester_pays: true"
        )
    if not address.terms.is_open:
        address.client.must_have_credentials(address.url)
    return ask(address)


def _in_the_light_of(error: EofsError, address: Address) -> EofsError:
    """Return a refusal by a host that nobody has described with what the result says of it."""
    login, url = address.terms.login, address.url
    if not login or not isinstance(error, AccessRefused) or auth.may_receive(address.client.provider, url):
        return error
    if buckets.find(url, None):  # Amazon's own store, of which nothing need be described
        return error
    host = urlsplit(url).netloc.rpartition("@")[2]
    return AccessRefused(
        f"{host} wants {login.words}, the search result says; describe the provider in ~/.config/eofs/eofs.yml: "
        f"mine: {{hosts: [{host}], auth: {login.settings}}}"
    )


def _most_telling(failures: Iterable[tuple[Chance, EofsError]]) -> EofsError:
    """Return why the likeliest address that takes a log-in has failed, which the user can mend; else the last."""
    *_, last = failures
    mendable = [failure for failure in failures if failure[0] not in {Chance.OPEN, Chance.DOUBTFUL}]
    return min(mendable, key=lambda failure: failure[0], default=last)[1]
