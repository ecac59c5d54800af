"""A door to inotify(7), which the standard library lacks: a word as soon as something has changed in a directory.

The kernel says nothing of what another machine does on a network's disk. Who has to know that looks now and then.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select

_LIBC = ctypes.CDLL(None)
# <sys/inotify.h>: a file was closed that had been written; one has come or gone by a rename; was made; was removed.
_EVENTS = 0x08 | 0x40 | 0x80 | 0x100 | 0x200
_ENOUGH = 64 << 10  # bytes; an event has some 300 at most


class Inotify:
    """Waits for changes in directories, as long as the process lives.

    Threads: one waits; any other may wake it.
    """

    def __init__(self) -> None:
        self._events = int(_LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))  # -1 where the user has too many of them
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        for descriptor in (self._events, self._alarm):
            if descriptor >= 0:
                self._poll.register(descriptor, select.POLLIN)

    def watch(self, directory: str) -> None:
        """Wait for what changes in a directory, if there is one; to say so again changes nothing."""
        _LIBC.inotify_add_watch(self._events, os.fsencode(directory), _EVENTS)

    def wake(self) -> None:
        """End the wait that is under way, or the next one."""
        os.eventfd_write(self._alarm, 1)

    def wait(self, seconds: float) -> None:
        """Wait until something changes, somebody wakes us, or the time is over."""
        for descriptor, _ in self._poll.poll(1000 * seconds):
            with contextlib.suppress(BlockingIOError):
                os.read(descriptor, _ENOUGH)
