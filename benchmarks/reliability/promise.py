"""A promise, and whether it was kept."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """One line of the table.

    Attributes:
        what: is promised.
        found: what was measured.
        wanted: what it should be.
        kept: whether it is.
        trouble: of those that were not kept, the first few.
    """

    what: str
    found: str
    wanted: str
    kept: bool
    trouble: tuple[str, ...] = ()

    def row(self) -> str:
        """As a line of a Markdown table."""
        return f"| {self.what} | {self.found} | {self.wanted} | {'yes' if self.kept else '**no**'} |"


def all_of(what: str, results: dict[str, str]) -> Promise:
    """Kept in every case.

    Args:
        what: is promised.
        results: what went wrong in each case; empty where nothing did.
    """
    wrong = {case: why for case, why in results.items() if why}
    good = len(results) - len(wrong)
    trouble = tuple(f"{case}: {why}" for case, why in list(wrong.items())[:5])
    return Promise(what, f"{good} of {len(results)}", "all", not wrong and bool(results), trouble)


def none_of(what: str, cases: int, found: int, trouble: tuple[str, ...] = ()) -> Promise:
    """Never in any case."""
    return Promise(what, f"{found} of {cases}", "0", found == 0 and cases > 0, trouble)
