"""While much is imported, nobody looks for garbage, and afterwards somebody does."""

import gc
import os
import sys
from importlib import import_module
from pathlib import Path

import pytest

from seqmodels import imports
from seqmodels.imports import bound_threads, quick_imports, short_waits


@pytest.fixture
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program that begins."""
    monkeypatch.delitem(sys.modules, "lightning", raising=False)


@pytest.mark.usefixtures("_fresh")
def test_no_search_until_the_end() -> None:
    frozen = gc.get_freeze_count()
    with quick_imports():
        assert not gc.isenabled()
    with pytest.raises(ImportError), quick_imports():
        import_module("there_is_no_such_module")
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


@pytest.mark.usefixtures("_fresh")
def test_what_a_program_begins_with_is_kept() -> None:
    frozen = gc.get_freeze_count()
    try:
        with quick_imports(keep=True):
            pass
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()


@pytest.mark.usefixtures("_fresh")
def test_whoever_turned_it_off_has_it_off() -> None:
    gc.disable()
    try:
        with quick_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_nothing_changes_where_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning", gc)
    with quick_imports(keep=True):
        assert gc.isenabled()


@pytest.mark.parametrize(
    ("imported", "intel", "chosen", "found"),
    [
        (False, False, {}, "3000"),
        (False, True, {}, "10000"),
        (True, False, {}, None),
        (False, False, {"OMP_WAIT_POLICY": "active"}, None),
        (False, True, {"GOMP_SPINCOUNT": "7"}, "7"),
    ],
)
def test_threads_that_wait_sleep_soon_unless_told_otherwise(
    imported: bool, intel: bool, chosen: dict[str, str], found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "_is_intel", lambda: intel)
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    if not imported:
        monkeypatch.delitem(sys.modules, "torch")
    short_waits()
    assert os.environ.get("GOMP_SPINCOUNT") == found


@pytest.mark.parametrize(("given", "found", "told"), [("99", "2", True), ("2", "2", False), ("4,2", "4,2", False)])
def test_threads_beyond_the_cores(
    given: str, found: str, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(imports, "cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.delitem(sys.modules, "torch")
    bound_threads()
    assert os.environ["OMP_NUM_THREADS"] == found
    line = "OMP_NUM_THREADS=99 asks for more threads than the 2 cores: 2 work\n"
    assert capsys.readouterr().err == line * told


def test_recipes_import_the_program_short_waits() -> None:
    for path in (Path(__file__).parents[1] / "recipes").glob("*.py"):
        ours = [line for line in path.read_text().splitlines() if line.startswith("from seqmodels")]
        assert ours[0].startswith("from seqmodels.cli "), path.name
