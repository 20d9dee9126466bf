"""Every recipe runs, as a program, with one tiny step and another network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.py"))
SMALL = ["--max-steps", "2", "--length", "16", "--batch-size", "2", "--precision", "32-true"]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe(recipe: Path, text_file: Path, tmp_path: Path) -> None:
    words = ["--data", str(text_file), *SMALL, "--backbone", "RNN", "--backbone.hidden-size", "8"]
    environment = os.environ | {"COLUMNS": "80"}
    command = [sys.executable, str(recipe), *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # nothing that libraries below have to say
    (folder,) = tmp_path.glob("runs/*/*")
    assert folder.name.startswith("rnn-text-s1-")
    assert done.stdout.splitlines()[-1] == f"next     seqmodels generate {folder.relative_to(tmp_path)}"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_fits_a_screen_and_says_how_it_is_run(recipe: Path) -> None:
    source = recipe.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 80
    assert f"python recipes/{recipe.name}" in source


def test_recipe_refuses_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(RECIPES[0]), "--max-minuts", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "error: the option --max-minuts is not known; did you mean --max-minutes?\n"
