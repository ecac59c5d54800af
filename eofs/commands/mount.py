"""``eofs mount``."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cachetools

from eofs import daemon
from eofs.cache import Cache
from eofs.client import Client
from eofs.commands.control import Deeds
from eofs.commands.following import Following
from eofs.commands.holders import holders
from eofs.commands.notices import Notices, warn_of_hindrance
from eofs.commands.unmount import KIND, fusermount, is_crashed, kind
from eofs.errors import EofsError, MountError
from eofs.fetch import Engine
from eofs.folders import Products
from eofs.layout import name_all
from eofs.log import start_logging
from eofs.options import cache_limit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from eofs.catalog.sources import Sources
    from eofs.config import Config
    from eofs.layout import Layout
    from eofs.options import Options

log = logging.getLogger(__name__)

LAST_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def mount(sources: Sources, mountpoint: str, settings: Config, *, foreground: bool) -> None:
    """Mount search results; returns when the mount is usable, or with `foreground` when it has been unmounted.

    Raises:
        EofsError: it cannot be mounted.
    """
    place = usable(mountpoint)
    import_fuse()
    warn_of_hindrance(settings)
    take_signals()
    if foreground:
        words = ("READY=1", _told(len(sources.products())))
        serve(sources, place, settings, lambda: daemon.notify(settings.notify_socket, *words), foreground=True)
        return
    tell = daemon.detach()
    if tell is None:
        return
    status = 1
    try:
        serve(sources, place, settings, lambda: tell(""), foreground=False)
        status = 0
    except EofsError as error:
        with contextlib.suppress(OSError):  # when the parent has gone, nobody waits for the reason
            tell(str(error))
        log.error("%s", error)  # noqa: TRY400 - a sentence for the user, who can do without the traceback
    except BaseException as error:
        log.exception("a fault in eofs")
        with contextlib.suppress(OSError):
            tell(f"a fault in eofs ({type(error).__name__}: {error})")
    finally:
        logging.shutdown()
        # Not sys.exit: what the parent registered to be done at its exit is not for us to do.
        os._exit(status)


def serve(
    sources: Sources,
    mountpoint: str,
    settings: Config,
    ready: Callable[[], None],
    *,
    foreground: bool,
    tidy: Callable[[], None] = lambda: None,
) -> None:
    """Answer for a mount of search results, which have been read, until a signal or somebody else unmounts it.

    `ready` is called when it is mounted, `tidy` before a second signal ends the process where it stands.
    """
    options = settings.options
    start_logging(options.log_file, options.verbose, foreground=foreground)
    fuse = import_fuse()
    cache, notices = Cache(options.cache_dir, cache_limit(options)), Notices.of(settings, mountpoint)
    engine = Engine(cache, options, functools.partial(client, settings), tell=notices.tell)
    say = functools.partial(daemon.notify, settings.notify_socket if foreground else "")
    following = _following(sources, engine, mountpoint, options.layout, lambda number: say(_told(number)))
    control = Deeds(engine, cache, following.product, mountpoint).listen()
    about = {"pid": str(os.getpid()), "result": sources.name, "control": str(control.path)}

    def begin() -> None:
        _begin_signals(mountpoint, following.look, stop, tidy)
        following.start(file_system)
        ready()

    def stop() -> None:
        following.stop()
        file_system.stopping.set()
        say("STOPPING=1", "STATUS=unmounting")

    file_system = fuse.FileSystem(following.products.root(about), Usage(cache, following), begin, options)
    with contextlib.ExitStack() as at_the_end:  # the last one first
        for each in (notices.close, cache.close, engine.close, control.close, stop):
            at_the_end.callback(each)
        fuse.serve(file_system, mountpoint, sources.name, _flags(options), **_owner(options))
    log.info("%s is unmounted", mountpoint)


def _following(
    sources: Sources, engine: Engine, mountpoint: str, layout: Layout, tell: Callable[[int], None]
) -> Following:
    """Return what shows the search results, and follows them; the log says what is left out of them."""
    for sentence in sources.left_out:
        log.warning("%s", sentence)
    gc.freeze()  # the products stay to the end: Python need not look for garbage among them again and again,
    products = Products(name_all(sources.products(), layout), engine, mountpoint, time.time_ns(), layout)
    gc.freeze()  # nor among their names
    return Following(sources, products, engine, tell)


def _told(products: int) -> str:
    """Return what a service manager is told of the mount."""
    return f"STATUS=mounted, with {products} products"


def _flags(options: Options) -> list[str]:
    wanted = {"allow_other": options.allow_other, "allow_root": options.allow_root}
    return [*(flag for flag in options.flags if flag != "ro"), *(flag for flag in wanted if wanted[flag])]


def _owner(options: Options) -> dict[str, int]:
    given = {"uid": options.uid, "gid": options.gid}
    return {name: number for name, number in given.items() if number is not None}


def client(settings: Config, provider: str) -> Client:
    """Return what speaks with a provider."""
    options, speaks = settings.options, settings.provider(provider)
    if options.requester_pays:
        speaks = replace(speaks, login={**speaks.login, "requester_pays": True})
    return Client(
        speaks,
        settings.network,
        connections=options.connections,
        stall_timeout=options.stall_timeout,
    )


class Usage:
    """What `df` shows; the disk is not asked more than every other second."""

    def __init__(self, cache: Cache, following: Following) -> None:
        self.limit = cache.limit
        self._following = following
        self._used = cachetools.cached(cachetools.TTLCache(1, 2), lock=threading.Lock())(cache.used)

    def used(self) -> int:
        """Return the bytes in the cache."""
        return int(self._used())

    def products(self) -> int:
        """Return how many products are shown."""
        return len(self._following.products)


def take_signals() -> None:
    """Leave the signals that end us to the thread that unmounts; to be called before the first thread is made."""
    signal.pthread_sigmask(signal.SIG_BLOCK, LAST_SIGNALS)


def import_fuse() -> ModuleType:
    """Return the module that knows FUSE; raises MountError where libfuse is missing."""
    from eofs import mount as fuse  # noqa: PLC0415 - loading libfuse is only needed, and may only fail, here

    return fuse


def _begin_signals(*how: object) -> None:
    """Heed signals from now on: what is not mounted yet cannot be unmounted, and a signal would be lost."""
    threading.Thread(target=_await_signals, args=how, name="signals", daemon=True).start()


def _await_signals(
    mountpoint: str, again: Callable[[], None], stop: Callable[[], None], tidy: Callable[[], None]
) -> None:
    """Unmount when we are told to end: release who waits, then take the mount away, at once or when it is free.

    Told a second time, do not wait until it is free. SIGHUP means `again`, unless it says that our terminal has gone.
    """
    had_terminal = daemon.ends_with_terminal()
    while (number := signal.sigwait(LAST_SIGNALS)) == signal.SIGHUP and had_terminal == daemon.ends_with_terminal():
        again()
    log.info("%s: unmounting", signal.Signals(number).name)
    stop()
    if not fusermount("-u", mountpoint):
        return
    if busy := holders(mountpoint):
        log.warning("%s is in use by %s; eofs ends when it is free, or when told again", mountpoint, ", ".join(busy))
    fusermount("-u", "-z", mountpoint)
    number = signal.sigwait(LAST_SIGNALS)
    tidy()
    os._exit(128 + number)


def usable(mountpoint: str) -> str:
    """Return the absolute path of a directory that can be mounted on; what a crashed eofs has left there goes.

    Raises:
        MountError: it cannot.
    """
    place = Path(mountpoint).absolute()
    while is_crashed(place):
        _mend(place, mountpoint)
    try:
        occupied = any(place.iterdir())  # asked first: the attributes of a dead mount live on for a second
        if os.path.ismount(place):
            raise MountError(f"{mountpoint} is mounted already; unmount it first: eofs unmount {mountpoint}")
        if occupied:
            raise MountError(f"{mountpoint} is not empty; take an empty directory")
    except FileNotFoundError:
        raise MountError(f"{mountpoint} does not exist; make it first: mkdir -p {mountpoint}") from None
    except NotADirectoryError:
        raise MountError(f"{mountpoint} is not a directory; take an empty directory") from None
    except OSError as error:
        raise MountError(f"{mountpoint} cannot be used: {error.strerror}") from None
    return str(place.resolve())


def _mend(place: Path, mountpoint: str) -> None:
    """Take away the mount that a crashed eofs has left behind, also where somebody stands in it."""
    left = kind(place)
    if left != KIND or fusermount("-u", "-z", str(place.resolve())):
        of = "a mount" if left == KIND else f"a mount of {left}"
        raise MountError(f"{mountpoint} is left over from {of} that crashed; free it first: fusermount -u {mountpoint}")
    log.warning("%s was left over from a mount that crashed; it has been freed", mountpoint)
