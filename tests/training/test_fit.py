"""What training does with batches and states, against loops written out."""

import math
import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from networks import NETWORKS
from torch.nn import functional as F
from torch.testing import assert_close
from trainers import Record, hooked, small_model, small_module, train, trainer, validate

from seqmodels import GRU, LSTM, InputError, LanguageModel, TextDataModule, Tokenizer, Transformer, fit
from seqmodels.batch import IGNORE, Batch
from seqmodels.state import detach
from seqmodels.tasks.optim import learning_rate_factor


def plain_loop(model: LanguageModel, batches: list[Batch], lr: float, clip: float) -> list[float]:
    """Truncated BPTT with AdamW as a tutorial would write it."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.0)
    state, norms = None, []
    for number, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = lr * learning_rate_factor((number + 0.5) / len(batches), 0.03)
        logits, state = model(batch, detach(state) if batch.continues and state is not None else None)
        loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip)))
        optimizer.step()
    return norms


def logs_norms(norms: list[float]) -> pl.Callback:
    """Keeps the logged norms before clipping."""
    return hooked(on_train_batch_end=lambda trainer, *_: norms.append(float(trainer.callback_metrics[NORM])))


def logs_rates(rates: list[float]) -> pl.Callback:
    """Keeps the learning rate of every step."""
    return hooked(on_before_optimizer_step=lambda *args: rates.append(args[2].param_groups[0]["lr"]))


NORM = "train/gradient_norm"


@pytest.mark.parametrize("carry", [False, True], ids=["windows", "lanes"])
def test_trainer_is_the_plain_loop(text_file: Path, carry: bool) -> None:
    """Clipping, schedule, carried and detached state, reset at the end of the epoch: weights as from a plain loop."""
    data = small_module(text_file, carry)
    batches = data.training_batches()
    steps = len(batches) + 4
    places = [(k // len(batches), k % len(batches)) for k in range(steps)]
    model, reference = (small_model(data, weight_decay=0.0).double() for _ in range(2))
    wanted = plain_loop(reference, [batches[place] for place in places], 3e-3, 0.05)
    norms: list[float] = []
    train(model, data, steps, logs_norms(norms), gradient_clip_val=0.05, log_every_n_steps=1, precision="64-true")
    assert_close(norms, wanted)
    assert max(norms) > 0.1  # so there was something to clip
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        assert_close(ours, theirs)


def test_learning_rate_follows_the_budget(text_file: Path, tmp_path: Path) -> None:
    data, rates = small_module(text_file, True), list[float]()
    callbacks = (logs_rates(rates),)
    fit(small_model(data, warmup=0.2), data, max_steps=10, validations=1, runs=str(tmp_path), callbacks=callbacks)
    assert rates == pytest.approx([3e-3 * learning_rate_factor((k + 0.5) / 10, 0.2) for k in range(10)])


def test_budget_of_tokens(text_file: Path, tmp_path: Path) -> None:
    """The learning rate reaches its end, and training stops, after so many tokens: 16 x 4 a step."""
    data, rates = small_module(text_file, True), list[float]()
    model = small_model(data, schedule="linear", warmup=0.0)
    fit(model, data, max_tokens=640, validations=1, runs=str(tmp_path), callbacks=(logs_rates(rates),))
    assert model.tokens_seen == 640
    assert rates == pytest.approx([3e-3 * (1 - k / 10) for k in range(10)])


def test_padding_is_not_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "abc"}\n{"text": "a"}\n' * 20)
    data = TextDataModule(str(path), length=16, batch_size=2, documents="apart", shuffle=False)
    model = small_model(data)
    train(model, data, 3)
    assert model.tokens_seen == 3 * (5 + 3)  # characters, BOS and EOS


def test_clipping_by_value(text_file: Path) -> None:
    data, largest, norms = small_module(text_file, True), list[float](), list[float]()

    def on_before_zero_grad(trainer: pl.Trainer, model: LanguageModel, *args: Any) -> None:
        if gradients := [p.grad.abs().max() for p in model.parameters() if p.grad is not None]:
            largest.append(float(max(gradients)))

    settings = {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value", "log_every_n_steps": 1}
    seen = hooked(on_before_zero_grad=on_before_zero_grad)
    train(small_model(data), data, 4, seen, logs_norms(norms), **settings)
    assert largest == pytest.approx([0.01] * 3)  # those of the last step are cleared by the next one, which never came
    assert all(norm > 0.1 for norm in norms)  # as it was before


def test_accumulated_batches_are_one_large_batch(text_file: Path) -> None:
    data = small_module(text_file, False, shuffle=False)
    batches = data.training_batches()
    weights = []
    for accumulate in (1, 2):
        data = TextDataModule(str(text_file), length=16, batch_size=8 // accumulate, shuffle=False)
        model = small_model(data)
        train(model, data, 3, accumulate_grad_batches=accumulate)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert len(batches) > 6
    assert_close(weights[0], weights[1])


def test_validation_has_a_state_of_its_own(text_file: Path) -> None:
    """Validating in the middle of an epoch changes nothing about training."""
    weights = []
    for every in (0, 3):
        data = small_module(text_file, True)
        model = small_model(data)
        settings = {"limit_val_batches": 1.0, "val_check_interval": every} if every else {}
        train(model, data, 8, **settings, num_sanity_val_steps=0)
        weights.append([p.detach().clone() for p in model.parameters()])
    for ours, theirs in zip(*weights, strict=True):
        assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("carry", [False, True], ids=["windows", "lanes"])
def test_validation_figure_is_that_of_the_whole_text(text_file: Path, carry: bool) -> None:
    data = small_module(text_file, carry)
    model = small_model(data).double().eval()
    with torch.no_grad():
        column = data.tokens("validation").long()
        if carry:  # two lanes or more, each from a fresh state
            lanes = data.scored_batches("validation").rows.shape[0]  # type: ignore[attr-defined]
            width = -(-(len(column) - 1) // lanes)
        else:
            width = 16
        nats = 0.0
        for first in range(0, len(column) - 1, width):
            part = column[first : first + width + 1]
            logits, _ = model(Batch(part[None, :-1], part[None, 1:]))
            nats += float(F.cross_entropy(logits[0], part[1:], reduction="sum"))
    figures = validate(model, data.scored_batches("validation"))
    count = len(column) - 1
    assert figures["val/nats_per_token"] == pytest.approx(nats / count)
    assert figures["val/bits_per_byte"] == pytest.approx(nats / math.log(2) / data.facts("validation").bytes)
    assert figures["val/perplexity"] == pytest.approx(math.exp(nats / count))


LEARNERS = (
    "RNN-tanh", "LSTM", "GRU-2", "MinGRU-2", "MultiplicativeLSTM-2", "Transformer", "GatedDeltaNet-2", "SLSTM-2-heads",
    "Hybrid-narrow-context",
)  # fmt: skip
"""One of each kind; the others are tried by a slow test."""


@pytest.mark.parametrize("precision", ["32-true", pytest.param("bf16-mixed", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in LEARNERS else pytest.mark.slow) for name in NETWORKS]
)
def test_every_network_learns(text_file: Path, name: str, precision: str) -> None:
    """Better than the frequencies of characters, which need no context, after a few steps."""
    carry = "learned" not in name
    data = small_module(text_file, carry)
    torch.manual_seed(0)
    model = LanguageModel(NETWORKS[name](), data.tokenizer, lr=2e-2)
    train(model, data, 120, precision=precision)
    column = data.tokens("train").long()
    shares = column.bincount()[column.unique()] / len(column)
    unigram = float(-(shares * shares.log()).sum())
    figures = validate(model, data.scored_batches("validation"))
    assert figures["val/nats_per_token"] < unigram - 0.1


def test_loss_is_the_sum_over_the_count_of_targets(text_file: Path) -> None:
    """Also where rows are padded and targets ignored: a mask and IGNORE leave the loss of the real positions."""
    data = small_module(text_file, False)
    model = small_model(data).double()
    tokens = torch.randint(4, data.tokenizer.vocab_size, (2, 9))
    alone = [model(Batch(row[None, :n], row[None, 1 : n + 1])) for row, n in zip(tokens, (8, 5), strict=True)]
    wanted = [
        F.log_softmax(logits[0], -1)[range(n), row[1 : n + 1]]
        for (logits, _), row, n in zip(alone, tokens, (8, 5), strict=True)
    ]
    targets, mask = tokens[:, 1:].clone(), torch.ones(2, 8, dtype=torch.bool)
    targets[1, 5:], mask[1, 5:] = IGNORE, False
    seen: list[torch.Tensor] = []
    model.trainer = trainer(1)
    model.trainer.log_every_n_steps = 10**9  # type: ignore[attr-defined]
    seen.append(model.training_step(Batch(tokens[:, :-1], targets, mask), 0))
    assert_close(seen[0], -torch.cat(wanted).sum() / 13)


def test_tied_embeddings_are_one_matrix(text_file: Path) -> None:
    data = small_module(text_file, True)
    model = small_model(data, GRU(16, 16), tie_embeddings=True)
    before = model.embedding.weight.detach().clone()
    train(model, data, 3)
    assert model.head.weight is model.embedding.weight
    assert not torch.equal(model.embedding.weight, before)
    with pytest.raises(ValueError, match="8 and 16"):
        small_model(data, LSTM(8, 16), tie_embeddings=True)


def test_muon_takes_the_matrices_of_the_network_alone(text_file: Path) -> None:
    data = small_module(text_file, False)
    model = small_model(data, Transformer(8, 2, 2, context=16, positions="learned"), optimizer="muon")
    record = Record()
    optimizer = train(model, data, 2, record).optimizers[0]
    muon, adamw = optimizer.parts  # type: ignore[attr-defined]
    names = {id(p): name for name, p in model.named_parameters()}
    of_muon = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    of_adamw = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert of_muon | of_adamw == set(names.values())
    assert not of_muon & of_adamw
    assert {name.split(".")[-2] for name in of_muon} == {"project", "out", "up"}
    assert {"embedding.weight", "head.weight", "backbone.position.weight"} <= of_adamw


@pytest.mark.parametrize(
    "setting", [{"lr": 0}, {"dropout": 1.0}, {"warmup": 1}, {"optimizer": "sgdx"}, {"schedule": "flat"}, {"beta2": 1.0}]
)
def test_settings_that_make_no_sense(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|choose"):
        LanguageModel(LSTM(4, 4), Tokenizer.byte(), **setting)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": 3}, "fit(data=...) was given 3; expected a SequenceDataModule"),
        ({"task": 3}, "fit(task=...) was given 3; expected a SequenceTask, such as LanguageModel"),
        ({"max_steps": "10"}, "max_steps='10' was given; expected a number"),
        ({"max_steps": 1.5}, "max_steps=1.5 was given; expected a whole number"),
        ({"max_minutes": math.nan}, "max_minutes=nan was given; expected a finite number"),
        ({"clip": math.inf}, "clip=inf was given; expected a finite number"),
        ({"validations": True}, "validations=True was given; expected a number"),
        ({"devices": "2,3"}, "devices='2,3' was given; expected a number above 0, or auto"),
        ({"devices": 100_000}, "give at most that many"),
    ],
)
def test_errors_in_python_say_what_to_give(
    text_file: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    data = small_module(text_file, True)
    given = {"task": small_model(data), "data": data, "max_steps": 2, "accelerator": "cpu", "runs": tmp_path}
    with pytest.raises(InputError, match=re.escape(message)):
        fit(**given | change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="torch's own modules"):
        LanguageModel(torch.nn.LSTM(4, 4), data.tokenizer)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
