"""A door for commands to the program behind a mount: a Unix socket, one line of JSON each way.

    {"do": "cancel", "product": "NAME"}    →    {"said": "NAME: stopped"}  or  {"error": "NAME: …"}

The socket stands in a directory that its user alone can look into, and the program behind it asks the kernel who has
called (SO_PEERCRED, unix(7)): the same user or root. What a killed program leaves there answers nobody, and the next
one takes it away.

Threads: one of its own answers, one call after the other; it sleeps in accept(2) while nobody calls.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import socket
import struct
import threading
from typing import TYPE_CHECKING

from eofs.errors import EofsError, MountError, unforeseen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds that a caller has to say its line; meanwhile others wait
ENOUGH = 60.0  # seconds that a caller waits for the answer
LONGEST = 64 << 10  # bytes of a line
_CREDENTIALS = struct.Struct("3i")  # struct ucred: process, user, group


class Control:
    """Answers calls until `close`.

    Args:
        directory: where the socket is to stand; made if missing.
        answer: returns a sentence for what is to be done (``cancel``…) with the product of this name; raises EofsError.
    """

    def __init__(self, directory: Path, answer: Callable[[str, str], str]) -> None:
        self.path = directory / secrets.token_hex(8)
        self._answer = answer
        self._closed = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            with _reached(directory) as near:
                # One at a time: else what is bound, and does not listen yet, would be taken for a left-over.
                fcntl.flock(near, fcntl.LOCK_EX)
                _take_away_what_is_left(near)
                self._socket.bind(_short(near, self.path.name))
                self._socket.listen()
        except OSError as error:  # some disks know no sockets; the mount is of use without
            log.warning("no command can reach this mount: %s: %s", self.path, error.strerror)
            self._socket.close()
            return
        threading.Thread(target=self._listen, name="control", daemon=True).start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # which wakes the thread, other than `close`
        self._socket.close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                caller, _ = self._socket.accept()
            except OSError:  # it has been closed, or too many files are open
                self._closed.wait(1)
                continue
            with caller, contextlib.suppress(OSError):  # who hangs up wants no answer
                caller.settimeout(PATIENCE)
                caller.sendall(_line(self._hear(caller)))

    def _hear(self, caller: socket.socket) -> dict[str, str]:
        _, user, _ = _CREDENTIALS.unpack(caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        words = _read_line(caller)
        if user not in {0, os.getuid()}:
            return {"error": "only the user who has mounted it, and root, may ask that"}
        try:
            wanted = json.loads(words)
            return {"said": self._answer(wanted["do"], wanted["product"])}
        except EofsError as error:
            return {"error": str(error)}
        except (ValueError, KeyError, TypeError):
            return {"error": "the call cannot be understood; is it another version of eofs?"}
        except Exception as error:
            log.exception("a fault in eofs")
            return {"error": str(unforeseen(error))}


def call(path: Path, do: str, product: str) -> str:
    """Ask the program behind a mount to do something with a product; returns what it says.

    Raises:
        MountError: nobody answers there.
        EofsError: it could not be done.
    """
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(ENOUGH)
        try:
            with _reached(path.parent) as near:
                line.connect(_short(near, path.name))
            line.sendall(_line({"do": do, "product": product}))
            answer = json.loads(_read_line(line))
        except PermissionError:
            raise MountError(f"the mount of {product} is another user's, who alone may ask that") from None
        except (OSError, ValueError) as error:
            raise MountError(
                f"the program behind the mount of {product} does not answer ({error}); mount it afresh"
            ) from error
    if "error" in answer:
        raise EofsError(answer["error"])
    return str(answer["said"])


@contextlib.contextmanager
def _reached(directory: Path) -> Iterator[int]:
    """Open a directory."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _short(directory: int, name: str) -> str:
    """Return a short path: a hundred characters are all that a socket may have, and a cache may lie deep."""
    return f"/proc/self/fd/{directory}/{name}"


def _take_away_what_is_left(directory: int) -> None:
    """Remove the sockets of programs that were killed: nobody listens there."""
    for name in os.listdir(directory):
        with socket.socket(socket.AF_UNIX) as line, contextlib.suppress(OSError):
            line.settimeout(0)
            try:
                line.connect(_short(directory, name))
            except ConnectionRefusedError:
                os.unlink(name, dir_fd=directory)


def _line(words: dict[str, str]) -> bytes:
    return json.dumps(words).encode("ascii") + b"\n"


def _read_line(line: socket.socket) -> bytes:
    with line.makefile("rb") as file:
        return file.readline(LONGEST)
