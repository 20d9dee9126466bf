"""Commands over text as it comes: byte order marks, several test sets, and words that no vocabulary has."""

import inspect
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from refusals import refused

from seqmodels import LSTM, LanguageModel, TextDataModule, fit
from seqmodels.cli.main import main
from seqmodels.cli.text_io import parts, read_lines
from seqmodels.errors import InputError
from seqmodels.interop.word_vectors.analogies import read_questions
from seqmodels.interop.word_vectors.vector_files import read_vectors
from seqmodels.training.search_recipe import read_recipe


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_streams_and_files(mark: str, end: str, tmp_path: Path) -> None:
    wanted = ["the fox", "", "the \u2028 hare"]
    content = (mark + "".join(line + end for line in wanted)).encode()
    assert [line for part in parts(io.BytesIO(content), "it", 2) for line in part] == wanted
    (tmp_path / "lines.txt").write_bytes(content)
    assert read_lines(str(tmp_path / "lines.txt")) == wanted
    (tmp_path / "questions.txt").write_bytes(f"{mark}: pets{end}a b c d{end}".encode())
    assert [question.section for question in read_questions(tmp_path / "questions.txt")] == ["pets"]
    (tmp_path / "vectors.txt").write_bytes(f"{mark}fox 1 2\nhare 3 4\n".encode())
    assert read_vectors(tmp_path / "vectors.txt").words == ["fox", "hare"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on ASCII, whose validation text and test sets have other letters."""
    folder = tmp_path_factory.mktemp("text")
    for name, text in {"train": "abc" * 99, "valid": "abç" * 30, "test_a": "abc" * 9, "test_b": "aé" * 9}.items():
        (folder / f"{name}.txt").write_text(text)
    data = TextDataModule(str(folder), length=8, batch_size=2)
    model = LanguageModel(LSTM(4, 8), data.tokenizer)
    return fit(model, data, max_steps=2, validations=1, runs=str(folder / "runs"), diagnostics=False)


def test_unknown_tokens_of_the_validation_text(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads((run / "result.json").read_text())["unknown"] == {"train": 0, "validation": 30}
    data = TextDataModule(str(run.parents[2]), length=8, batch_size=2)
    budget = {"max_steps": 1, "validations": 1, "runs": str(run.parent / "again"), "diagnostics": False}
    fit(LanguageModel(LSTM(4, 8), data.tokenizer), data, **budget)
    said = capsys.readouterr().out
    assert "note     30 of 90 tokens (33.33%) of the validation text are unknown to the vocabulary" in said
    assert "of the training text" not in said


def test_each_of_several_test_sets_is_reported(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["test", str(run), "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"].rpartition(", ")[2] for line in lines] == ["test_a", "test_b"]
    assert [(line["tokens"], line["unknown"]) for line in lines] == [(27, 0), (18, 9)]
    main(["test", str(run), "--json", "--split", "test_b"])
    assert json.loads(capsys.readouterr().out)["text"].endswith("test_b")


def test_markup_that_is_learned_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.html").write_text("<p>the cat and the hat</p>\n" * 60)
    words = ["--data", str(tmp_path / "page.html"), "--runs", str(tmp_path), "--max-steps", "1", "--length", "16"]
    main(["fit", *words, "--batch-size", "2", "--backbone.hidden-size", "4", "--validations", "1"])
    assert "note     page.html: tags are learned, too" in capsys.readouterr().out


def test_arguments_of_other_programs_have_a_hint_in_python(tmp_path: Path) -> None:
    """As their flags have on the command line; what is right is found by names and signatures as before."""
    data = TextDataModule(["the cat and the hat"] * 20, length=8, batch_size=2)
    model: Any = LanguageModel(LSTM(4, 8), data.tokenizer)
    training: Any = fit
    calls = {
        "epochs=3 was given, which fit does not take; a training ends after max_minutes, max_steps": training,
        "lr=0.1 was given, which fit does not take; it is an argument of the task": training,
        "batch_size=3 was given, which fit does not take; it is an argument of the data module": training,
        "temperature=0.5 was given, which generate does not take; give sampling=Sampling": model.generate,
        "max_new_tokens=3 was given, which generate_batch does not take; give max_tokens": model.generate_batch,
    }
    for message, function in calls.items():
        name, given = message.partition(" ")[0].split("=")
        with pytest.raises(InputError, match=re.escape(message)):
            function("the", **{name: float(given)} if "." in given else {name: int(given)})
    with pytest.raises(TypeError, match="qwertz"):
        model.generate("the", qwertz=1)
    assert "max_steps" in inspect.signature(fit).parameters


def test_help_of_a_sweep_has_a_recipe_that_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["sweep", "--help"])
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 120
    (tmp_path / "sweep.yaml").write_text(" ".join(page.split("`")[3].split()))
    assert read_recipe(tmp_path / "sweep.yaml").search == {"lr": [0.001, 0.003], "dropout": {"low": 0.0, "high": 0.5}}


@pytest.mark.parametrize("name", ["char_shakespeare", "multi30k_attention"])
def test_a_recipe_without_its_text_trains_on_no_other(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)  # which the command sets
    assert "this recipe has no text of its own; give --data" in refused(capsys, "recipe", name, "--max-steps", "1")
