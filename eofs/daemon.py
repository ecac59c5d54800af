"""Going into the background, so that the command that started us returns when the work can begin, or says why not.

We fork ourselves, first of all and before there is any thread: a fork by libfuse later on would leave locks held by
threads that are gone. The parent waits on a pipe for a word of the child.

In the foreground there may be a service manager that waits for such a word (`notify`).
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from typing import TYPE_CHECKING

from eofs.errors import MountError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_READY = b"\0"


def detach() -> Callable[[str], None] | None:
    """Fork into the background.

    Returns:
        in the child a function to call once: with an empty text when the work can begin, else with the reason why it
        cannot. In the parent None, as soon as the work can begin.

    Raises:
        MountError: in the parent, with the child's reason.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            word = pipe.read()
        if word != _READY:
            raise MountError(word.decode("utf-8", "replace") or "eofs ended before the mount was usable; see its log")
        return None
    os.close(reading)
    os.setsid()

    def tell(reason: str) -> None:
        os.write(writing, reason.encode("utf-8", "replace") or _READY)
        os.close(writing)
        if not reason:
            _let_go_of_terminal()

    return tell


def ends_with_terminal() -> bool:
    """Tell whether we have a terminal, and its end is ours: not that of what ignores it (nohup)."""
    return signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and has_terminal()


def has_terminal() -> bool:
    """Tell whether we have a terminal, at which the user can be asked."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _let_go_of_terminal() -> None:
    """Close what we share with the caller: a program that reads our output to its end must not wait for the unmount."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)


def notify(address: str, *assignments: str) -> None:
    """Tell a service manager how we are, as sd_notify(3) has it: one datagram with an assignment on each line.

    Args:
        address: of the manager's socket, ``$NOTIFY_SOCKET``: a path, or an abstract name behind ``@``; empty where
            nobody has asked to be told.
        assignments: ``READY=1``, ``STATUS=…``, ``STOPPING=1``.
    """
    if not address:
        return
    place = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_manager:
            to_manager.sendto("\n".join(assignments).encode("utf-8", "surrogateescape"), os.fsencode(place))
    except OSError as error:  # the mount is as good without
        log.warning("the service manager at %s cannot be told how we are: %s", address, error.strerror or error)
