"""Every recipe runs, as a program, with one tiny step and another network."""

import contextlib
import io
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.py"))
SMALL = ["--max-steps", "2", "--backbone", "RNN", "--backbone.input-size", "8", "--backbone.hidden-size", "8"]
WITH_TEXT = ["--length", "16", "--batch-size", "2", "--precision", "32-true"]
OWN_TEXT = {"hello": [], "irnn_long_range": ["--distance", "5", "--lines", "200"]}
"""Recipes that make their own text, and flags that keep it small."""
RECURRENT = [
    "--encoder.input-size", "8", "--encoder.hidden-size", "8", "--decoder.input-size", "8", "--decoder.hidden-size",
]  # fmt: skip
LAYER = [
    f"--{side}.{flag}" for side in ("encoder", "decoder") for flag in ("input-size=8", "num-heads=2", "num-layers=1")
]
PAIRS = {
    "translate_phrases": [*RECURRENT, "16", "--validations", "1", "--batch-tokens", "300"],
    "multi30k_attention": [*RECURRENT, "16"],
    "multi30k_context": [*RECURRENT, "8", "--reverse"],
    "multi30k_transformer": [*LAYER, "--decoder.memory-size", "8"],
    "multi30k_joined": SMALL[2:],
}
"""Recipes that translate, and flags that keep them small."""
SWEEPS = (
    "translation_story",
    "translation_length",
    "memory_sweep",
    "gradient_horizons",
    "horizons_of_all",
    "state_and_recall",
)
"""Recipes of several runs."""


def run(recipe: Path, words: list[str], folder: Path) -> str:
    """What a recipe prints, as a program, but in this process: to import everything anew takes longer than all else."""
    told, complaints = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "argv", [str(recipe), *words])
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(complaints):
            runpy.run_path(str(recipe), run_name="__main__")
    assert complaints.getvalue() == ""
    return told.getvalue()


def run_alone(recipe: Path, words: list[str], folder: Path) -> str:
    """The same in a process of its own."""
    environment = os.environ | {"COLUMNS": "80"}
    command = [sys.executable, str(recipe), *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # nothing that libraries below have to say
    return done.stdout


def write_pairs(folder: Path) -> None:
    for split, count in (("train", 60), ("val", 4)):
        for language, word in (("en", "dog"), ("fr", "chien")):
            lines = "".join(f"{number} {word} {'x' * (number % 5)}\n" for number in range(count))
            (folder / f"{split}.{language}").write_text(lines)


@pytest.mark.slow
def test_story_goes_on_where_it_was(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    (recipe,) = (path for path in RECIPES if path.stem == "translation_story")
    words = ["--data", str(tmp_path), "--max-steps", "1", "--seeds", "1", "--precision", "32-true", "--runs", "story"]
    first = run(recipe, [*words, "--part", "1/2"], tmp_path)
    assert "1 of 6: last state, seed 1" in first
    assert "source reversed, seed 1" not in first
    page = run(recipe, words, tmp_path)
    assert "2 of 11: last state, source reversed, seed 1" in page
    assert "1 of 11: last state, seed 1" not in page  # it was there
    rows = (tmp_path / "story" / "story.md").read_text().splitlines()
    assert len(rows) == 13
    assert all(row.endswith("| 1 |") for row in rows[2:])
    assert (tmp_path / "story" / "story.png").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize("story", ["attention", "positions"])
def test_chains_of_sentences(story: str, tmp_path: Path) -> None:
    write_pairs(tmp_path)
    (recipe,) = (path for path in RECIPES if path.stem == "translation_length")
    words = ["--data", str(tmp_path), "--max-steps", "1", "--seeds", "1", "--precision", "32-true", "--runs", "long"]
    run(recipe, [*words, "--story", story], tmp_path)
    folder = tmp_path / "long" / story
    chains = {file: (folder / "chains" / f"{file}.en").read_text().splitlines() for file in ("train", "val", "test")}
    longest = {"attention": 5, "positions": 2}[story]
    assert max(line.count("dog") for line in chains["train"]) == longest
    assert len(chains["train"]) == sum(60 // count for count in range(1, longest + 1))
    assert [line.count("dog") for line in chains["test"]] == [1] * 4 + [2] * 2 + [3, 4]
    assert sorted(" ".join(chains["val"][:4]).split()) == sorted(" ".join(chains["test"][:4]).split())
    for english, french in zip(chains["train"], (folder / "chains/train.fr").read_text().splitlines(), strict=True):
        assert english.replace("dog", "chien") == french
    rows = (folder / "length.md").read_text().splitlines()
    assert len(rows) == 2 + {"attention": 4, "positions": 5}[story]
    assert (folder / "length.png").stat().st_size > 0


def test_memory_by_length(tmp_path: Path) -> None:
    """Two networks at two lengths, shared between two processes; what is done is not done again."""
    (recipe,) = (path for path in RECIPES if path.stem == "memory_sweep")
    words = ["--lengths", "10,20", "--methods", "RNN SGD clipping Omega,LSTM", "--seeds", "2", "--max-steps", "20"]
    words += ["--shortest", "10"]
    first = run(recipe, [*words, "--part", "1/2"], tmp_path)
    assert "| LSTM | - | - |" in first
    page = run(recipe, words, tmp_path)
    assert "1 of 4: RNN SGD clipping Omega, 10" not in page  # it was there
    folder = tmp_path / "runs" / "memory" / "temporal-order"
    assert (folder / "success.md").read_text() in page
    assert len(re.findall(r"[0-2]/2 (after|in) 20", page)) == 4
    assert (folder / "success.png").stat().st_size > 0


def test_what_networks_can_do(tmp_path: Path) -> None:
    (recipe,) = (path for path in RECIPES if path.stem == "state_and_recall")
    words = ["--task", "words-s3", "--networks", "MinGRU,LSTM", "--seeds", "2", "--max-steps", "1", "--width", "4"]
    words += ["--layers", "1", "--heads", "1"]
    first = run(recipe, [*words, "--part", "1/2"], tmp_path)
    assert "1 of 2: MinGRU, 0.003, seed 1" in first
    page = run(recipe, words, tmp_path)
    assert "MinGRU, 0.003, seed 1" not in page  # it was there
    folder = tmp_path / "runs" / "state_and_recall" / "words-s3"
    assert (folder / "abilities.md").read_text() in page
    assert len(re.findall(r"^\| (?:MinGRU|LSTM) \|.*\| 0.003 \| 2 \|$", page, re.M)) == 2
    assert (folder / "abilities.png").stat().st_size > 0


@pytest.mark.slow
def test_gradients_of_all_networks(text_file: Path, tmp_path: Path) -> None:
    (recipe,) = (path for path in RECIPES if path.stem == "horizons_of_all")
    words = ["--data", str(text_file), "--size", "8", "--length", "16", "--networks", "LSTM,RWKV7"]
    for more, cells in ([], 1), (["--max-steps", "2"], 2):
        page = run(recipe, [*words, *more], tmp_path)
        assert len(re.findall(rf"^\| `(?:LSTM|RWKV7)` \|(?: [1-9][0-9]* \|){{{cells}}}$", page, re.M)) == 2
        assert "RWKV7" in (tmp_path / "runs" / "horizons_of_all" / "horizons.md").read_text()


@pytest.mark.slow
def test_gradients_of_five_networks(text_file: Path, tmp_path: Path) -> None:
    (recipe,) = (path for path in RECIPES if path.stem == "gradient_horizons")
    page = run(recipe, ["--data", str(text_file), "--size", "8", "--length", "16", "--max-steps", "2"], tmp_path)
    assert len(re.findall("falls below one per cent at distance", page)) == 5
    folder = tmp_path / "runs" / "horizons"
    assert (folder / "horizons.png").stat().st_size > 0
    assert "Transformer" in (folder / "comparison.html").read_text()


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem == "translate_phrases"))
        for path in RECIPES
        if path.stem in PAIRS
    ],
)
def test_recipe_that_translates(recipe: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path)
    given = [] if recipe.stem == "translate_phrases" else ["--data", str(tmp_path), "--vocab-size", "300"]
    page = run(recipe, ["--max-steps", "2", "--precision", "32-true", *given, *PAIRS[recipe.stem]], tmp_path)
    (folder,) = tmp_path.glob("runs/*/*")
    command = "generate" if recipe.stem == "multi30k_joined" else "translate"
    assert f"next     seqmodels {command} {folder.relative_to(tmp_path)}" in page.splitlines()
    assert (folder / "translations.md").stat().st_size > 0


@pytest.mark.parametrize(
    "recipe", [path for path in RECIPES if path.stem not in (*PAIRS, *SWEEPS)], ids=lambda path: path.stem
)
def test_recipe(recipe: Path, text_file: Path, tmp_path: Path) -> None:
    words = OWN_TEXT.get(recipe.stem, ["--data", str(text_file), *WITH_TEXT])
    page = (run_alone if recipe.stem == "char_python" else run)(recipe, [*SMALL, *words], tmp_path)
    (folder,) = tmp_path.glob("runs/language_model/*")
    assert folder.name.startswith("rnn-")
    assert f"next     seqmodels generate {folder.relative_to(tmp_path)}" in page.splitlines()


def test_hello_has_two_answers_to_one_character(tmp_path: Path) -> None:
    """After the first `l` comes another one, after the second an `o`: the state makes the difference."""
    recipe = next(path for path in RECIPES if path.stem == "hello")
    page = run(recipe, [], tmp_path)
    rows = {line.split()[0]: [float(p) for p in line.split()[1:]] for line in page.splitlines()[-4:]}
    assert list(rows) == ["h", "he", "hel", "hell"]
    expected = ["ehlo"[max(range(4), key=rows[read].__getitem__)] for read in rows]
    assert "".join(expected) == "ello"
    assert rows["hel"][2] > 0.9
    assert rows["hell"][3] > 0.9


def test_help_names_networks_where_one_can_be_chosen(tmp_path: Path) -> None:
    for name, chosen in (("memory_sweep", False), ("char_python", True)):
        page = run(next(path for path in RECIPES if path.stem == name), ["--help"], tmp_path)
        assert ("--backbone" in page) is chosen
        assert "METHODS" not in page


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_fits_a_screen_and_says_how_it_is_run(recipe: Path) -> None:
    source = recipe.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= (25 if "recipe(" in source else 75)
    assert f"python recipes/{recipe.name}" in source


def test_recipe_refuses_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(RECIPES[0]), "--max-minuts", "1"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(RECIPES[0]), run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: the option --max-minuts is not known; did you mean --max-minutes?\n"
