"""Pieces from all over some documents, with the labels of the whole."""

from pathlib import Path

import pytest
import torch
from refusals import assert_refused

from seqmodels import LSTM, LanguageModel, TextDataModule
from seqmodels.analysis.activations import activations
from seqmodels.data import Tokenizer
from seqmodels.report.run import Run
from seqmodels.report.units import CONTEXT, Excerpt, documents, excerpts, read_excerpts

TEXTS = ["def f(x):\n    return 'ä'\n" * 4, "", "(b)\n" * 30, "x" * 90]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(LSTM(6, 5), Tokenizer.char(TEXTS)).eval()


def test_all_pieces_are_the_documents() -> None:
    pieces = excerpts(TEXTS, 1000, 30)
    for number, text in enumerate(TEXTS):
        own = [piece for piece in pieces if piece.document == number]
        assert "".join(text[piece.start : piece.stop] for piece in own) == text
        assert all(0 < piece.stop - piece.start <= 30 for piece in own)
        assert all(text[piece.stop - 1] == "\n" for piece in own if "\n" in text)
    some = excerpts(TEXTS, 4, 30)
    assert len(some) == 4
    assert set(some) < set(pieces)
    assert {piece.document for piece in some} == {0, 2, 3}


@pytest.mark.parametrize("size", [7, 40])
def test_pieces_are_read_as_the_whole(model: LanguageModel, size: int) -> None:
    assert max(map(len, TEXTS)) < CONTEXT  # so that all that is before a piece is read with it
    whole = activations(model, TEXTS)
    chosen = excerpts(TEXTS, 9, size)
    found = read_excerpts(model, TEXTS, chosen)
    assert len(found.values) == sum(piece.stop - piece.start for piece in chosen)
    for number, piece in enumerate(chosen):
        where = (whole.texts == piece.document) & (piece.start <= whole.characters) & (whole.characters < piece.stop)
        torch.testing.assert_close(found.values[found.texts == number], whole.values[where])
        assert torch.equal(found.characters[found.texts == number] + piece.start, whole.characters[where])


def test_only_some_of_what_is_before_is_read(model: LanguageModel) -> None:
    text = "(b)\n" * 500
    piece = Excerpt(0, 1600, 1640)
    found = read_excerpts(model, [text], [piece]).values
    begin = piece.start - CONTEXT
    torch.testing.assert_close(found, activations(model, [text[begin : piece.stop]]).values[CONTEXT:])


def test_documents_are_from_all_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = [f"{number:02} " + "word " * 20 + "\n" for number in range(40)]
    for kind, texts in (("valid", held_out), ("train", ["a word\n" * 20] * 2)):
        (tmp_path / kind).mkdir()
        for number, text in enumerate(texts):
            (tmp_path / kind / f"{number:02}.txt").write_text(text)
    data = TextDataModule(str(tmp_path), length=8, batch_size=2)
    run = Run(tmp_path, "run", _data=data)
    assert [text.strip() for text in documents(run)] == [text.strip() for text in held_out]
    some = documents(run, 500)
    assert 500 / len(held_out[0]) <= len(some) <= 500 / len(held_out[0]) + 1.1
    assert some == documents(run, 500)
    numbers = [int(text[:2]) for text in some]
    assert numbers == sorted(numbers)
    assert numbers != list(range(len(numbers)))
    monkeypatch.setattr("seqmodels.report.units.DOCUMENT_SIZE", 10)
    assert documents(run)[7] == held_out[7][:10]
    assert_refused("cannot be read", documents, Run(tmp_path, "run", missing={"data": "cannot be read"}))
