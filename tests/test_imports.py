"""While much is imported, nobody looks for garbage, and afterwards somebody does."""

import gc
import sys
from importlib import import_module

import pytest

from seqmodels.imports import quick_imports


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
