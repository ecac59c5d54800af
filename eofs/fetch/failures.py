"""What went wrong last with a product: answered again for a while, and shown in its status file until it goes well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cachetools

from eofs.errors import Cancelled, Changed, EofsError, Interrupted, NotReady

if TYPE_CHECKING:
    from eofs.fetch.clock import Clock
    from eofs.model import Product

FAILURE_MEMORY = 30.0  # seconds during which a failure is answered again without asking the provider again
FAILURES = 10_000  # products whose last failure is remembered for their status file


@dataclass(frozen=True, slots=True)
class _Failure:
    """A failure, answered to all who ask until the time `until`."""

    error: EofsError
    until: float


class Failures:
    """The last failure of each product.

    Threads: whoever owns it guards it with a lock of its own.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: cachetools.LRUCache[tuple[str, str], _Failure] = cachetools.LRUCache(FAILURES)

    def note(self, product: Product, error: EofsError) -> None:
        """Remember a failure."""
        # What was not ready may be at any moment, what has changed is there; other failures are not met again at once.
        passing = isinstance(error, NotReady | Cancelled | Changed | Interrupted)
        self._last[product.key] = _Failure(error, self._clock.now() + (0 if passing else FAILURE_MEMORY))

    def forget(self, product: Product) -> None:
        """Forget the product's failure: it is tried again."""
        self._last.pop(product.key, None)

    def last(self, product: Product) -> EofsError | None:
        """Return the product's last failure, however long ago it was."""
        failure = self._last.get(product.key)
        return failure.error if failure else None

    def check(self, product: Product) -> None:
        """Raise the product's failure, if it was a short while ago."""
        failure = self._last.get(product.key)
        if failure and self._clock.now() < failure.until:
            raise failure.error.again()
