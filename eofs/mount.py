"""FUSE on one side, nodes on the other.

fusepy turns whatever is not an OSError with an errno into garbage: an empty file, an empty directory. So every
callback is wrapped by `answers`, which lets nothing else through.

What never changes is left to the kernel to keep: names for an hour, until it is told to forget one, and the bytes of
products as long as it likes. Attributes are asked for again after a second, since the size of a status file changes;
and so are names where products are in folders: the kernel can be told of the root's names only, and forgets with one
all that is below but for what somebody uses.

Threads: libfuse calls from as many threads as there are requests. What is open guards itself (`top`), and the rest is
only read. A callback that waits does so in `opendir`, `open` or a look-up, and calls its `Caller`'s `check` from its
own thread, which is the only one that libfuse tells whether the request was interrupted.
"""

from __future__ import annotations

import errno
import functools
import itertools
import logging
import os
import stat
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from eofs.errors import Cancelled, EofsError, Interrupted, MountError, NotFound
from eofs.libfuse import Door, Kernel, fuse, interrupted
from eofs.nodes import Caller, Directory, Held, Link, Text, entries
from eofs.pending import WAITERS, Waiters, interrupting, process, program
from eofs.top import Top

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from eofs.nodes import Node, Place, Reader, Usage
    from eofs.options import Options

log = logging.getLogger(__name__)

NAME_MAX = 255
KEEP_NAMES = 3600.0  # seconds, where products are next to each other
KEEP_ATTRIBUTES = 1.0  # seconds; also how long a status file's size may lag behind its text
BLOCK = 4096
UNKNOWN = 0xFFFFFFFF  # libfuse's word for an inode number that it does not know; an entry of number 0 counts as none
# What desktops look for everywhere, and never find here: answered before a product is looked at.
DESKTOP_NAMES = frozenset(
    {".hidden", ".directory", ".Trash", "autorun.inf", "desktop.ini", "Thumbs.db", ".DS_Store", ".xdg-volume-info"}
    | {".sh_thumbnails", ".git", ".svn", ".localized", "AACS", "BDMV"}
)

Answer = TypeVar("Answer")


def answers(operation: Callable[..., Answer]) -> Callable[..., Answer]:
    """Let a FUSE operation end well or with an errno, and in no third way."""

    @functools.wraps(operation)
    def wrapped(*args: Any) -> Answer:
        waiters: Waiters = args[0].waiters
        waiters.here.path = args[1]
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
        finally:
            if waiters.waiting:
                waiters.leave()

    return wrapped


class FileSystem(fuse.Operations):  # type: ignore[misc] # fusepy has no types
    """Answers the kernel from the nodes under `root`."""

    use_ns = True  # times are integers of nanoseconds
    # Operations that would only say "yes" or "nothing": without them the kernel stops asking.
    access = flush = fsync = fsyncdir = lock = bmap = ioctl = create = None
    chmod = chown = link = mkdir = mknod = rename = removexattr = rmdir = None
    setxattr = symlink = truncate = unlink = utimens = write = destroy = None

    def __init__(self, root: Directory, usage: Usage, ready: Callable[[], None], options: Options) -> None:
        # Not by libfuse's option of that name, which would give every file all that the mask does not take away.
        self._permissions = ~(0o777 & (options.umask or 0))
        self.stopping = threading.Event()
        self.top = Top(root, options.layout.levels)
        self.waiters = Waiters(options.layout.levels)
        self._usage = usage
        self._ready = ready
        self._owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}
        # Who asks is known by the thread that a callback runs in, so that these two stand for all.
        self._patient = Caller(self._check, lambda: program(_thread()), process=lambda: process(_thread()))
        self._impatient = replace(self._patient, patient=False)
        self.places: dict[int, Place] = {}

    def init(self, path: str) -> None:  # noqa: ARG002 - FUSE's signature
        """The kernel has accepted the mount."""
        self._kernel = Kernel()
        self._ready()

    def show(self, root: Directory, paths: Iterable[str], others: Collection[str]) -> bool:
        """Show another root, which differs in these paths, unless something of `others` is open; tell whether."""
        shown = self.top.show(root, others)
        for name in {path.partition("/")[0] for path in paths} if shown else ():
            self._kernel.forget(name)
        return shown

    # -- finding -----------------------------------------------------------------------------------------------------

    def _caller(self, flags: int = 0) -> Caller:
        return self._impatient if flags & os.O_NONBLOCK else self._patient

    def _check(self) -> None:
        if self.stopping.is_set():
            raise Cancelled("eofs is being unmounted")
        if interrupted() and interrupting(_thread()):
            raise Interrupted("interrupted")
        self.waiters.note(_thread())

    def _find(self, path: str, caller: Caller) -> Node:
        names = [name for name in path.split("/") if name]
        product, inside = names[: self.top.levels], names[self.top.levels :]
        node = _below(self.top.root, product, caller) or (self.top.left_behind(product) if inside else None)
        found = _below(node, inside, caller) if node else None
        if found is None:
            raise NotFound(path)
        return found

    # -- attributes --------------------------------------------------------------------------------------------------

    @answers
    def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
        """Return a node's attributes; of an open status file those of the text that was opened."""
        caller = self._caller()
        node = self._find(path, caller)
        opened = self.top.opened.get(fh.fh) if fh else None
        size = len(opened.content) if isinstance(opened, Held) else node.length(caller)
        time = fuse.c_timespec(*divmod(node.mtime, 10**9))
        return {
            **self._owner,
            "st_mode": node.mode if isinstance(node, Link) else node.mode & self._permissions,
            "st_ino": node.ino,
            "st_nlink": node.names,
            "st_size": size,
            "st_blocks": (size + 511) // 512,  # without it, `tar --sparse` takes every file for a hole and stores zeros
            "st_blksize": 128 << 10,
            "st_atimespec": time,
            "st_mtimespec": time,
            "st_ctimespec": time,
        }

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
            "f_files": self._usage.products(),
            "f_namemax": NAME_MAX,
        }

    @answers
    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:  # noqa: ARG002 - FUSE's signature
        """Return one extended attribute of a product's directory."""
        if not name.startswith("user."):  # said once for the whole mount, and never asked again by most programs
            raise fuse.FuseOSError(errno.ENOTSUP)
        value = self.waiters.text(path) if name == WAITERS else self._attributes(path).get(name)
        if value is None:
            raise fuse.FuseOSError(errno.ENODATA)
        return value

    @answers
    def listxattr(self, path: str) -> list[str]:
        """Return the names of a product directory's extended attributes."""
        return [*self._attributes(path), *self.waiters.names(path)]

    def _attributes(self, path: str) -> Mapping[str, bytes]:
        node = self._find(path, self._caller())
        return node.attributes() if isinstance(node, Directory) and node.attributes else {}

    # -- directories -------------------------------------------------------------------------------------------------

    @answers
    def opendir(self, path: str) -> int:
        """Open a directory: the place where a product is ordered and waited for."""
        caller = self._caller()
        with self.top.holding(path):
            node = self._find(path, caller)
            if not isinstance(node, Directory):
                raise fuse.FuseOSError(errno.ENOTDIR)
            return self.top.keep(node.children(caller))

    @answers
    def readdir(self, path: str, fh: int) -> Iterable[tuple[str, int, int]]:  # noqa: ARG002 - FUSE's signature
        """Return the names with their types and inode numbers; all is in memory since `opendir`."""
        children: Any = self.top.opened[fh]
        itself = ((name, stat.S_IFDIR, UNKNOWN) for name in (".", ".."))
        return itertools.chain(itself, entries(children))

    @answers
    def releasedir(self, path: str, fh: int) -> int:
        """Forget an open directory."""
        self.top.close(path, fh)
        return 0

    # -- files -------------------------------------------------------------------------------------------------------

    @answers
    def open(self, path: str, fi: Any) -> int:
        """Open a file; what is known to be right stays in the kernel's cache from one open to the next."""
        if fi.flags & os.O_ACCMODE != os.O_RDONLY:
            raise fuse.FuseOSError(errno.EROFS)
        caller = self._caller(fi.flags)
        with self.top.holding(path):
            node = self._find(path, caller)
            if isinstance(node, Directory | Link):  # a link is followed by the kernel
                raise fuse.FuseOSError(errno.EISDIR)
            reader = Held(node.content(), lasts=False) if isinstance(node, Text) else node.open(caller)
            fi.fh = self.top.keep(reader)
            self._note_place(fi.fh, reader)
            fi.direct_io = isinstance(reader, Held) and not reader.lasts
            fi.keep_cache = self.top.is_right(node.ino, sure=isinstance(reader, Held) or fi.fh in self.places)
        return 0

    @answers
    def read(self, path: str, size: int, offset: int, fi: Any) -> bytes:  # noqa: ARG002 - FUSE's signature
        """Return bytes of an open file that is not among `places`; waits only for bytes that are on their way."""
        reader: Any = self.top.opened[fi.fh]
        content: bytes = reader.read(offset, size, self._caller(fi.flags))
        self._note_place(fi.fh, reader)
        return content

    @answers
    def release(self, path: str, fi: Any) -> int:
        """Close an open file."""
        self.places.pop(fi.fh, None)
        reader: Any = self.top.close(path, fi.fh)
        reader.close()
        return 0

    def _note_place(self, number: int, reader: Reader) -> None:
        if place := reader.place():
            self.places[number] = place


def _below(node: Node, names: Iterable[str], caller: Caller) -> Node | None:
    """Return what is below a node by these names, one below the other; None where one does not exist."""
    found: Node | None = node
    for name in names:
        if not isinstance(found, Directory):
            raise fuse.FuseOSError(errno.ENOTDIR)
        if len(name.encode("utf-8", "surrogateescape")) > NAME_MAX:
            raise fuse.FuseOSError(errno.ENAMETOOLONG)
        may_be = name not in DESKTOP_NAMES and not name.startswith(".Trash-")
        found = found.children(caller).get(name) if may_be else None
        if found is None:
            break
    return found


def _thread() -> int:
    """Return the number of the thread whose request this thread of ours answers."""
    number: int = fuse.fuse_get_context()[2]
    return number


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
    keep_names = KEEP_NAMES if file_system.top.levels == 1 else KEEP_ATTRIBUTES
    try:
        Door(
            file_system,
            mountpoint,
            foreground=True,  # whoever wants a daemon has forked before threads were made
            fsname=name.replace("\\", "\\\\").replace(",", "\\,"),  # a bare comma would end the value for libfuse
            subtype="eofs",
            ro=True,
            use_ino=True,
            default_permissions=True,
            sync_read=True,  # a read that waits must not hold up the kernel's background reads
            max_background=128,
            entry_timeout=keep_names,
            negative_timeout=keep_names,
            attr_timeout=KEEP_ATTRIBUTES,
            max_readahead=128 << 10,
            **dict.fromkeys(flags, True),
            **options,
        )
    except RuntimeError as error:
        raise MountError(f"{mountpoint} could not be mounted (libfuse ended with {error})") from error
