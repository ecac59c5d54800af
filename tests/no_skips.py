"""Where `EOFS_CI` is set, a test that was skipped has failed: there, all that tests need is at hand.

A reason that starts with `not here:` is let pass; it is for what no CI machine can have.
Loaded by `pytest -p tests.no_skips`, as scripts/test does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

LET_PASS = "not here:"


def unwanted_skips(config: pytest.Config) -> Iterator[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("EOFS_CI") and reporter is not None:
        for report in reporter.stats.get("skipped", []):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            if not reason.startswith(LET_PASS):
                yield f"{report.nodeid} ({reason})"


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.OK and any(unwanted_skips(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around all other parts of the summary, so as to come last
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    yield
    if names := list(unwanted_skips(terminalreporter.config)):
        terminalreporter.write_line(f"EOFS_CI is set, so a skip is a failure: {', '.join(names)}", red=True)
