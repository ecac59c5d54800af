"""Starting what is measured, and ending it: each process has a session of its own, a limit, and is ended by its id."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class NotMeasured(Exception):
    """It cannot be measured; the text says why."""


def run(command: Sequence[str | Path], *, limit: float, env: Mapping[str, str], cwd: Path | None = None) -> str:
    """Run a program to its end and return what it printed.

    Args:
        command: the program and its arguments.
        limit: seconds, after which it is killed with all that it started.
        env: its environment.
        cwd: where.

    Raises:
        NotMeasured: it failed or was killed.
    """
    with _started(command, env, cwd, subprocess.PIPE) as process:
        try:
            printed, complaints = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise NotMeasured(f"{Path(command[0]).name} was killed after {limit:.0f} s") from None
    if process.returncode:
        words = (complaints.strip().splitlines() or ["it did not say why"])[-1]
        raise NotMeasured(f"{Path(command[0]).name} failed with status {process.returncode}: {words[:200]}")
    return printed


@contextlib.contextmanager
def _started(
    command: Sequence[str | Path], env: Mapping[str, str], cwd: Path | None, output: int
) -> Iterator[subprocess.Popen[str]]:
    try:
        process = subprocess.Popen(
            [str(word) for word in command],
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError:
        raise NotMeasured(f"{Path(command[0]).name} is not installed") from None
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """End a process and all that it started, at once."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()
    process.wait()


@dataclass(slots=True)
class Mount:
    """A mounted file system and the process that answers for it.

    Attributes:
        path: the mount point.
        seconds: from the start of the process until the mount answered.
    """

    path: Path
    process: subprocess.Popen[str]
    seconds: float

    def memory(self) -> int:
        """Return the resident memory of the process, in bytes."""
        return self._status("VmRSS") << 10

    def wakeups(self) -> int:
        """Return how often its threads have given up the processor to wait for something."""
        return sum(
            int(line.split()[1])
            for status in Path(f"/proc/{self.process.pid}/task").glob("*/status")
            for line in status.read_text(encoding="ascii", errors="replace").splitlines()
            if line.startswith("voluntary_ctxt_switches:")
        )

    def threads(self) -> int:
        """Return how many threads the process has."""
        return self._status("Threads")

    def cpu(self) -> float:
        """Return the processor time that it has taken, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        return 0


@contextlib.contextmanager
def mounted(
    command: Sequence[str | Path], path: Path, *, limit: float, env: Mapping[str, str], log: Path
) -> Iterator[Mount]:
    """Mount with a program that stays in the foreground; unmount at the end, and end it.

    Args:
        command: the program and its arguments.
        path: the mount point, made if it is missing.
        limit: seconds for all that goes on inside of ``with``. Then the program is killed: that frees whoever reads.
        env: its environment.
        log: where its words go.

    Raises:
        NotMeasured: it does not come up, or was killed.
    """
    path.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as words, contextlib.ExitStack() as at_the_end:
        begun = time.perf_counter()
        process = at_the_end.enter_context(_started(command, env, None, words.fileno()))
        at_the_end.callback(_unmount, path, process)
        killed = threading.Event()
        at_the_end.enter_context(_kill_after(limit, process, killed))
        try:
            while not is_mounted(path):
                if process.poll() is not None:
                    raise NotMeasured(f"does not mount: {_last_line(log)}")
                time.sleep(0.001)
            path.stat()
            yield Mount(path, process, time.perf_counter() - begun)
        except OSError as error:
            if killed.is_set():
                raise NotMeasured(f"killed after {limit:.0f} s") from error
            raise


@contextlib.contextmanager
def _kill_after(limit: float, process: subprocess.Popen[str], killed: threading.Event) -> Iterator[None]:
    def late() -> None:
        killed.set()
        kill(process)

    timer = threading.Timer(limit, late)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def is_mounted(path: Path) -> bool:
    """Return whether something is mounted there, without asking it."""
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    return f" {path} " in mounts


def _unmount(path: Path, process: subprocess.Popen[str]) -> None:
    """Unmount and let the process end by itself; who does not is killed afterwards."""
    for how in ("-u", "-uz"):
        if is_mounted(path):
            subprocess.run(["fusermount", how, path], check=False, capture_output=True)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it did not say why"
