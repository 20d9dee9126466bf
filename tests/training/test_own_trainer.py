"""A Trainer that a user sets up: callbacks, checkpoints, evaluation, prediction, signals, and what is refused."""

import math
import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch import callbacks, strategies
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.tuner import Tuner
from pairs import write_pairs
from torch.testing import assert_close
from torch.utils.data import DataLoader, RandomSampler
from trainers import Record, hooked, small_model, small_module, trainer

from seqmodels import (
    GRU,
    DivergedError,
    FSDPStrategy,
    GradientHorizon,
    InputError,
    LanguageModel,
    NonfiniteSteps,
    SafetensorsCheckpointIO,
    Samples,
    Spectra,
    StopOnSignal,
    TextDataModule,
    TranslationDataModule,
    Translations,
    Translator,
    load,
)  # fmt: skip
from seqmodels.batch import IGNORE, Batch
from seqmodels.checkpoints.saved import read_checkpoint
from seqmodels.environment import quiet
from seqmodels.tasks.any_trainer import check_strategy

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "own-trainer.md"


def owned(folder: Path, *given: pl.Callback, **settings: Any) -> pl.Trainer:
    """A Trainer with Lightning's own checkpoints and a log of its own, one for each call."""
    usual = {"limit_val_batches": 1.0, "plugins": [], "logger": CSVLogger(folder), "default_root_dir": folder}
    return trainer(-1, *given, **usual | {"enable_checkpointing": True} | settings)


def fitted(runner: pl.Trainer, model: pl.LightningModule, data: pl.LightningDataModule, **settings: Any) -> pl.Trainer:
    with quiet():
        runner.fit(model, datamodule=data, **settings)
    return runner


def assert_same_weights(ours: pl.LightningModule, theirs: pl.LightningModule) -> None:
    for name, tensor in theirs.state_dict().items():
        assert_close(ours.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


def listed() -> set[str]:
    """The names in the guide."""
    return set(re.findall(r"^\| `((?:train|val)/\w+)` \|", GUIDE.read_text(), re.MULTILINE))


def test_names_to_monitor(text_file: Path, tmp_path: Path) -> None:
    """The callbacks that everybody uses, by the names that the guide lists, and no others."""
    data = small_module(text_file, True)
    best = callbacks.ModelCheckpoint(tmp_path / "best", monitor="val/nats_per_token", save_top_k=2)
    stop = callbacks.EarlyStopping("val/nats_per_token", min_delta=100.0, patience=1)
    runner = owned(tmp_path, best, stop, callbacks.LearningRateMonitor(), max_epochs=5, log_every_n_steps=10)
    fitted(runner, model := small_model(data), data)
    assert runner.current_epoch == 2  # the second was not better by so much
    assert len(list((tmp_path / "best").iterdir())) == 2
    assert float(best.best_model_score or 0) == pytest.approx(float(stop.best_score), abs=0.5)
    logged = {name for name in runner.callback_metrics if not name.startswith("lr-")}
    translating = {f"val/{name}" for name in ("bleu", "chrf", "exact_match", "sentences", "token_accuracy")}
    assert listed() - translating == logged
    text = (Path(str(runner.logger.log_dir)) / "hparams.yaml").read_text()  # type: ignore[union-attr]
    assert "hidden_size: 16" in text
    assert "batch_size: 4" in text
    assert "<unk>" not in text  # no tokenizer
    assert_same_weights(load(best.last_model_path or best.best_model_path), load(best.best_model_path))
    assert isinstance(model, LanguageModel)


@pytest.mark.parametrize("kind", ["lightning", "safetensors"])
def test_exact_resume(text_file: Path, tmp_path: Path, kind: str) -> None:
    """From a checkpoint in the middle of an epoch, with validations, and with the files that callbacks write."""
    plugins = [SafetensorsCheckpointIO()] if kind == "safetensors" else []

    def run(name: str, steps: int, **settings: Any) -> tuple[LanguageModel, Path]:
        data = small_module(text_file, True)
        model = small_model(data, dropout=0.2)
        saves = callbacks.ModelCheckpoint(tmp_path / name, "{step}", every_n_train_steps=11, save_top_k=-1)
        measures = [Samples("The", tokens=10, first=4), GradientHorizon(first=4), Spectra(first=4), NonfiniteSteps()]
        given = {"max_steps": steps, "val_check_interval": 7, "plugins": plugins, "log_every_n_steps": 1}
        runner = owned(tmp_path / "logs", saves, *measures, **given, accumulate_grad_batches=2)
        return model, Path(str(fitted(runner, model, data, **settings).logger.log_dir))  # type: ignore[union-attr]

    whole, files = run("whole", 33)
    path = next((tmp_path / "whole").glob("step=22*"))
    assert load(path).training is False
    resumed, others = run("resumed", 33, ckpt_path=path, weights_only=kind == "safetensors")
    assert files != others
    assert_same_weights(resumed, whole)
    assert resumed.tokens_seen == whole.tokens_seen
    assert (files / "samples.md").read_text().endswith((others / "samples.md").read_text())
    for name in ("gradient_horizon.csv", "spectra.csv"):
        header, *rows = (files / name).read_text().splitlines()
        after = [row for row in rows if int(row.split(",")[0]) > 22]
        assert (others / name).read_text().splitlines() == [header, *after]


def test_files_are_of_one_training(text_file: Path, tmp_path: Path) -> None:
    """In a folder that is used again: one that resumes writes what came after its checkpoint again, a new one all."""

    def run(steps: int, seed: int = 0, **settings: Any) -> dict[str, str]:
        data = small_module(text_file, True)
        model = small_model(data)
        torch.manual_seed(seed)
        saves = callbacks.ModelCheckpoint(tmp_path / "saves", "{step}", every_n_train_steps=4, save_top_k=-1)
        folder = tmp_path / "files"
        every: dict[str, Any] = {"every": 2, "folder": folder}
        measures = [Samples("The", tokens=10, **every), GradientHorizon(**every), Spectra(**every)]
        fitted(owned(tmp_path, saves, *measures, max_steps=steps), model, data, **settings)
        return {path.name: path.read_text() for path in folder.iterdir() if path.suffix in (".md", ".csv")}

    whole = run(8)
    assert len(whole) == 3
    assert "step 8" in whole["samples.md"]
    assert run(8, ckpt_path=tmp_path / "saves" / "step=4.ckpt", weights_only=False) == whole
    assert "step 6" not in run(4)["samples.md"]


def test_checkpoints_load_by_class(text_file: Path, tmp_path: Path) -> None:
    data = small_module(text_file, True)
    runner = owned(tmp_path, max_steps=3)
    fitted(runner, model := small_model(data), data)
    path = runner.checkpoint_callback.best_model_path  # type: ignore[union-attr]
    again = LanguageModel.load_from_checkpoint(path, map_location="cpu")
    assert not again.training
    assert_same_weights(again, model)
    for call, message in (
        (lambda: Translator.load_from_checkpoint(path), "holds a LanguageModel, not a Translator"),
        (lambda: LanguageModel.load_from_checkpoint(path, lr=1.0), "was given lr; a checkpoint holds the arguments"),
        (lambda: LanguageModel.load_from_checkpoint(path, strict=False), "was given strict"),
        (lambda: LanguageModel.load_from_checkpoint(tmp_path / "no.ckpt"), "there is no"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_learning_rate_finder(text_file: Path, tmp_path: Path) -> None:
    """The rates of its steps are those of its curve, and the one that it finds is that of the checkpoint."""
    data, rates = small_module(text_file, True), list[float]()
    model = small_model(data, schedule="constant", warmup=0.0)
    clip = model.configure_gradient_clipping

    def seen(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        clip(optimizer, *args, **kwargs)

    model.configure_gradient_clipping = seen  # type: ignore[method-assign]  # the finder puts callbacks aside
    runner = owned(tmp_path, max_steps=20, enable_checkpointing=False)
    with quiet():
        finder = Tuner(runner).lr_find(model, datamodule=data, num_training=20, min_lr=1e-6, max_lr=1e-1)
    assert finder is not None
    assert rates == pytest.approx(finder.results["lr"][: len(rates)])
    assert model.lr == finder.suggestion() != 3e-3
    rates.clear()
    fitted(runner, model, data)
    assert rates == [pytest.approx(model.lr)] * 20
    runner.save_checkpoint(tmp_path / "tuned.ckpt")
    assert load(tmp_path / "tuned.ckpt").lr == model.lr


def test_batch_size_finder(text_file: Path, tmp_path: Path) -> None:
    data = small_module(text_file, True)
    model, runner = small_model(data), owned(tmp_path, max_steps=2, enable_checkpointing=False)
    with quiet():
        found = Tuner(runner).scale_batch_size(model, datamodule=data, init_val=2, max_trials=1, steps_per_trial=1)
        runner.fit(model, datamodule=data)
    runner.save_checkpoint(tmp_path / "tuned.ckpt")
    assert read_checkpoint(tmp_path / "tuned.ckpt")["seqmodels"]["data"]["init_args"]["batch_size"] == found


def test_log_probabilities(text_file: Path, tmp_path: Path) -> None:
    """Of every token of the validation text once, from the same state: together, the figure of the validation."""
    for carry in (True, False):
        data = small_module(text_file, carry)
        model, runner = small_model(data).double(), owned(tmp_path, precision="64-true")
        with quiet():
            found = runner.predict(model, datamodule=data)  # first: nothing was evaluated before
            (figures,) = runner.validate(model, datamodule=data, verbose=False)
        assert found is not None
        scored = torch.cat([part.flatten() for part in found])  # type: ignore[union-attr]
        assert -float(scored.nanmean()) == pytest.approx(figures["val/nats_per_token"])
        assert set(figures) == {f"val/{name}" for name in ("nats_per_token", "perplexity", *BITS)}
    batch = Batch(torch.tensor([[5, 6]]), torch.tensor([[6, IGNORE]]))
    assert model.predict_step(batch, 0).isnan().tolist() == [[False, True]]
    texts = ["The state", "of the gate", "café"]
    with quiet():
        (scores, more) = runner.predict(model, DataLoader(texts, batch_size=2)) or ()
        apart = runner.predict(model, texts) or ()
    assert [*scores, *more] == model.score(texts)
    assert [score for (score,) in apart] == model.score(texts)  # type: ignore[misc]
    says = "predict was given the text 'The state'; expected several: put it in a list"
    with quiet(), pytest.raises(InputError, match=says):
        runner.predict(model, texts[0])


BITS = ("bits_per_character", "bits_per_byte")


def test_translations_of_predict(tmp_path: Path) -> None:
    data = TranslationDataModule(str(write_pairs(tmp_path)), "en", "fr", tokenizer="word", batch_tokens=200)
    torch.manual_seed(0)
    model = Translator(GRU(8, 8), GRU(8, 16), data.tokenizer, data.source_tokenizer, lr=2e-2)
    runner = owned(tmp_path, Translations(), max_epochs=2, log_every_n_steps=5)
    fitted(runner, model, data)
    assert set(runner.callback_metrics) == listed()
    written = (Path(str(runner.logger.log_dir)) / "translations.md").read_text()  # type: ignore[union-attr]
    assert written.count("## step") == 2
    with quiet():
        found = [pair for part in runner.predict(model, datamodule=data) or () for pair in part]  # type: ignore[union-attr]
        (figures,) = runner.test(model, datamodule=data, verbose=False)
        given = runner.predict(model, DataLoader([source for source, _ in found][:3], batch_size=3))
    assert len(found) == len(data.sentences("test")[0])
    apart = model.translate([source for source, _ in found])
    assert [best.text for _, best in found] == [best[0].text for best in apart]
    assert [(source, best.text) for source, best in given[0]] == [(s, best.text) for s, best in found[:3]]  # type: ignore[index]
    assert model.predict_step(found[0][0], 0) == model.predict_step([found[0][0]], 0)
    assert "test/bleu" in figures


def test_overfitting_on_two_batches(text_file: Path, tmp_path: Path) -> None:
    """The same ones in every epoch, in both layouts."""
    for carry in (True, False):
        data, seen = small_module(text_file, carry), Record()
        fitted(owned(tmp_path, seen, overfit_batches=2, max_epochs=3, log_every_n_steps=1), small_model(data), data)
        assert len(seen.inputs) == 6
        for number, inputs in enumerate(seen.inputs):
            assert torch.equal(inputs, seen.inputs[number % 2])
        assert not torch.equal(seen.inputs[0], seen.inputs[1])


@pytest.mark.parametrize(
    "settings",
    [
        {"fast_dev_run": True},
        {"barebones": True, "max_steps": 2, "logger": None, "enable_checkpointing": None, "limit_val_batches": None},
        {"log_every_n_steps": 0, "max_steps": 2},
        {"limit_train_batches": 3, "max_epochs": 2, "log_every_n_steps": 1},
        {"max_time": {"seconds": 1}},
        {"precision": "bf16-true", "max_steps": 2},
        {"use_distributed_sampler": False, "max_steps": 2},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_of_lightning(text_file: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    data = small_module(text_file, True)
    model = small_model(data)
    with quiet():
        fitted(owned(tmp_path, **settings), model, data)
    assert model.tokens_seen > 0


def test_parts_that_a_callback_unfreezes_follow_the_schedule(text_file: Path, tmp_path: Path) -> None:
    data = small_module(text_file, True)
    model = small_model(data)
    later = callbacks.BackboneFinetuning(unfreeze_backbone_at_epoch=1, backbone_initial_lr=2e-3)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    runner = fitted(owned(tmp_path, later, max_epochs=3), model, data)
    assert all(not weight.equal(before[name]) for name, weight in model.named_parameters())
    groups = runner.optimizers[0].param_groups
    rates = [group["lr"] for group in groups]
    assert len(groups) > 2
    assert rates[-1] < 1e-4
    runner.save_checkpoint(tmp_path / "later.ckpt")
    assert_same_weights(LanguageModel.load_from_checkpoint(tmp_path / "later.ckpt"), model)


def test_stopped_by_a_signal_and_resumed(text_file: Path, tmp_path: Path) -> None:
    def run(*more: pl.Callback, **settings: Any) -> LanguageModel:
        data = small_module(text_file, True)
        model = small_model(data, dropout=0.2)
        fitted(owned(tmp_path, StopOnSignal(), *more, max_steps=12, accumulate_grad_batches=2), model, data, **settings)
        return model

    def send(runner: pl.Trainer, model: Any, outputs: Any, batch: Batch, number: int) -> None:
        if number == 8:  # in the middle of the fifth step
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        run(hooked(on_train_batch_end=send))
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert read_checkpoint(tmp_path / "stopped.ckpt")["global_step"] == 5
    resumed = run(ckpt_path=tmp_path / "stopped.ckpt", weights_only=False)
    assert_same_weights(resumed, run())


def test_nonfinite_steps(text_file: Path, tmp_path: Path) -> None:
    data = small_module(text_file, True)
    model = small_model(data)
    real = model.training_step
    model.training_step = lambda batch, batch_idx: real(batch, batch_idx) * (math.nan if batch_idx >= 2 else 1)  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match="3 steps in a row"):
        fitted(owned(tmp_path, NonfiniteSteps(3, folder=tmp_path), max_steps=20), model, data)
    assert (tmp_path / "nonfinite_steps.jsonl").read_text().count('{"step"') == 3
    with pytest.raises(InputError, match="limit=0 was given"):
        NonfiniteSteps(0)


class Shuffled(TextDataModule):
    """Data whose batches come in another order than its own."""

    def train_dataloader(self) -> Any:
        own = super().train_dataloader()
        return DataLoader(own.dataset, batch_size=None, sampler=RandomSampler(own.dataset))  # type: ignore[arg-type]


def test_an_injected_sampler_is_refused(text_file: Path, tmp_path: Path) -> None:
    data = Shuffled(str(text_file), length=16, batch_size=4)
    with pytest.raises(InputError, match="drawn by a RandomSampler in place of the data module's own sampler"):
        fitted(owned(tmp_path, max_steps=2), small_model(data), data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": strategies.FSDPStrategy()}, "the strategy FSDPStrategy, under which nothing here was tested"),
        ({"strategy": strategies.ModelParallelStrategy()}, "the strategy ModelParallelStrategy, under"),
        ({"precision": "16-mixed"}, "precision='16-mixed'; give 32-true or bf16-mixed"),
        ({"callbacks": [callbacks.EMAWeightAveraging()]}, "a WeightAveraging callback; leave it out"),
        ({"inference_mode": True}, "inference_mode=True, in which gathered weights"),
        ({"world_size": 1}, "devices=1; give at least 2"),
        ({"optimizer": "muon"}, "optimizer='muon'; give adamw"),
    ],
)
def test_strategies_that_break_a_promise(text_file: Path, settings: dict[str, Any], message: str) -> None:
    """On a CPU, Lightning refuses some of them itself; so the check is given what it would see on GPUs."""
    model = small_model(small_module(text_file, True), optimizer=settings.pop("optimizer", "adamw"))
    loop = SimpleNamespace(inference_mode=settings.pop("inference_mode", False))
    loops = dict.fromkeys(("validate_loop", "test_loop", "predict_loop"), loop)
    fit_loop = SimpleNamespace(epoch_loop=SimpleNamespace(val_loop=loop))
    usual = {"strategy": FSDPStrategy(), "precision": "32-true", "callbacks": [], "world_size": 2, "fit_loop": fit_loop}
    given: Any = SimpleNamespace(**usual | loops | settings)
    with pytest.raises(InputError, match=message):
        check_strategy(model, given)


def test_samples_of_a_translator_are_translations(tmp_path: Path) -> None:
    data = TranslationDataModule(str(write_pairs(tmp_path)), "en", "fr", tokenizer="word", batch_tokens=200, joint=True)
    model = Translator(GRU(8, 8), GRU(8, 16), data.tokenizer)
    with pytest.raises(InputError, match="add Translations instead"):
        fitted(owned(tmp_path, Samples(first=1), max_steps=2), model, data)
    text = tmp_path / "text.txt"
    text.write_text("a b c d e f g h\n" * 50)
    chars = small_module(text, True)
    with pytest.raises(InputError, match="were given no pairs"):
        fitted(owned(tmp_path, Translations(), max_steps=2), small_model(chars), chars)
