"""The top of a mount: its root, which may become another one, and what is open below it.

Who has something of a product open has all of it, also when the root does not show it any more. The kernel comes by a
path, and a path begins with the product's name: alone it is looked up, and is gone; whatever is below it is asked for
by who has been there before.

Threads: one lock guards all, so that no product becomes another one under the hands of who opens something of it. Under
it, the root is asked for one of its products, which it has in memory.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import TYPE_CHECKING

from eofs.nodes import NOBODY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from eofs.nodes import Directory, Node, Reader

    Opened = Reader | Mapping[str, Node]  # a file, or what a directory held when it was opened


class Top:
    """The root of a mount, and what is open below it.

    Attributes:
        root: that is shown.
        opened: the open files and directories, by number.
    """

    def __init__(self, root: Directory) -> None:
        self.root = root
        self.opened: dict[int, Opened] = {}
        self._numbers = itertools.count(1)
        self._held: dict[str, tuple[Node | None, int]] = {}  # products, and how often something of each is open
        self._lock = threading.Lock()

    def show(self, root: Directory, others: Collection[str]) -> bool:
        """Show another root from now on, unless something is open below one of the names `others`; tell whether."""
        with self._lock:
            if not self._held.keys().isdisjoint(others):
                return False
            self.root = root
            return True

    def in_use(self) -> set[str]:
        """Return the names of products of which something is open."""
        with self._lock:
            return set(self._held)

    def left_behind(self, path: str, name: str) -> Node | None:
        """Return the product that had this name, for a path below it: it is still held by who asks for that."""
        return self._held.get(name, (None, 0))[0] if path != f"/{name}" else None

    @contextlib.contextmanager
    def holding(self, path: str) -> Iterator[None]:
        """Hold the product of a path while something of it is being opened; if that goes well, until `close`."""
        name = _product(path)
        with self._lock:
            node, times = self._held.get(name) or (self.root.children(NOBODY).get(name), 0)
            self._held[name] = node, times + 1
        try:
            yield
        except BaseException:
            self._let_go(name)
            raise

    def keep(self, opened: Opened) -> int:
        """Return the number of what has been opened."""
        with self._lock:
            number = next(self._numbers)
            self.opened[number] = opened
        return number

    def close(self, path: str, number: int) -> Opened:
        """Forget what was opened, and return it."""
        self._let_go(_product(path))
        with self._lock:
            return self.opened.pop(number)

    def _let_go(self, name: str) -> None:
        with self._lock:
            node, times = self._held.pop(name)
            if times > 1:
                self._held[name] = node, times - 1


def _product(path: str) -> str:
    return path.split("/", 2)[1]
