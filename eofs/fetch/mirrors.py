"""Products that their own provider does not serve any more, taken from another one that knows them by their names.

A product of a service that has closed, or without a link, is looked up before anything is asked of its own provider;
another one when that says that it has it no more. Then `Product.mirror` says who is asked, and everything else goes on
as with a product of that provider, but for its key: what has come is found again under the product's own.

Threads: one lock guards what has been found; nothing waits under it, and nothing else is called under it.
"""

from __future__ import annotations

import functools
import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import cachetools

from eofs import auth, providers
from eofs.errors import BY_PROVIDER, NOT_YET, Cancelled, Changed, EofsError, Gone, NotSupported, Unreachable
from eofs.fetch.flights import Flights
from eofs.links import download_url
from eofs.listings.lookup import catalogue_name, look_up
from eofs.status import Local, StorageStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from eofs.archive import Listing
    from eofs.cache import Cache
    from eofs.client import Client
    from eofs.fetch.clock import Clock
    from eofs.model import Member, Mirror, Product, Provider
    from eofs.nodes import Caller
    from eofs.options import Options

log = logging.getLogger(__name__)

KEPT = 10_000  # products of which it is kept in memory whether they have a mirror

Answer = TypeVar("Answer")


class Mirrors:
    """Who serves a product in the place of its own provider.

    Args:
        client: returns what speaks with a provider.
        refuse: raises for a caller that is not to cause traffic.
        forget: called with a product that another provider serves from now on, whose list of files may be another.
    """

    def __init__(
        self,
        cache: Cache,
        clock: Clock,
        options: Options,
        client: Callable[[str], Client],
        refuse: Callable[[Caller], None],
        forget: Callable[[Product], None],
    ) -> None:
        self._cache = cache
        self._options = options
        self._client = client
        self._refuse = refuse
        self._forget = forget
        self._flights: Flights[Product] = Flights(cache, clock, "place")
        self._found: cachetools.LRUCache[tuple[str, str], Mirror | None] = cachetools.LRUCache(KEPT)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Ask for nothing more."""
        self._flights.close()

    def cancel(self, product: Product) -> bool:
        """Stop looking for a product elsewhere; returns whether that was going on."""
        return self._flights.cancel(product)

    def retry(self, product: Product) -> None:
        """Forget that a product was found nowhere else."""
        self._flights.retry(product)

    # -- what may be asked -------------------------------------------------------------------------------------------

    def known(self, product: Product) -> Product:
        """Return the product as the one has it who is asked for it, as far as that is known. Never waits."""
        if not self._has_name(product):
            return product
        with self._lock:
            noted, mirror = product.key in self._found, self._found.get(product.key)
        if not noted:
            mirror = self._cache.records.mirror(product)
            with self._lock:
                mirror = self._found.setdefault(product.key, mirror)
        return _taken_from(mirror, product) if mirror and mirror.provider in self._options.fallback else product

    def found(self, product: Product, caller: Caller) -> Product:
        """Return the product as `known`, having looked for one whose own provider need not be asked first; waits.

        One that is nowhere else is asked for where the search result says: that may have come back.
        """
        known = self.known(product)
        if known is not product or not (why := self._why_not_first(product)):
            return known
        try:
            return self._look_up(product, product, why, caller)
        except NOT_YET:
            raise
        except EofsError:
            return product

    def serve(self, product: Product, caller: Caller, ask: Callable[[Product], Answer]) -> Answer:
        """Return what `ask` answers, asked a second time with another provider's, where one has the product no more."""
        asked = self.found(product, caller)
        try:
            return ask(asked)
        except EofsError as error:
            instead = self._instead_of(asked, product, error, caller)
            if instead is None:
                if (told := self.told(product, error)) is error:
                    raise
                raise told from error
        return ask(instead)

    def told(self, product: Product, error: EofsError) -> EofsError:
        """Return why a product cannot be had, with why it was not found elsewhere, if so."""
        failure = self._flights.failure(product) if self._has_name(product) else None
        if failure is None or not isinstance(error, (*BY_PROVIDER, NotSupported)):
            return error
        return type(error)(f"{error}; {failure}")

    def words(self, product: Product) -> str | None:
        """Return what a user has to know of who is asked; None where it is the product's own provider."""
        if mirror := self.known(product).mirror:
            return f"served by {mirror.provider}, as {mirror.why}"
        if not (why := self._why_not_first(product)):
            return None
        return f"opening its data/ looks it up by its name at {' and '.join(self._options.fallback)}, as {why}"

    # -- whether to look -----------------------------------------------------------------------------------------------

    def _has_name(self, product: Product) -> bool:
        return bool(self._options.fallback) and not product.assets and catalogue_name(product.title) is not None

    def _catalogues(self) -> list[Client]:
        return [client for client in map(self._client, self._options.fallback) if client.provider.lookup]

    def _why_not_first(self, product: Product) -> str | None:
        """Return why a product is not to be asked for where its search result says; None where it is."""
        # Each look at a product comes by here, so what costs least is asked first.
        if not self._has_name(product):
            return None
        provider = self._client(product.provider).provider
        if not provider.closed and product.location and product.location.startswith(("https://", "http://")):
            return None
        try:
            url = download_url(product, provider)
        except NotSupported:
            why = "the search result names no address for it"
        else:
            why = f"{provider.name} has closed" if provider.closed and _has_closed(provider, url) else ""
        if not why or not self._catalogues():
            return None
        return None if self._cache.local(self._cache.archive(product))[0] is Local.COMPLETE else why

    def _instead_of(self, asked: Product, product: Product, error: EofsError, caller: Caller) -> Product | None:
        """Return the product as another provider has it, None where no other one is to be asked, or has it."""
        known = self.known(product)
        if known.location != asked.location:  # somebody else has found it meanwhile
            return known
        provider = self._client(asked.served_by).provider
        is_unknown = not provider.hosts and isinstance(error, Unreachable)
        if not (is_unknown or isinstance(error, Gone)) or not self._has_name(product) or not self._catalogues():
            return None
        why = f"{provider.name} cannot be reached" if is_unknown else f"{provider.name} no longer has it"
        try:
            return self._look_up(product, asked, why, caller)
        except NOT_YET:
            raise
        except EofsError:
            return None

    # -- looking -----------------------------------------------------------------------------------------------------

    def _look_up(self, product: Product, asked: Product, why: str, caller: Caller) -> Product:
        """Find a product elsewhere than where it was `asked` for; waits. One question, however many want to know.

        Raises:
            EofsError: nobody else has it; or not yet.
        """
        self._refuse(caller)
        return self._flights.ask(
            product, functools.partial(self._begin_elsewhere, product, asked, why), caller, self._options
        )

    def _begin_elsewhere(self, product: Product, asked: Product, why: str) -> Product:
        mirror = self._cache.records.mirror(product)  # as another process, or another thread just now, has found it
        if not mirror or mirror.location == asked.location or mirror.provider not in self._options.fallback:
            mirror = replace(self._find(catalogue_name(product.title) or "", asked.location), why=why)
            self._drop(product)
            self._cache.records.note_mirror(product, mirror)
        with self._lock:
            self._found[product.key] = mirror
        self._forget(product)
        log.info("%s is taken from %s, as %s", product.title, mirror.provider, why)
        return _taken_from(mirror, product)

    def _find(self, name: str, asked: str | None) -> Mirror:
        """Return where a product is, on disk if it can be, as the first one says who has it elsewhere than `asked`."""
        best: Mirror | None = None
        faults: list[EofsError] = []
        for client in self._catalogues():
            try:
                found = look_up(client, name, self._flights.check, self._flights.closing.wait)
            except Cancelled:
                raise
            except EofsError as error:
                log.warning("%s: %s", name, error)
                faults.append(error)
                continue
            if found and found.location != asked and found.status is StorageStatus.ONLINE:
                return found
            if found and found.location != asked:
                best = best or found
        if best:
            return best
        if faults:
            raise type(faults[0])("; ".join(map(str, faults)))
        raise Gone(f"nobody has {name} at {' or '.join(self._options.fallback)}")

    def _drop(self, product: Product) -> None:
        """Drop what has come from the product's own provider: bytes of two archives are never mixed."""
        path = self._cache.archive(product)
        if self._cache.local(path)[0] is Local.PARTIAL and (file := self._cache.open(path)):
            if not file.whole:
                file.restart()
            self._cache.release(file)


def found_again(member: Member, listing: Listing) -> Member:
    """Return a file as the archive of another provider has it, whose files are listed here.

    Raises:
        Changed: it has no such file, or one of another size.
    """
    for found in listing.members:
        if (found.path, found.size) == (member.path, member.size):
            return found
    raise Changed(f"another provider's archive has another {member.path}; open it again")


def _taken_from(mirror: Mirror, product: Product) -> Product:
    return replace(
        product,
        mirror=mirror,
        location=mirror.location,
        alternates=(),
        quicklook=mirror.quicklook,
        size=mirror.size,
        checksum=mirror.checksum,
        status=mirror.status,
    )


def _has_closed(provider: Provider, url: str) -> bool:
    """Tell whether an address is a closed provider's own: a host that the user has added is a mirror's."""
    asked = auth.authority(url)
    built_in = providers.builtin().get(provider.name)
    if asked is None or built_in is None:
        return True
    own = set(provider.hosts).difference(providers.build(provider.name, built_in, source=None).hosts)
    return asked.entries().isdisjoint(own)
