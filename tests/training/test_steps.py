"""Steps that mean what they say: all nats by all targets, a rate that is never zero, and an end that is told."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.testing import assert_close
from trainers import hooked, small_model, small_module, train

from seqmodels import LanguageModel, TextDataModule, Tokenizer, fit
from seqmodels.batch import IGNORE, Batch
from seqmodels.nn import LSTM
from seqmodels.tasks.optim import learning_rate_factor

SHORT = ["a" * 104, "ba", "abacab" * 3, "c", "cab" * 9, "b", "bacc", "acab" * 5]


def documents(folder: Path, texts: list[str], batch_size: int) -> TextDataModule:
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return TextDataModule(
        str(path), length=128, batch_size=batch_size, documents="apart", shuffle=False, val_fraction=0.2
    )


def weights(task: pl.LightningModule) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in task.parameters()])


def trained(folder: Path, texts: list[str], batch_size: int, accumulate: int, steps: int, **more: Any) -> Tensor:
    """Weights after steps of plain SGD in double precision, at a constant rate."""
    data = documents(folder, texts, batch_size)
    torch.manual_seed(0)
    model = small_model(data, LSTM(8, 16), optimizer="sgd", lr=0.5, schedule="constant", warmup=0.0, **more)
    given = {"precision": "64-true", "accumulate_grad_batches": accumulate, "gradient_clip_val": 1.0}
    train(model, data, steps, **given)
    return weights(model)


def test_a_step_is_that_of_all_its_targets(tmp_path: Path) -> None:
    """One long document and one short, together or one after the other."""
    texts = [SHORT[0], "abcab", SHORT[2]]  # the last of which validates
    for more in ({}, {"activation_penalty": 2.0}):
        before = trained(tmp_path, texts, 2, 1, 0, **more)
        together, apart = (trained(tmp_path, texts, size, 2 // size, 1, **more) for size in (2, 1))
        if not more:
            assert_close(apart, together, rtol=1e-9, atol=1e-12)
        assert (apart - before).norm() > 0.1


@settings(max_examples=8, deadline=None)
@given(st.permutations(SHORT), st.sampled_from([(1, 4), (2, 2), (1, 2)]))
def test_whatever_the_accumulation(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], sizes: tuple[int, int]
) -> None:
    folder, (size, accumulate) = tmp_path_factory.mktemp("accumulate"), sizes
    whole = trained(folder, texts, size * accumulate, 1, 1)
    assert_close(trained(folder, texts, size, accumulate, 1), whole, rtol=1e-9, atol=1e-12)


def test_at_the_end_of_an_epoch_too(tmp_path: Path) -> None:
    """Six documents: a step of four batches, and one of the two that are left."""
    data = documents(tmp_path, SHORT, 1)
    model = small_model(data, optimizer="sgd", lr=1e-12, schedule="constant", warmup=0.0)
    train(model, data, 2, precision="64-true", accumulate_grad_batches=4)
    rows = [data.training_batches()[0, k] for k in range(len(data.training_batches()))]
    assert len(rows) == 6
    losses = [model.losses(batch, None) for batch in rows[4:]]
    count = sum(int((batch.targets >= 0).sum()) for batch in rows[4:])
    wanted = torch.autograd.grad(sum(one.objective for one in losses) / count, list(model.parameters()))
    assert_close(float(model.gradient_norm), float(torch.cat([g.flatten() for g in wanted]).norm()))


SCRIPT = """
import sys
from pathlib import Path
import torch
sys.path[:0] = sys.argv[4:]
from training.test_steps import SHORT, documents, weights
from trainers import small_model, train
folder, devices, accumulate = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
data = documents(folder, SHORT, 4 // devices // accumulate)
model = small_model(data, optimizer="sgd", lr=0.5, schedule="constant", warmup=0.0)
settings = {"precision": "64-true", "accumulate_grad_batches": accumulate, "devices": devices}
train(model, data, 1, **settings, **({"strategy": "ddp"} if devices > 1 else {}))
if model.global_rank == 0:
    torch.save(weights(model), folder / "weights.pt")
"""


@pytest.mark.slow
def test_ranks_and_accumulation_together(tmp_path: Path) -> None:
    """Two ranks of two batches each beside one rank of one batch."""
    (tmp_path / "script.py").write_text(SCRIPT)
    tests = Path(__file__).parents[1]
    words = [str(tmp_path), "2", "2", str(tests.parent), str(tests)]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), *words], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    data = documents(tmp_path, SHORT, 4)
    model = small_model(data, optimizer="sgd", lr=0.5, schedule="constant", warmup=0.0)
    train(model, data, 1, precision="64-true")
    assert_close(torch.load(tmp_path / "weights.pt"), weights(model), rtol=1e-9, atol=1e-12)


def rates_of(**settings: Any) -> list[float]:
    rates = list[float]()

    def on_before_optimizer_step(trainer: pl.Trainer, model: LanguageModel, optimizer: Any) -> None:
        rates.append(optimizer.param_groups[0]["lr"])

    data = settings.pop("data")
    steps = settings.pop("steps", -1)
    train(small_model(data), data, steps, hooked(on_before_optimizer_step=on_before_optimizer_step), **settings)
    return rates


@pytest.mark.parametrize("limit", ["steps", "epochs", "time"])
def test_schedule_of_a_trainer_of_ones_own(text_file: Path, limit: str) -> None:
    data = small_module(text_file, True)
    epoch = len(data.training_batches())
    bound: dict[str, Any] = {"steps": {"steps": 10}, "epochs": {"max_epochs": 1}, "time": {"max_time": {"seconds": 2}}}[
        limit
    ]
    rates = rates_of(data=data, **bound)
    assert min(rates) > 0
    assert max(rates) > 0.99 * 3e-3 or limit == "steps"
    assert rates[-1] < 0.1 * max(rates)
    if limit != "time":
        count = 10 if limit == "steps" else epoch
        assert rates == pytest.approx([3e-3 * learning_rate_factor((k + 0.5) / count, 0.03) for k in range(count)])


def test_rate_of_a_training_without_end_is_constant(text_file: Path) -> None:
    class Enough(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            trainer.should_stop = trainer.global_step >= 4

    data, rates = small_module(text_file, True), list[float]()
    look = hooked(
        on_before_optimizer_step=lambda trainer, model, optimizer: rates.append(optimizer.param_groups[0]["lr"])
    )
    train(small_model(data), data, -1, Enough(), look, max_epochs=-1)
    assert rates == [3e-3] * 4


def test_every_step_moves(text_file: Path, tmp_path: Path) -> None:
    """The first one, the only one, and the first of a finished run that is made longer."""
    data, moved, before = small_module(text_file, True), list[float](), [torch.zeros(())]

    def on_train_batch_start(trainer: pl.Trainer, model: LanguageModel, *args: Any) -> None:
        before[0] = weights(model)

    def on_train_batch_end(trainer: pl.Trainer, model: LanguageModel, *args: Any) -> None:
        moved.append(float((weights(model) - before[0]).norm()))

    look = hooked(on_train_batch_start=on_train_batch_start, on_train_batch_end=on_train_batch_end)
    given: dict[str, Any] = {"validations": 1, "runs": str(tmp_path), "callbacks": (look,)}
    model = small_model(data)
    run = fit(model, data, max_steps=1, **given)
    fit(model, data, max_steps=4, **given, resume=run)
    fit(small_model(data), data, max_tokens=256, **given)
    assert len(moved) == 8
    assert min(moved) > 1e-4


def test_early_stopping_is_told(text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_module(text_file, True)
    stop = EarlyStopping("val/nats_per_token", patience=1, min_delta=100.0)
    run = fit(small_model(data), data, max_steps=40, validations=10, runs=str(tmp_path), callbacks=(stop,))
    result = json.loads((run / "result.json").read_text())
    assert (result["ended"], result["steps"]) == ("early stopping", 8)
    assert "stopped  early: val/nats_per_token did not improve any more" in capsys.readouterr().out
    run = fit(small_model(data), data, max_steps=3, validations=1, runs=str(tmp_path))
    assert json.loads((run / "result.json").read_text())["ended"] == "budget"


def test_a_target_on_one_of_two_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean number of targets is a half, and so is the mean gradient over ranks."""
    torch.manual_seed(1)
    model = LanguageModel(LSTM(8, 8), Tokenizer.char("abc"))
    batch = Batch(torch.tensor([[4, 5]]), torch.tensor([[5, IGNORE]]))
    nats = model.losses(batch, None).nats
    nothing = SimpleNamespace(wait=lambda: None)  # is what the other rank adds
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda sums, async_op: nothing)
    model._trainer = SimpleNamespace(world_size=2)  # type: ignore[assignment]
    assert_close(model.training_step(batch, 0) / 2, nats.double())
