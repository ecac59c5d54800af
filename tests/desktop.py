"""A desktop that nobody sees: a screen, a session bus, and the file managers that are shown something on it.

Nothing of this machine's own desktop is in it: its display server, accessibility bus, settings, graphics card. All that
is started here, also by the bus, has the same runtime directory in its environment; so all of it is ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import environment, run, runs, until

if TYPE_CHECKING:
    from typing_extensions import Self

PROGRAMS = ("Xvfb", "dbus-daemon", "gdbus")  # without which there is none
PLAIN = {
    "GDK_BACKEND": "x11",
    "GSETTINGS_BACKEND": "keyfile",  # which is empty, but for what `set` writes
    "GSK_RENDERER": "cairo",
    "GTK_A11Y": "none",
    "NO_AT_BRIDGE": "1",
}
THUMBNAILER = "org.freedesktop.thumbnails.Thumbnailer1"


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where a program is missing, or a file that belongs to one."""
    missing = [name for name in programs if not (Path(name).exists() if "/" in name else shutil.which(name))]
    return pytest.mark.skipif(bool(missing), reason=f"not here: {', '.join(missing)}")


class Desktop:
    """The desktop of the user with this home, in ``with``; `size` is the screen's, in pixels."""

    def __init__(self, home: Path, size: str = "1280x900") -> None:
        self.home = home
        self._size = size
        runtime = home / "run"
        runtime.mkdir(mode=0o700)
        self._mark = f"XDG_RUNTIME_DIR={runtime}"
        self.env = environment(home) | PLAIN | {"XDG_RUNTIME_DIR": str(runtime), "TMPDIR": str(runtime)}
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            screen = self._begin("Xvfb", "-displayfd", "1", "-screen", "0", f"{self._size}x24", "-nolisten", "tcp")
            self.env["DISPLAY"] = f":{screen}"
            self.env["DBUS_SESSION_BUS_ADDRESS"] = self._begin(
                "dbus-daemon", "--session", "--nofork", "--print-address"
            )
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _begin(self, *words: str) -> str:
        """Start a program; return the first line that it prints."""
        printed = self.home / f"{words[0]}.out"
        with printed.open("wb") as out:
            self.start(*words, stdout=out)
        until(lambda: printed.read_bytes().endswith(b"\n"))
        return printed.read_text(encoding="utf-8").splitlines()[0]

    def start(self, *words: object, **how: object) -> None:
        """Start a program of the desktop; what it complains of goes to ``desktop.log``."""
        with (self.home / "desktop.log").open("ab") as log:
            given = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "cwd": self.home, "env": self.env} | how
            self._started.append(subprocess.Popen([*map(str, words)], **given))  # type: ignore[call-overload]

    def set(self, path: str, key: str, value: object) -> None:
        """Write a setting, before any program reads it."""
        settings = self.home / ".config/glib-2.0/settings/keyfile"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(f"[{path}]\n{key}={value}\n", encoding="utf-8")

    def ask_for_thumbnail(self, picture: Path) -> None:
        """Ask the desktop's thumbnailer, as file managers do; it answers by making one, or not."""
        there = ("--session", "--dest", THUMBNAILER, "--object-path", f"/{THUMBNAILER.replace('.', '/')}")
        look = ("gdbus", "introspect", *there)

        def listens() -> bool:
            return "Queue(" in subprocess.run(look, capture_output=True, text=True, check=False, env=self.env).stdout

        until(listens)  # the first look starts it, and it has its name on the bus before anything that could be called
        asked = (f"['{picture.as_uri()}']", "['image/jpeg']", "normal", "default", "0")
        run("gdbus", "call", *there, "--method", f"{THUMBNAILER}.Queue", *asked, env=self.env)

    def thumbnails(self, picture: Path) -> list[Path]:
        """Return the thumbnails of a picture, of any size (freedesktop.org, Thumbnail Managing Standard)."""
        name = f"{hashlib.md5(picture.as_uri().encode()).hexdigest()}.png"
        return [path for path in self.home.glob(f".cache/thumbnails/*/{name}") if path.parent.name != "fail"]

    def end(self) -> None:
        """End all that was started; by force what does not go by itself."""
        with contextlib.suppress(AssertionError):
            self._signal(signal.SIGTERM)
            until(lambda: not self._running(), 5)
        self._signal(signal.SIGKILL)
        for process in self._started:
            process.wait(60)
        until(lambda: not self._running())

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _running(self) -> list[int]:
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._is_ours(entry)]

    def _is_ours(self, entry: Path) -> bool:
        try:
            said = (entry / "environ").read_bytes()
        except OSError:
            return False
        return self._mark.encode() in said.split(b"\0") and runs(int(entry.name))
