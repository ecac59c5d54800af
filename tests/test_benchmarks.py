"""The parts of the benchmarks that judge, and the line that they measure over."""

from __future__ import annotations

import socketserver
import threading
import time
import urllib.request
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import measure
from benchmarks.processes import NotMeasured
from benchmarks.report import Result, render
from benchmarks.rows import Figures, Goal, Row
from benchmarks.shape import Shaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.bench import Bench

BODY = bytes(1 << 20)


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = BODY if self.path == "/much" else b"."
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Be silent."""


class Server(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True


@pytest.fixture
def port() -> Iterator[int]:
    with Server(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def fetch(port: int, path: str) -> tuple[int, float]:
    begun = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return len(answer.read()), time.perf_counter() - begun


def test_a_new_connection_takes_two_round_trips_to_answer(port: int) -> None:
    with closing(Shaped(port, round_trip=0.1, rate=1e9)) as line:
        size, seconds = fetch(line.port, "/")
        assert size == 1
        assert seconds >= 0.2


def test_all_connections_share_the_link(port: int) -> None:
    with closing(Shaped(port, round_trip=0.001, rate=8e6)) as line:
        begun = time.perf_counter()
        readers = [threading.Thread(target=fetch, args=[line.port, "/much"]) for _ in range(2)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert time.perf_counter() - begun >= 2 * len(BODY) / 8e6
        assert line.traffic().down > 2 * len(BODY)
        assert line.traffic().connections == 2


GOALS = {
    "twice as fast, and was to be": (Goal("", ("s",), ("b",), at_least=2), True),
    "twice as fast, and was to be three times": (Goal("", ("s",), ("b",), at_least=3), False),
    "half the time, and might be all of it": (Goal("", ("s",), ("b",), at_most=1), True),
    "half the time, and might be a third": (Goal("", ("s",), ("b",), at_most=0.3), False),
    "half the speed, and was to be all": (Goal("", ("MB/s",), ("b",), at_least=1), False),
    "half the speed, and was to be a third": (Goal("", ("MB/s",), ("b",), at_least=0.3), True),
    "below a limit": (Goal("", ("s",), below=1.1), True),
    "above a limit": (Goal("", ("s",), below=0.9), False),
    "better than one, but the other is missing": (Goal("", ("s",), ("b", "c"), at_least=1), None),
    "worse than one, whatever the missing one is": (Goal("", ("s",), ("b", "c"), at_least=3), False),
    "not measured itself": (Goal("", ("s",), ("b",), at_least=1, own="d"), None),
    "all peers, of which the bare passthrough is none": (Goal("", ("s",), at_least=2), True),
}


@pytest.mark.parametrize(("goal", "reached"), GOALS.values(), ids=GOALS)
def test_a_goal_is_judged_by_its_least_favourable_comparison(goal: Goal, reached: bool | None) -> None:
    figures: Figures = {
        "eofs": {"s": [0.5, 1, 7], "MB/s": [10]},
        "b": {"s": [2], "MB/s": [20]},
        "bare passthrough": {"s": [0.1]},
    }
    assert goal.outcome(row(goal), figures).reached is reached


def row(*goals: Goal, entries: Mapping[str, float | None] | None = None) -> Row:
    def run(value: float | None) -> Mapping[str, float]:
        if value is None:
            raise NotMeasured("not there")
        return {"s": value}

    def make(_: Bench) -> Mapping[str, object]:
        return {name: lambda value=value: run(value) for name, value in (entries or {}).items()}

    return Row("name", "A title", "How.", {"s": "s", "MB/s": "MB/s"}, goals, make)  # type: ignore[arg-type]


def test_what_cannot_be_measured_is_said_and_does_not_stop_the_others() -> None:
    given = row(Goal("twice as fast", ("s",), ("peer",), at_least=2), entries={"gone": None, "eofs": 1.0, "peer": 3.0})
    result = measure(None, given, {"eofs": "1.0"}, repeats=3)  # type: ignore[arg-type]
    assert result.figures["eofs"] == {"s": [1.0, 1.0, 1.0]}
    report = render([given], {"name": result})
    assert "* gone: not measured: not there." in report
    assert "| eofs | 1 <sub>1–1</sub> | – |" in report  # noqa: RUF001 - as it is printed
    assert "| [A title](#name) | twice as fast | s: 3 × as good as peer | yes |" in report  # noqa: RUF001 - likewise


def test_a_row_that_was_never_measured_is_not_in_the_report() -> None:
    other = Result("other", "2026-01-01", 1, 0.1, {}, {}, {})
    assert "A title" not in render([row()], {"other": other})
