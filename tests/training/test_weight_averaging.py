"""Averages of the weights: against sums written out, in the figures, in checkpoints, and when resumed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from trainers import small_model, small_module

from seqmodels import InputError, fit, load
from seqmodels.checkpoints.saved import read_checkpoint
from seqmodels.training.weight_averaging import StalledAverage, make_average


class Weights(pl.Callback):
    """The weights after every step."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        self.weights.append(flat(pl_module))


def flat(module: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()]).clone()


def test_moving_average_is_what_is_saved_and_used(text_file: Path, tmp_path: Path) -> None:
    data, seen = small_module(text_file, True), Weights()
    model = small_model(data)
    run = fit(
        model, data, max_steps=12, validations=2, average="ema", ema_decay=0.5, runs=str(tmp_path), callbacks=(seen,)
    )
    average = seen.weights[0]
    for number, weights in enumerate(seen.weights[1:], 1):
        decay = min(0.5, (1 + number) / (10 + number))  # whole from the ninth step on
        average = decay * average + (1 - decay) * weights
    assert_close(flat(model), average)
    assert_close(flat(load(run / "checkpoints" / "last.safetensors")), average)
    assert not torch.allclose(average, seen.weights[-1])
    kept = read_checkpoint(run / "checkpoints" / "last.safetensors")["current_model_state"]  # to go on from
    assert_close(kept["head.bias"], seen.weights[-1][-len(kept["head.bias"]) :])


@pytest.mark.parametrize("average", ["none", "ema", "stalled"])
def test_what_is_not_trained_stays_and_may_be_infinite(text_file: Path, tmp_path: Path, average: Any) -> None:
    """A bias that forbids a token has no mean, and is no sign of a divergence: the run is saved, and its best used."""
    data = small_module(text_file, True)
    model = small_model(data)
    with torch.no_grad():
        model.head.bias.requires_grad_(False)[0] = -torch.inf
    run = fit(model, data, max_steps=20, validations=10, average=average, clip=0, runs=str(tmp_path))
    for name in ("best", "last"):
        kept = load(run / "checkpoints" / f"{name}.safetensors")
        assert_close(kept.head.bias, torch.zeros(len(kept.head.bias)).index_fill(0, torch.tensor(0), -torch.inf))
        assert kept.head.weight.isfinite().all()
    assert not torch.equal(kept.head.weight, small_model(data).head.weight)


def test_mean_begins_when_validation_stalls(text_file: Path, tmp_path: Path) -> None:
    """With a rate so high that validation gets worse, the mean runs over the steps since then."""
    data, seen = small_module(text_file, True), Weights()
    model = small_model(data, optimizer="sgd", schedule="constant", lr=30.0)
    callback = StalledAverage(patience=1)
    fit(model, data, max_steps=24, validations=8, clip=0, runs=str(tmp_path), callbacks=(callback, seen))
    assert callback.began
    figures = callback.figures
    first = next(n for n in range(2, len(figures)) if figures[n] >= min(figures[: n - 1]))
    steps = seen.weights[3 * (first + 1) :]  # a validation every three steps
    before = seen.weights[3 * (first + 1) - 1]
    assert_close(flat(model), torch.stack([before, *steps]).mean(0))


def test_patience() -> None:
    """The best is that of more than `patience` validations ago, so the mean begins so much later than the stall."""
    callback, began = StalledAverage(patience=2), []
    for figure in (5.0, 4.0, 3.0, 3.5, 3.4, 3.3, 2.0):
        trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"), callback_metrics={"val/nats_per_token": figure})
        callback.on_validation_end(trainer, None)  # type: ignore[arg-type]
        began.append(callback.began)
    assert began == [False] * 5 + [True] * 2


class Validations(pl.Callback):
    """The figure at each validation; after one of them, training ends."""

    def __init__(self, last: int | None = None) -> None:
        self.figures: list[float] = []
        self.last = last

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.figures.append(float(trainer.callback_metrics["val/nats_per_token"]))
        if len(self.figures) == self.last:
            trainer.should_stop = True


@pytest.mark.parametrize(("average", "precision"), [("ema", "32-true"), ("stalled", "32-true"), ("ema", "64-true")])
def test_resumed_with_its_average(
    text_file: Path, tmp_path: Path, average: Any, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a validation that was not the best: the last checkpoint is of that one; the mean of `stalled` has begun."""
    monkeypatch.setattr(StalledAverage.__init__, "__defaults__", ("val/nats_per_token", 1))
    settings = {"max_steps": 48, "validations": 16, "average": average, "clip": 0, "diagnostics": False}
    settings |= {"runs": str(tmp_path), "precision": precision}

    def trained(seen: Validations, **others: Any) -> tuple[Tensor, Path]:
        data = small_module(text_file, True)
        model = small_model(data, dropout=0.2, optimizer="sgd", schedule="constant", lr=30.0)
        run = fit(model, data, **settings | others, callbacks=(seen,))
        return flat(model), run

    whole = Validations()
    end, _ = trained(whole)
    worse = [n for n in range(2, 16) if whole.figures[n - 1] > min(whole.figures[: n - 1])]
    stop = worse[2]  # by then the mean has begun
    _, run = trained(Validations(stop))
    record = read_checkpoint(run / "checkpoints" / "last.safetensors")
    assert record["global_step"] == 3 * stop
    assert read_checkpoint(run)["global_step"] < 3 * stop
    assert int(record["averaging_state"]["n_averaged"]) > 1
    with pytest.raises(InputError, match="another average"):
        trained(Validations(), average="none", resume=run)
    resumed, _ = trained(Validations(), resume=run)
    assert_close(resumed, end, rtol=0, atol=0)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        make_average("ema", 1.0, 6)
    with pytest.raises(InputError, match="--validations of at least 8"):
        make_average("stalled", 0.9, 6)
    assert make_average("stalled", 0.9, 8)
