"""FUSE on one side, nodes on the other: the only module that knows FUSE (fusepy, libfuse 2).

fusepy turns whatever is not an OSError with an errno into garbage: an empty file, an empty directory. So every
callback is wrapped by `answers`, which lets nothing else through.

What never changes is left to the kernel to keep: names for an hour, the bytes of files as long as it likes. Attributes
are asked for again after a second, since the size of a status file changes.

Threads: libfuse calls from as many threads as there are requests. The table of open files is guarded by one lock; the
rest is only read. A callback that waits does so in `opendir`, `open` or a look-up, and calls its `Caller`'s `check`
from its own thread, which is the only one that libfuse tells whether the request was interrupted.
"""

from __future__ import annotations

import codecs
import ctypes
import errno
import functools
import itertools
import logging
import os
import stat
import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from eofs.errors import Cancelled, EofsError, Interrupted, MountError, NotFound
from eofs.nodes import Caller, Directory, Held, Link, Text
from eofs.pending import interrupting, program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from eofs.nodes import Node, Reader

log = logging.getLogger(__name__)

# Python 3.13 still has this alias, which fusepy needs; should it go, put it back.
if not hasattr(ctypes, "c_voidp"):
    ctypes.c_voidp = ctypes.c_void_p
try:
    import fuse
except (ImportError, OSError) as missing:  # libfuse is loaded when fusepy is imported
    raise MountError(
        "libfuse 2 is missing; install it: apt install fuse3 libfuse2 (on Ubuntu 24.04 and later libfuse2t64)"
    ) from missing

NAME_MAX = 255
KEEP_NAMES = 3600.0  # seconds
KEEP_ATTRIBUTES = 1.0  # seconds; also how long a status file's size may lag behind its text
BLOCK = 4096
# What desktops look for everywhere, and never find here: answered before a product is looked at.
DESKTOP_NAMES = frozenset(
    {".hidden", ".directory", ".Trash", "autorun.inf", "desktop.ini", "Thumbs.db", ".DS_Store", ".xdg-volume-info"}
    | {".sh_thumbnails", ".git", ".svn", ".localized", "AACS", "BDMV"}
)

Answer = TypeVar("Answer")


class Usage(Protocol):
    """What `df` shows."""

    def used(self) -> int:
        """Return the bytes in the cache."""

    @property
    def limit(self) -> int:
        """Return the bytes that the cache may hold."""


def answers(operation: Callable[..., Answer]) -> Callable[..., Answer]:
    """Let a FUSE operation end well or with an errno, and in no third way."""

    @functools.wraps(operation)
    def wrapped(*args: Any) -> Answer:
        try:
            return operation(*args)
        except EofsError as error:
            log.debug("%s %s: %s", operation.__name__, args[1], error)
            raise fuse.FuseOSError(error.errno) from None
        except fuse.FuseOSError:
            raise
        except BaseException as error:
            log.exception("a fault in eofs: %s %s", operation.__name__, args[1])
            raise fuse.FuseOSError(errno.EIO) from error

    return wrapped


class FileSystem(fuse.Operations):  # type: ignore[misc] # fusepy has no types
    """Answers the kernel from the nodes under `root`."""

    use_ns = True  # times are integers of nanoseconds
    # Operations that would only say "yes" or "nothing": without them the kernel stops asking.
    access = flush = fsync = fsyncdir = lock = bmap = ioctl = create = None
    chmod = chown = link = mkdir = mknod = rename = removexattr = rmdir = None
    setxattr = symlink = truncate = unlink = utimens = write = destroy = None

    def __init__(self, root: Directory, usage: Usage, ready: Callable[[], None], umask: int = 0) -> None:
        # Not by libfuse's option of that name, which would give every file all that the mask does not take away.
        self._permissions = 0o777 & ~umask
        self.stopping = threading.Event()
        self._root = root
        self._usage = usage
        self._ready = ready
        self._owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}
        self._numbers = itertools.count(1)
        self._open: dict[int, Reader | Mapping[str, Node]] = {}
        self._lock = threading.Lock()

    def init(self, path: str) -> None:  # noqa: ARG002 - FUSE's signature
        """The kernel has accepted the mount."""
        self._ready()

    # -- finding -----------------------------------------------------------------------------------------------------

    def _caller(self, flags: int = 0) -> Caller:
        thread = fuse.fuse_get_context()[2]

        def check() -> None:
            if self.stopping.is_set():
                raise Cancelled("eofs is being unmounted")
            if fuse._libfuse.fuse_interrupted() and interrupting(thread):  # noqa: SLF001 - fusepy has no public name
                raise Interrupted("interrupted")

        return Caller(check, functools.partial(program, thread), patient=not flags & os.O_NONBLOCK)

    def _find(self, path: str, caller: Caller) -> Node:
        node: Node = self._root
        for name in path.split("/"):
            if not name:
                continue
            if not isinstance(node, Directory):
                raise fuse.FuseOSError(errno.ENOTDIR)
            if name in DESKTOP_NAMES or name.startswith(".Trash-"):
                raise NotFound(path)
            if len(name.encode("utf-8", "surrogateescape")) > NAME_MAX:
                raise fuse.FuseOSError(errno.ENAMETOOLONG)
            child = node.children(caller).get(name)
            if child is None:
                raise NotFound(path)
            node = child
        return node

    # -- attributes --------------------------------------------------------------------------------------------------

    @answers
    def getattr(self, path: str, fh: Any = None) -> dict[str, int]:
        """Return a node's attributes; of an open status file those of the text that was opened."""
        caller = self._caller()
        node = self._find(path, caller)
        opened = self._open.get(fh.fh) if fh else None
        size = len(opened.content) if isinstance(opened, Held) else node.length(caller)
        return {**self._owner, **_type(node, self._permissions), **_times(node.mtime), **_lengths(size)}

    @answers
    def readlink(self, path: str) -> str:
        """Return where a symbolic link leads."""
        node = self._find(path, self._caller())
        if not isinstance(node, Link):
            raise fuse.FuseOSError(errno.EINVAL)
        return node.target

    @answers
    def statfs(self, path: str) -> dict[str, int]:  # noqa: ARG002 - FUSE's signature
        """Return the cache's limit as the size of the disk, and what is left of it."""
        limit, used = self._usage.limit, self._usage.used()
        free = max(0, limit - used) // BLOCK
        return {
            "f_bsize": BLOCK,
            "f_frsize": BLOCK,
            "f_blocks": limit // BLOCK,
            "f_bfree": free,
            "f_bavail": free,
            "f_files": len(self._root.children(Caller())),
            "f_namemax": NAME_MAX,
        }

    @answers
    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:  # noqa: ARG002 - FUSE's signature
        """Return one extended attribute of a product's directory."""
        if not name.startswith("user."):  # said once for the whole mount, and never asked again by most programs
            raise fuse.FuseOSError(errno.ENOTSUP)
        value = self._attributes(path).get(name)
        if value is None:
            raise fuse.FuseOSError(errno.ENODATA)
        return value

    @answers
    def listxattr(self, path: str) -> list[str]:
        """Return the names of a product directory's extended attributes."""
        return list(self._attributes(path))

    def _attributes(self, path: str) -> Mapping[str, bytes]:
        node = self._find(path, self._caller())
        return node.attributes() if isinstance(node, Directory) and node.attributes else {}

    # -- directories -------------------------------------------------------------------------------------------------

    @answers
    def opendir(self, path: str) -> int:
        """Open a directory: the place where a product is ordered and waited for."""
        caller = self._caller()
        node = self._find(path, caller)
        if not isinstance(node, Directory):
            raise fuse.FuseOSError(errno.ENOTDIR)
        return self._keep(node.children(caller))

    @answers
    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int] | None, int]]:  # noqa: ARG002
        """Return the names with their types and inode numbers; all is in memory since `opendir`."""
        children = self._open[fh]
        entries: list[tuple[str, dict[str, int] | None, int]] = [(".", None, 0), ("..", None, 0)]
        entries += [(name, _type(node), 0) for name, node in children.items()]  # type: ignore[union-attr]
        return entries

    @answers
    def releasedir(self, path: str, fh: int) -> int:  # noqa: ARG002 - FUSE's signature
        """Forget an open directory."""
        self._drop(fh)
        return 0

    # -- files -------------------------------------------------------------------------------------------------------

    @answers
    def open(self, path: str, fi: Any) -> int:
        """Open a file; the bytes of all but status files stay in the kernel's cache from one open to the next."""
        if fi.flags & os.O_ACCMODE != os.O_RDONLY:
            raise fuse.FuseOSError(errno.EROFS)
        caller = self._caller(fi.flags)
        node = self._find(path, caller)
        if isinstance(node, Directory | Link):  # a link is followed by the kernel
            raise fuse.FuseOSError(errno.EISDIR)
        if isinstance(node, Text):
            fi.fh, fi.direct_io = self._keep(Held(node.content())), 1
        else:
            fi.fh, fi.keep_cache = self._keep(node.open(caller)), 1
        return 0

    @answers
    def read(self, path: str, size: int, offset: int, fi: Any) -> bytes:  # noqa: ARG002 - FUSE's signature
        """Return bytes of an open file; waits only for bytes that are on their way."""
        reader: Any = self._open[fi.fh]
        content: bytes = reader.read(offset, size, self._caller(fi.flags))
        return content

    @answers
    def release(self, path: str, fi: Any) -> int:  # noqa: ARG002 - FUSE's signature
        """Close an open file."""
        reader: Any = self._drop(fi.fh)
        reader.close()
        return 0

    def _keep(self, opened: Reader | Mapping[str, Node]) -> int:
        with self._lock:
            number = next(self._numbers)
            self._open[number] = opened
        return number

    def _drop(self, number: int) -> Reader | Mapping[str, Node]:
        with self._lock:
            return self._open.pop(number)


def _type(node: Node, permissions: int = 0o777) -> dict[str, int]:
    mode = node.mode if isinstance(node, Link) else node.mode & (stat.S_IFMT(node.mode) | permissions)
    return {"st_mode": mode, "st_ino": node.ino, "st_nlink": node.names}


def _times(moment: int) -> dict[str, int]:
    return {"st_atime": moment, "st_mtime": moment, "st_ctime": moment}


def _lengths(size: int) -> dict[str, int]:
    # Without st_blocks, `tar --sparse` takes every file for a hole and stores zeros.
    return {"st_size": size, "st_blocks": (size + 511) // 512, "st_blksize": 128 << 10}


def serve(file_system: FileSystem, mountpoint: str, name: str, flags: Iterable[str], **options: object) -> None:
    """Mount and answer until unmounted.

    Args:
        file_system: what answers.
        mountpoint: an empty directory.
        name: what `mount` and `df` show as the source.
        flags: further options without a value (``nodev``).
        options: further options with a value (``uid=1000``).

    Raises:
        MountError: libfuse could not mount; it has said why on standard error.
    """
    codecs.register(_names_as_they_are)
    try:
        fuse.FUSE(
            file_system,
            mountpoint,
            raw_fi=True,
            encoding=_ENCODING,
            foreground=True,  # whoever wants a daemon has forked before threads were made
            fsname=name.replace(",", "_"),  # a comma would end the value for libfuse
            subtype="eofs",
            ro=True,
            use_ino=True,
            default_permissions=True,
            sync_read=True,  # a read that waits must not hold up the kernel's background reads
            max_background=128,
            entry_timeout=KEEP_NAMES,
            negative_timeout=KEEP_NAMES,
            attr_timeout=KEEP_ATTRIBUTES,
            max_readahead=128 << 10,
            **dict.fromkeys(flags, True),
            **options,
        )
    except RuntimeError as error:
        raise MountError(f"{mountpoint} could not be mounted (libfuse ended with {error})") from error


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
