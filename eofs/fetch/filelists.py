"""Which files a loose product has, and how large they are: known from its result or the records, else asked for.

Threads: one lock guards the lists that are known; nothing waits under it, and nothing else is called under it.
"""

from __future__ import annotations

import logging
import math
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import cachetools

from eofs import auth
from eofs.blocks import POLL
from eofs.catalog.dialects import read_files
from eofs.errors import AccessRefused, EofsError, Gone, NotAllowed, NotSupported
from eofs.fetch.addresses import ELSEWHERE, Chance, addresses
from eofs.fetch.failures import FAILURE_MEMORY
from eofs.fetch.flights import Flights
from eofs.fetch.sizes import Sizes
from eofs.links import address_of, download_url
from eofs.listings import LISTINGS
from eofs.model import Asset
from eofs.parts import folders, from_text, key_of, parts_of, to_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from eofs.cache import Cache
    from eofs.fetch.clock import Clock
    from eofs.fetch.course import Surroundings
    from eofs.fetch.stories import Stories
    from eofs.model import Product
    from eofs.nodes import Caller
    from eofs.parts import Parts

log = logging.getLogger(__name__)

KEPT = 512  # products whose files are kept in memory


@dataclass(frozen=True, slots=True)
class _Kept:
    """The files of a product, as they are taken to be until the time `until`."""

    parts: Parts
    until: float


class FileLists:
    """The files of loose products."""

    def __init__(self, cache: Cache, clock: Clock, stories: Stories, around: Callable[[Product], Surroundings]) -> None:
        self._cache = cache
        self._clock = clock
        self._stories = stories
        self._around = around
        self._flights: Flights[Parts] = Flights(cache, clock, "list of files")
        self._kept: cachetools.LRUCache[tuple[str, str], _Kept] = cachetools.LRUCache(KEPT)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Ask for nothing more."""
        self._flights.close()

    def settled(self, product: Product) -> Parts | None:
        """Return the product's files where nothing has to be asked for: those without a size cannot be had."""
        with self._lock:
            kept = self._kept.get(product.key)
        if kept and self._clock.now() < kept.until:
            return kept.parts
        parts = self._noted(product)
        return None if parts is None or parts.unknown else self._keep(product, parts, math.inf)

    def known(self, product: Product) -> Parts | None:
        """Return the product's files as far as they are known; None where that is not at all."""
        return self.settled(product) or self._noted(product)

    def failure(self, product: Product) -> EofsError | None:
        """Return why the files could not be asked for last, if so."""
        return self._flights.failure(product)

    def ask(self, product: Product, caller: Caller) -> Parts:
        """Return the product's files, asking the provider; waits. One question, however many want to know."""
        # They may have become known between the question and now.
        return self._flights.ask(
            product, lambda: self.settled(product) or self._learn(product), caller, self._around(product).options
        )

    def forget(self, product: Product) -> None:
        """Forget the product's files."""
        with self._lock:
            self._kept.pop(product.key, None)

    def cancel(self, product: Product) -> bool:
        """Stop asking for the product's files; returns whether they were asked for."""
        return self._flights.cancel(product)

    def retry(self, product: Product) -> None:
        """Forget that files could not be had: they are asked for again."""
        self._flights.retry(product)
        self.forget(product)

    def correct(self, product: Product, part: Product, size: int) -> None:
        """Note that a file has another size than has been said."""
        listed, sizes = from_text(self._cache.records.files(product))
        self._cache.records.note_files(product, to_text(listed, {**sizes, key_of(product, part): size}))
        self.forget(product)

    def _noted(self, product: Product) -> Parts | None:
        listed, sizes = from_text(self._cache.records.files(product))
        if not listed and (not product.assets or folders(product)):
            return None
        return parts_of(product, (*product.assets, *listed), sizes)

    def _keep(self, product: Product, parts: Parts, until: float) -> Parts:
        with self._lock:
            kept = self._kept.get(product.key)
            if kept is None or kept.until <= self._clock.now():  # else another thread was quicker
                kept = self._kept[product.key] = _Kept(parts, until)
            return kept.parts

    # -- asking ------------------------------------------------------------------------------------------------------

    def _learn(self, product: Product) -> Parts:
        """Ask for the list of files, if the result does not say it, and for the sizes that are not known.

        A file whose size cannot be had is left out: it is not there, or not to be had by this user. What is only out of
        reach for the moment is asked for again in a while.
        """
        around = self._around(product)
        listed, sizes = from_text(self._cache.records.files(product))
        if not listed:
            listed = self._list_folders(product, around) if product.assets else self._list(product, around)
        assets = (*product.assets, *listed)
        parts = parts_of(product, assets, sizes)
        found = Sizes(around.client, around.client_of, self._cache.records, self._clock, self._bring).ask(
            parts.unknown, self._flights.check
        )
        faults: dict[Product, EofsError] = {}
        for part in parts.unknown:
            if isinstance(answer := found[part.uid], EofsError):
                faults[part] = answer
            else:
                sizes[key_of(product, part)] = answer
        for part, error in faults.items():
            if not isinstance(error, ELSEWHERE) or len(faults) == len(parts.files):
                raise error
            log.warning("%s is left out: %s", part.title, error)
            if isinstance(error, Gone):
                sizes[key_of(product, part)] = None
        if not urlsplit(product.location or "").query:  # it may be secret, and stand in the links that are listed
            self._cache.records.note_files(product, to_text(listed, sizes))
        lasting = all(isinstance(error, AccessRefused | Gone | NotSupported) for error in faults.values())
        return self._keep(
            product, parts_of(product, assets, sizes), math.inf if lasting else self._clock.now() + FAILURE_MEMORY
        )

    def _list(self, product: Product, around: Surroundings) -> tuple[Asset, ...]:
        """Ask the provider for the files of a product that comes as an archive."""
        provider = around.client.provider
        if auth.missing(provider) and (named := _named(product, around)):
            return named
        url = download_url(product, replace(provider, dl_url_params={}))  # they are added to each link
        found = LISTINGS[provider.files or ""](around.client, url, product, self._flights.check)
        return tuple(replace(asset, path=asset.key) for asset in found)

    def _list_folders(self, product: Product, around: Surroundings) -> tuple[Asset, ...]:
        """Ask for the files of those assets that are folders; one that cannot be listed is left out beside others."""
        found: list[Asset] = []
        for folder in folders(product):
            client, name = around.client_of(folder.href), folder.href.rstrip("/").rpartition("/")[2]
            url = address_of(folder.href, product, client.provider)
            try:
                listed = LISTINGS["s3-objects"](client, url, product, self._flights.check)
            except (AccessRefused, Gone, NotAllowed, NotSupported) as error:
                if len(product.assets) == 1:
                    raise
                log.warning("%s/%s is left out: %s", product.title, name, error)
            else:
                found += (replace(asset, key=f"{name}/{asset.key}", path=f"{name}/{asset.key}") for asset in listed)
        return tuple(found)

    def _bring(self, part: Product, check: Callable[[], None]) -> int | None:
        """Return the size of a file by beginning to bring it, as it has to be ordered first, or nobody says it."""
        running = self._stories.begin(part)
        try:
            while not running.story.done.wait(POLL):
                if running.story.file and running.story.file.size is not None:
                    break
                check()
            if running.story.failure:
                raise running.story.failure.again()
            return running.story.file.size if running.story.file else None
        finally:
            self._stories.leave(running)


def _named(product: Product, around: Surroundings) -> tuple[Asset, ...]:
    """Return the files that the result itself names, if each can be had by another log-in than the archive."""
    files = parts_of(product, read_files(bytes(product.feature)), {}).files
    links = [link for part in files.values() for link in (part.location or "", *part.alternates)]
    if any("?" in link for link in links):  # a query may be secret, and the list is kept
        return ()
    if any(addresses(part, around.client_of)[0].chance >= Chance.NO_LOG_IN for part in files.values()):
        return ()
    return tuple(
        Asset(path, part.location or "", part.size, part.checksum, alternates=part.alternates, path=path)
        for path, part in files.items()
    )
