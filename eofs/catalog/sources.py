"""What a user names as a search result: files, directories of them, standard input; read as one result, and again.

Of a product that several files hold, the one counts that was written last. What could be read once and cannot be the
next time counts as it was: it may be half written.
"""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eofs import catalog
from eofs.catalog.filters import Choice
from eofs.errors import Empty, ResultError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from eofs.catalog import SearchResult
    from eofs.model import Product

log = logging.getLogger(__name__)

_STANDARD_INPUT = "-"
_RESULTS = re.compile(r"[^.].*\.(geo)?json(\.gz)?", re.IGNORECASE)  # what counts in a directory

# When a file was written, in nanoseconds, its size and its inode: no two writings have all three in common.
Mark = tuple[int, int, int]
_MISSING = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class _File:
    """A file with the mark that it had when it was read, and the products that are wanted of it."""

    mark: Mark
    products: tuple[Product, ...]


class Sources:
    """Search results that are taken for one.

    Args:
        names: each a file, a directory (all results in it), several of both with ``:`` in between, or ``-``.
        choice: what is wanted of them.

    Attributes:
        name: all their names, with ``:`` in between.
        left_out: a sentence for each feature, and each file in a directory, that could not be understood.
    """

    def __init__(self, names: Iterable[str], choice: Choice | None = None) -> None:
        given = [*names]
        self.name = ":".join(given)
        self.left_out: tuple[str, ...] = ()
        self._names = [part for name in given for part in _parts(name)]
        self._choice = choice or Choice()
        self._files: dict[str, _File] = {}

    def load(self) -> tuple[Product, ...]:
        """Read them, and return what is wanted.

        Raises:
            ResultError: one that is named cannot be read, none of a directory can, or nothing of all is wanted.
        """
        results: list[SearchResult] = []
        faults: list[ResultError] = []
        for path, mark in self.marks().items():
            self._files[path] = _File(mark, ())
            try:
                results.append(catalog.load(path))
            except ResultError as error:
                if path in self._names and not isinstance(error, Empty):
                    raise
                faults.append(error)
            else:
                self._files[path] = _File(mark, self._wanted(results[-1]))
        if not results:
            nothing = Empty(f"{self.name} holds no search result (*.json, *.geojson), and is no mount of eofs")
            raise faults[0] if faults else nothing
        products = self.products()
        if not products:
            self._choice.of([product for result in results for product in result.products], self.name)  # it says why
        features = (sentence for result in results for sentence in result.left_out)
        self.left_out = (*features, *(f"{fault}; it is left out" for fault in faults))
        return products

    def products(self) -> tuple[Product, ...]:
        """Return what is wanted, each once: what comes from the file that was written last is first."""
        found: list[Product] = []
        known: set[object] = set()
        for file in sorted(self._files.values(), key=lambda file: file.mark, reverse=True):
            found += (product for product in file.products if _identity(product) not in known)
            known.update(map(_identity, file.products))
        return tuple(found)

    def marks(self) -> dict[str, Mark]:
        """Return the files that there are by now, each with its mark."""
        return {path: mark for name in self._names for path, mark in self._marks_of(name).items()}

    def are_news(self, marks: Mapping[str, Mark]) -> bool:
        """Tell whether files with these marks are others than those that were read."""
        return marks != {path: file.mark for path, file in self._files.items()}

    def read(self, marks: Mapping[str, Mark]) -> tuple[Product, ...]:
        """Read those of the files with these marks that have not been read yet, and return what is wanted of all.

        The log says what cannot be read.
        """
        known = self._files
        self._files = {
            path: known[path] if path in known and known[path].mark == mark else _File(mark, self._read(path))
            for path, mark in marks.items()
        }
        return self.products()

    def forget(self) -> None:
        """Take all files for unread."""
        self._files = {path: _File(_MISSING, file.products) for path, file in self._files.items()}

    def directories(self) -> set[str]:
        """Return the directories in which something happens when they change."""
        paths = [Path(name) for name in self._names if name != _STANDARD_INPUT]
        return {str(path if _is_directory(path) else path.absolute().parent) for path in (*paths, *map(_target, paths))}

    def _read(self, path: str) -> tuple[Product, ...]:
        try:
            return self._wanted(catalog.load(path))
        except Empty:
            return ()
        except ResultError as error:
            log.warning("%s; what it held before stays", error)
            return self._files[path].products if path in self._files else ()

    def _wanted(self, result: SearchResult) -> tuple[Product, ...]:
        return tuple(filter(self._choice.takes, result.products))

    def _marks_of(self, name: str) -> dict[str, Mark]:
        """Return the files of a name with their marks; those that were known, where it cannot be told at the moment."""
        place = Path(name)
        with contextlib.suppress(OSError):
            if name and place.is_dir():
                entries = (entry for entry in sorted(place.iterdir()) if _RESULTS.fullmatch(entry.name))
                return {str(entry): _mark(entry) for entry in entries if entry.is_file()}
        known = {path: file.mark for path, file in self._files.items() if Path(path).parent == place}
        return known or {name: _mark(place)}


def _parts(name: str) -> list[str]:
    """Return the names in ``A:B``, unless there is a file of that whole name, or none of any part."""
    parts = name.split(":")
    there = [_mark(Path(part)) != _MISSING for part in (name, *parts)]
    return parts if any(there) and not there[0] else [name]


def _mark(path: Path) -> Mark:
    with contextlib.suppress(OSError, ValueError):
        said = path.stat()
        return said.st_mtime_ns, said.st_size, said.st_ino
    return _MISSING


def _is_directory(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.is_dir()
    return False


def _target(path: Path) -> Path:
    """Return the path of what a symbolic link leads to."""
    with contextlib.suppress(OSError, RuntimeError):
        return path.resolve()
    return path


def _identity(product: Product) -> object:
    # Links may differ from search to search, as they may be signed; ids are unique within their collection only.
    return product.key, product.collection
