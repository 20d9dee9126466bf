"""The figures of pages are made from those that run folders left."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "docs"))

import results

COLUMNS = [("Network", "--backbone"), ("Command", "command"), ("Steps", "steps ,"), ("Nats", "val/nats_per_token .2f")]
HERE = {
    "command": "/there/char.py --data /some/input.txt --runs /there", "commit": "0123456789ab", "device": "A processor",
    "cores": 2, "threads": 1, "precision": "32-true", "began": "2026-11-30 14:01:47+0000",
    "versions": {"torch": "2.13.0"},
}  # fmt: skip
MEASURED = "Measured on A processor, 2 cores, 1 thread, 32-true, torch 2.13.0; 2026-11-30."


@pytest.fixture(autouse=True)
def _one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "in_history", lambda commit: commit != "feedfeedfeed")


def run(folder: Path, name: str, nats: float, options: str = "", further: Any = (), **environment: Any) -> Path:
    """A run folder with its two files."""
    where = folder / name
    where.mkdir()
    about = HERE | {"command": f"{HERE['command']} {options}"} | environment
    (where / "env.json").write_text(json.dumps(about))
    result = {"val/nats_per_token": nats, "steps": 1200, "parameters": 7, "ended": "budget"} | dict(further)
    (where / "result.json").write_text(json.dumps(result))
    return where


def scored(options: str, **scores: Any) -> dict[str, Any]:
    """Scores as `seqmodels test` leaves them."""
    environment = {name: value for name, value in HERE.items() if name != "precision"}
    return scores | {"environment": environment | {"command": f"/bin/seqmodels test /runs/language_model/a {options}"}}


def rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [line.strip("|").split("|") for line in lines[:1] + lines[2:]]


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in row] for row in rows(text)]


def test_the_pages_are_those_of_their_figures() -> None:
    results.main(["--check"])
    assert results.ROOT / "docs/laboratory/results.md" in results.pages()


def test_seeds_are_one_row(tmp_path: Path) -> None:
    made = [run(tmp_path, f"a{seed}", 1.4 + seed / 10, f"--backbone GRU --seed {seed}") for seed in (1, 2, 3)]
    results.keep("table", [*made, run(tmp_path, "b", 1.2, "--backbone LSTM")], tmp_path / "figures")
    lines = results.table("table", COLUMNS, tmp_path / "figures").splitlines()
    command = "python recipes/char.py --data input.txt --backbone"
    assert lines == [
        "| Network | Command | Steps | Nats | Seeds | Commit |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| `LSTM` | `{command} LSTM` | 1,200 | 1.20 | 1 † | `0123456` |",
        f"| `GRU` | `{command} GRU` | 1,200 | 1.60 ± 0.10 | 3 | `0123456` |",
        "",
        MEASURED,
        "† fewer than 3 seeds: an indication only.",
    ]
    best = results.table("table", [("Nats", "val/nats_per_token .1f lowest")], tmp_path / "figures")
    assert cells(best)[2][0] == "1.5 (1.6 ± 0.1)"
    falling = [("N", "--backbone"), ("Nats", "val/nats_per_token .1f"), ("order", "val/nats_per_token descending")]
    assert [row[0] for row in cells(results.table("table", falling, tmp_path / "figures"))] == ["N", "`GRU`", "`LSTM`"]


def test_the_later_run_of_a_seed_counts(tmp_path: Path) -> None:
    old = run(tmp_path, "b", 2.0, "--seed 1", began="2026-11-29 14:00:00+0000")
    results.keep("table", [run(tmp_path, "a", 1.0), old], tmp_path / "figures")
    assert cells(results.table("table", COLUMNS[3:], tmp_path / "figures"))[1][:2] == ["1.00", "1 †"]


def test_machines_are_told_apart(tmp_path: Path) -> None:
    """Runs of two machines are two rows, since what a minute is worth differs."""
    made = [run(tmp_path, "a", 1.0), run(tmp_path, "b", 1.2, "--seed 2", device="Another", threads=2)]
    results.keep("table", made, tmp_path / "figures")
    text = results.table("table", COLUMNS[3:], tmp_path / "figures")
    assert cells(text)[1:] == [["1.00", "1 †", "`0123456`", "A"], ["1.20", "1 †", "`0123456`", "B"]]
    assert "A: A processor, 2 cores, 1 thread, 32-true, torch 2.13.0; B: Another, 2 cores, 2 threads" in text


def test_tests_of_runs_are_rows(tmp_path: Path) -> None:
    text, counts = "the file a, validation", "--counts /runs/language_model/ngram --counts-weight 0.3"
    for seed in (1, 2, 3):
        kept = {
            f"{text}, one": scored("--dynamic", nats=seed / 2, ppmd_bits_per_byte=2.0),
            f"{text}, two": scored(counts, nats=seed + 0.0, ppmd_bits_per_byte=2.0, text=text),
        }
        made = run(tmp_path, f"a{seed}", 1.0, f"--seed {seed}", {"tests": kept})
        results.keep("table", [made], tmp_path / "figures")
    columns = [("rows", "tests"), ("Test", "test"), ("Nats", "nats .1f")]
    text = results.table("table", columns, tmp_path / "figures")
    assert cells(text)[1:] == [
        ["`seqmodels test RUN --dynamic`", "1.0 ± 0.5", "3", "`0123456`"],
        ["`seqmodels test RUN --counts COUNTS --counts-weight 0.3`", "2.0 ± 1.0", "3", "`0123456`"],
    ]
    assert "PPMd, after reading the training text: 2.000 bits per byte (1.386 nats)." in text
    second = scored("", nats=0.1, ppmd_bits_per_byte=1.0, text="the file a, test")
    results.keep("two", [made, run(tmp_path, "b", 1.0, "", {"tests": {"test": second}})], tmp_path / "figures")
    both = results.table("two", [("rows", "tests"), ("Text", "text"), ("Nats", "nats .1f")], tmp_path / "figures")
    assert cells(both)[1][0] == "the file a, test"
    assert "(0.693 nats) of the file a, test; 2.000 bits per byte (1.386 nats) of the file a, validation" in both
    only = results.table("table", [("only", "--dynamic"), *columns], tmp_path / "figures")
    assert [row[1] for row in cells(only)] == ["Nats", "1.0 ± 0.5"]
    others = results.table("table", [("only", "test !--dynamic"), *columns], tmp_path / "figures")
    assert [row[1] for row in cells(others)] == ["Nats", "2.0 ± 1.0"]
    page = "It has <!-- figure: table nats .2f; test --dynamic -->9<!-- end --> nats."
    assert results.made(page, tmp_path / "figures").endswith("--dynamic -->1.00 ± 0.50<!-- end --> nats.")
    with pytest.raises(SystemExit, match="fits 2 rows; expected one"):
        results.made(page.replace(" --dynamic", ""), tmp_path / "figures")
    with pytest.raises(SystemExit, match="no run that is kept for table says anything of 'bits'"):
        results.table("table", [("Bits", "bits .1f")], tmp_path / "figures")
    kept = {"tests": {"test": scored("", nats=1.0, bleu_signature="nrefs:1|case:mixed")}}
    results.keep("signed", [run(tmp_path, "signed", 1.0, "", kept)], tmp_path / "figures")
    signed = [("rows", "tests"), ("Signature", "bleu_signature"), ("Nats", "nats .1f")]
    signature = results.table("signed", signed, tmp_path / "figures")
    assert r"| nrefs:1\|case:mixed |" in signature


def test_units_by_label(tmp_path: Path) -> None:
    found = {"the file a, 9 characters": scored("", comment={"score": 0.75, "unit": "1.c.3", "probe": 0.9})}
    made = run(tmp_path, "a", 1.0, "", {"neurons": found})
    other = run(tmp_path, "b", 1.0, "", {"neurons": {"the file b, 9 characters": scored("", brackets={"score": 0.5})}})
    results.keep("table", [made, other], tmp_path / "figures")
    columns = [("rows", "neurons"), ("Text", "text"), ("Unit", "comment/unit"), ("AUC", "comment/score .2f highest")]
    columns.append(("Probe", "comment/probe .2f"))
    text = results.table("table", columns, tmp_path / "figures")
    assert [row[:4] for row in cells(text)[1:]] == [
        ["the file b, 9 characters", "-", "-", "-"],  # where the label was the same everywhere
        ["the file a, 9 characters", "1.c.3", "0.75", "0.90"],
    ]


def test_counts_have_no_seeds(tmp_path: Path) -> None:
    results.keep("table", [run(tmp_path, "a", 1.0, "", {"parameters": 0})], tmp_path / "figures")
    assert cells(results.table("table", COLUMNS[3:], tmp_path / "figures"))[1][1] == "none: counts"


def sweep(folder: Path, found: list[dict[str, Any]]) -> Path:
    """The folder of a sweep."""
    folder.mkdir()
    (folder / "settings.json").write_text("{}")
    for number, result in enumerate(found):
        about = HERE | {"command": f"sweep.py --part 1/2 --lengths 20,50 --max-steps {number // 2}", "precision": None}
        (folder / f"r{number}-s1.json").write_text(json.dumps(result | {"environment": about}))
    return folder


def test_a_sweep_as_rows(tmp_path: Path) -> None:
    found = [{"name": "dot attention", "seed": seed, "bleu": 30.0 + seed} for seed in (1, 2, 3)]
    results.keep("story", [sweep(tmp_path / "story", found)], tmp_path / "figures")
    text = results.table("story", [("", "name"), ("BLEU", "bleu .1f")], tmp_path / "figures")
    assert cells(text)[1][:3] == ["dot attention", "32.0 ± 1.0", "3"]
    assert "Made by `python recipes/sweep.py --max-steps 0`, `python recipes/sweep.py --max-steps 1`." in text


def test_a_trial_of_a_search(tmp_path: Path) -> None:
    """Its own command is that of the search, and tells nothing of its settings."""
    trials = tmp_path / "trials" / "language_model"
    trials.mkdir(parents=True)
    made = run(trials, "a", 1.0, command="/bin/seqmodels sweep a.yaml")
    recipe = {"settings": {"data": "/a/b.txt", "max-steps": 9, "carry": True}, "halving": 3}
    found = {"trials": [{"run": "x/a", "params": {"lr": 0.01}, "seed": 3, "state": "complete"}, {"run": None}]}
    (tmp_path / "sweep.json").write_text(json.dumps(recipe))
    (tmp_path / "results.json").write_text(json.dumps(found))
    results.keep("table", [made], tmp_path / "figures")
    (row,) = results.rows_of("table", figures=tmp_path / "figures")
    assert row.command == "seqmodels fit --validations 9 --data b.txt --max-steps 9 --carry true --lr 0.01"
    assert list(row.by_seed) == ["3"]


def test_commits_of_a_resumed_run(tmp_path: Path) -> None:
    made = run(tmp_path, "a", 1.0, resumed=[{"commit": "0123456789ab"}, {"commit": "ba9876543210"}])
    results.keep("table", [made], tmp_path / "figures")
    assert cells(results.table("table", COLUMNS[3:], tmp_path / "figures"))[1][2] == "`0123456`, `ba98765`"


def test_a_table_of_success(tmp_path: Path) -> None:
    steps = {"GRU, 20": [500, 500, 1000], "GRU, 100": [None, 700, None], "RNN, 20": [None, 500]}
    found = [{"name": name, "seed": 1, "solved": solved, "steps": 2000} for name, solved in steps.items()]
    results.keep("order", [sweep(tmp_path / "order", found)], tmp_path / "figures")
    text = results.made("<!-- success: order -->\n<!-- end of figures -->", tmp_path / "figures")
    assert cells(text) == [
        ["", "T = 20", "T = 100"],
        ["GRU", "3/3 after 500", "1/3 after 700 of 2,000"],
        ["RNN", "1/2 after 500 of 2,000 †", "-"],
    ]
    assert (
        "Made by `python recipes/sweep.py --max-steps 0`, `python recipes/sweep.py --max-steps 1` at `0123456`" in text
    )
    assert results.made(text, tmp_path / "figures") == text
    two = results.made(f"{text}\n\nB\n\n<!-- success: none -->\n<!-- end of figures -->\n", tmp_path / "figures")
    assert two.startswith(f"{text}\n\nB\n\n<!-- success: none -->\n\nNo run is kept yet.\n\n<!-- end of figures -->")


def test_a_table_of_abilities(tmp_path: Path) -> None:
    accuracies = [("RNN, 0.003", 1, 0.5), ("LSTM, 0.003", 1, 1.0), ("LSTM, 0.003", 2, 0.8), ("LSTM, 0.01", 1, 0.1)]
    found = [
        {"name": name, "seed": seed, "accuracy": dict.fromkeys(("32", "64", "128"), accuracy)}
        for name, seed, accuracy in accuracies
    ]
    results.keep("words", [sweep(tmp_path / "words", found)], tmp_path / "figures")
    text = results.made("<!-- abilities: words words-s3 -->\n<!-- end of figures -->", tmp_path / "figures")
    assert [[row[0], row[1], *row[-2:]] for row in cells(text)[1:]] == [
        ["LSTM", "1.000 (0.900)", "0.003", "2 †"],
        ["RNN", "0.500", "0.003", "1 †"],
    ]


def test_commands_as_a_reader_would_give_them() -> None:
    given = "/a/venv/bin/seqmodels fit --carry --data /a/b.txt /a/c.txt --no-shuffle --seed 3 --runs /a --prompt 'a b'"
    assert results.shown(given) == "seqmodels fit --carry --data b.txt c.txt --no-shuffle --seed 3 --prompt 'a b'"
    assert results.shown(given, ("--seed",)) == "seqmodels fit --carry --data b.txt c.txt --no-shuffle --prompt 'a b'"
    tests = results.shown("seqmodels test runs/translator/x --ensemble runs/translator/y --ensemble z --beam 10")
    assert tests == results.shown(tests)
    assert tests == "seqmodels test RUN" + 2 * " --ensemble RUN_OF_ANOTHER_SEED" + " --beam 10"
    recipe = results.shown("/a/char.py --data python --runs /a")
    assert recipe == results.shown(recipe) == "python recipes/char.py --data python"


def test_what_is_not_kept(tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    changed = scored("")
    changed["environment"] |= {"commit": "0123456789ab+"}
    for made, message in (
        (run(tmp_path, "a", 1.0, commit="0123456789ab+"), "changes that no commit has"),
        (run(tmp_path, "f", 1.0, commit="feedfeedfeed"), "ran at feedfeedfeed, which the history does not have"),
        (run(tmp_path, "b", 1.0, "", {"tests": {"text": changed}}), "changes that no commit has"),
        (run(tmp_path, "c", 1.0, "", {"tests": {"text": {"bleu": 1.0}}}), "do not say how they were made"),
        (run(tmp_path, "d", 1.0, "", {"ended": "SIGTERM"}), "was stopped by SIGTERM; resume it"),
        (sweep(tmp_path / "e", []), "has no results yet"),
        (tmp_path, "expected the folder of a run that has ended"),
    ):
        with pytest.raises(SystemExit, match=message):
            results.keep("table", [made], figures)
    with pytest.raises(SystemExit):
        results.main([str(tmp_path)])
    assert not figures.exists()
    assert results.table("table", COLUMNS, figures) == "No run is kept yet.\n"


def test_a_stale_page_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setattr(results, "FIGURES", tmp_path / "figures")
    page = tmp_path / "README.md"
    page.write_text("A\n\n<!-- figures: t\nNats = val/nats_per_token .2f\n-->\n<!-- end of figures -->\n\nB\n")
    results.main(["--keep", "t", str(run(tmp_path, "a", 1.0))])
    assert results.pages(tmp_path) == [page]
    results.main(["--check"])
    page.write_text(page.read_text().replace("1.00", "0.90"))
    with pytest.raises(SystemExit, match=r"README.md are stale"):
        results.main(["--check"])
    results.main([])
    results.main(["--check"])
    assert page.read_text().startswith("A\n")
    assert page.read_text().endswith(f"{MEASURED}\n{results.FEW}\n\n<!-- end of figures -->\n\nB\n")
