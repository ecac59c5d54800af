"""``python -m benchmarks.endurance ROUNDS``: a day of find, ls -lR, reads and unmounts; what grows meanwhile?

One mount lives through all rounds. In each, all of it is looked at and read; in every tenth a product is evicted, so
that it is ordered and comes afresh, and a program that waits for it is killed; in every twentieth a further mount of
the same cache comes and goes. Descriptors, threads and memory of the first mount have to stay as they are in the first
fifth of the rounds, and of the others nothing may be left. Ten thousand rounds take an hour and a quarter.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median_high
from typing import TYPE_CHECKING

from benchmarks.processes import Mount, mounted, run
from eofs.demo import DemoProvider, ten_products

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOUSE = Path(__file__).parent.parent
LIMIT = 300  # seconds for one step
AGES = 1e9  # seconds for all of them
_LOOK = 'find "$1" && ls -lR "$1" && find "$1" -type f -exec cat {} +'
_CHANCE = 20  # descriptors or threads more in the last fifth than in the first: SQLite keeps some to use them again
_MEMORY = 1.1  # and so is so much more memory


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds; memory in MB."""

    descriptors: int
    threads: int
    memory: float

    @classmethod
    def of(cls, mount: Mount) -> Footprint:
        """Look at the process behind a mount."""
        descriptors = Path(f"/proc/{mount.process.pid}/fd")
        return cls(len(list(descriptors.iterdir())), mount.threads(), mount.memory() / 1e6)

    @classmethod
    def usual(cls, taken: Sequence[Footprint]) -> Footprint:
        """Return the median of each; how many threads there are just now is chance."""
        return cls(
            median_high(each.descriptors for each in taken),
            median_high(each.threads for each in taken),
            median_high(each.memory for each in taken),
        )

    def holds_no_more_than(self, other: Footprint) -> bool:
        """Tell whether this is the footprint of who keeps nothing that the other did not."""
        counted = ((self.descriptors, other.descriptors), (self.threads, other.threads))
        return all(now <= before + _CHANCE for now, before in counted) and self.memory <= _MEMORY * other.memory

    def __str__(self) -> str:
        return f"{self.descriptors} descriptors, {self.threads} threads, {self.memory:.1f} MB"


class Day:
    """A provider, a cache, a mount that stays, and what is done with it."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._env = {"HOME": str(scratch), "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE)}
        self._provider = DemoProvider(scratch / "store", products=ten_products()[3:7], megabytes=1, staging_seconds=0.1)
        self._result = scratch / "result.geojson"
        self._stays = scratch / "stays"

    @contextlib.contextmanager
    def begun(self) -> Iterator[Mount]:
        """Start the provider and mount."""
        with self._provider:
            self._provider.write_result(self._result)
            with self._mount(self._stays) as mount:
                yield mount

    def _mount(self, path: Path) -> contextlib.AbstractContextManager[Mount]:
        options = ["--cache-dir", self._scratch / "cache", "--wait", "0.005"]
        command = [sys.executable, "-m", "eofs", "mount", "-f", *options, self._result, path]
        return mounted([str(word) for word in command], path, limit=AGES, env=self._env, log=path.with_suffix(".log"))

    def round(self, number: int) -> None:
        """Do what is done in one round."""
        if number % 10 == 0:
            self._bring_afresh(number // 10)
        self._look(self._stays)
        if number % 20 == 0:
            with self._mount(self._scratch / "goes") as mount:
                self._look(mount.path)
            if mount.process.returncode:
                sys.exit(f"the mount that goes ended with {mount.process.returncode}")

    def _look(self, path: Path) -> None:
        with subprocess.Popen(["sh", "-c", _LOOK, "sh", path], stdout=subprocess.PIPE, env=self._env) as looking:
            read = 0
            while looking.stdout and (some := looking.stdout.read(1 << 20)):
                read += len(some)
        if looking.returncode or read < 4_000_000:
            sys.exit(f"looking at {path} ended with {looking.returncode} after {read} bytes")
        for product in path.iterdir():
            for name in os.listxattr(product):
                os.getxattr(product, name)

    def _bring_afresh(self, number: int) -> None:
        product = sorted(self._stays.iterdir())[number % 4]
        run([sys.executable, "-m", "eofs", "evict", str(product)], limit=LIMIT, env=self._env)
        self._provider.put_on_tape()
        [root] = (product / "data").iterdir()
        waiting = subprocess.Popen(["ls", root], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.01)
        waiting.send_signal(signal.SIGINT)
        waiting.wait(LIMIT)


def main() -> int:
    """Go through all rounds, and say now and then what the mount holds; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make endurance ARGS=…", description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=10_000)
    rounds: int = parser.parse_args().rounds
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="eofs-endurance-") as scratch:
        day = Day(Path(scratch))
        with day.begun() as mount:
            taken: list[Footprint] = []
            begun = time.monotonic()
            for number in range(rounds):
                day.round(number)
                taken.append(Footprint.of(mount))
                if (number + 1) * 20 // rounds > number * 20 // rounds:
                    print(f"{number + 1:6} rounds, {time.monotonic() - begun:5.0f} s: {taken[-1]}", flush=True)
    fifth = max(1, rounds // 5)
    first, last = Footprint.usual(taken[:fifth]), Footprint.usual(taken[-fifth:])
    print(f"the first fifth: {first}\nthe last fifth: {last}")
    return 0 if last.holds_no_more_than(first) else 1


if __name__ == "__main__":
    sys.exit(main())
