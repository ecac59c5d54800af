"""A running mount shows what its search results hold by now.

The kernel says when something changes near them (`inotify`); as it does not for all disks, they are looked at now and
then as well. They are read when nothing has been written to them for a moment. What cannot be read leaves the mount as
it is.

Threads: one of its own looks, reads and shows. Others wake it, and read `products`, which is a value.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from typing import TYPE_CHECKING

from eofs.folders import changes
from eofs.inotify import Inotify
from eofs.layout import name_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from eofs.catalog.sources import Mark, Sources
    from eofs.fetch import Engine
    from eofs.folders import Products
    from eofs.model import Product
    from eofs.mount import FileSystem

log = logging.getLogger(__name__)

EVERY = 15.0  # seconds between two looks, where nobody says that something has changed
SOON = 1.0  # seconds, where a product cannot be shown yet, as its name is in use
SETTLED = 0.3  # seconds without a change: then somebody has done with writing


class Following:
    """Lets a file system follow search results until `stop`.

    Args:
        sources: the search results; they have been read.
        products: what is shown of them.
        engine: what brings the products.
        tell: called with the number of products whenever others are shown.
    """

    def __init__(self, sources: Sources, products: Products, engine: Engine, tell: Callable[[int], None]) -> None:
        self.products = products
        self._sources = sources
        self._engine = engine
        self._tell = tell
        self._left: dict[str, Product] = {}  # they are shown no more, but something of them was open then
        self._inotify = Inotify()
        self._at_once = threading.Event()
        self._stopping = threading.Event()

    def product(self, path: str) -> Product | None:
        """Return the product whose directory is there."""
        return self.products.product(path)

    def start(self, file_system: FileSystem) -> None:
        """Follow from now on."""
        threading.Thread(target=self._run, args=(file_system,), name="following", daemon=True).start()

    def look(self) -> None:
        """Read all search results again, and at once."""
        self._at_once.set()
        self._inotify.wake()

    def stop(self) -> None:
        """Follow no more."""
        self._stopping.set()
        self._inotify.wake()

    def _run(self, file_system: FileSystem) -> None:
        all_shown = True
        while not self._stopping.is_set():
            for directory in self._sources.directories():
                self._inotify.watch(directory)
            marks = self._marks()
            if not all_shown or self._sources.are_news(marks):
                try:
                    all_shown = self._show(file_system, self._sources.read(marks))
                except Exception:
                    log.exception("a fault in eofs: %s cannot be followed", self._sources.name)
            self._inotify.wait(EVERY if all_shown else SOON)

    def _marks(self) -> Mapping[str, Mark]:
        """Return the marks of the search results; where there is news, when they have stayed the same for a moment."""
        if self._at_once.is_set():
            self._at_once.clear()
            self._sources.forget()
            return self._sources.marks()
        marks = self._sources.marks()
        while self._sources.are_news(marks) and not self._stopping.wait(SETTLED):
            before, marks = marks, self._sources.marks()
            if marks == before:
                break
        return marks

    def _show(self, file_system: FileSystem, found: tuple[Product, ...]) -> bool:
        """Show these products; return whether that is all of them: a path in use stays with its product."""
        wanted, before = name_all(found, self.products.layout), self.products
        while True:
            others = self._others(wanted, file_system.top.in_use())
            named = {path: product for path, product in wanted.items() if path not in others}
            named |= {path: product for path in others if (product := before.product(path))}
            changed = changes(before, named)
            for path, old in changed.renewed.items():
                self._engine.upkeep.renew(named[path], old)
            products = before.followed_by(named, time.time_ns())
            not_free = changed.replaced | self._others(named, changed.new)
            if file_system.show(products.in_place_of(file_system.top.root), changed.paths, not_free):
                break
        self.products = products
        gone = [path for path in file_system.top.in_use() if products.product(path) is None]
        left = {path: before.product(path) or self._left.get(path) for path in gone}
        self._left = {path: product for path, product in left.items() if product}
        log.info("%s: %s", self._sources.name, changed)
        self._tell(len(products))
        settle()
        return not others

    def _others(self, named: Mapping[str, Product], paths: Collection[str]) -> set[str]:
        """Return those of some paths which have been another product's than they are to be."""
        had = {path: self.products.product(path) or self._left.get(path) for path in paths if path in named}
        return {path for path, product in had.items() if product and product.key != named[path].key}


def settle() -> None:
    """Look for garbage among all that there is, and never again: the products stay, and there may be very many."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
