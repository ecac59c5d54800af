"""A test that lets a secret be seen has failed, whatever else it is about.

All that eofs says while a test runs is looked through for what tests/confidential.py has: every record of its logs, at
all levels and whether or not somebody keeps it; every error and every status, when it is made; the command line of each
eofs that a test starts, and what it prints; what is seen of a mount; and when the test has ended, the files in its
directory: logs, caches, what was fetched. Only the large ones are left out, which are products, and those where users
keep passwords.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confidential import holds_a_secret

from eofs.errors import EofsError
from eofs.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

LARGE = 1 << 18  # bytes
ARE_TO_HOLD_THEM = {"eofs.yml", "eodag.yml", ".netrc", "netrc", "credentials", "config", "password-of"}

_found: dict[str, None] = {}  # the sentences on the test that runs; a dictionary keeps their order
_patch = pytest.MonkeyPatch()


def look(content: object, where: str) -> None:
    """Remember that a secret is seen `where`, if there is one in a text, bytes, or anything that has a `repr`."""
    if holds_a_secret(content if isinstance(content, str | bytes) else repr(content)):
        _found[where] = None


def look_at_files(directory: Path) -> None:
    """Look through the files below a directory, but for what is mounted there."""
    for folder, below, names in os.walk(directory):
        below[:] = [name for name in below if not os.path.ismount(Path(folder, name))]
        for path in (Path(folder, name) for name in names if name not in ARE_TO_HOLD_THEM):
            place = path.relative_to(directory)
            look(str(place).encode("utf-8", "surrogateescape"), "the name of a file that was left")
            with contextlib.suppress(OSError):
                whole = path.suffix == ".log" or "records" in place.parts
                if path.is_file() and (whole or path.stat().st_size < LARGE):
                    look(path.read_bytes(), f"the file {place}")


def look_at_process(pid: int) -> None:
    """Look at what everybody sees of a process: its command line, its name, those of its threads, and its mounts."""
    with contextlib.suppress(OSError):
        look(Path(f"/proc/{pid}/cmdline").read_bytes(), "the command line of a process")
        look(Path(f"/proc/{pid}/mounts").read_bytes(), "the table of mounts")
        for thread in Path(f"/proc/{pid}/task").iterdir():
            look((thread / "comm").read_bytes(), "the name of a thread")


def look_at_statuses(root: Path) -> None:
    """Read the status files of the first products of a mount."""
    with contextlib.suppress(OSError):
        for product in sorted(root.iterdir())[:20]:
            with contextlib.suppress(OSError):
                look((product / "status").read_bytes(), "a status file")


def _is_eofs(process: subprocess.Popen[Any]) -> bool:
    words = process.args
    given = [words] if isinstance(words, str | bytes | os.PathLike) else words
    return any("eofs" in os.fsdecode(word).replace("/", " ").split() for word in given)


def _instead(owner: type, name: str, look_first: Callable[..., object]) -> None:
    """Have a method look before it does what it does."""
    usual = getattr(owner, name)

    @functools.wraps(usual)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        look_first(self, *args, **kwargs)
        return usual(self, *args, **kwargs)

    _patch.setattr(owner, name, method)


def _listen() -> None:
    """Hear every record of eofs; those who listen anyway hear what they would hear."""
    wanted, usual = logging.Logger.isEnabledFor, logging.Logger.handle
    plain = logging.Formatter()

    def is_enabled(self: logging.Logger, level: int) -> bool:
        return self.name.partition(".")[0] == "eofs" or wanted(self, level)

    def handle(self: logging.Logger, record: logging.LogRecord) -> None:
        if self.name.partition(".")[0] == "eofs":
            look(plain.format(record), f"a record of the log {self.name} ({record.levelname})")
        if wanted(self, record.levelno):
            usual(self, record)

    _patch.setattr(logging.Logger, "isEnabledFor", is_enabled)
    _patch.setattr(logging.Logger, "handle", handle)


def _overhear_programs() -> None:
    usual = subprocess.Popen.communicate

    def communicate(self: subprocess.Popen[Any], *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        said = usual(self, *args, **kwargs)
        if _is_eofs(self):
            look(self.args, "a command line")
            for stream, text in zip(("standard output", "standard error"), said, strict=True):
                look(text or "", f"{stream} of a program")
        return said

    _patch.setattr(subprocess.Popen, "communicate", communicate)


def pytest_configure() -> None:
    _listen()
    _overhear_programs()
    _instead(EofsError, "__init__", lambda error, *args: look(args, f"an error ({type(error).__name__})"))
    _instead(Status, "__init__", lambda _, *args, **named: look((args, named), "a status"))


def pytest_unconfigure() -> None:
    _patch.undo()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Fail the test when its last fixture has ended."""
    try:
        yield
    finally:
        if directory := getattr(item, "funcargs", {}).get("tmp_path"):
            look_at_files(directory)
        places = [*_found]
        _found.clear()
        if places:
            pytest.fail(f"a secret of this test is seen in {', in '.join(places)}", pytrace=False)
