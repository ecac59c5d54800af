"""Who waits, and whether a signal that it received ends its wait: read from /proc.

The kernel tells a file system that a request was interrupted for *any* signal that its program handles: a timer, a
child that ended, a terminal that was resized, Go's scheduler. None of these means that the user has had enough.
"""

from __future__ import annotations

import signal
from pathlib import Path

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
    try:
        return Path(f"/proc/{process(thread)}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def process(thread: int) -> int:
    """Return the number of the process that a thread belongs to; 0 where it cannot be told."""
    return int(_status(thread).get("Tgid", 0)) if thread else 0


def _status(thread: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{thread}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
