"""Promises are tests whose figures are printed as a table at the end."""

from collections.abc import Callable

import pytest
import torch
from promises.table import Outcome, Report, plain, rows

from seqmodels.environment import describe_environment

Check = Callable[[dict[str, Outcome]], None]


@pytest.fixture
def check(record_property: Callable[[str, object], None]) -> Check:
    """Record the outcomes of promises for the table, then assert that they were kept."""

    def check(outcomes: dict[str, Outcome]) -> None:
        record_property("outcomes", {promise: plain(outcome) for promise, outcome in outcomes.items()})
        for promise, outcome in outcomes.items():
            assert outcome.kept, "\n".join([promise, *outcome.trouble])

    return check


@pytest.fixture
def slow(request: pytest.FixtureRequest) -> bool:
    """Whether all cases are tried, or a few."""
    return bool(request.config.getoption("--slow"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    reports = [
        Report(
            report.nodeid.split("::")[-1].split("[")[0], report.passed, report.duration,
            dict(report.user_properties).get("outcomes", {}),  # type: ignore[arg-type]
        )
        for outcome in ("passed", "failed", "error")
        for report in terminalreporter.stats.get(outcome, [])
        if "/test_promises.py::" in report.nodeid
    ]  # fmt: skip
    if any(report.outcomes or not report.passed for report in reports):
        here = describe_environment(torch.device("cpu"))
        terminalreporter.section("promises")
        terminalreporter.write_line(
            f"{here['device']}, {here['cores']} cores, torch {here['versions']['torch']}, commit {here['commit']}\n"
        )
        terminalreporter.write_line("\n".join(rows(reports)))
