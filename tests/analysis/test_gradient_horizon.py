"""Gradients by distance are those of explicit Jacobians, and measuring them leaves no trace in a training."""

import os
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from networks import NETWORKS
from pairs import write_pairs
from refusals import assert_refused
from torch import Tensor
from torch.autograd.functional import jacobian
from torch.nn import functional as F
from torch.testing import assert_close
from trainers import small_model, small_module, train

from seqmodels import GRU, LSTM, RNN, InputError, LanguageModel, Tokenizer, TranslationDataModule, Translator, fit
from seqmodels.analysis import GradientHorizon, Spectra
from seqmodels.analysis.gradient_horizon import (
    draw_horizon,
    draw_horizons,
    gradient_horizon,
    gradient_norms,
    read_horizon,
    thinned,
)
from seqmodels.analysis.learning_curves import read_metrics
from seqmodels.analysis.spectra import read_radii
from seqmodels.batch import IGNORE, Batch
from seqmodels.nn import Backbone
from seqmodels.tasks.encoder_decoder_model import Tied
from seqmodels.tasks.training_state import random_states
from seqmodels.training.resume import rewind

B, T = 3, 9
TOKENIZER = Tokenizer.char("abcdefgh")


def model(network: Backbone) -> LanguageModel:
    torch.manual_seed(0)
    task = LanguageModel(network, TOKENIZER, dropout=0.5).double()
    for parameter in task.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return task


def batch(padded: bool) -> Batch:
    """Some targets do not count; where it is padded, at the front, at the end and inside."""
    torch.manual_seed(1)
    inputs = torch.randint(4, TOKENIZER.vocab_size, (B, T))
    targets = torch.randint(4, TOKENIZER.vocab_size, (B, T))
    targets[0, 3] = targets[2, 8] = IGNORE
    if not padded:
        return Batch(inputs, targets, continues=True, continued=True)
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[0, :3] = mask[1, 6:] = mask[2, 2] = False
    return Batch(inputs, targets.where(mask, IGNORE), mask)


def losses(task: LanguageModel, given: Batch, x: Tensor) -> Tensor:
    """Of every position, (B, T), zero where nothing counts."""
    y, _ = task.backbone(x, mask=given.mask)
    return F.cross_entropy(task.head(y).transpose(1, 2), given.targets, reduction="none", ignore_index=IGNORE)


def by_distance(jacobians: Tensor, given: Batch) -> Tensor:
    """Mean norm of dL_t/dx_s by how many real positions lie between, from (B, T, B, S, D)."""
    sums, counts = [0.0] * T, [0] * T
    for row in range(B):
        real = list(range(T)) if given.mask is None else [t for t in range(T) if given.mask[row, t]]
        for at, t in enumerate(real):
            if given.targets[row, t] == IGNORE:
                continue
            for before, s in enumerate(real[: at + 1]):
                sums[at - before] += float(jacobians[row, t, row, s].norm())
                counts[at - before] += 1
    return torch.tensor([s / n for s, n in zip(sums, counts, strict=True) if n], dtype=torch.float64)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_norms_are_those_of_jacobians(name: str, padded: bool) -> None:
    task, given = model(NETWORKS[name]()), batch(padded)
    x = task.embedding(given.inputs).detach()
    wanted = by_distance(jacobian(lambda x: losses(task.eval(), given, x), x), given)
    task.train()
    assert_close(gradient_norms(task, given), {"x": wanted})
    assert len(wanted) > 5
    assert task.training
    assert task.backbone.training
    assert all(parameter.grad is None for parameter in task.parameters())


def test_both_states_of_an_lstm_by_going_on_from_them() -> None:
    """From a state on, the loss depends on `h` and `c`; `c` is also seen through the `h` of its own step."""
    task, given = model(LSTM(6, 8)), batch(padded=False)
    task.eval()
    x = task.embedding(given.inputs).detach()
    found = {name: torch.zeros(B, T, B, T, 8, dtype=torch.float64) for name in "hc"}
    for s in range(T):
        _, ((h, c),) = task.backbone(x[:, : s + 1])
        o = task.backbone.traced(x[:, : s + 1])[2].gates["1.o"][:, -1]

        def after(h: Tensor, c: Tensor, s: int = s) -> Tensor:
            y = h.unsqueeze(1)
            if s + 1 < T:
                y = torch.cat([y, task.backbone(x[:, s + 1 :], ((h, c),))[0]], 1)
            logits = task.head(y).transpose(1, 2)
            return F.cross_entropy(logits, given.targets[:, s:], reduction="none", ignore_index=IGNORE)

        by_h, by_c = jacobian(after, (h.detach(), c.detach()))  # (B, T - s, B, D) each
        found["h"][:, s:, :, s] = by_h
        found["c"][:, s:, :, s] = by_c + by_h * (o * (1 - c.tanh() ** 2)).detach()
    norms = gradient_norms(task, given, states=True)
    assert list(norms) == ["x", "1.h", "1.c"]
    for name, jacobians in found.items():
        assert_close(norms[f"1.{name}"], by_distance(jacobians, given))


@pytest.mark.parametrize("name", ["GRU", "LSTM-2-learned-start", "MultiplicativeLSTM-2"])
def test_states_of_padded_layers(name: str) -> None:
    """The gradient by the state at a real position is that of rows read alone."""
    task, given = model(NETWORKS[name]()), batch(padded=True)
    assert given.mask is not None
    together = gradient_norms(task, given, states=True)
    sums: dict[str, Tensor] = {name: torch.zeros(T, dtype=torch.float64) for name in together}
    counts = torch.zeros(T, dtype=torch.float64)
    for row in range(B):
        real = given.mask[row]
        alone = Batch(given.inputs[row : row + 1, real], given.targets[row : row + 1, real])
        places = (alone.targets[0] != IGNORE).nonzero().flatten()
        for name, norms in gradient_norms(task, alone, states=True).items():
            of_row = torch.tensor([float((places >= k).sum()) for k in range(len(norms))], dtype=torch.float64)
            sums[name][: len(norms)] += norms.nan_to_num() * of_row
            counts[: len(norms)] += of_row / len(together)
    for name, norms in together.items():
        assert_close(norms, (sums[name] / counts)[: len(norms)])


def test_positions_drawn_are_those_of_all() -> None:
    """Over many draws, the mean is that over all positions; one draw is the same again."""
    task = model(NETWORKS["GRU"]())
    given = Batch(*(torch.randint(4, TOKENIZER.vocab_size, (1, T)).expand(4000, T) for _ in range(2)))
    row = Batch(given.inputs[:1], given.targets[:1])
    drawn = gradient_norms(task, given, passes=2)["x"]
    assert_close(drawn, gradient_norms(task, row)["x"], rtol=0.05, atol=0)
    few = row._replace(inputs=row.inputs.expand(3, T), targets=row.targets.expand(3, T))
    first, again = (gradient_norms(task, few, passes=2)["x"] for _ in range(2))
    assert_close(first, again, equal_nan=True)
    other = gradient_norms(task, few, passes=2, generator=torch.Generator().manual_seed(5))["x"]
    assert len(other) != len(first) or not torch.allclose(first, other, equal_nan=True)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("attention", "tied"), [("none", "none"), ("additive", "all")])
def test_translators_by_both_of_their_inputs(attention: Any, tied: Tied, reverse: bool) -> None:
    torch.manual_seed(0)
    S = 5
    networks = RNN(8, 8), GRU(8, 8)
    task = Translator(*networks, TOKENIZER, attention=attention, tie_embeddings=tied, reverse=reverse).double()
    real = torch.ones(B, S, dtype=torch.bool)
    real[1, 3:] = False
    source = torch.randint(4, TOKENIZER.vocab_size, (B, S)) * real
    given = batch(padded=False)._replace(source=source, source_mask=real)

    def loss(x: Tensor, read: Tensor) -> Tensor:
        embedded = (value for value in ([read, x]))
        handles = [
            part.register_forward_hook(lambda *_: next(embedded)) for part in (task.source_embedding, task.embedding)
        ]
        logits = task(given)[0].transpose(1, 2)
        for handle in handles:
            handle.remove()
        return F.cross_entropy(logits, given.targets, reduction="none", ignore_index=IGNORE)

    read = task.source_embedding(source.flip(1) if reverse else source).detach()
    by_x, by_source = jacobian(loss, (task.embedding(given.inputs).detach(), read))
    if reverse:
        by_source = by_source.flip(3)
    norms = gradient_norms(task, given)
    assert_close(norms["x"], by_distance(by_x, given))
    sums, counts = torch.zeros(T + S, dtype=torch.float64), torch.zeros(T + S, dtype=torch.float64)
    for row in range(B):
        end = int(real[row].sum())
        for t in range(T):
            for s in range(end):
                if given.targets[row, t] != IGNORE:
                    sums[t + end - s] += by_source[row, t, row, s].norm()
                    counts[t + end - s] += 1
    assert torch.isnan(norms["source"][0])
    assert_close(norms["source"], (sums / counts)[: len(norms["source"])], equal_nan=True)


def test_what_cannot_be_measured() -> None:
    task, given = model(NETWORKS["Transformer"]()), batch(padded=False)
    with pytest.raises(InputError, match="0 targets and passes=4"):
        gradient_norms(task, given._replace(targets=torch.full_like(given.targets, IGNORE)), passes=4)
    assert_refused("passes=0", gradient_norms, task, given, passes=0)
    assert_refused("Transformer in a LanguageModel has no recurrent states", gradient_norms, task, given, states=True)
    assert_refused("at least one step", GradientHorizon, every=0)
    assert_refused("at least one step", GradientHorizon, first=0)
    for norms in ([], [0.0, 1.0], [float("nan"), 1.0], [float("inf")]):
        assert_refused("at distance 0", gradient_horizon, torch.tensor(norms))


@pytest.mark.parametrize(
    ("norms", "share", "wanted"),
    [
        ([1.0, 0.5, 0.02, 0.009, 0.001], 0.01, 3),
        ([1.0, 0.5, 0.02, 0.009, 0.001], 0.1, 2),
        ([1.0, 0.001, 0.02, 0.001], 0.01, 3),  # once more, behind a gap
        ([1.0, 0.5, 0.3], 0.01, 3),  # further than was measured
        ([1.0, float("nan"), 0.3, float("nan")], 0.01, 3),
        ([2.0, 0.0, 0.0], 0.01, 1),
        ([1.0, 1.1, 1.21], 0.01, 3),
    ],
)
def test_horizon(norms: list[float], share: float, wanted: int) -> None:
    assert gradient_horizon(torch.tensor(norms), share) == wanted


def test_attention_to_the_nearest_sees_no_further() -> None:
    """Two layers that see three positions back each: nothing comes from more than six."""
    norms = gradient_norms(model(NETWORKS["Transformer-narrow-context"]()), batch(padded=False))["x"]
    assert (norms[:7] > 0).all()
    assert (norms[7:] == 0).all()
    assert gradient_horizon(norms, fraction=0) == T
    assert gradient_horizon(norms, fraction=1e-12) == 7


def test_curves() -> None:
    norms = torch.linspace(1, 2, 5000, dtype=torch.float64)
    norms[3] = torch.nan
    curve = thinned(norms)
    assert curve.distances[:16].tolist() == [k for k in range(17) if k != 3]
    assert len(curve.distances) < 90
    assert_close(curve.norms, norms[curve.distances])
    figure = draw_horizon({100: {"x": curve, "1.h": curve}, 200: {"x": curve, "2.c": curve}})
    titles = {axes.get_title(): len(axes.lines) for axes in figure.axes if axes.get_title()}
    assert titles == {"inputs": 2, "h of layer 1": 1, "c of layer 2": 1}
    lines = draw_horizons({"RNN": curve, "LSTM": curve._replace(norms=3 * curve.norms)}).axes[0].lines
    assert_close(torch.as_tensor(lines[0].get_ydata()), torch.as_tensor(lines[1].get_ydata()))  # relative


class Kept(pl.Callback):
    """Random states and gradients after each step, seen behind other callbacks; ends a run after some step."""

    def __init__(self, end: int | None = None) -> None:
        self.seen: list[Any] = []
        self.end = end

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        states = random_states(torch.device("cpu"))
        gradients = [None if p.grad is None else p.grad.clone() for p in pl_module.parameters()]
        modes = [part.training for part in pl_module.modules()]
        chance = states["torch"], states["python"][1], states["numpy"][1]
        self.seen.append((chance, gradients, modes, pl_module._carried))
        if trainer.global_step == self.end:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("name", ["LSTM-2-learned-start", "Hybrid"])
def test_measuring_changes_nothing(text_file: Path, tmp_path: Path, name: str) -> None:
    weights, kept = [], []
    for measured in (False, True):
        data = small_module(text_file, carry=True)
        torch.manual_seed(0)
        task = small_model(data, NETWORKS[name](), dropout=0.3)
        keeps = Kept()
        train(task, data, 12, *([GradientHorizon(every=3, folder=tmp_path)] if measured else []), keeps)
        weights.append(task.state_dict())
        kept.append(keeps.seen)
    assert set(read_horizon(tmp_path / "gradient_horizon.csv")) == {3, 6, 9, 12}
    for name, tensor in weights[0].items():
        assert_close(weights[1][name], tensor, rtol=0, atol=0, msg=name)
    for without, beside in zip(*kept, strict=True):
        assert_close(beside, without, rtol=0, atol=0)


def test_steps_that_double(text_file: Path, tmp_path: Path) -> None:
    data = small_module(text_file, carry=True)
    callback = GradientHorizon(first=2)
    run = fit(small_model(data), data, max_steps=11, validations=1, runs=str(tmp_path), callbacks=(callback,))
    found = read_horizon(run / "gradient_horizon.csv")
    assert list(found) == [2, 4, 8, 11]
    assert list(found[4]) == ["x", "1.h", "1.c"]
    logged = [row for row in read_metrics(run / "metrics.csv") if "gradient/horizon" in row]
    assert [row["step"] for row in logged] == [1, 3, 7]  # numbered by the steps before; the last is in its own file
    assert all(1 <= row["gradient/horizon"] <= data.length for row in logged)
    assert (run / "gradient_horizon.png").stat().st_size > 5000


def test_killed_and_resumed(text_file: Path, tmp_path: Path) -> None:
    """Files and figures are those of a run that went through."""
    found = []
    for end in (None, 7):
        data, runs = small_module(text_file, carry=True), tmp_path / str(end)
        callbacks = GradientHorizon(first=3), Spectra(first=3)
        settings: dict[str, Any] = {"max_steps": 13, "validations": 1, "runs": str(runs)}
        if end:
            with pytest.raises(SystemExit):
                fit(small_model(data), data, callbacks=(*callbacks, Kept(end)), **settings)
            (settings["resume"],) = runs.glob("*/*")
            before = read_horizon(settings["resume"] / "gradient_horizon.csv")
            assert list(before) == [3, 6]
            data, callbacks = small_module(text_file, carry=True), (GradientHorizon(first=3), Spectra(first=3))
        run = fit(small_model(data), data, callbacks=callbacks, **settings)
        found.append([(run / name).read_text() for name in ("gradient_horizon.csv", "spectra.csv")])
        assert list(read_horizon(run / "gradient_horizon.csv")) == [3, 6, 12, 13]
        assert [at.step for at in read_radii(run / "spectra.csv")["1.f"]] == [3, 6, 12, 13]
    assert found[0] == found[1]


def test_rewound(tmp_path: Path) -> None:
    """Rows of later steps go, and one that was not written to its end."""
    header = "step,kind,distance,norm\n"
    path = tmp_path / "gradient_horizon.csv"
    path.write_text(header + "100,x,0,0.5\n200,x,0,0.25\n400,x,0,0.1\n400,1")
    other = tmp_path / "other.csv"
    other.write_text("step,kind\n1,x\n")
    assert_refused("is damaged", read_horizon, other)
    assert list(read_horizon(path)) == [100, 200, 400]
    rewind(tmp_path, {"global_step": 200, "callbacks": {}}, due=False)
    assert path.read_text().splitlines() == [header.strip(), "100,x,0,0.5", "200,x,0,0.25"]


def test_runs_of_translators_are_measured(tmp_path: Path) -> None:
    data = TranslationDataModule(str(write_pairs(tmp_path)), "en", "fr", tokenizer="word", batch_tokens=400)
    task = Translator(GRU(8, 8), RNN(8, 8), data.tokenizer, data.source_tokenizer)
    run = fit(task, data, max_steps=3, validations=1, runs=str(tmp_path / "runs"))
    assert list(read_horizon(run / "gradient_horizon.csv")[3]) == ["x", "source"]
    assert {"gradient_horizon.png", "spectra.png", "spectral_radius.png"} <= {path.name for path in run.iterdir()}


def test_a_diverged_model_is_told(text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Break(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
            if trainer.global_step == 2:
                with torch.no_grad():
                    pl_module.head.weight.fill_(torch.nan)  # type: ignore[union-attr,operator]

    data = small_module(text_file, carry=False)
    train(small_model(data), data, 2, Break(), GradientHorizon(every=2, folder=tmp_path))
    assert "no gradient horizon at step 2" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
