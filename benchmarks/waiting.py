"""The row that has two hundred programs wait, and looks whether others notice."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.bench import LIMIT
from benchmarks.products import features
from benchmarks.reading import forget_pages, whole
from benchmarks.rows import EOFS, Goal, Run, row
from eofs.demo import DemoProvider, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.bench import Bench
    from eofs.demo import Request

PROGRAMS = 200
PRODUCTS = 10
IDLE = "eofs, nobody waits"
_TIMES = 50  # so often a listing or a status is looked at


class Tape(DemoProvider):
    """A provider all of whose products are on their way from tape for ever."""

    def answer(self, request: Request) -> Reply | None:
        """Say so."""
        return Reply(202) if request.kind == "download" else None


def _result(bench: Bench, tape: Tape) -> Path:
    """Write a search result of what is in the cache, and of ten products that are on tape."""
    found = features(bench.products, f"http://127.0.0.1:{bench.port}")
    for number in range(PRODUCTS):
        waits = copy.deepcopy(found["features"][0])
        properties = waits["properties"]
        waits["id"] = properties["title"] = _title(number)
        properties |= {"uid": f"tape-{number}", "storageStatus": "OFFLINE"}
        properties["downloadLink"] = f"{tape.url}/resto/collections/S2ST/tape-{number}/download"
        found["features"].append(waits)
    path = bench.fresh()
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def _title(number: int) -> str:
    return f"S2A_MSIL1C_201901{number + 1:02}T110451_N0209_R094_T31TCL_201901{number + 1:02}T131620"


@contextlib.contextmanager
def _waiting(mount: Path, programs: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Have so many programs wait, and end what is left of them."""
    roots = [mount / _title(number) / "data" / f"{_title(number)}.SAFE" for number in range(PRODUCTS)]
    commands = [("env", "--default-signal", "ls", roots[number % PRODUCTS]) for number in range(programs)]
    started = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def _all_ended(programs: Sequence[subprocess.Popen[bytes]]) -> float:
    """Interrupt all; return how long it takes until the last one has ended."""
    begun = time.perf_counter()
    for program in programs:
        program.send_signal(signal.SIGINT)
    for program in programs:
        program.wait(LIMIT)
    return time.perf_counter() - begun


def _often(look: Run) -> float:
    begun = time.perf_counter()
    for _ in range(_TIMES):
        look()
    return (time.perf_counter() - begun) / _TIMES


@row(
    "waiting",
    "200 programs that wait for ten products on tape",
    about="Each of them is `ls` of a product that its provider has on tape. Meanwhile the list of products is read, "
    "the ten status files, and a member of 120 MB that is in the cache and not in the kernel's pages. *End* is from "
    "SIGINT to all of them until the last one has ended.",
    columns={"ls": "s", "status": "s", "read": "MB/s", "end": "s"},
    goals=[
        Goal("as with nobody waiting, but for a fifth", ("ls", "status", "read"), (IDLE,), at_least=0.8),
        Goal("all end within a second", ("end",), below=1),
    ],
)
def waiting(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""

    def measure(programs: int) -> Mapping[str, float]:
        cache = bench.cache_read_before
        with Tape(bench.fresh(), products=()) as tape:
            command = [sys.executable, "-m", "eofs", "mount", "-f", "--cache-dir", str(cache)]
            with bench.mount(*command, _result(bench, tape)) as mount, _waiting(mount.path, programs) as started:
                while mount.threads() < programs:  # libfuse has one for each that waits
                    time.sleep(0.05)
                return _look(bench, mount.path) | ({"end": _all_ended(started)} if started else {})

    return {EOFS: functools.partial(measure, PROGRAMS), IDLE: functools.partial(measure, 0)}


def _look(bench: Bench, mount: Path) -> dict[str, float]:
    packed = bench.products.stored
    member = mount / packed.title / "data" / packed.root / packed.middle
    size = member.stat().st_size
    statuses = [mount / _title(number) / "status" for number in range(PRODUCTS)]
    found = {
        "ls": _often(lambda: {name.name: 0.0 for name in mount.iterdir()}),
        "status": _often(lambda: {status.parent.name: float(len(status.read_bytes())) for status in statuses}),
    }
    whole(member)  # from the disk
    forget_pages(member)
    return found | {"read": size / whole(member, size) / 1e6}
