"""What a user may want of one product by name: that it stops, that its bytes go, that it is tried again.

Threads: any may ask; nothing is locked here.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from eofs.blocks import POLL
from eofs.cache.units import evict
from eofs.errors import InUse, NotReady
from eofs.fetch.stories import PARTING

if TYPE_CHECKING:
    from collections.abc import Callable

    from eofs.cache import Cache
    from eofs.cache.units import Unit
    from eofs.fetch.loose import Loose
    from eofs.fetch.mirrors import Mirrors
    from eofs.fetch.quicklooks import Quicklooks
    from eofs.fetch.stories import Stories
    from eofs.model import Product


class Upkeep:
    """Looks after single products.

    Args:
        forget: called with a product of whose archive nothing is left.
    """

    def __init__(
        self,
        cache: Cache,
        stories: Stories,
        loose: Loose,
        mirrors: Mirrors,
        quicklooks: Quicklooks,
        forget: Callable[[Product], None],
    ) -> None:
        self._cache = cache
        self._stories = stories
        self._loose = loose
        self._mirrors = mirrors
        self._quicklooks = quicklooks
        self._forget = forget

    def cancel(self, product: Product) -> bool:
        """Stop what goes on for a product: what has arrived is kept, an order stays placed.

        Those who wait get `Cancelled`. Returns whether anything was going on.
        """
        asked = [self._mirrors.cancel(product), self._loose.cancel(product)]
        stopped = [story for each in self._files(product) if (story := self._stories.cancel(each))]
        enough = time.monotonic() + PARTING
        for story in stopped:
            story.done.wait(max(0.0, enough - time.monotonic()))
        return any(asked) or bool(stopped)

    def evict(self, product: Product) -> int:
        """Remove all that the cache has of a product, pinned or not, or nothing; returns how many bytes that were.

        Raises:
            NotReady: it is still coming.
            InUse: some program has one of its files open.
        """
        if any(map(self._comes, self._files(product))):
            raise NotReady(f"{product.title} is still coming; stop that first: eofs cancel")
        units = self.units(product)
        enough = time.monotonic() + PARTING  # who has closed a file, or was cancelled, lets go of it a moment later
        while evict(units):
            if time.monotonic() > enough:
                raise InUse(f"{product.title} is in use; close its files first")
            threading.Event().wait(POLL)
        self._forget(product)
        return sum(unit.size for unit in units)

    def units(self, product: Product) -> list[Unit]:
        """Return the files of the cache that are the product's."""
        return [unit for each in self._files(product) for unit in self._cache.units(each)]

    def retry(self, product: Product) -> None:
        """Forget how the product failed: whoever opens it next makes eofs ask the provider again."""
        for each in (product, *self._files(product)):
            self._stories.retry(each)
        self._mirrors.retry(product)
        self._loose.retry(product)
        self._quicklooks.retry(product)

    def renew(self, product: Product, before: Product) -> None:
        """Take a product from the next open on as a newer search result has it; an older one had it as `before`.

        What is under way goes on with what it had. Where the status is another one, that is the last word on it.
        """
        self._loose.forget(product)
        if product.status is not before.status:
            self._cache.records.note_storage(product, product.status)

    def _comes(self, product: Product) -> bool:
        story, _ = self._stories.of(product)
        return story is not None and not (story.done.is_set() or story.is_idle or (story.file and story.file.whole))

    def _files(self, product: Product) -> list[Product]:
        """Return the product as it is brought, and its loose files, each brought and kept as a product is."""
        product = self._mirrors.known(product)
        return [product, *self._loose.known(product)]
