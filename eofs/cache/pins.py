"""Files of the cache that go last: what a user has asked for by name is worth more than what he has looked into.

The mark is the sticky bit of the file's permissions, which means nothing else for a file on Linux. So it goes with the
file, and is known from the same `stat` as its size.
"""

from __future__ import annotations

import contextlib
import os
import stat


def pin(fd: int) -> None:
    """Mark an open file of the cache."""
    with contextlib.suppress(PermissionError):  # in a shared cache it may be another user's
        os.fchmod(fd, stat.S_IMODE(os.fstat(fd).st_mode) | stat.S_ISVTX)


def is_pinned(status: os.stat_result) -> bool:
    """Tell whether a file bears the mark."""
    return bool(status.st_mode & stat.S_ISVTX)
