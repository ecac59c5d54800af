"""``eofs unmount``."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import time
from pathlib import Path

from eofs.commands.holders import holders
from eofs.errors import MountError

KIND = "fuse.eofs"  # our mounts, as the kernel's table of mounts and `findmnt -t` know them
# What the kernel says of a mount whose program has gone: the second at the very moment when it goes.
CRASHED = frozenset({errno.ENOTCONN, errno.ECONNABORTED})


def fusermount(*arguments: str) -> str:
    """Run fusermount; returns what it complained of."""
    for name in ("fusermount", "fusermount3"):
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run([name, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
            return "" if done.returncode == 0 else done.stderr.strip() or f"{name} failed"
    return "fusermount is missing; install it: apt install fuse3"


def unmount(mountpoint: str) -> None:
    """Unmount, and wait until the program behind the mount has ended.

    Raises:
        MountError: nothing is mounted there, or somebody is using it.
    """
    place = Path(mountpoint).absolute()
    crashed = is_crashed(place)
    if not crashed and not os.path.ismount(place):
        raise MountError(f"{mountpoint} is not mounted")
    server = None if crashed else _server(place)
    complaint = fusermount("-u", str(place))
    if complaint:
        busy = holders(str(place.resolve()))
        if busy:
            raise MountError(f"{mountpoint} is in use by {', '.join(busy)}; end that first, or leave the directory")
        raise MountError(f"{mountpoint} cannot be unmounted: {complaint.removeprefix('fusermount: ')}")
    while server and Path(f"/proc/{server}").exists() and not _is_zombie(server):
        time.sleep(0.02)


def is_crashed(place: Path) -> bool:
    """Tell whether the program behind a mount has gone and left the mount behind."""
    try:
        with os.scandir(place):  # not `stat`: the attributes of a dead mount live on for a second
            return False
    except OSError as error:
        return error.errno in CRASHED


def kind(place: Path) -> str:
    """Return the type of file system that is mounted there, the uppermost of several."""
    where = place.resolve()
    found = [kind for mounted, kind in mounts() if mounted == where]
    return found[-1] if found else ""


def mounts() -> list[tuple[Path, str]]:
    """Return where something is mounted, and the types of the file systems: proc(5), ``mountinfo``."""
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as table:
        rows = [line.split() for line in table]
    return [(Path(_unescaped(row[4])), row[row.index("-") + 1]) for row in rows]


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), field)


def _server(place: Path) -> int | None:
    """Return the number of the process behind one of our mounts; None for any other mount."""
    try:
        return int(os.getxattr(place, "user.eofs.pid"))
    except (OSError, ValueError):
        return None


def _is_zombie(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
