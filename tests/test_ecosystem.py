"""The table `docs/ecosystem.md`: each row names tests that exist, or says why there are none."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "ecosystem.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| Expected")
]


def test_every_row_is_whole() -> None:
    """What is there is tested by something; what is not there all the way says why."""
    assert len(ROWS) > 80
    for row in ROWS:
        assert len(row) == 4, row
        expected, there, how, tested = row
        assert expected, row
        if there not in ("yes", "no"):
            assert len(there.split()) > 1 or (there == "partly" and how), f"{expected}: {there!r} without a reason"
        assert there == "no" or tested, f"{expected}: tested by nothing"


def test_the_tests_that_are_named_exist() -> None:
    for expected, *_, tested in ROWS:
        folder = Path()
        for name in re.findall(r"`([\w/.-]+\.\w+)`", tested):
            path = Path(name) if "/" in name else folder / name
            folder = path.parent
            assert (ROOT / path).is_file(), f"{expected}: there is no {path}"


def test_the_pages_that_are_linked_exist() -> None:
    for target in re.findall(r"\]\(([\w/.-]+)", PAGE):
        assert (ROOT / "docs" / target).is_file(), target
