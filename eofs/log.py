"""Where the log goes."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from pathlib import Path

from eofs.errors import ConfigError

_SYSLOG = "/dev/log"


def start_logging(log_file: Path | None, verbose: int, *, foreground: bool) -> None:
    """Send the log to a file, else to standard error in the foreground, else to syslog where there is one.

    `verbose`: 0 for what went wrong, 1 for what is going on, 2 for everything.

    Raises:
        ConfigError: the file cannot be written.
    """
    root = logging.getLogger("eofs")
    root.propagate = False
    root.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG))
    root.handlers[:] = [logging.NullHandler()]  # nobody hears twice why the log cannot be begun
    root.handlers[:] = [_handler(log_file, foreground=foreground)]


def _handler(log_file: Path | None, *, foreground: bool) -> logging.Handler:
    handler: logging.Handler
    if log_file:
        try:
            handler = logging.FileHandler(log_file, encoding="utf-8", errors="replace")
        except OSError as error:
            raise ConfigError(
                f"the log file {log_file} cannot be written: {error.strerror}; name another one with log_file"
            ) from None
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    elif foreground:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("eofs: %(message)s"))
    elif Path(_SYSLOG).exists():
        handler = logging.handlers.SysLogHandler(_SYSLOG)
        handler.setFormatter(logging.Formatter("eofs: %(message)s"))
    else:
        handler = logging.NullHandler()
    return handler
