"""Figures of promises: counts of cases, summed over tests, as a Markdown table."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """Cases of one promise, as one test found them."""

    wanted: str  # "all" where every case must be good, "0" where none may be found; else the limit of `found`
    cases: int
    wrong: int  # cases in which the promise was broken
    found: str = ""  # the figure, where it is not a count
    trouble: tuple[str, ...] = ()  # the first broken cases

    @property
    def kept(self) -> bool:
        """A promise without cases is not kept."""
        return self.cases > 0 and self.wrong == 0


def all_of(results: dict[str, str], wanted: str = "all") -> Outcome:
    """Every case must be good; the results have the trouble of each, empty where there was none."""
    trouble = tuple(f"{case}: {why}" for case, why in results.items() if why)
    return Outcome(wanted, len(results), len(trouble), trouble=trouble[:5])


def none_of(results: dict[str, str]) -> Outcome:
    """No case may be found; argument as of `all_of`."""
    return all_of(results, "0")


@dataclass(frozen=True)
class Report:
    """A test function that ended."""

    test: str
    passed: bool
    seconds: float
    outcomes: dict[str, dict[str, Any]]  # `asdict` of each `Outcome`, by promise


def rows(reports: Iterable[Report]) -> list[str]:
    """The lines of the table, a row for each promise; a failed test without an outcome is a row of its own."""
    sums: dict[tuple[str, str], list[Outcome]] = {}
    seconds: Counter[str] = Counter()
    for report in reports:
        seconds[report.test] += report.seconds
        for promise, outcome in report.outcomes.items():
            sums.setdefault((report.test, promise), []).append(Outcome(**outcome))
        if not report.passed and not report.outcomes:
            sums.setdefault((report.test, "Tests that ended without an outcome"), []).append(Outcome("0", 1, 1))
    lines = ["| Promise | Found | Wanted | Kept | Test, seconds |", "|---|---|---|---|---|"]
    for (test, promise), outcomes in sums.items():
        cases, wrong = (sum(getattr(outcome, name) for outcome in outcomes) for name in ("cases", "wrong"))
        wanted = outcomes[0].wanted
        found = outcomes[0].found or f"{wrong if wanted == '0' else cases - wrong:,} of {cases:,}"
        kept = "yes" if cases and not wrong else "**no**"
        lines.append(f"| {promise} | {found} | {wanted} | {kept} | `{test}`, {seconds[test]:,.0f} |")
    return lines


def plain(outcome: Outcome) -> dict[str, Any]:
    """An outcome as pytest-xdist can send it."""
    return {**asdict(outcome), "trouble": list(outcome.trouble)}
