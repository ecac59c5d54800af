"""Small things that survive a restart: what products are called, orders, what providers said, quicklooks.

diskcache keeps them (SQLite, with files beside it for what is large); values are texts or bytes, never pickles.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import diskcache

from eofs import checksums
from eofs.errors import ConfigError
from eofs.model import Checksum, Mirror, Order, Product
from eofs.status import StorageStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

STORAGE_MEMORY = 86_400.0  # seconds; providers keep on disk for about a day what they brought from tape


class Records:
    """Small things that survive a restart: orders and quicklooks, in diskcache. Values are texts or bytes."""

    def __init__(self, directory: Path) -> None:
        try:
            self._store = _opened(directory)
        except sqlite3.DatabaseError:
            broken = directory.with_name(f"records.broken-{time.time_ns()}")
            directory.rename(broken)
            log.warning("the cache's records were damaged and are begun anew; the old ones are in %s", broken)
            self._store = _opened(directory)

    def close(self) -> None:
        """Close the calling thread's connection to the data base; it is opened again when it is needed."""
        self._store.close()

    def volume(self) -> int:
        """Return the bytes that the records take on disk."""
        return int(self._store.volume())

    def note_product(self, product: Product, checksum: Checksum | None) -> None:
        """Note whose file it is that lies in the cache, and what it was compared with when all of it had come."""
        digest = checksums.to_text(checksum) if checksum else ""
        text = json.dumps({"title": product.title, "part_of": product.part_of, "checksum": digest})
        if text != self._get("product", product):
            self._note("product", product, text)

    def products(self) -> Iterator[Product]:
        """Yield the products that were brought into the cache; of each only what `note_product` was told."""
        try:
            for key in map(json.loads, self._store.iterkeys()):
                if key[0] == "product" and (text := self._store.get(json.dumps(key))):
                    yield named(key[1], key[2], **json.loads(text))
        except (sqlite3.DatabaseError, OSError) as error:
            log.warning("what the products in the cache are called could not be read: %s", error)

    def order(self, product: Product) -> Order | None:
        """Return the product's order, where one has been placed and not been filled yet."""
        text = self._get("order", product)
        return Order(**json.loads(text)) if text else None

    def note_order(self, product: Product, order: Order | None) -> None:
        """Note an order, or with None that there is no longer any."""
        self._note("order", product, json.dumps(asdict(order)) if order else None)

    def take_turn(self, provider: str, orders: int, seconds: float, now: float) -> float | None:
        """Count one more order at a provider that takes so many in so many seconds.

        Returns:
            None, or where that is one too many, and is not counted, the time from which it is not: seconds since the
            epoch.
        """
        key = json.dumps(("turns", provider))
        try:
            with self._store.transact(retry=True):
                turns = [turn for turn in self._turns(key) if now - seconds < turn <= now]
                if len(turns) >= orders:
                    return float(turns[-orders] + seconds)
                self._store.set(key, json.dumps([*turns, now]))
        except (sqlite3.DatabaseError, OSError) as error:
            log.warning("the orders at %s could not be counted: %s", provider, error)
        return None

    def give_turn_back(self, provider: str, turn: float) -> None:
        """Do not count an order that was not taken; `turn` is when it was counted."""
        key = json.dumps(("turns", provider))
        try:
            with self._store.transact(retry=True):
                turns = self._turns(key)
                if turn in turns:
                    turns.remove(turn)
                    self._store.set(key, json.dumps(turns))
        except (sqlite3.DatabaseError, OSError) as error:
            log.warning("the orders at %s could not be counted: %s", provider, error)

    def _turns(self, key: str) -> list[float]:
        return list(json.loads(self._store.get(key) or "[]"))

    def storage(self, product: Product) -> StorageStatus | None:
        """Return what the provider itself said last of the product's storage, unless that is long ago."""
        word = self._get("storage", product)
        return StorageStatus(word) if word else None

    def note_storage(self, product: Product, storage: StorageStatus) -> None:
        """Note what the provider has said of the product's storage."""
        self._note("storage", product, storage.value, expire=STORAGE_MEMORY)

    def source(self, product: Product) -> int:
        """Return which of the addresses of a product its bytes came from last: the first, 0, unless noted."""
        return int(self._get("source", product) or 0)

    def note_source(self, product: Product, place: int) -> None:
        """Note which of a product's addresses its bytes come from."""
        self._note("source", product, str(place))

    def files(self, product: Product) -> str | None:
        """Return what has been noted of a product's loose files."""
        text = self._get("files", product)
        return str(text) if text else None

    def note_files(self, product: Product, text: str) -> None:
        """Note what has been learnt of a product's loose files."""
        self._note("files", product, text)

    def mirror(self, product: Product) -> Mirror | None:
        """Return who has been found to serve the product in the place of its own provider."""
        text = self._get("mirror", product)
        if not text:
            return None
        said = json.loads(text)
        checksum = Checksum(**said["checksum"]) if said["checksum"] else None
        return Mirror(**{**said, "status": StorageStatus(said["status"]), "checksum": checksum})

    def note_mirror(self, product: Product, mirror: Mirror) -> None:
        """Note that another provider serves the product from now on: what was noted of the one before holds no more."""
        for kind in ("order", "storage", "source", "files"):
            self._note(kind, product, None)
        self._note("mirror", product, json.dumps(asdict(mirror)))

    def quicklook(self, product: Product) -> bytes | None:
        """Return the product's quicklook, or None where it has not been fetched."""
        picture = self._get("quicklook", product)
        return None if picture is None else bytes(picture)

    def note_quicklook(self, product: Product, picture: bytes) -> None:
        """Keep a quicklook."""
        self._note("quicklook", product, picture)

    # A full disk or a damaged page cost what was to be noted; the product is brought all the same.

    def _get(self, kind: str, product: Product) -> Any:
        try:
            return self._store.get(_key(kind, product), retry=True)
        except (sqlite3.DatabaseError, OSError) as error:
            log.warning("the %s of %s could not be read: %s", kind, product.title, error)
            return None

    def _note(self, kind: str, product: Product, value: str | bytes | None, expire: float | None = None) -> None:
        try:
            if value is None:
                self._store.delete(_key(kind, product), retry=True)
            else:
                self._store.set(_key(kind, product), value, expire=expire, retry=True)
        except (sqlite3.DatabaseError, OSError) as error:
            log.warning("the %s of %s could not be noted: %s", kind, product.title, error)


def named(provider: str, uid: str, title: str, *, part_of: str = "", checksum: str = "") -> Product:
    """Return a product of which no more is known than that."""
    return Product(
        id=uid, uid=uid, title=title, provider=provider, status=StorageStatus.ONLINE, location=None, quicklook=None,
        size=None, checksum=checksums.from_text(checksum), collection=None, start=None, cloud_cover=None,
        feature=b"{}", part_of=part_of,
    )  # fmt: skip


class _Store(diskcache.Cache):  # type: ignore[misc] # diskcache has no types
    """Closes the connection of a thread when the thread ends.

    sqlite3 ties each into a circle, so that it would stay open, with two files, until Python looks for garbage. Threads
    of libfuse come and go, so that there would be hundreds.
    """

    @property
    def _con(self) -> Any:
        connection, here = super()._con, self._local
        if getattr(here, "open", None) is None or here.open.connection is not connection:
            here.open = _Open(connection)
        return connection


class _Open:
    """What a thread keeps for as long as it lives."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        # It is another thread that has come upon it: then Python closes it after all.
        with contextlib.suppress(sqlite3.ProgrammingError):
            self.connection.close()


def _opened(directory: Path) -> Any:
    """Open the data base; `sqlite3.DatabaseError` means that it is damaged.

    Raises:
        ConfigError: it cannot be used, which says nothing against what it holds.
    """
    try:
        directory.mkdir(mode=0o700, exist_ok=True)  # diskcache would let others look into it
        return _Store(str(directory), eviction_policy="none")
    except (sqlite3.OperationalError, OSError) as error:
        raise ConfigError(
            f"the cache directory {directory.parent} cannot be used: {error}; make room there, "
            "or name another one with cache_dir"
        ) from error


def _key(kind: str, product: Product) -> str:
    return json.dumps((kind, *product.key))
