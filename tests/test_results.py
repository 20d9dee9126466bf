"""The page `docs/laboratory/results.md` is made from its template and the figures that run folders left."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "docs"))

import results

COLUMNS = [("Network", "--backbone"), ("Command", "command"), ("Steps", "steps ,"), ("Nats", "val/nats_per_token .2f")]


def run(folder: Path, name: str, nats: float, options: str, **environment: Any) -> Path:
    """A run folder with its two files."""
    where = folder / name
    where.mkdir()
    about = {
        "command": f"/there/char.py --data /some/input.txt --runs /there {options}", "commit": "0123456789ab",
        "device": "A processor", "cores": 2, "threads": 1, "precision": "32-true", "began": "2026-11-30 14:01:47+0000",
        "versions": {"torch": "2.13.0"},
    }  # fmt: skip
    (where / "env.json").write_text(json.dumps(about | environment))
    (where / "result.json").write_text(json.dumps({"val/nats_per_token": nats, "steps": 1200}))
    return where


def test_the_page_is_that_of_its_template() -> None:
    results.main(["--check"])


def test_seeds_are_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FIGURES", tmp_path / "figures")
    made = [run(tmp_path, f"a{seed}", 1.4 + seed / 10, f"--backbone GRU --seed {seed}") for seed in (1, 2)]
    results.keep("table", [*made, run(tmp_path, "b", 1.2, "--backbone LSTM")])
    lines = results.table("table", COLUMNS, tmp_path / "figures").splitlines()
    command = "python recipes/char.py --data input.txt --backbone"
    assert lines[2:] == [
        f"| `LSTM` | `{command} LSTM` | 1,200 | 1.20 | 1 |",
        f"| `GRU` | `{command} GRU` | 1,200 | 1.55 (1.50 to 1.60) | 2 |",
        "",
        "Measured on: A processor, 2 cores, 1 thread, 32-true, torch 2.13.0, commit `0123456`, 2026-11-30.",
    ]


def test_commands_as_a_reader_would_give_them() -> None:
    given = "/a/venv/bin/seqmodels fit --carry --data /a/b.txt --no-shuffle --seed 3 --runs /a --prompt 'a b'"
    assert results.shown(given) == "seqmodels fit --carry --data b.txt --no-shuffle --seed 3 --prompt 'a b'"
    assert results.shown(given, ("--seed",)) == "seqmodels fit --carry --data b.txt --no-shuffle --prompt 'a b'"
    recipe = results.shown("/a/char.py --data python --runs /a")
    assert recipe == results.shown(recipe) == "python recipes/char.py --data python"


def test_what_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FIGURES", tmp_path / "figures")
    with pytest.raises(SystemExit, match="changes that no commit has"):
        results.keep("table", [run(tmp_path, "a", 1.0, "", commit="0123456789ab+")])
    with pytest.raises(SystemExit, match="expected the folder of a run that has ended"):
        results.keep("table", [tmp_path])
    with pytest.raises(SystemExit):
        results.main([str(tmp_path)])


def test_a_stale_page_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "PAGE", tmp_path / "results.md")
    with pytest.raises(SystemExit, match="stale"):
        results.main(["--check"])
    results.main([])
    results.main(["--check"])
