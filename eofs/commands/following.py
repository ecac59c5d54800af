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

from eofs import tree
from eofs.inotify import Inotify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eofs.catalog.sources import Mark, Sources
    from eofs.fetch import Engine
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

    def __init__(self, sources: Sources, products: tree.Products, engine: Engine, tell: Callable[[int], None]) -> None:
        self.products = products
        self._sources = sources
        self._engine = engine
        self._tell = tell
        self._inotify = Inotify()
        self._at_once = threading.Event()
        self._stopping = threading.Event()

    def product(self, name: str) -> Product | None:
        """Return the product whose directory has this name."""
        return self.products.product(name)

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
        """Show these products; return whether that is all of them: a name in use stays with its product."""
        wanted = tree.name_all(found)
        while True:
            in_use = {name: self.product(name) for name in file_system.top.in_use() & wanted.keys()}
            kept = {name: old for name, old in in_use.items() if old and old.key != wanted[name].key}
            named = {**wanted, **kept}
            changes = tree.changes(self.products, named)
            for name, old in changes.renewed.items():
                self._engine.upkeep.renew(named[name], old)
            products = self.products.followed_by(named)
            root = file_system.top.root._replace(children=products.children, mtime=time.time_ns())
            if file_system.show(root, changes.names, changes.replaced):
                break
        self.products = products
        log.info("%s: %s", self._sources.name, changes)
        self._tell(len(products))
        settle()
        return not kept


def settle() -> None:
    """Look for garbage among all that there is, and never again: the products stay, and there may be very many."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
