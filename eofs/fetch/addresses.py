"""Asking for a file at one of its addresses, and at the next where that is of no use."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, TypeVar

from eofs.errors import AccessRefused, Gone, NotSupported, ProviderFailed, Stalled, Unreachable
from eofs.links import download_urls

if TYPE_CHECKING:
    from collections.abc import Callable

    from eofs.cache import Records
    from eofs.model import Product, Provider

log = logging.getLogger(__name__)

ELSEWHERE = (AccessRefused, Gone, NotSupported, ProviderFailed, Stalled, Unreachable)  # reasons to ask another address

Answer = TypeVar("Answer")


def one_of(
    product: Product,
    provider: Provider,
    records: Records,
    ask: Callable[[str], Answer],
    before_next: Callable[[], None] = lambda: None,
) -> Answer:
    """Return what `ask` answers for one of the product's addresses: that which was of use last comes first.

    Raises:
        EofsError: what `ask` raises for the last of them, or for one where asking elsewhere is no help.
    """
    urls = download_urls(product, provider)
    first = records.source(product) % len(urls) if len(urls) > 1 else 0
    places = [*range(first, len(urls)), *range(first)]
    for place, following in itertools.pairwise(places):
        try:
            return ask(urls[place])
        except ELSEWHERE as error:
            log.warning("%s: %s; it is asked for elsewhere", product.title, error)
        before_next()
        records.note_source(product, following)
    return ask(urls[places[-1]])
