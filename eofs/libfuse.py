"""fusepy, with what it lacks: names that are not UTF-8, threads that Python remembers, reads without a copy.

Threads: libfuse makes as many threads as there are requests at a time, and ends those beyond ten that have nothing to
do. Python does not know them, so for each request it makes a state for the thread, and throws it away afterwards: half
of what a small read costs. Here a thread's first request leaves the state behind for those to come, and the thread's
end takes it away.
"""

from __future__ import annotations

import codecs
import ctypes
import threading
from typing import TYPE_CHECKING, Any

from eofs.errors import MountError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eofs.nodes import Place

# Python 3.13 still has this alias, which fusepy needs; should it go, put it back.
if not hasattr(ctypes, "c_voidp"):
    ctypes.c_voidp = ctypes.c_void_p
try:
    import fuse
except (ImportError, OSError) as missing:  # libfuse is loaded when fusepy is imported
    raise MountError(
        "libfuse 2 is missing; install it: apt install fuse3 libfuse2 (on Ubuntu 24.04 and later libfuse2t64)"
    ) from missing


__all__ = ["Door", "fuse"]


class Door(fuse.FUSE):  # type: ignore[misc] # fusepy has no types
    """Mounts, and hands requests to a `fuse.Operations` until unmounted.

    Those may have `places`: where the bytes of open files lie, by their handles. `read` is not asked for such bytes.

    Raises:
        RuntimeError: libfuse could not mount; it has said why on standard error.
    """

    def __init__(self, operations: fuse.Operations, mountpoint: str, **options: object) -> None:
        codecs.register(_names_as_they_are)
        self._places: Mapping[int, Place] = getattr(operations, "places", {})
        super().__init__(operations, mountpoint, raw_fi=True, encoding=_ENCODING, **options)

    @staticmethod
    def _wrapper(*call: Any) -> int:
        """Do what fusepy does for each request, in a thread that Python remembers."""
        remember_thread()
        status: int = fuse.FUSE._wrapper(*call)  # noqa: SLF001 - fusepy has no public name
        return status

    # A listing asks for these two again and again, so they take no detours.

    def fgetattr(self, path: bytes, buf: Any, fip: Any) -> int:
        """Fill in the attributes of a file, which `getattr` gives by the names of the fields of `fuse.c_stat`."""
        ctypes.memset(buf, 0, ctypes.sizeof(fuse.c_stat))
        attributes = buf.contents
        found = self.operations.getattr(path.decode("utf-8", "surrogateescape"), fip and fip.contents)
        for name, value in found.items():
            setattr(attributes, name, value)
        return 0

    def readdir(self, path: bytes, buf: Any, fill: Any, offset: int, fip: Any) -> int:  # noqa: ARG002 - libfuse's
        """Hand out the names in an open directory, with their types and inode numbers."""
        entry = fuse.c_stat()
        for name, entry.st_mode, entry.st_ino in self.operations.readdir("", fip.contents.fh):
            if fill(buf, name.encode("utf-8", "surrogateescape"), entry, 0):
                break
        return 0

    def read(self, path: bytes, buf: Any, size: int, offset: int, fip: Any) -> int:
        """Read what lies in a file straight into libfuse's buffer; fusepy would copy it from one that Python makes."""
        place = self._places.get(fip.contents.fh)
        if place is None:
            length: int = super().read(path, buf, size, offset, fip)
            return length
        room = (ctypes.c_char * size).from_address(ctypes.addressof(buf.contents))
        return place.read_into(memoryview(room), offset)


_here = threading.local()  # a thread's state holds it, so it goes with the state
# glibc calls this at a thread's end before it clears what Python knows the thread by; elsewhere nothing is remembered.
_at_thread_end = getattr(ctypes.CDLL(None), "__cxa_thread_atexit_impl", None)


def remember_thread() -> None:
    """Let this thread, which libfuse has made, keep its Python state until it ends."""
    if _at_thread_end and not hasattr(_here, "is_remembered"):
        _at_thread_end(_FORGET, None, _FORGET)
        ctypes.pythonapi.PyGILState_Ensure()
        _here.is_remembered = True


def _forget_thread(_: int | None) -> None:
    """Take back the `PyGILState_Ensure`; then the state goes when this call returns."""
    ctypes.pythonapi.PyGILState_Release(0)  # 0: Python is running, and goes on running


_FORGET = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_forget_thread)


_ENCODING = "utf8_as_is"


def _names_as_they_are(name: str) -> codecs.CodecInfo | None:
    """Return the codec that carries file names that are not UTF-8: fusepy would fail a whole listing for one."""
    if name != _ENCODING:
        return None
    return codecs.CodecInfo(
        encode=lambda text, _errors="strict": (text.encode("utf-8", "surrogateescape"), len(text)),
        decode=lambda octets, _errors="strict": (bytes(octets).decode("utf-8", "surrogateescape"), len(octets)),
        name=_ENCODING,
    )
