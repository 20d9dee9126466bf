"""What pip installs: the wheel has the recipes and a program of its own, beside another package of the same name."""

import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from refusals import refused

import seqmodels
from seqmodels.cli import recipes
from seqmodels import imports
from seqmodels.cli.main import main

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.py"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the wheel, as pip unpacks it."""
    pytest.importorskip("hatchling", reason="there is no hatchling here, which builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


def program(installed: Path, folder: Path, words: str, before: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The program of the wheel, from another folder; `before` is found before it."""
    path = os.pathsep.join(map(str, filter(None, (before, installed))))
    command = [sys.executable, "-c", "import seqmodels_lightning; seqmodels_lightning.main()", *shlex.split(words)]
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def write_other(folder: Path, *, broken: bool) -> None:
    """The other author's package, as pip leaves it."""
    (folder / "seqmodels").mkdir(parents=True)
    (folder / "seqmodels" / "__init__.py").write_text("import einops_of_genomics\n" if broken else "")
    about = folder / "seqmodels-0.0.3.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: seqmodels\nVersion: 0.0.3\n")
    (about / "RECORD").write_text("seqmodels/__init__.py,sha256=x,0\nseqmodels-0.0.3.dist-info/RECORD,,\n")


def test_the_wheel_has_the_recipes_and_nothing_else(installed: Path, tmp_path: Path) -> None:
    for recipe in RECIPES:
        assert (installed / "seqmodels" / "recipes" / recipe.name).read_bytes() == recipe.read_bytes()
    assert {path.name for path in installed.iterdir()} == {
        "seqmodels", "seqmodels_lightning.py", f"seqmodels_lightning-{imports.VERSION}.dist-info",
    }  # fmt: skip
    listed = program(installed, tmp_path, "recipe --list")
    assert listed.stderr == ""
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [recipe.stem for recipe in RECIPES]
    program(installed, tmp_path, "recipe char_python --copy mine")
    assert (tmp_path / "mine" / "char_python.py").read_bytes() == (ROOT / "recipes" / "char_python.py").read_bytes()


def test_the_names_for_pip_and_for_import(installed: Path) -> None:
    about = installed / f"seqmodels_lightning-{seqmodels.__version__}.dist-info"
    assert f"\nName: {imports.DISTRIBUTION}\n" in (about / "METADATA").read_text()
    assert "seqmodels = seqmodels_lightning:main" in (about / "entry_points.txt").read_text()
    assert f"\nversion: {seqmodels.__version__}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.parametrize("broken", [False, True])
def test_another_package_that_hides_this_one(broken: bool, installed: Path, tmp_path: Path) -> None:
    write_other(tmp_path / "other", broken=broken)
    done = program(installed, tmp_path, "recipe --list", tmp_path / "other")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the package seqmodels in ")
    assert "run `pip uninstall seqmodels`" in done.stderr
    assert done.stderr.count("\n") == 1


def test_another_package_in_the_same_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imports.other_package() is None
    write_other(tmp_path, broken=False)
    (tmp_path / "seqmodels-1.dist-info").mkdir()
    (tmp_path / "seqmodels-1.dist-info" / "RECORD").write_text("_editable.pth,,\n")
    why = imports.other_package(tmp_path / "seqmodels")
    assert why is not None
    assert "`pip uninstall seqmodels`" in why
    assert "`pip install --force-reinstall --no-deps seqmodels-lightning`" in why
    monkeypatch.setattr("seqmodels.imports.other_package", lambda: why)
    monkeypatch.setattr("seqmodels.cli.main.other_package", lambda: why)
    with pytest.raises(ImportError, match="two packages are installed as seqmodels"):
        exec("from seqmodels import LSTM", {})
    assert why in refused(capsys, "generate", "run")
    assert why in refused(capsys, "recipe", "--list")


def test_a_recipe_as_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    main(["recipe", "hello", "--max-steps", "2"])
    assert capsys.readouterr().out.splitlines()[-4].startswith("h ")
    main(["recipe", "char_python.py", "--help"])
    assert "--max-minutes" in capsys.readouterr().out
    assert "--max-minuts is not known; did you mean --max-minutes?" in refused(
        capsys, "recipe", "char_python", "--max-minuts", "1"
    )
    main(["recipe", "--help"])
    assert capsys.readouterr().out == f"{recipes.PAGE}\n"


def test_words_that_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "did you mean char_python?" in refused(capsys, "recipe", "char-python")
    assert "choose one of bpe_wikitext2, " in refused(capsys, "recipe", "../secret")
    main(["recipe", "hello", "--copy"])
    assert capsys.readouterr().out == "python hello.py\n"
    assert "'hello.py' is there already" in refused(capsys, "recipe", "hello", "--copy")
    assert "'hello.py' is there already" in refused(capsys, "recipe", "hello", "--copy", "hello.py")
    assert "'more' was not expected" in refused(capsys, "recipe", "hello", "--copy", "a", "more")
