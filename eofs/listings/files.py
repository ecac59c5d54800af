"""The files of a product as they are found, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from eofs.archive.listing import shown
from eofs.errors import NotSupported, ProviderFailed
from eofs.model import Asset

if TYPE_CHECKING:
    import re
    from urllib.parse import SplitResult

    from eofs.model import Product

MOST = 65_536  # files; a product of more is better read from its archive


def split(url: str, product: Product, form: re.Pattern[str], called: str) -> tuple[SplitResult, re.Match[str]]:
    """Return a product's download link in its parts, and those of its path that the groups of `form` name.

    Raises:
        NotSupported: it is not of that form, which is `called` so.
    """
    parts = urlsplit(url)
    link = form.fullmatch(parts.path)
    if link is None:
        raise NotSupported(f"the files of {product.title} cannot be listed: its link is not of the {called}")
    return parts, link


class Files:
    """The files of a product, each under a path of its own, and not too many."""

    def __init__(self, provider: str, product: Product) -> None:
        self._list = f"the list of files that {provider} gives of {product.title}"
        self._found: dict[str, Asset] = {}

    def __len__(self) -> int:
        return len(self._found)

    def unusable(self, why: str) -> ProviderFailed:
        """Return the error that says why the list cannot be used."""
        return ProviderFailed(f"{self._list} cannot be used ({why}); its archive holds them as well")

    def add(self, path: str, href: str, size: int | None = None) -> None:
        """Take note of a file.

        Raises:
            ProviderFailed: there is one of that path already, or there are too many.
        """
        if path in self._found:
            raise self.unusable(f"{shown(path)!r} is in it twice")
        if len(self._found) == MOST:
            raise self.unusable(f"it holds more than {MOST:,} files")
        self._found[path] = Asset(path, href, size, path=path)

    def all(self) -> tuple[Asset, ...]:
        """Return the files, sorted by their paths.

        Raises:
            ProviderFailed: there are none, or one is a directory of another.
        """
        if not self._found:
            raise self.unusable("it is empty")
        directories: set[str] = set()
        for path in self._found:
            directory = path.rpartition("/")[0]
            while directory and directory not in directories:
                directories.add(directory)
                directory = directory.rpartition("/")[0]
        if both := directories & self._found.keys():
            raise self.unusable(f"{shown(min(both))!r} is a file and a directory in it")
        return tuple(self._found[path] for path in sorted(self._found))
