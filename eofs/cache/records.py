"""Small things that survive a restart: orders, what providers said of a product's storage, quicklooks.

diskcache keeps them (SQLite, with files beside it for what is large); values are texts or bytes, never pickles.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import diskcache

from eofs.model import Order
from eofs.status import StorageStatus

if TYPE_CHECKING:
    from pathlib import Path

    from eofs.model import Product

log = logging.getLogger(__name__)

STORAGE_MEMORY = 86_400.0  # seconds; providers keep on disk for about a day what they brought from tape


class Records:
    """Small things that survive a restart: orders and quicklooks, in diskcache. Values are texts or bytes."""

    def __init__(self, directory: Path) -> None:
        try:
            self._store = diskcache.Cache(str(directory), eviction_policy="none")
        except sqlite3.DatabaseError:
            broken = directory.with_name(f"records.broken-{int(time.time())}")
            directory.rename(broken)
            log.warning("the cache's records were damaged and are begun anew; the old ones are in %s", broken)
            self._store = diskcache.Cache(str(directory), eviction_policy="none")

    def close(self) -> None:
        """Close the data base."""
        self._store.close()

    def volume(self) -> int:
        """Return the bytes that the records take on disk."""
        return int(self._store.volume())

    def order(self, product: Product) -> Order | None:
        """Return the product's order, where one has been placed and not been filled yet."""
        text = self._store.get(_key("order", product), retry=True)
        return Order(**json.loads(text)) if text else None

    def note_order(self, product: Product, order: Order | None) -> None:
        """Note an order, or with None that there is no longer any."""
        if order:
            self._store.set(_key("order", product), json.dumps(asdict(order)), retry=True)
        else:
            self._store.delete(_key("order", product), retry=True)

    def storage(self, product: Product) -> StorageStatus | None:
        """Return what the provider itself said last of the product's storage, unless that is long ago."""
        word = self._store.get(_key("storage", product), retry=True)
        return StorageStatus(word) if word else None

    def note_storage(self, product: Product, storage: StorageStatus) -> None:
        """Note what the provider has said of the product's storage."""
        self._store.set(_key("storage", product), storage.value, expire=STORAGE_MEMORY, retry=True)

    def quicklook(self, product: Product) -> bytes | None:
        """Return the product's quicklook, or None where it has not been fetched."""
        picture = self._store.get(_key("quicklook", product), retry=True)
        return None if picture is None else bytes(picture)

    def note_quicklook(self, product: Product, picture: bytes) -> None:
        """Keep a quicklook."""
        self._store.set(_key("quicklook", product), picture, retry=True)


def _key(kind: str, product: Product) -> str:
    return f"{kind}/{product.provider}/{product.uid}"
