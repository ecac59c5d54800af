"""The rows that mount very many products."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.rows import Goal, Run, row

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.bench import Bench
    from benchmarks.processes import Mount

_FEW = 10
_QUICK = 1_000  # products that the peers show in seconds
_LIMIT = 300  # seconds
_COLUMNS = {"usable": "s", "memory": "MB", "memory per product": "KB", "ls": "s", "ls -l": "s", "find": "s"}
_LISTINGS = ("ls", "ls -l", "find")
_LOAD = """
import json, sys, time
begun = time.perf_counter()
kept = json.load(open(sys.argv[1]))
print(time.perf_counter() - begun, open("/proc/self/statm").read().split()[1])
"""
_ABOUT = (
    "*Usable*: from the start of the program until the mount answers; for `json.load`, reading the same file without "
    "the start of Python. *Memory per product*: resident memory beyond that of a mount of ten. *Find* is "
    "`find -maxdepth 2`. rclone and ratarmount mount a directory of as many directories, with four entries each."
)
_LISTING_GOALS = (
    Goal("listings ahead of both peers", _LISTINGS, ("rclone", "ratarmount"), at_least=1),
    Goal("listings at most 1.2 × the bare tree", _LISTINGS, ("bare tree",), at_most=1.2),
)


def title(number: int) -> str:
    """Return the title of a product."""
    day = f"{2015 + number // 336 % 10:04}{1 + number // 28 % 12:02}{1 + number % 28:02}"
    return f"S2A_MSIL1C_{day}T110451_N0209_R094_T{number:06}_{day}T131620"


def feature(number: int) -> dict[str, Any]:
    """Return a feature as PEPS gives them: some 3 KB."""
    name = title(number)
    link = f"http://127.0.0.1:9/resto/collections/S2ST/{number:032x}"
    keyword = {"name": "Midi-Pyrénées", "id": "0123456789abcde", "value": 12.34, "gcover": 9.87, "parentHash": "x" * 15}
    words = [{**keyword, "href": f"{link}/search.json?&lang=fr&q=Midi-Pyrenees"} for _ in range(10)]
    properties = {
        "title": name,
        "uid": f"{number:032x}",
        "eodag_provider": "demo",
        "platform": "S2ST",
        "startTimeFromAscendingNode": f"20{number % 20:02}-12-29T11:04:51.024Z",
        "cloudCover": number % 100,
        "storageStatus": "ONLINE",
        "resourceSize": 800_000_000 + number,
        "downloadLink": f"{link}/download",
        "quicklook": f"{link}/quicklook.jpg",
        "keywords": words,
    }
    ring = [[x / 7, y / 7] for x, y in ((3, 308), (13, 308), (13, 316), (3, 316), (3, 308))]
    return {
        "type": "Feature",
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
    }


class Crowd:
    """So many products: a search result, a list of names, and a directory of directories; each made when needed."""

    def __init__(self, bench: Bench, number: int) -> None:
        self._bench = bench
        self._number = number

    @functools.cached_property
    def result(self) -> Path:
        """Return the search result."""
        path = self._bench.fresh()
        with path.open("w", encoding="utf-8") as file:
            file.write('{"type": "FeatureCollection", "features": [')
            for number in range(self._number):
                file.write(f"{',' if number else ''}\n{json.dumps(feature(number))}")
            file.write("]}\n")
        return path

    @functools.cached_property
    def names(self) -> Path:
        """Return a file with the name of each product in a line."""
        path = self._bench.fresh()
        path.write_text("".join(f"{title(number)}\n" for number in range(self._number)), encoding="utf-8")
        return path

    @functools.cached_property
    def folder(self) -> Path:
        """Return a directory with a directory for each product, of four entries."""
        folder = self._bench.fresh()
        for number in range(self._number):
            product = folder / title(number)
            (product / "data").mkdir(parents=True)
            for name in ("metadata.json", "quicklook.jpg", "status"):
                (product / name).touch()
        return folder


def _entries(bench: Bench, number: int) -> Mapping[str, Run]:
    crowd, few = Crowd(bench, number), Crowd(bench, _FEW)

    def eofs() -> Mapping[str, float]:
        with bench.place() as cache:
            command = [sys.executable, "-m", "eofs", "mount", "-f", "--cache-dir", str(cache)]
            with bench.mount(*command, few.result) as mount:
                list(mount.path.iterdir())
                least = mount.memory()
            with bench.mount(*command, crowd.result, limit=_LIMIT) as mount:
                return _look(bench, mount, number, least)

    def load() -> Mapping[str, float]:
        seconds, pages = bench.run(sys.executable, "-c", _LOAD, crowd.result).split()
        return {"usable": float(seconds), "memory": int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6}

    def rclone() -> Mapping[str, float]:
        if number > _QUICK:
            bench.takes_long()
        with bench.rclone(str(crowd.folder), limit=_LIMIT) as mount:
            return _look(bench, mount, number)

    def ratarmount() -> Mapping[str, float]:
        if number > _QUICK:
            bench.takes_long()
        program = bench.peers.path("ratarmount")
        with bench.mount(program, "-f", "--index-file", ":memory:", crowd.folder, limit=_LIMIT) as mount:
            return _look(bench, mount, number)

    def bare() -> Mapping[str, float]:
        with bench.passthrough(crowd.names, limit=_LIMIT) as mount:
            return _look(bench, mount, number)

    return {"eofs": eofs, "json.load": load, "rclone": rclone, "ratarmount": ratarmount, "bare tree": bare}


def _look(bench: Bench, mount: Mount, number: int, least: int | None = None) -> Mapping[str, float]:
    """Look at all products: each command finds nothing that an earlier one has left in the kernel."""
    found = {"usable": mount.seconds}
    for name, command in {"ls": ["ls"], "ls -l": ["ls", "-l"], "find": ["find", ".", "-maxdepth", "2"]}.items():
        bench.forget()
        begun = time.perf_counter()
        lines = bench.run(*command, limit=_LIMIT, cwd=mount.path).count("\n")
        found[name] = time.perf_counter() - begun
        if lines < number:
            raise OSError(0, f"{name} shows {lines} of {number}")
        if name == "ls":
            memory = mount.memory()
    found["memory"] = memory / 1e6
    if least is not None and number > _FEW:
        found["memory per product"] = (memory - least) / number / 1e3
    return found


@row(
    "mount-10",
    "A mount of 10 products",
    about=_ABOUT,
    columns=_COLUMNS,
    goals=_LISTING_GOALS,
    remark="With ten products it is a matter of milliseconds, most of which the programs take to start.",
)
def ten(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""
    return _entries(bench, _FEW)


@row("mount-1000", "A mount of 1 000 products", about=_ABOUT, columns=_COLUMNS, goals=_LISTING_GOALS)
def thousand(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""
    return _entries(bench, 1_000)


@row(
    "mount-100000",
    "A mount of 100 000 products",
    about=_ABOUT,
    columns=_COLUMNS,
    goals=[
        Goal("usable in at most 0.5 × json.load", ("usable",), ("json.load",), at_most=0.5),
        Goal("at most 3 KB of memory per product", ("memory per product",), below=3),
        *_LISTING_GOALS,
    ],
    remark="Until it is usable, the text is read for its features (0.2 s), each of them for what a listing shows, of "
    "which a value is made (1.4 s: some ninety small steps of Python for each product), and all are packed to a third "
    "of the memory (0.2 s); reading the file, starting the program and naming the products is the rest.",
)
def hundred_thousand(bench: Bench) -> Mapping[str, Run]:
    """Return the entries."""
    return _entries(bench, 100_000)
