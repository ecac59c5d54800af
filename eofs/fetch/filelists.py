"""Which files a loose product has, and how large they are: known from its result or the records, else asked for.

Threads: one lock guards the lists that are known, the questions under way and the failures; nothing waits under it, and
nothing else is called under it. A question is asked in a thread of its own, for all who want to know.
"""

from __future__ import annotations

import logging
import math
import threading
from concurrent import futures
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import cachetools

from eofs.blocks import POLL
from eofs.errors import AccessRefused, Cancelled, EofsError, Gone, NotReady, NotSupported, unforeseen
from eofs.fetch.addresses import ELSEWHERE
from eofs.fetch.failures import FAILURE_MEMORY, Failures
from eofs.fetch.sizes import Sizes
from eofs.links import download_urls
from eofs.listings import LISTINGS
from eofs.parts import from_text, key_of, parts_of, to_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from eofs.cache import Cache
    from eofs.fetch.clock import Clock
    from eofs.fetch.stories import Stories
    from eofs.fetch.story import Surroundings
    from eofs.model import Asset, Product
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
        self._failures = Failures(clock)
        self._kept: cachetools.LRUCache[tuple[str, str], _Kept] = cachetools.LRUCache(KEPT)
        self._under_way: dict[tuple[str, str], Future[Parts | EofsError]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def close(self) -> None:
        """Ask for nothing more."""
        self._closing.set()

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
        with self._lock:
            return self._failures.last(product)

    def ask(self, product: Product, caller: Caller) -> Parts:
        """Return the product's files, asking the provider; waits. One question, however many want to know."""
        with self._lock:
            self._failures.check(product)
            future = self._under_way.get(product.key)
            if future is None:
                future = self._under_way[product.key] = futures.Future()
                work, name = (product, future), f"story list of {product.title}"
                threading.Thread(target=self._work, args=work, name=name, daemon=True).start()
        while not futures.wait((future,), POLL).done:
            caller.check()
            self._check()
            if not self._around(product).options.lets_wait(caller):
                raise NotReady(f"the files of {product.title} are being asked for; open it again")
        answer = future.result()
        if isinstance(answer, EofsError):
            raise answer.again()
        return answer

    def correct(self, product: Product, part: Product, size: int) -> None:
        """Note that a file has another size than has been said."""
        listed, sizes = from_text(self._cache.records.files(product))
        self._cache.records.note_files(product, to_text(listed, {**sizes, key_of(product, part): size}))
        with self._lock:
            self._kept.pop(product.key, None)

    def _noted(self, product: Product) -> Parts | None:
        listed, sizes = from_text(self._cache.records.files(product))
        assets = product.assets or listed
        return parts_of(product, assets, sizes) if assets else None

    def _keep(self, product: Product, parts: Parts, until: float) -> Parts:
        with self._lock:
            kept = self._kept.get(product.key)
            if kept is None or kept.until <= self._clock.now():  # else another thread was quicker
                kept = self._kept[product.key] = _Kept(parts, until)
            return kept.parts

    # -- asking ------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._closing.is_set():
            raise Cancelled("eofs is being unmounted")

    def _work(self, product: Product, future: Future[Parts | EofsError]) -> None:
        try:
            # They may have become known between the question and now.
            answer: Parts | EofsError = self.settled(product) or self._learn(product)
        except EofsError as error:
            answer = error
        except Exception as error:
            log.exception("%s: a fault in eofs", product.title)
            answer = unforeseen(error)
        self._cache.records.close()  # this thread's connection to the data base
        with self._lock:
            del self._under_way[product.key]
            if isinstance(answer, EofsError):
                self._failures.note(product, answer)
            else:
                self._failures.forget(product)
        future.set_result(answer)

    def _learn(self, product: Product) -> Parts:
        """Ask for the list of files, if the result does not say it, and for the sizes that are not known.

        A file whose size cannot be had is left out: it is not there, or not to be had by this user. What is only out of
        reach for the moment is asked for again in a while.
        """
        around = self._around(product)
        listed, sizes = from_text(self._cache.records.files(product))
        if not product.assets and not listed:
            listed = self._list(product, around)
        assets = product.assets or listed
        parts = parts_of(product, assets, sizes)
        found = Sizes(around.client, self._cache.records, self._clock, self._bring).ask(parts.unknown, self._check)
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
        url = download_urls(product, replace(provider, dl_url_params={}))[0]  # they are added to each link
        found = LISTINGS[provider.files or ""](around.client, url, product, self._check)
        return tuple(replace(asset, path=asset.key) for asset in found)

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
