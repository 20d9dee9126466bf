"""Networks on problems of state tracking and recall: sizes, costs, accuracies and tables."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import assert_refused
from torch.nn import functional as F
from torch.testing import assert_close

from seqmodels.batch import IGNORE, Batch
from seqmodels.config import subclasses
from seqmodels.experiments.abilities import (
    MAD,
    NETWORKS,
    SETTINGS,
    accuracy,
    learning_rates,
    mad_table,
    make_network,
    train_and_test,
    write_abilities,
)
from seqmodels.experiments.model import FromLast, MemoryModel
from seqmodels.experiments.problems import TASKS, memory_task
from seqmodels.experiments.results import parse_lengths
from seqmodels.nn import LSTM, RNN, Backbone

WRAPPERS = {"Adapted", "Attentive", "Bidirectional", "Mixture", "NGram", "Sequential"}
"""Networks that are made of others, and counts, which are not trained."""


def test_every_network_of_the_package_is_there() -> None:
    ours = {
        cls.__name__
        for cls in subclasses(Backbone)
        if not inspect.isabstract(cls) and cls.__module__[:13] == "seqmodels.nn."
    }
    assert {network.__name__ for network, _ in NETWORKS.values()} == ours - WRAPPERS
    for name in NETWORKS:
        network = make_network(name, 8, 1, 2)
        assert (network.input_size, network.output_size) == (8, 8)
    assert_refused(
        "the network 'LTSM' is not known; choose from GatedDeltaNet negative, ", make_network, "LTSM", 8, 1, 2
    )


def test_settings_fit_their_problems() -> None:
    assert set(SETTINGS) < set(TASKS)
    for task, setting in SETTINGS.items():
        assert setting.test[0] == setting.train[1]
        for length in setting.test:
            memory_task(task, length)


def test_costs_where_answers_are_asked_for_are_those_of_all_logits() -> None:
    seeds = [1, 2]
    model = MemoryModel([RNN(4, 4), RNN(4, 4)], 5, seeds=seeds, symbols=6)
    tokens, targets = torch.randint(6, (6, 7)), torch.randint(5, (6, 7))
    targets[:, ::2] = IGNORE
    batch = Batch(tokens, targets)
    losses = model.losses(batch)
    for place, rows in enumerate((slice(3), slice(3, 6))):
        y, _ = model.networks[place](model.embeddings[place](tokens[rows]))
        logits = model.heads[place](y)
        assert_close(losses[place], F.cross_entropy(logits.flatten(0, 1), targets[rows].flatten(), ignore_index=IGNORE))
    model.on_validation_epoch_start()
    model.validation_step(batch, 0)
    model.on_validation_epoch_end()
    wrong = (model(batch).argmax(-1) != targets) & (targets != IGNORE)
    assert model.errors == pytest.approx([wrong[:3].sum().item() / 9, wrong[3:].sum().item() / 9])
    losses.sum().backward()
    model.configure_gradient_clipping(model.configure_optimizers())
    for place in range(2):
        parts = model.networks[place], model.heads[place], model.embeddings[place]
        gradients = [parameter.grad for part in parts for parameter in part.parameters()]
        assert torch.cat([g.flatten() for g in gradients if g is not None]).norm() <= 1.0001


def test_answers_from_the_last_output_alone() -> None:
    head = FromLast(3, 4, 5)
    y = torch.randn(2, 5, 3, requires_grad=True)
    answers = head(y)
    assert answers.shape == (2, 5, 4)
    (gradient,) = torch.autograd.grad(answers.sum(), y)
    assert (gradient[:, :-1] == 0).all()
    assert (gradient[:, -1] != 0).any()
    assert not torch.equal(answers[:, 0], answers[:, 1])  # each position asks for its own symbol


def test_accuracy_of_an_oracle_and_of_a_guess() -> None:
    """A network of two units that counts by hand is right at every length; a constant answer is scaled to zero."""
    network = RNN(2, 2, nonlinearity="relu")
    model = MemoryModel([network], 2, symbols=2)
    with torch.no_grad():  # h = (bit and not odd, odd and not bit): their sum is the parity
        cell = network.cells[0].kernel
        model.embeddings[0].weight.copy_(torch.eye(2))
        cell.weight_ih_l0.copy_(torch.tensor([[0.0, 1.0], [0.0, -1.0]]))
        cell.weight_hh_l0.copy_(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
        cell.bias_ih_l0.zero_()
        cell.bias_hh_l0.zero_()
        model.heads[0].weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
        model.heads[0].bias.copy_(torch.tensor([0.5, -0.5]))
    assert [accuracy(model, "parity", length, 200) for length in (40, 256)] == [1.0, 1.0]
    with torch.no_grad():
        model.heads[0].bias.copy_(torch.tensor([9.0, -9.0]))
    assert accuracy(model, "parity", 40, 1000) == pytest.approx(0.0, abs=0.1)


def test_the_learning_rate_rises_and_falls() -> None:
    model = MemoryModel([LSTM(4, 4)], 2, lr=0.1, symbols=2, steps=100)
    rates = []
    optimizer = model.configure_optimizers()
    model.optimizers = lambda: optimizer  # type: ignore[method-assign,assignment,return-value]
    for step in range(100):
        type(model).global_step = property(lambda _, step=step: step)  # type: ignore[method-assign,assignment,misc]
        model.on_train_batch_start(Batch(torch.zeros(1), torch.zeros(1)), step)
        rates.append(optimizer.param_groups[0]["lr"])
    del type(model).global_step  # type: ignore[misc]
    assert rates.index(max(rates)) == 4
    assert max(rates) == pytest.approx(0.1, rel=0.02)
    assert rates[0] == pytest.approx(0.02, rel=0.02)
    assert rates[-1] == pytest.approx(0.01)


def test_training_and_tests_of_one_network() -> None:
    found = train_and_test("MinGRU", "mad-compression", 1, steps=2, width=4, layers=1, heads=1)
    assert found["steps"] == 2
    assert list(found["accuracy"]) == ["32"]
    assert 0 <= found["accuracy"]["32"] < 0.5


def run(lr: float, *accuracies: float) -> dict[str, Any]:
    return {"lr": lr, "accuracy": dict(zip(("40", "64", "128", "192", "256"), accuracies, strict=True))}


def test_tables_show_the_best_learning_rate_and_all_of_them(tmp_path: Path) -> None:
    results = {
        "LSTM, 0.001": [run(0.001, 0.5, 0.4, 0.3, 0.2, 0.1), run(0.001, 0.7, 0.4, 0.3, 0.2, 0.3)],
        "LSTM, 0.01": [run(0.01, 0.9, 0.8, 0.7, 0.6, 0.5), run(0.01, 0.8, 0.9, 0.5, 0.6, 0.5)],
        "RNN, 0.001": [run(0.001, 1.0, 1.0, 1.0, 1.0, 1.0)],
        "RNN, 0.01": [],
    }
    page = write_abilities(results, "parity", tmp_path)
    assert "| LSTM | 0.900 (0.850) | 0.900 (0.850) | 0.700 (0.600) | 0.600 (0.600) | 0.500 (0.500) |" in page
    assert "| 0.500 (0.500) | 0.700 (0.680) | 0.01 | 2 |" in page
    assert "| RNN | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 | 0.001 | 1 |" in page
    assert "| LSTM | 0.700 (0.600) | 0.900 (0.850) |" in page
    assert "| RNN | 1.000 | - |" in page
    assert "| sLSTM, published |  |  |  |  |  | 1.000 |  | 3 |" in page
    assert (tmp_path / "abilities.md").read_text() == page
    assert all((tmp_path / name).stat().st_size for name in ("abilities.png", "rates.png"))


def test_nothing_is_drawn_of_no_results(tmp_path: Path) -> None:
    """A sweep that is stopped in its first experiment."""
    page = write_abilities({"LSTM, 0.01": [], "LSTM, 0.1": []}, "parity", tmp_path)
    assert "| LSTM |" not in page
    assert not list(tmp_path.glob("*.png"))


def test_bad_learning_rates_and_tasks() -> None:
    assert learning_rates(None, "parity") == [0.003]
    assert len(learning_rates(None, "mqar")) == 3  # recall depends on it
    assert learning_rates("0.1,1e-3", "mqar") == [0.1, 0.001]
    assert_refused("the task 'party' is not known; choose one of parity, ", learning_rates, None, "party")
    assert_refused("lr='fast' was given; expected comma-separated numbers", learning_rates, "fast", "parity")
    assert_refused("steps=0 was given; expected at least 1", train_and_test, "LSTM", "parity", 1, steps=0)
    assert_refused("parity was given, whose inputs are symbols", parse_lengths, "parity", "40")
    assert_refused("lr='0' was given; expected numbers above 0", learning_rates, "0", "parity")


def test_the_table_of_all_tasks_of_mad() -> None:
    def of(task: str, *figures: float) -> list[dict[str, Any]]:
        return [{"accuracy": {str(SETTINGS[task].test[0]): figure}} for figure in figures]

    found = {}
    for place, task in enumerate(MAD):
        found[task] = {"LSTM, 0.001": of(task, 0.1 * place, 0.1), "LSTM, 0.01": of(task, 0.0, 0.05)}
    found[MAD[0]]["RNN, 0.01"] = of(MAD[0], 0.5)
    page = mad_table(found)
    assert "| LSTM | 0.100 (0.050) | 0.100 (0.100) | 0.200 (0.150) |" in page
    assert "| 0.500 (0.300) | 0.267 | 2 |" in page  # the mean of 0.1, 0.1, 0.2, 0.3, 0.4 and 0.5
    assert "| RNN | 0.500 | - | - | - | - | - | - | 1 |" in page
    assert "| Transformer, published |  |  |  |  |  |  | 0.764 |  |" in page
