"""The cache: a file that was changed is read again, and nothing grows for ever."""

import os
from pathlib import Path

import datasets
import pytest

from seqmodels.cli.main import main
from seqmodels.data import Tokenizer, cache, load_corpus, tokenize_column
from seqmodels.errors import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "seqmodels"


def read(path: Path) -> str:
    rows = load_corpus(str(path)).rows("whole")
    tokenize_column(rows, Tokenizer.byte())
    return "".join(rows["text"])


def test_a_file_written_anew_with_the_same_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    for letter in "ab":
        path.write_text(letter * 100)
        os.utime(path, (1e9, 1e9))
        assert read(path) == letter * 100


def test_what_was_not_used_for_longest_is_removed_first(tmp_path: Path, folder: Path) -> None:
    paths = [tmp_path / f"{letter}.txt" for letter in "abc"]
    for path in paths:
        path.write_text(path.stem * 100_000)
        read(path)
    for number, (_, _, files) in enumerate(sorted(cache._entries())):
        for file in files:
            os.utime(file, (number, number))
    whole = cache.cache_bytes()
    assert whole > 6 * 100_000
    read(paths[0])  # used again
    assert 0 < cache.trim_cache(whole / 2) < whole
    assert cache.cache_bytes() <= whole / 2
    assert read(paths[1]) == "b" * 100_000  # made again, where it was removed
    assert cache.trim_cache(0) > 0
    assert cache.cache_bytes() == 0


def test_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all that was not used within the last hour."""
    monkeypatch.setenv("SEQMODELS_CACHE_GB", "1e-4")
    for letter in "abcdef":
        (tmp_path / f"{letter}.txt").write_text(letter * 50_000)
        read(tmp_path / f"{letter}.txt")
    assert cache.cache_bytes() > 5e5
    monkeypatch.setattr(cache, "IN_USE", -10)
    cache.trim_cache()
    assert cache.cache_bytes() <= 1e5
    monkeypatch.setenv("SEQMODELS_CACHE_GB", "much")
    with pytest.raises(InputError, match="SEQMODELS_CACHE_GB=much was given; expected gigabytes"):
        cache.trim_cache()


def test_command(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text("abc" * 1000)
    read(tmp_path / "text.txt")
    main(["cache"])
    assert f"folder  {folder}" in capsys.readouterr().out
    main(["cache", "--clear"])
    assert "size    0.00 GB" in capsys.readouterr().out
    assert cache.cache_bytes() == 0
