"""Stopped in the middle of an epoch and resumed: the same batches follow, and the same weights come out."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from networks import NETWORKS
from torch.testing import assert_close
from trainers import Record, hooked, small_model, small_module, train

from seqmodels import LSTM, LanguageModel, TextDataModule, Transformer, fit
from seqmodels.nn import Backbone


@pytest.mark.parametrize("carry", [False, True], ids=["windows", "lanes"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon", pytest.param("adafactor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("stop", [5, "last of an epoch", "first of an epoch"])
def test_resume(text_file: Path, tmp_path: Path, carry: bool, optimizer: str, stop: int | str) -> None:
    data = small_module(text_file, carry)
    epoch = len(data.training_batches())
    assert epoch > 6
    steps = 2 * epoch + 3
    place = stop if isinstance(stop, int) else epoch + (stop == "first of an epoch")
    whole, path = Record(place, tmp_path / "part.safetensors"), tmp_path / "part.safetensors"
    model = small_model(data, optimizer=optimizer, dropout=0.2)
    train(model, data, steps, whole)

    data, rest = small_module(text_file, carry), Record()
    resumed = small_model(data, optimizer=optimizer, dropout=0.2)
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.fill_(0.5)  # nothing may be left of what it was
    train(resumed, data, steps, rest, resume=path)

    assert len(rest.inputs) == steps - place
    for ours, theirs in zip(rest.inputs, whole.inputs[place:], strict=True):
        assert_close(ours, theirs)
    for name, tensor in model.state_dict().items():
        assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    assert resumed.tokens_seen == model.tokens_seen


SWITCHES: dict[str, tuple[type[Backbone], dict[str, Any], dict[str, Any]]] = {
    "none": (LSTM, {}, {}),
    "recomputed pieces": (LSTM, {}, {"recompute": 6}),
    "recomputed blocks": (Transformer, {}, {"recompute": "blocks"}),
    "factored moments": (Transformer, {"optimizer": "adafactor"}, {}),
    "memory kept": (LSTM, {}, {"keep_memory": True}),
    "compiled": (Transformer, {}, {"compile": True}),
}
"""What changes how a step is computed: the network, settings of the model, and of `fit`."""


@pytest.mark.parametrize("carry", [False, True], ids=["windows", "lanes"])
@pytest.mark.parametrize("switch", [pytest.param(s, marks=[pytest.mark.slow] * (s == "compiled")) for s in SWITCHES])
def test_run_resumed_at_a_validation(text_file: Path, tmp_path: Path, carry: bool, switch: str) -> None:
    """As users do it: a run folder is resumed, to the end of the same budget."""
    weights = []
    network, of_model, of_fit = SWITCHES[switch]
    if switch == "compiled":
        needs_compiler()

    def model(data: TextDataModule) -> LanguageModel:
        torch.manual_seed(0)
        return small_model(data, LSTM(8, 16) if network is LSTM else Transformer(8, 1, 2), dropout=0.2, **of_model)

    for stop in (None, 12):
        data = small_module(text_file, carry)
        whole = model(data)
        settings = of_fit | {"max_steps": 24, "validations": 2, "runs": str(tmp_path), "diagnostics": False}
        run = fit(whole, data, **settings, callbacks=(hooked(on_validation_end=partial(end, stop)),))
        if stop is not None:
            data = small_module(text_file, carry)
            whole = model(data)
            fit(whole, data, **settings, resume=run)
        weights.append(whole.state_dict())
    for name, tensor in weights[0].items():
        assert_close(weights[1][name], tensor, rtol=0, atol=0, msg=name)


def needs_compiler() -> None:
    """Skip where torch cannot compile for the CPU."""
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")


def end(step: int | None, trainer: pl.Trainer, *args: Any) -> None:
    """End a run after some step, as a user or a machine might."""
    trainer.should_stop |= trainer.global_step == step


def test_loader_processes_change_nothing(text_file: Path) -> None:
    seen = []
    for workers in (0, 1):
        data, record = small_module(text_file, True, num_workers=workers), Record()
        train(small_model(data), data, len(data.training_batches()) + 2, record)
        seen.append(record.inputs)
    for ours, theirs in zip(*seen, strict=True):
        assert_close(ours, theirs)


def test_double_precision_is_kept(text_file: Path, tmp_path: Path) -> None:
    """Under a trainer of one's own, too: weights do not pass through single precision."""
    data, path = small_module(text_file, True), tmp_path / "part.safetensors"
    whole, part = (small_model(data) for _ in range(2))
    train(whole, data, 6, Record(3, path), precision="64-true")
    train(part, data, 6, precision="64-true", resume=path)
    for ours, theirs in zip(part.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["Hybrid-of-memories", "GatedDeltaNet-2", "Mamba2-2", "RWKV7", "SLSTM-2-heads"])
def test_matrices_and_stabilisers_are_carried_on(text_file: Path, tmp_path: Path, name: str) -> None:
    """States of any shape, with logarithms of zero among them, in lanes that were stopped after their first batch."""
    states = []
    path = tmp_path / "part.safetensors"
    for resume in (None, path):
        data = small_module(text_file, True)
        torch.manual_seed(0)
        model = LanguageModel(NETWORKS[name](), data.tokenizer, lr=1e-2)
        train(model, data, 4, Record(None if resume else 1, path), resume=resume)
        states.append(model.state_dict())
    for key, tensor in states[0].items():
        assert tensor.isfinite().all()
        assert_close(states[1][key], tensor, rtol=0, atol=0, msg=key)
