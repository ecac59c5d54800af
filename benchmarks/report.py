"""From the figures to ``docs/BENCHMARKS.md``."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.rows import Outcome, Row


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured of one row.

    Attributes:
        row: its name.
        when: the day, as ISO 8601 writes it.
        repeats: how often each entry was to be measured.
        minutes: how long all of it took.
        versions: of eofs, of the machine, of the peers.
        figures: all that were taken, by entry and column.
        missing: entries that could not be measured, or not as often as wanted, and why.
    """

    row: str
    when: str
    repeats: int
    minutes: float
    versions: Mapping[str, str]
    figures: Mapping[str, Mapping[str, Sequence[float]]]
    missing: Mapping[str, str]


def machine() -> dict[str, str]:
    """Return what this machine is, by what is told of it."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = platform.system()
    return {
        "machine": f"{os.cpu_count()} processors, {memory:.0f} GB, {platform.machine()}",
        "system": f"{system}, Linux {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
    }


def render(rows: Iterable[Row], results: Mapping[str, Result]) -> str:
    """Return the report, in Markdown, of all rows that have a result."""
    shown = [(row, results[row.name]) for row in rows if row.name in results]
    outcomes = {row.name: [goal.outcome(row, results[row.name].figures) for goal in row.goals] for row, _ in shown}
    parts = [_HEAD.strip(), _summary(shown, outcomes), _versions([result for _, result in shown])]
    parts += [_section(row, result, outcomes[row.name]) for row, result in shown]
    return "\n\n".join(parts) + "\n"


_HEAD = """
# Benchmarks

eofs beside what one would take instead, measured side by side on one machine: made by `make benchmark`, not by hand.
Read ratios, not absolutes. *Remote* is a provider on the loopback address behind a small shaping proxy
(`benchmarks/shape.py`): round trips of 40 ms, 25 MB/s shared by all connections. All entries of a row are measured in
turn, A B A B; a figure is the median of its runs, with the least and the greatest. *Cold*: eofs starts with an empty
cache. The products are synthetic: a Sentinel-2 product of real JPEG 2000 bands, four of 120 MB and five of 31 MB, as a
stored and as a deflated zip; a Sentinel-1-like one with one TIFF of 241 MB that deflates to half; a cloud-optimised
GeoTIFF of 200 MB (`benchmarks/products.py`).
"""


def _summary(shown: Sequence[tuple[Row, Result]], outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    lines = [
        "## In short",
        "",
        "| workload | to reach | measured, the least favourable | reached |",
        "|---|---|---|---|",
    ]
    for row, _ in shown:
        lines += [
            f"| [{row.title}](#{row.name}) | {outcome.goal} | {outcome.said} | {_WORDS[outcome.reached]} |"
            for outcome in outcomes[row.name]
        ]
    return "\n".join(lines)


_WORDS = {True: "yes", False: "**no**", None: "not all measured"}


def _versions(results: Sequence[Result]) -> str:
    """Say what was measured on what; of different runs each has its own word."""
    said: dict[str, list[str]] = {}
    for result in results:
        for name, version in result.versions.items():
            said.setdefault(name, [])
            if version not in said[name]:
                said[name].append(version)
    lines = [
        "## On what",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {'; '.join(each)} |" for name, each in said.items()),
    ]
    return "\n".join(lines)


def _section(row: Row, result: Result, outcomes: Sequence[Outcome]) -> str:
    runs = "one run" if result.repeats == 1 else f"medians of {result.repeats}"
    parts = [
        f'## <a id="{row.name}"></a>{row.title}',
        row.about,
        f"{result.when}, {runs}, {result.minutes:.0f} min; `make benchmark ARGS='--only {row.name}'`.",
        _table(row, result),
    ]
    if result.missing:
        parts.append("\n".join(f"* {entry}: {why}." for entry, why in result.missing.items()))
    if outcomes:
        parts.append("\n".join(f"* {each.goal}: {_WORDS[each.reached]} ({each.said})" for each in outcomes))
    if row.remark:
        parts.append(row.remark)
    return "\n\n".join(parts)


def _table(row: Row, result: Result) -> str:
    heads = [f"{column} ({unit})" if column else unit for column, unit in row.columns.items()]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for entry, figures in result.figures.items():
        cells = [_cell(figures.get(column, ()), result.repeats) for column in row.columns]
        lines.append(f"| {entry} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: Sequence[float], repeats: int) -> str:
    if not values:
        return "–"
    text = _plain(median(values))
    if len(values) > 1:
        text += f" <sub>{_plain(min(values))}–{_plain(max(values))}</sub>"
    return text if len(values) >= repeats else f"{text} <sub>n = {len(values)}</sub>"


def _plain(value: float) -> str:
    """Return a figure with three digits that count."""
    if value >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}" if value >= 0.001 or value == 0 else f"{value:.2g}"
