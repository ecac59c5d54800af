"""The files of a product that nobody has read yet: brought one after the other, while what is read goes first.

Threads: each product has a thread of its own; one lock guards the table of those that have one.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from eofs.errors import CacheFull, Cancelled, EofsError
from eofs.status import Local

if TYPE_CHECKING:
    from eofs.cache import Cache
    from eofs.fetch.stories import Stories
    from eofs.model import Product
    from eofs.parts import Parts

log = logging.getLogger(__name__)


class Rest:
    """Brings the files of products that come as loose files."""

    def __init__(self, cache: Cache, stories: Stories) -> None:
        self._cache = cache
        self._stories = stories
        self._under_way: dict[tuple[str, str], threading.Event] = {}
        self._lock = threading.Lock()

    def begin(self, product: Product, parts: Parts) -> None:
        """Begin to bring what is missing, unless that is under way; returns at once."""
        with self._lock:
            if product.key in self._under_way:
                return
            stop = self._under_way[product.key] = threading.Event()
        work = (product, [part for part in parts.files.values() if part.size], stop)
        threading.Thread(target=self._work, args=work, name=f"story rest of {product.title}", daemon=True).start()

    def cancel(self, product: Product) -> bool:
        """Begin with no further file of a product; returns whether one would have been."""
        with self._lock:
            stop = self._under_way.get(product.key)
        if stop:
            stop.set()
        return stop is not None

    def _work(self, product: Product, parts: list[Product], stop: threading.Event) -> None:
        try:
            # Else what came first would have to go for what comes last.
            self._cache.must_fit(sum(part.size or 0 for part in parts))
            for part in parts:
                self._bring(part, stop)
        except (Cancelled, CacheFull) as error:
            log.info("%s: only what is read is brought: %s", product.title, error)
        except Exception:
            log.exception("%s: a fault in eofs", product.title)
        finally:
            self._cache.records.close()  # this thread's connection to the data base
            with self._lock:
                del self._under_way[product.key]

    def _bring(self, part: Product, stop: threading.Event) -> None:
        if stop.is_set():
            raise Cancelled("it was stopped")
        if self._cache.local(self._cache.archive(part))[0] is Local.COMPLETE:
            return
        try:
            running = self._stories.begin(part, eager=True)
        except Cancelled:
            raise
        except EofsError:  # it failed a moment ago, and said so
            return
        try:
            if stop.is_set():  # who cancels has looked for what is under way, and it was not yet
                running.story.cancel()
            running.story.done.wait()
        finally:
            self._stories.leave(running)
        if isinstance(running.story.failure, Cancelled | CacheFull):
            raise running.story.failure.again()
