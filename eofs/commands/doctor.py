"""``eofs doctor``: is there what a mount needs, and if not, how is that mended."""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import re
import shutil
import stat
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from eofs.commands.disks import disk_faults
from eofs.commands.mount import import_fuse
from eofs.commands.notices import PACKAGE, PROGRAM
from eofs.commands.providers import row_of
from eofs.commands.show import human
from eofs.commands.unmount import KIND, is_crashed, mounts
from eofs.config import BUILT_IN
from eofs.errors import EofsError
from eofs.options import cache_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eofs.config import Config
    from eofs.options import Options

PATIENCE = 3.0  # seconds that a mount has to answer
_SIGNS = {"ok": "✓", "hint": "·", "FAULT": "✗"}
_EXTRAS = {  # what can be done without: for what, and the extra that brings it
    "isal": ("unpacks up to twice as fast", "fast"),
    "botocore": ("reads object stores (S3)", "s3"),
    "keyring": ("takes credentials from the desktop's keyring", "keyring"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found.

    Attributes:
        level: ``FAULT`` is what mounts cannot do without, ``hint`` what they can.
        what: one line.
        mend: what to do about it, in one line; empty where nothing is to be done.
    """

    level: Literal["ok", "hint", "FAULT"]
    what: str
    mend: str = ""


def doctor(load: Callable[[], Config]) -> int:
    """Check the machine, the configuration and the cache; print a line for each check; returns 1 if mounts cannot be.

    Args:
        load: reads the configuration.
    """
    plain = not sys.stdout.isatty() or "utf" not in (sys.stdout.encoding or "").lower()
    faults = 0
    for finding in _findings(load):
        sign = f"{finding.level:<5}" if plain else _SIGNS[finding.level]
        print(f"{sign} {finding.what}", flush=True)
        if finding.mend:
            print(f"{' ' * len(sign)}   {finding.mend}")
        faults += finding.level == "FAULT"
    if faults:
        print(f"eofs cannot mount before {'that is' if faults == 1 else f'those {faults} faults are'} mended")
    return 1 if faults else 0


def _findings(load: Callable[[], Config]) -> Iterator[Finding]:
    yield from _machine()
    settings = None
    with _Complaints() as complaints:
        try:
            settings = load()
        except EofsError as error:
            yield Finding("FAULT", f"the configuration cannot be used: {error}")
    if settings:
        yield from _configuration(settings)
        yield from (Finding("hint", complaint) for complaint in complaints)
        yield from _others(settings.options)
        yield from _cache(settings.options)
    yield from _left_over()
    conf = Path("/etc/updatedb.conf")
    if conf.exists():
        yield from pruned(conf.read_text(encoding="utf-8", errors="replace"))


# -- the machine -------------------------------------------------------------------------------------------------------


def _machine() -> Iterator[Finding]:
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    if sys.platform == "linux":
        yield Finding("ok", system)
    else:
        yield Finding("FAULT", f"{system}: eofs needs Linux")
    yield _device()
    try:
        import_fuse()
        yield Finding("ok", "libfuse 2 can be loaded")
    except EofsError as error:
        what, _, mend = str(error).partition("; ")
        yield Finding("FAULT", what, mend)
    yield _fusermount()
    if shutil.which(PROGRAM) is None:
        what = f"{PROGRAM} is missing: it shows on the desktop that an order is ready (option notify)"
        yield Finding("hint", what, f"apt install {PACKAGE}")
    for module, (use, extra) in _EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            yield Finding("hint", f"{module} is not installed: it {use}", f"pip install 'eofs-fuse[{extra}]'")


def _device() -> Finding:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
        return Finding("ok", "/dev/fuse can be opened")
    except PermissionError:
        mend = "let users in: sudo chmod 666 /dev/fuse; a container has to be started with --device /dev/fuse"
        return Finding("FAULT", "/dev/fuse cannot be opened: Permission denied", mend)
    except OSError as error:
        mend = "load it: sudo modprobe fuse; a container has to be started with --device /dev/fuse --cap-add SYS_ADMIN"
        return Finding("FAULT", f"/dev/fuse cannot be opened: {error.strerror}", mend)


def _fusermount() -> Finding:
    path = shutil.which("fusermount")
    if path is None and (newer := shutil.which("fusermount3")):
        link = f"sudo ln -s {newer} {newer.removesuffix('3')}"
        return Finding("FAULT", "fusermount is missing, by which libfuse 2 mounts; fusermount3 will do", link)
    if path is None:
        return Finding("FAULT", "fusermount is missing", "install it: apt install fuse3")
    said = Path(path).stat()
    if os.geteuid() and not (said.st_mode & stat.S_ISUID and said.st_uid == 0):
        return Finding("FAULT", f"{path} is not setuid root, so that only root can mount", f"sudo chmod u+s {path}")
    return Finding("ok", f"{path} mounts and unmounts")


def _others(options: Options) -> Iterator[Finding]:
    """Yield whether others may be let in, where that is wanted; root need not ask."""
    if not (options.allow_other or options.allow_root) or not os.geteuid():
        return
    conf = Path("/etc/fuse.conf")
    lines = conf.read_text(encoding="utf-8", errors="replace").splitlines() if conf.exists() else []
    if "user_allow_other" in map(str.strip, lines):
        yield Finding("ok", "users may let others into their mounts (/etc/fuse.conf)")
    else:
        mend = "echo user_allow_other | sudo tee -a /etc/fuse.conf"
        yield Finding("FAULT", "allow_other is configured, and /etc/fuse.conf does not let users say that", mend)


# -- the configuration -------------------------------------------------------------------------------------------------


class _Complaints(logging.Handler):
    """What the configuration is said to have in ``with``; the log does not hear of it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._log = logging.getLogger("eofs")
        self._before: list[logging.Handler] = []
        self._heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Hear a complaint."""
        self._heard.append(record.getMessage())

    def __enter__(self) -> list[str]:
        self._before, self._log.handlers[:] = self._log.handlers[:], [self]
        return self._heard

    def __exit__(self, *_: object) -> None:
        self._log.handlers[:] = self._before


def _configuration(settings: Config) -> Iterator[Finding]:
    sources = sorted({source for source in settings.sources.values() if source != BUILT_IN})
    yield Finding("ok", f"configured by {', '.join(sources)}" if sources else "nothing is configured: defaults hold")
    rows = [row_of(provider) for provider in settings.providers.values() if provider.credentials_from != BUILT_IN]
    rows = [row for row in rows if row["credentials"]]
    yield from (Finding("hint", f"{row['name']}: {row['trouble']}") for row in rows if row["trouble"])
    there = sorted(row["name"] for row in rows if not row["missing"])
    if there:
        yield Finding("ok", f"credentials are there for {len(there)} of {len(rows)} providers: {', '.join(there)}")
    else:
        mend = "eofs providers tells which each wants; none is needed for open data"
        yield Finding("hint", f"credentials are there for none of the {len(rows)} providers that want some", mend)


# -- the cache ---------------------------------------------------------------------------------------------------------


def _cache(options: Options) -> Iterator[Finding]:
    directory = options.cache_dir
    if faults := disk_faults(directory):
        mend = "name another one with cache_dir"
        yield from (Finding("FAULT", f"the cache directory {directory}: {fault}", mend) for fault in faults)
        return
    there = next(folder for folder in (directory, *directory.parents) if folder.exists())
    disk = shutil.disk_usage(there)
    yield Finding("ok", f"the cache directory {directory} can be used, and {human(disk.free)} of its disk are free")
    if directory.exists() and directory.stat().st_uid != os.geteuid():
        mend = f"sudo chown -R {os.geteuid()} {directory}, or name another one with cache_dir"
        yield Finding("hint", f"the cache directory {directory} belongs to another user", mend)
    limit, here = cache_limit(options), _blocks(directory)
    if limit > disk.free + here:
        what = f"the cache may grow to {human(limit)}, and its disk has {human(disk.free + here)} for it"
        yield Finding("hint", what, "free some space, or set cache_size to less, as 80%")


def _blocks(directory: Path) -> int:
    """Return the bytes that a directory takes on its disk."""
    files = (Path(folder) / name for folder, _, names in os.walk(directory) for name in names)
    return sum(os.lstat(file).st_blocks * 512 for file in files if os.path.lexists(file))


# -- what is left over, and who walks through mounts -------------------------------------------------------------------


def _left_over() -> Iterator[Finding]:
    """Yield the mounts whose program has gone; one that does not answer holds us up for no longer than `PATIENCE`."""
    for place in [place for place, kind in mounts() if kind == KIND]:
        crashed: list[bool] = []
        asking = threading.Thread(target=lambda: crashed.append(is_crashed(place)), daemon=True)  # noqa: B023 - joined
        asking.start()
        asking.join(PATIENCE)
        if not crashed:
            yield Finding("hint", f"the mount at {place} does not answer", f"end it: fusermount -u -z {place}")
        elif crashed[0]:
            yield Finding("hint", f"the program behind the mount at {place} has crashed", f"eofs unmount {place}")
        else:
            yield Finding("ok", f"the mount at {place} answers")


def pruned(conf: str) -> Iterator[Finding]:
    """Yield whether updatedb, which makes the data base of locate(1), leaves mounts alone, by its updatedb.conf(5)."""
    found = re.search(r"^[ \t]*PRUNEFS[ \t]*=[ \t]*\"([^\"\n]*)\"", conf, re.MULTILINE)
    names = found[1].split() if found else []
    if KIND.lower() in (name.lower() for name in names):
        yield Finding("ok", "updatedb leaves mounts of eofs alone (/etc/updatedb.conf)")
    else:
        line = f'PRUNEFS = "{" ".join([*names, KIND])}"'
        yield Finding("hint", "updatedb walks through mounts of eofs", f"write into /etc/updatedb.conf: {line}")
