"""What went wrong with a product: told in full, answered again for a while, shown in its status until it goes well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cachetools

from eofs.errors import BY_PROVIDER, NOT_YET, Changed, EofsError, Gone, ProviderFailed
from eofs.status import StorageStatus

if TYPE_CHECKING:
    from eofs.fetch.clock import Clock
    from eofs.model import Product, Provider

FAILURE_MEMORY = 30.0  # seconds during which a failure is answered again without asking the provider again
FAILURES = 10_000  # products whose last failure is remembered for their status file


def cannot_be_ordered(product: Product, provider: Provider) -> ProviderFailed:
    """Return the failure of a product on tape, at a provider that takes no orders from us."""
    return ProviderFailed(
        f"{product.title} is OFFLINE, and {provider.name} takes no orders from eofs; restore it on the web site of "
        f"{provider.title or provider.name}, or search for it at another provider"
    )


def explained(error: EofsError, product: Product, provider: Provider, storage: StorageStatus) -> EofsError:
    """Return a failure in the light of what is known of the provider: it has closed, or the product cannot be ordered.

    Both are asked all the same, for the service may have come back, and the product to disk since the search.
    """
    if provider.order == "none" and storage is StorageStatus.OFFLINE and isinstance(error, Gone | ProviderFailed):
        return cannot_be_ordered(product, provider)
    if not isinstance(error, BY_PROVIDER):
        return error
    if product.mirror:
        return type(error)(f"{error}; it is asked as {product.mirror.why}")
    return type(error)(f"{provider.closed} ({error})") if provider.closed else error


@dataclass(frozen=True, slots=True)
class _Failure:
    """A failure, answered to all who ask until the time `until`."""

    error: EofsError
    until: float


class Failures:
    """The last failure of each product, there where it is asked for.

    Threads: whoever owns it guards it with a lock of its own.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: cachetools.LRUCache[tuple[object, ...], _Failure] = cachetools.LRUCache(FAILURES)

    def note(self, product: Product, error: EofsError) -> None:
        """Remember a failure."""
        # What was not ready may be at any moment, what has changed is there; other failures are not met again at once.
        passing = isinstance(error, (*NOT_YET, Changed))
        self._last[_place(product)] = _Failure(error, self._clock.now() + (0 if passing else FAILURE_MEMORY))

    def forget(self, product: Product) -> None:
        """Forget the product's failure: it is tried again."""
        self._last.pop(_place(product), None)

    def last(self, product: Product) -> EofsError | None:
        """Return the product's last failure, however long ago it was."""
        failure = self._last.get(_place(product))
        return failure.error if failure else None

    def check(self, product: Product) -> None:
        """Raise the product's failure, if it was a short while ago."""
        failure = self._last.get(_place(product))
        if failure and self._clock.now() < failure.until:
            raise failure.error.again()


def _place(product: Product) -> tuple[object, ...]:
    return product.key, product.location
