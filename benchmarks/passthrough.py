"""The ceiling of fusepy: the least that a file system can do with it, mounted.

``passthrough.py DIRECTORY MOUNTPOINT`` shows a directory; ``passthrough.py FILE MOUNTPOINT`` makes up a directory of
four entries for each line of a file. The kernel may keep what it has read, as with eofs.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fuse

_READ_ONLY = stat.S_IFREG | 0o444
_FOLDER = stat.S_IFDIR | 0o555
_FILES = ("metadata.json", "quicklook.jpg", "status")


class Passthrough(fuse.Operations):  # type: ignore[misc]  # fusepy has no types
    """A directory, as it is."""

    def __init__(self, root: str) -> None:
        self._root = root

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:  # noqa: ARG002 - as fusepy calls it
        """Return the attributes of a file."""
        found = os.lstat(self._root + path)
        return {name: getattr(found, name) for name in ("st_mode", "st_size", "st_mtime", "st_nlink", "st_ino")}

    def readdir(self, path: str, fh: int) -> Iterator[tuple[str, dict[str, int], int]]:  # noqa: ARG002
        """List a directory, with types."""
        with os.scandir(self._root + path) as entries:
            for entry in entries:
                yield entry.name, {"st_mode": stat.S_IFDIR if entry.is_dir() else stat.S_IFREG}, 0

    def open(self, path: str, info: Any) -> int:
        """Open a file."""
        info.fh, info.keep_cache = os.open(self._root + path, os.O_RDONLY), 1
        return 0

    def read(self, path: str, size: int, offset: int, info: Any) -> bytes:  # noqa: ARG002
        """Read."""
        return os.pread(info.fh, size, offset)

    def release(self, path: str, info: Any) -> None:  # noqa: ARG002
        """Close a file."""
        os.close(info.fh)


class MadeUp(fuse.Operations):  # type: ignore[misc]
    """Directories of these names, of four entries each."""

    def __init__(self, names: list[str]) -> None:
        self._folders = set(names)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:  # noqa: ARG002
        """Return the attributes of anything."""
        folder, _, name = path[1:].partition("/")
        if (folder and folder not in self._folders) or name not in {"", "data", *_FILES}:
            raise fuse.FuseOSError(errno.ENOENT)
        return {"st_mode": _READ_ONLY if name in _FILES else _FOLDER, "st_size": 0, "st_nlink": 1, "st_mtime": 0}

    def readdir(self, path: str, fh: int) -> Iterator[tuple[str, dict[str, int], int]]:  # noqa: ARG002
        """List a directory, with types."""
        names = self._folders if path == "/" else () if path.endswith("/data") else ("data", *_FILES)
        for name in names:
            yield name, {"st_mode": _READ_ONLY if name in _FILES else _FOLDER}, 0


def main() -> None:
    """Mount, until it is unmounted."""
    source, mountpoint = sys.argv[1:]
    whole = Path(source).is_dir()
    shown = Passthrough(source) if whole else MadeUp(Path(source).read_text(encoding="utf-8").splitlines())
    keep = dict.fromkeys(("entry_timeout", "attr_timeout", "negative_timeout"), 3600)
    fuse.FUSE(shown, mountpoint, raw_fi=whole, foreground=True, ro=True, **keep)


if __name__ == "__main__":
    main()
