"""The top of a mount: its root, which may become another one, and what is open below it.

Who has something of a product open has all of it, also when the root does not show it any more. The kernel comes by a
path, and a path begins with that of the product's directory: alone it is looked up, and is gone; whatever is below it
is asked for by who has been there before.

Threads: one lock guards all, so that no product becomes another one under the hands of who opens something of it. Under
it, the root is asked for one of its products, which it has in memory.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import TYPE_CHECKING

from eofs.nodes import NOBODY, Directory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from eofs.nodes import Node, Reader

    Opened = Reader | Mapping[str, Node]  # a file, or what a directory held when it was opened


MANY = 1 << 16  # files of which it is known what the kernel has of them


class Top:
    """The root of a mount, and what is open below it.

    Attributes:
        root: that is shown.
        levels: how many parts the paths of products' directories have.
        opened: the open files and directories, by number.
    """

    def __init__(self, root: Directory, levels: int = 1) -> None:
        self.root = root
        self.levels = levels
        self.opened: dict[int, Opened] = {}
        self._numbers = itertools.count(1)
        self._held: dict[str, tuple[Node | None, int]] = {}  # products, and how often something of each is open
        self._right: set[int] = set()  # files of which the kernel has read nothing but what is right
        self._lock = threading.Lock()

    def show(self, root: Directory, others: Collection[str]) -> bool:
        """Show another root from now on, unless something is open below one of the paths `others`; tell whether."""
        with self._lock:
            if not self._held.keys().isdisjoint(others):
                return False
            self.root = root
            self._right.clear()
            return True

    def in_use(self) -> set[str]:
        """Return the paths of products of which something is open."""
        with self._lock:
            return set(self._held)

    def left_behind(self, product: Sequence[str]) -> Node | None:
        """Return the product that had this path, for one below it: it is still held by who asks for that."""
        return self._held.get("/".join(product), (None, 0))[0]

    @contextlib.contextmanager
    def holding(self, path: str) -> Iterator[None]:
        """Hold the product of a path while something of it is being opened; if that goes well, until `close`."""
        names = self._product(path)
        product = "/".join(names)
        with self._lock:
            node, times = self._held.get(product) or (self._shown(names), 0)
            self._held[product] = node, times + 1
        try:
            yield
        except BaseException:
            self._let_go(product)
            raise

    def keep(self, opened: Opened) -> int:
        """Return the number of what has been opened."""
        with self._lock:
            number = next(self._numbers)
            self.opened[number] = opened
        return number

    def close(self, path: str, number: int) -> Opened:
        """Forget what was opened, and return it."""
        self._let_go("/".join(self._product(path)))
        with self._lock:
            return self.opened.pop(number)

    def is_right(self, ino: int, *, sure: bool) -> bool:
        """Tell whether all is right that the kernel has of a file which is opened, and which it else forgets.

        Not if it was opened before that could be known, nor if it has not been opened since another root was shown, as
        another product may have its path.

        Args:
            ino: the file's inode number.
            sure: what it reads from now on is right.
        """
        with self._lock:
            known = ino in self._right
            if len(self._right) >= MANY:
                self._right.clear()
            (self._right.add if sure else self._right.discard)(ino)
        return sure and known

    def _product(self, path: str) -> list[str]:
        return path.split("/", self.levels + 1)[1 : self.levels + 1]

    def _shown(self, product: Sequence[str]) -> Node | None:
        node: Node | None = self.root if len(product) == self.levels else None  # else it is a folder above products
        for name in product:
            node = node.children(NOBODY).get(name) if isinstance(node, Directory) else None
        return node

    def _let_go(self, product: str) -> None:
        with self._lock:
            node, times = self._held.pop(product)
            if times > 1:
                self._held[product] = node, times - 1
