"""A row of the table: what is measured of whom, and what is to be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.bench import Bench

EOFS = "eofs"
# Not peers, but what there is to compare with.
MEASURES = frozenset({"bare passthrough", "bare tree", "curl", "json.load", "minimum", "native"})

Run = Callable[[], Mapping[str, float]]
"""Measures once: figures by column."""

Figures = Mapping[str, Mapping[str, Sequence[float]]]
"""All figures that were taken, by entry and column."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a goal: `said` is the figure that decides; `reached` is None where something was not measured."""

    goal: str
    said: str
    reached: bool | None


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be reached, in every one of `columns` and against every one of the rivals.

    Attributes:
        text: in words.
        rivals: entries; none means all peers.
        at_least: how many times better than a rival.
        at_most: how many times a rival's figure; for what should be small.
        below: a limit, whatever others reach.
        own: the entry that is to reach it.
    """

    text: str
    columns: tuple[str, ...]
    rivals: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None
    own: str = EOFS

    def outcome(self, row: Row, figures: Figures) -> Outcome:
        """Return what came of it: the least favourable of all comparisons."""
        comparisons = [
            self._compare(row, figures, column, rival) for column in self.columns for rival in self._of(figures)
        ]
        taken = [each for each in comparisons if each is not None]
        if not taken:
            return Outcome(self.text, "not measured", None)
        reserve, said = min(taken)
        return Outcome(self.text, said, reserve >= 1 if reserve < 1 or len(taken) == len(comparisons) else None)

    def _of(self, figures: Figures) -> Sequence[str]:
        if self.below is not None:
            return ("",)
        others = (name for name in figures if not name.startswith(EOFS) and name not in MEASURES)
        return self.rivals or tuple(others)

    def _compare(self, row: Row, figures: Figures, column: str, rival: str) -> tuple[float, str] | None:
        """Return how much better it is than it has to be, 1 being just enough, and the figure in words."""
        own = _median(figures, self.own, column)
        if own is None:
            return None
        unit = row.columns[column]
        if self.below is not None:
            return self.below / own if own else float("inf"), f"{column}: {own:.3g} {unit}"
        other = _median(figures, rival, column)
        if not other:
            return None
        times = own / other
        better = (1 / times if times else float("inf")) if unit in LESS_IS_BETTER else times
        if self.at_most is not None:
            return self.at_most / times if times else float("inf"), f"{column}: {times:.2f} × {rival}"
        return better / (self.at_least or 1), f"{column}: {better:.3g} × as good as {rival}"


def _median(figures: Figures, entry: str, column: str) -> float | None:
    values = figures.get(entry, {}).get(column)
    return median(values) if values else None


LESS_IS_BETTER = frozenset({"s", "MB", "KB"})


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table, measured by itself.

    Attributes:
        name: for the command line.
        title: what is done.
        about: how, in a few sentences.
        columns: the unit of each figure: ``s``, ``MB``, ``KB`` are better if they are small, all others if large.
        goals: what is to be reached.
        entries: makes the entries in the order of the table, each with what measures it once.
        remark: why a goal is not reached, where that is known.
    """

    name: str
    title: str
    about: str
    columns: Mapping[str, str]
    goals: tuple[Goal, ...]
    entries: Callable[[Bench], Mapping[str, Run]]
    remark: str = field(default="")


ROWS: dict[str, Row] = {}


def row(
    name: str, title: str, *, about: str, columns: Mapping[str, str], goals: Sequence[Goal], remark: str = ""
) -> Callable[[Callable[[Bench], Mapping[str, Run]]], Callable[[Bench], Mapping[str, Run]]]:
    """Make a row of a function that returns its entries."""

    def register(entries: Callable[[Bench], Mapping[str, Run]]) -> Callable[[Bench], Mapping[str, Run]]:
        ROWS[name] = Row(name, title, about, columns, tuple(goals), entries, remark)
        return entries

    return register
