"""The page `docs/laboratory/architecture.md` is made from the first lines of all modules, which are fit for it."""

import sys
from pathlib import Path

import pytest
import test_floors

sys.path.append(str(Path(__file__).parents[1] / "docs"))

import architecture

LINES = {test_floors.name_of(file): architecture.first_line(file) for file in test_floors.FILES}


def test_first_lines_are_short_sentences() -> None:
    assert {name: line for name, line in LINES.items() if not line.endswith(".") or len(line) > 120} == {}


def test_every_module_is_on_the_page() -> None:
    page = architecture.page()
    assert {name: line for name, line in LINES.items() if name != "seqmodels" and line not in page} == {}


def test_a_stale_page_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architecture, "PAGE", tmp_path / "architecture.md")
    with pytest.raises(SystemExit, match="stale"):
        architecture.main(["--check"])
    architecture.main([])
    architecture.main(["--check"])
    (tmp_path / "architecture.md").write_text("# Architecture\n")
    with pytest.raises(SystemExit, match="stale"):
        architecture.main(["--check"])
