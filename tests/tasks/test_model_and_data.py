"""A model and data that do not fit one another are refused before anything is made, under any trainer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from pairs import write_pairs
from refusals import assert_refused, refused
from trainers import hooked, small_model, small_module, train, trainer

from seqmodels import GRU, LSTM, Hybrid, LanguageModel, TextDataModule, Tokenizer, Transformer, Translator, fit
from seqmodels.cli.main import main
from seqmodels.data import TranslationDataModule
from seqmodels.environment import quiet
from seqmodels.nn import Attentive, Bidirectional

TEXT = Tokenizer.char(["abcdefgh "])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LanguageModel(Transformer(8, 1, 2, causal=False), TEXT), "Transformer reads a text as a whole"),
        (lambda: LanguageModel(Bidirectional(GRU(8, 8)), TEXT), "Bidirectional reads a text as a whole"),
        (lambda: LanguageModel(Transformer(8, 1, 2, memory_size=8), TEXT), "Transformer attends to a memory"),
        (lambda: LanguageModel(Hybrid(8, "GRU,attention", 2, memory_size=8), TEXT), "Hybrid attends to a memory"),
        (lambda: LanguageModel(Attentive(GRU(8, 8), 8), TEXT), "Attentive attends to a memory"),
        (lambda: Translator(Transformer(8, 1, 2, memory_size=8), GRU(8, 8), TEXT), "an encoder without a memory"),
        (
            lambda: Translator(GRU(8, 8), Transformer(8, 1, 2, causal=False, memory_size=16), TEXT),
            "and a causal decoder",
        ),
    ],
)
def test_networks_of_another_kind(make: Callable[[], object], message: str) -> None:
    assert_refused(message, make)


@pytest.mark.parametrize("option", [["causal", "false"], ["memory-size", "16"]])
def test_from_the_command_line(
    option: list[str], text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--backbone", "Transformer", f"--backbone.{option[0]}", option[1], "--max-steps", "1"]
    assert "a language model needs a causal network" in refused(capsys, "fit", "--data", str(text_file), *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("letters", ["abcdefgh", "".join(map(chr, range(32, 400)))])
def test_vocabularies(letters: str, text_file: Path, tmp_path: Path) -> None:
    """Smaller and larger than that of the data."""
    data, model = small_module(text_file, True), LanguageModel(LSTM(8, 8), Tokenizer.char([letters]))
    message = f"tokenizer of this model, of {len(letters) + 4} tokens, is not that of the data, of {{}};"
    message = message.format(data.tokenizer.vocab_size)
    assert_refused(message, fit, model, data, max_steps=1, runs=str(tmp_path))
    assert not list(tmp_path.iterdir())
    for work in (trainer(1).fit, trainer(1, limit_val_batches=1.0).validate):
        assert_refused(message, work, model, datamodule=data)


def test_sides_of_a_translator(tmp_path: Path) -> None:
    data = TranslationDataModule(str(write_pairs(tmp_path, 20, 4, 4)), "en", "fr", tokenizer="word")
    swapped = Translator(GRU(8, 4), GRU(8, 8), data.source_tokenizer, data.tokenizer)
    assert_refused("the tokenizer of this model", trainer(1).fit, swapped, datamodule=data)
    language_model = LanguageModel(GRU(8, 8), data.tokenizer)
    assert_refused("layout='joined' only", trainer(1).fit, language_model, datamodule=data)


def test_training_mode_whatever_the_mode_before(text_file: Path, tmp_path: Path) -> None:
    modes = list[bool]()

    def on_train_batch_start(trainer: pl.Trainer, model: LanguageModel, *args: Any) -> None:
        modes.append(all(part.training for part in model.modules()))

    data = small_module(text_file, True)
    look = hooked(on_train_batch_start=on_train_batch_start)
    fit(small_model(data).eval(), data, max_steps=4, validations=2, runs=str(tmp_path), callbacks=(look,))
    train(small_model(data).eval(), data, 2, look, limit_val_batches=1.0, val_check_interval=1)
    assert modes == [True] * 6


def test_a_test_figure_is_no_validation_figure(text_file: Path) -> None:
    data = small_module(text_file, False)
    assert_refused("has no test split; call validate", trainer(1).test, small_model(data), datamodule=data)
    data = TextDataModule(str(text_file), length=16, batch_size=4, test_fraction=0.1)
    model = small_model(data)
    with quiet():
        (figures,) = trainer(1).test(model, datamodule=data)
        (others,) = trainer(1, limit_val_batches=1.0).validate(model, datamodule=data)
    assert figures["test/nats_per_token"] != others["val/nats_per_token"]


def test_text_that_has_changed_since_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its held-out part may have been trained on."""
    text = tmp_path / "text.txt"
    text.write_text("the gate forgets, and the state is carried.\n" * 60)
    data = TextDataModule(str(text), length=8, batch_size=4)
    run = str(fit(LanguageModel(LSTM(8, 8), data.tokenizer), data, max_steps=1, runs=str(tmp_path / "runs")))
    main(["validate", run])
    text.write_text(text.read_text()[:1200])
    for words in (["validate", run], ["test", run], ["test", run, "--data", str(text)], ["neurons", run]):
        assert "is another text than when the model was trained" in refused(capsys, *words)
    main(["report", run])
    assert "another text than when the model was trained" in (Path(run) / "report.html").read_text()
    other = tmp_path / "other.txt"
    other.write_text("a gate forgets.\n" * 30)
    main(["test", run, "--data", str(other)])
