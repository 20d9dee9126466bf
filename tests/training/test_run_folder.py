"""Names of run folders."""

from pathlib import Path

import pytest

from seqmodels.training.run_folder import make_folder


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("python", "python"),
        ("/texts/Alice in Wonderland.txt.gz", "alice-in-wonderland"),
        ("texts/*.txt", "texts"),
        ("texts/(1).txt", "1"),
        ("wikitext/wikitext-2-v1", "wikitext-2-v1"),
        ("каша.txt", "каша"),
        ("/*", "data"),
    ],
)
def test_a_run_is_named_by_its_data(tmp_path: Path, data: str, name: str) -> None:
    folder = make_folder(tmp_path, "LanguageModel", "LSTM", data, 7)
    assert folder.parent == tmp_path / "language_model"
    assert folder.name.startswith(f"lstm-{name}-s7-")


def test_two_runs_of_the_same_second(tmp_path: Path) -> None:
    folders = {make_folder(tmp_path, "Translator", "GRU", "a", 1) for _ in range(3)}
    assert len(folders) == 3
