"""What is above the products' directories: the root of the mount, and the folders of a layout.

MOUNTPOINT/
└── S2_MSI_L1C/
    └── 2020/
        └── TITLE/          a product's own, where `tree` begins
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from eofs.layout import FLAT
from eofs.model import Product
from eofs.nodes import DIRECTORY, Crowd, Directory, inode
from eofs.tree import Branch, extended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from eofs.layout import Layout
    from eofs.tree import Bringer

TREES = 512  # products whose grown tree is kept in memory
_SAID = operator.attrgetter(*(field.name for field in fields(Product) if field.name != "feature"))


class Folder(Crowd):
    """A directory above the products: others like it, or their own directories, which are made when asked for.

    Attributes:
        path: below the mount, with a slash at its end; empty for the mount itself.
        levels: how far down the products' directories are, 1 where they are in here.
        mtime: nanoseconds since the epoch; when its names last changed.
        ino: its inode number.
        inside: inode numbers, and what they stand for, by name.
    """

    def __init__(self, path: str, levels: int, mtime: int, directory: Callable[[str], Directory]) -> None:
        self.path = path
        self.levels = levels
        self.mtime = mtime
        self.ino = inode(f"/{path}")
        self.inside: dict[str, tuple[int, Product | Folder]] = {}
        self._directory = directory

    def __iter__(self) -> Iterator[str]:
        return iter(self.inside)

    def __len__(self) -> int:
        return len(self.inside)

    def entries(self) -> Iterable[tuple[str, int, int]]:
        """Return the name, mode and inode number of each."""
        return ((name, DIRECTORY, number) for name, (number, _) in self.inside.items())

    def __getitem__(self, name: str) -> Directory:
        _, found = self.inside[name]
        return found.directory() if isinstance(found, Folder) else self._directory(self.path + name)

    def directory(self) -> Directory:
        """Return it as a node."""
        said = {"levels": self.levels}
        return Directory(self.ino, self.mtime, lambda _: self, attributes=lambda: extended(said))


class Products:
    """The products by the paths of their directories, of which there may be a hundred thousand.

    The directories that were looked at last are kept, with what stands in them: every path leads through them. A value:
    what a newer search result shows is another one.

    Args:
        named: all that is to be shown, as `name_all` names it.
        engine: brings what is looked at.
        mountpoint: absolute path, for the locations in the status files.
        started: nanoseconds since the epoch; the time of whatever has none of its own.
        layout: by which they were named.

    Attributes:
        folders: the directories above them, by path; that of the mount itself is empty.
    """

    def __init__(
        self, named: Mapping[str, Product], engine: Bringer, mountpoint: str, started: int, layout: Layout = FLAT
    ) -> None:
        self.layout = layout
        self._engine = engine
        self._mountpoint = mountpoint
        self._started = started
        self._directory = functools.lru_cache(TREES)(self._make_directory)
        self.folders = {"": Folder("", layout.levels, started, self._directory)}
        for path, product in named.items():
            folder, slash, name = path.rpartition("/")
            self._folder(folder + slash).inside[name] = _number(path), product

    def _folder(self, path: str) -> Folder:
        """Return a folder, made where it is not there yet, with those above it."""
        found = self.folders.get(path)
        if found is None:
            above, slash, name = path[:-1].rpartition("/")
            outside = self._folder(above + slash)
            found = self.folders[path] = Folder(path, outside.levels - 1, self._started, self._directory)
            outside.inside[name] = found.ino, found
        return found

    def __iter__(self) -> Iterator[str]:
        return (folder.path + name for folder in self._lowest() for name in folder)

    def __len__(self) -> int:
        return sum(map(len, self._lowest()))

    def _lowest(self) -> Iterable[Folder]:
        return (folder for folder in self.folders.values() if folder.levels == 1)

    def product(self, path: str) -> Product | None:
        """Return the product whose directory is there."""
        folder, slash, name = path.rpartition("/")
        above = self.folders.get(folder + slash)
        found = above.inside.get(name, (0, None))[1] if above else None
        return found if isinstance(found, Product) else None

    def followed_by(self, named: Mapping[str, Product], now: int) -> Products:
        """Return what is to be shown in the place of these; `now` is the time of folders that get other names."""
        after = Products(named, self._engine, self._mountpoint, self._started, self.layout)
        for path, folder in after.folders.items():
            before = self.folders.get(path)
            folder.mtime = now
            if before is not None and before.inside.keys() == folder.inside.keys():
                folder.mtime = before.mtime
        return after

    def root(self, about: Mapping[str, str]) -> Directory:
        """Return the root of the mount; `about` is what its extended attributes ``user.eofs.…`` say besides."""
        said = {"levels": self.layout.levels, **about}
        return self.folders[""].directory()._replace(attributes=lambda: extended(said))

    def in_place_of(self, root: Directory) -> Directory:
        """Return a root of the mount that shows these, and says what another one has said."""
        return self.folders[""].directory()._replace(attributes=root.attributes)

    def _make_directory(self, path: str) -> Directory:
        product = self.product(path)
        if product is None:
            raise KeyError(path)
        return Branch(path, _number(path), product, self._engine, self._mountpoint, self._started).directory()


def _number(path: str) -> int:
    """Return the inode number of a product's directory; those up to six less are for what eofs puts in there."""
    return inode(path) | 7


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of paths when others are shown.

    Attributes:
        new: they were not there before.
        gone: they are not there any more.
        renewed: the same product has other links, another status…; with what it was before.
        replaced: another product is there.
    """

    new: set[str]
    gone: set[str]
    renewed: dict[str, Product]
    replaced: set[str]

    @property
    def paths(self) -> set[str]:
        """Return all of them."""
        return self.new | self.gone | self.renewed.keys() | self.replaced

    def __str__(self) -> str:
        return f"{len(self.new)} new, {len(self.gone)} gone, {len(self.renewed) + len(self.replaced)} changed"


def changes(before: Products, named: Mapping[str, Product]) -> Changes:
    """Return what becomes of the paths that are shown when those of `named` are.

    What a feature says beyond what eofs knows of a product does not count: it is read anew each time.
    """
    paths = set(before)
    other = {
        path: old for path, product in named.items() if (old := before.product(path)) and _SAID(old) != _SAID(product)
    }
    renewed = {path: old for path, old in other.items() if old.key == named[path].key}
    return Changes(named.keys() - paths, paths - named.keys(), renewed, other.keys() - renewed.keys())
