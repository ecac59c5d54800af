"""How far the bringing of a product is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eofs.status import Activity, StorageStatus

if TYPE_CHECKING:
    from eofs.cache import Cache
    from eofs.model import Order, Product


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a story is; times are seconds since the epoch."""

    storage: StorageStatus
    activity: Activity = Activity.IDLE
    note: str = ""
    next_check: float | None = None
    order: Order | None = None


def begin_stage(product: Product, cache: Cache) -> Stage:
    """Return where a product stands before anything is done: the provider's last word, else what the result says."""
    order = cache.records.order(product)
    known = cache.records.storage(product) or (StorageStatus.STAGING if order else product.status)
    return Stage(known, order=order)
