"""Programs that look into product after product and open no file: `find`, `du`, what somebody has set to watch a disk.

Each look at a product on tape is an order. Such a program is held to `max_orders` at a time, as all are; and it is
named in the log, so that whoever wonders about the orders learns who has placed them.

Threads: one lock guards what is remembered; nothing is called under it.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import cachetools

if TYPE_CHECKING:
    from eofs.model import Product
    from eofs.nodes import Caller

log = logging.getLogger(__name__)

PROGRAMS = 64  # that are remembered, those that looked last


class Walkers:
    """What programs have looked into without opening a file; one that has in more than `limit` products is named."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: cachetools.LRUCache[tuple[int, str], set[tuple[str, str]]] = cachetools.LRUCache(PROGRAMS)
        self._lock = threading.Lock()

    def look(self, product: Product, caller: Caller) -> None:
        """Note that a program wants a product that is not here."""
        number = caller.process()
        name = caller.program() if number else ""
        if not name:
            return
        with self._lock:
            seen = self._seen.setdefault((number, name), set())
            if product.key in seen or len(seen) > self._limit:
                return
            seen.add(product.key)
            is_walker = len(seen) > self._limit
        if is_walker:
            log.warning(
                "%s (process %d) has looked into %d products that were not here, and opened no file of them; "
                "at most %d of its orders go on at a time (max_orders). To keep it out: order=never, or crawlers=+%s",
                name, number, self._limit + 1, self._limit, name,
            )  # fmt: skip

    def open(self, product: Product, caller: Caller) -> None:
        """Note that a program has opened a file of a product: it means what it does."""
        key = product.key
        with self._lock:
            if not any(key in seen for seen in self._seen.values()):
                return  # as nearly always; to ask who calls would cost more than all the rest
        number, name = caller.process(), caller.program()
        with self._lock:
            self._seen.pop((number, name), None)
