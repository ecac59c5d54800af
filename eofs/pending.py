"""Who waits, and whether a signal that it received ends its wait: read from /proc.

The kernel tells a file system that a request was interrupted for *any* signal that its program handles: a timer, a
child that ended, a terminal that was resized, Go's scheduler. None of these means that the user has had enough.

Threads: one lock guards the table of those who wait; nothing is called under it.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from eofs.fetch.message import moment

WAITERS = "user.eofs.waiters"  # the extended attribute that tells who waits
LASTING = 1.0  # seconds from which on a wait is told of: most reads that wait are over by then
MOST = 500  # programs that are told of for one product: an extended attribute has 64 KB at most
HARMLESS = frozenset(
    {
        signal.SIGALRM,
        signal.SIGCHLD,
        signal.SIGCONT,
        signal.SIGIO,
        signal.SIGPROF,
        signal.SIGTSTP,
        signal.SIGURG,
        signal.SIGVTALRM,
        signal.SIGWINCH,
    }
)
_HARMLESS_BITS = sum(1 << (number - 1) for number in HARMLESS)


def interrupting(thread: int) -> bool:
    """Tell whether a signal is pending for a thread (FUSE's "pid") that ends what it waits for."""
    status = _status(thread)
    if not status:
        return True
    pending = (int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)) & ~int(status["SigBlk"], 16)
    return bool(pending & ~_HARMLESS_BITS)


def program(thread: int) -> str:
    """Return the name of the process that a thread belongs to; empty where it cannot be told.

    A process of another pid namespace has the number 0, and no name.
    """
    return _name_of(process(thread))


def process(thread: int) -> int:
    """Return the number of the process that a thread belongs to; 0 where it cannot be told."""
    return int(_status(thread).get("Tgid", 0)) if thread else 0


@dataclass(slots=True)
class Waiter:
    """A thread of a program that waits.

    Attributes:
        thread: its number; 0 where it has none here, as in another pid namespace.
        name: what it waits for in the product's directory: ``data``, or the quicklook.
        begun: when, on the monotonic clock.
    """

    thread: int
    name: str
    begun: float = field(default_factory=time.monotonic)
    _who: tuple[int, str] | None = None

    @property
    def lasted(self) -> float:
        """Return for how many seconds it has waited."""
        return time.monotonic() - self.begun

    @property
    def who(self) -> tuple[int, str]:
        """Return the number and the name of its process; 0 and empty where they cannot be told."""
        if self._who is None:  # it stays the same one while it waits
            number = process(self.thread)
            self._who = number, _name_of(number)
        return self._who


class Waiters:
    """Who waits for which product, from the first look at whether to go on waiting until the request is answered.

    A request is known by the thread of ours that answers it. What all do, also those that never wait, is cheap; whose
    request it is, is looked up in /proc when somebody wants to know.

    Args:
        levels: how many parts the paths of products' directories have.

    Attributes:
        here: `path` is what this thread has been asked for.
        waiting: by the path of the product's directory, then by the number of our thread.
    """

    def __init__(self, levels: int = 1) -> None:
        self._levels = levels
        self.here = threading.local()
        self.waiting: dict[str, dict[int, Waiter]] = {}
        self._lock = threading.Lock()

    def note(self, thread: int) -> None:
        """Note that the request which this thread of ours answers, for that thread of a program, has to wait."""
        product, name = self._here()
        with self._lock:
            waits = self.waiting.setdefault(product, {})
            if threading.get_ident() not in waits:
                waits[threading.get_ident()] = Waiter(thread, name)

    def leave(self) -> None:
        """Forget the request that this thread of ours has answered, if it had to wait."""
        product, _ = self._here()
        with self._lock:
            waits = self.waiting.get(product, {})
            if waits.pop(threading.get_ident(), None) and not waits:
                del self.waiting[product]

    def _here(self) -> tuple[str, str]:
        """Return the product that this thread is asked for, and for what in its directory."""
        names = self.here.path.split("/", self._levels + 2)[1:]
        return "/".join(names[: self._levels]), "".join(names[self._levels : self._levels + 1])

    def of(self, path: str) -> list[Waiter]:
        """Return who has waited a while for something of the product whose directory is at `path`, first come first."""
        with self._lock:
            waits = list(self.waiting.get(path[1:], {}).values())
        return sorted((one for one in waits if one.lasted >= LASTING), key=lambda one: one.begun)

    def names(self, path: str) -> list[str]:
        """Return the names of the extended attributes that a product's directory has because somebody waits for it."""
        return [WAITERS] if self.of(path) else []

    def text(self, path: str) -> bytes | None:
        """Return what the attribute `WAITERS` of a product's directory says, each process once; None without it."""
        first = {one.who[0]: one for one in reversed(self.of(path))}
        said = [
            {"program": one.who[1], "process": number, "since": moment(time.time() - one.lasted), "for": one.name}
            for number, one in sorted(first.items(), key=lambda item: item[1].begun)[:MOST]
        ]
        return json.dumps(said, ensure_ascii=False).encode("utf-8", "replace") if said else None


def _name_of(number: int) -> str:
    try:
        return Path(f"/proc/{number}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _status(thread: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{thread}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
