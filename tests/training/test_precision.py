"""Which precision is chosen where nobody says."""

import json
from pathlib import Path

import pytest
import torch
from trainers import small_model, small_module

from seqmodels import fit
from seqmodels.training import precision
from seqmodels.training.precision import choose_precision, seconds_per_step


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> dict[bool, float]:
    """As if the processor multiplied in bf16; seconds of a step in single precision and in bf16, to be set."""
    seconds = {False: 2.0, True: 1.0}
    monkeypatch.setattr(precision, "multiplies_bf16", lambda kind: True)
    monkeypatch.setattr(precision, "seconds_per_step", lambda task, batch: (seconds[False], seconds[True]))
    return seconds


def test_the_faster_one_is_taken(text_file: Path, able: dict[bool, float]) -> None:
    data = small_module(text_file, True)
    task, batch = small_model(data), data.training_batches()[0, 0]
    found, why = choose_precision(task, batch, "cpu", None, 1)
    assert (found, why) == ("bf16-mixed", "bf16 is 2.00 times as fast as single precision")
    able[True] = 2.5
    assert choose_precision(task, batch, "cpu", None, 1)[0] == "32-true"
    assert choose_precision(task, batch, "cpu", None, 2)[0] == "bf16-mixed"  # processes have to agree
    assert choose_precision(task, batch, "gpu", None, 1)[0] == "bf16-mixed"


def test_without_the_hardware_nothing_is_measured(text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_bf16", lambda kind: False)
    monkeypatch.delattr(precision, "seconds_per_step")
    data = small_module(text_file, True)
    assert choose_precision(small_model(data), data.training_batches()[0, 0], "cpu", None, 1)[0] == "32-true"


def test_measuring_leaves_no_trace(text_file: Path) -> None:
    data = small_module(text_file, True)
    task = small_model(data, dropout=0.5)
    before, chance = [p.clone() for p in task.parameters()], torch.get_rng_state()
    assert min(seconds_per_step(task, data.training_batches()[0, 0])) > 0
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(p.grad is None and torch.equal(p, was) for p, was in zip(task.parameters(), before, strict=True))
    assert task.training


def test_a_slow_moment_decides_nothing(text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine stands still for a while: for steps of both, of which others are as fast as ever."""
    data, taken = small_module(text_file, True), list[bool]()

    def seconds(task: object, batch: object, mixed: bool) -> float:
        taken.append(mixed)
        return (0.1 if mixed else 0.2) + 5.0 * (4 <= len(taken) < 6)

    monkeypatch.setattr(precision, "_seconds", seconds)
    assert seconds_per_step(small_model(data), data.training_batches()[0, 0]) == (0.2, 0.1)
    assert taken[:4] == [False, True, False, True]


def test_a_run_says_what_was_chosen_and_keeps_it(
    text_file: Path, tmp_path: Path, able: dict[bool, float], capsys: pytest.CaptureFixture[str]
) -> None:
    able[True] = 4.0
    data = small_module(text_file, True)
    run = fit(small_model(data), data, max_steps=2, validations=1, precision="auto", runs=str(tmp_path))
    assert "computes in 32-true, bf16 is 0.50 times as fast as single precision" in capsys.readouterr().out
    assert json.loads((run / "env.json").read_text())["precision"] == "32-true"
    able[True] = 1.0  # another hour, another figure
    data = small_module(text_file, True)
    fit(small_model(data), data, max_steps=4, validations=1, precision="auto", resume=run)
    assert "computes in 32-true, as before the run was resumed" in capsys.readouterr().out
