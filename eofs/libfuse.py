"""fusepy, with what it lacks: names that are not UTF-8, threads that Python remembers, reads without a copy.

Threads: libfuse makes as many threads as there are requests at a time, and ends those beyond ten that have nothing to
do. Python does not know them, so for each request it makes a state for the thread, and throws it away afterwards: half
of what a small read costs. Here a thread's first request leaves the state behind for those to come, and the thread's
end takes it away.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import os
import struct
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


__all__ = ["Door", "Kernel", "fuse", "interrupted"]

# Whether the request that this thread answers was interrupted. Asked without letting another thread run meanwhile: it
# takes no time, and hundreds who wait ask it several times a second. fusepy has no public name for libfuse.
interrupted = ctypes.PYFUNCTYPE(ctypes.c_int)(("fuse_interrupted", fuse._libfuse))  # noqa: SLF001


class Door(fuse.FUSE):  # type: ignore[misc] # fusepy has no types
    """Mounts, and hands requests to a `fuse.Operations` until unmounted.

    Those may have `places`: where the bytes of open files lie, by their handles. `read` is not asked for such bytes.

    Raises:
        RuntimeError: libfuse could not mount; it has said why on standard error.
    """

    def __init__(self, operations: fuse.Operations, mountpoint: str, **options: object) -> None:
        codecs.register(_names_as_they_are)
        self._places: Mapping[int, Place] = getattr(operations, "places", {})
        _share_heaps()
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


class Kernel:
    """The kernel's side of a mount, which keeps names for as long as it was told to, and forgets one when it is told.

    To be made while a request is answered. It is told by a descriptor of our own, as linux/fuse.h has it, which stays
    open as long as the process lives: libfuse's function for that must not be called once the mount has ended, which
    may be at any moment.
    """

    def __init__(self) -> None:
        lib = fuse._libfuse  # noqa: SLF001 - fusepy has no public name
        lib.fuse_get_session.restype = lib.fuse_session_next_chan.restype = ctypes.c_void_p
        session = ctypes.c_void_p(lib.fuse_get_session(ctypes.c_void_p(lib.fuse_get_context().contents.fuse)))
        channel = ctypes.c_void_p(lib.fuse_session_next_chan(session, None))
        self._device = os.dup(lib.fuse_chan_fd(channel))

    def forget(self, name: str) -> None:
        """Let the kernel look up a name of the root again, and all that it knows below; what is open stays open."""
        octets = name.encode("utf-8", "surrogateescape") + b"\0"
        size = _FORGET_NAME.size + len(octets)
        with contextlib.suppress(OSError):  # it does not know the name, or the mount has ended
            os.write(self._device, _FORGET_NAME.pack(size, _INVALID_ENTRY, 0, _ROOT, len(octets) - 1, 0) + octets)


_FORGET_NAME = struct.Struct("=IiQQII")  # fuse_out_header: size, code, 0; then the directory, the name's length, 0
_INVALID_ENTRY = 3  # FUSE_NOTIFY_INVAL_ENTRY
_ROOT = 1  # FUSE_ROOT_ID


def _share_heaps() -> None:
    """Let glibc's threads share two heaps: each of sixteen that they would have keeps what its threads held at a time.

    As libfuse's threads come and go, a mount would grow by a fifth in 400 listings. Elsewhere it does nothing.
    """
    if set_option := getattr(ctypes.CDLL(None), "mallopt", None):
        set_option(_ARENA_MAX, 2)


_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h


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
