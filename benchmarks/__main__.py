"""``python -m benchmarks``: measures all rows or some, and writes the report."""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import eofs
from benchmarks import cached, directories, remote, waiting
from benchmarks.bench import Bench
from benchmarks.peers import Peers
from benchmarks.processes import NotMeasured
from benchmarks.products import products
from benchmarks.report import Result, machine, render
from benchmarks.rows import EOFS, ROWS, Row

if TYPE_CHECKING:
    from collections.abc import Mapping

HOUSE = Path(__file__).parent.parent
REPEATS = 5
PATIENCE = 180  # seconds for one entry of one row, after which it is not measured again
# Importing these modules has registered their rows; the report has them in this order.
_RANK = {module.__name__: rank for rank, module in enumerate((remote, cached, waiting, directories))}
ORDERED = {row.name: row for row in sorted(ROWS.values(), key=lambda row: _RANK[row.entries.__module__])}

_SCRATCH = re.compile(r"/\S*/scratch/")  # where that is on this machine is of no interest to others


def main() -> int:
    """Measure and report; returns the exit status."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    unknown = set(given.only) - set(ORDERED)
    if given.list or unknown:
        for row in ORDERED.values():
            print(f"{row.name:14} {row.title}")
        return 2 if unknown else 0
    work: Path = given.work
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    if work.stat().st_uid != os.geteuid():  # programs are run from there
        sys.exit(f"{work} belongs to somebody else; choose another directory with --work")
    if not given.render:
        _measure_all(work, [ORDERED[name] for name in given.only or ORDERED], quick=given.quick, repeats=given.repeats)
    given.report.write_text(render(ORDERED.values(), dict(_results(work))), encoding="utf-8")
    print(f"The report is in {given.report}.")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make benchmark ARGS=…", description=__doc__)
    parser.add_argument("--only", action="extend", nargs="+", default=[], metavar="ROW", help="these rows; see --list")
    parser.add_argument("--quick", action="store_true", help="measure once")
    parser.add_argument("--repeats", type=int, default=REPEATS, metavar="N", help="how often to measure (%(default)s)")
    parser.add_argument("--list", action="store_true", help="list the rows")
    parser.add_argument("--render", action="store_true", help="measure nothing, write the report of what is known")
    default = Path(tempfile.gettempdir()) / "eofs-benchmarks"
    parser.add_argument("--work", type=Path, default=default, metavar="DIR", help="for products, peers, raw figures")
    report = HOUSE / "docs" / "BENCHMARKS.md"
    parser.add_argument("--report", type=Path, default=report, metavar="FILE", help="docs/BENCHMARKS.md")
    return parser.parse_args()


def _measure_all(work: Path, rows: list[Row], *, quick: bool, repeats: int) -> None:
    peers = Peers(work / "peers")
    peers.install()
    versions = {EOFS: _version(), **machine(), **peers.versions()}
    (work / "results").mkdir(exist_ok=True)
    made = products(work / "products")
    with Bench(work, peers, made, quick=quick) as bench:
        for row in rows:
            _say(f"{row.name}: {row.title}")
            result = measure(bench, row, versions, 1 if quick else repeats)
            path = work / "results" / f"{row.name}.json"
            path.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")


def measure(bench: Bench, row: Row, versions: Mapping[str, str], repeats: int) -> Result:
    """Measure a row: its entries in turn, each so often as long as it does not take too much time."""
    begun = time.monotonic()
    entries = row.entries(bench)
    spent = dict.fromkeys(entries, 0.0)
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in entries}
    missing: dict[str, str] = {}
    for turn in range(repeats):
        for name, run in entries.items():
            if name in missing or spent[name] + spent[name] / max(1, turn) > PATIENCE:
                continue
            started = time.monotonic()
            gc.collect()
            try:
                found = run()
            except (NotMeasured, OSError, subprocess.SubprocessError) as error:
                missing[name] = "not measured: " + _SCRATCH.sub("", str(error))
                _say(f"  {name}: {missing[name]}")
                continue
            finally:
                spent[name] += time.monotonic() - started
            for column, value in found.items():
                figures[name].setdefault(column, []).append(value)
            _say(f"  {name}: " + ", ".join(f"{column} {value:.4g}" for column, value in found.items()))
    today = datetime.now(timezone.utc).date().isoformat()
    return Result(row.name, today, repeats, (time.monotonic() - begun) / 60, versions, figures, missing)


def _results(work: Path) -> Mapping[str, Result]:
    paths = (work / "results").glob("*.json")
    return {path.stem: Result(**json.loads(path.read_text(encoding="utf-8"))) for path in paths}


@functools.cache
def _version() -> str:
    """Return the version of eofs, and the commit where there is one."""
    command = ["git", "-C", str(HOUSE), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    except OSError:
        commit = ""
    return f"{eofs.__version__} ({commit})" if commit else eofs.__version__


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
