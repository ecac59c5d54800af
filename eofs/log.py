"""Where the log goes."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from pathlib import Path

_SYSLOG = "/dev/log"


def start_logging(log_file: Path | None, verbose: int, *, foreground: bool) -> None:
    """Send the log to a file, else to standard error in the foreground, else to syslog where there is one.

    `verbose`: 0 for what went wrong, 1 for what is going on, 2 for everything.
    """
    handler: logging.Handler
    if log_file:
        handler = logging.FileHandler(log_file, encoding="utf-8", errors="replace")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    elif foreground:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("eofs: %(message)s"))
    elif Path(_SYSLOG).exists():
        handler = logging.handlers.SysLogHandler(_SYSLOG)
        handler.setFormatter(logging.Formatter("eofs: %(message)s"))
    else:
        handler = logging.NullHandler()
    root = logging.getLogger("eofs")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG))
