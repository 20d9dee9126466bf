"""Networks that learn problems of long memory, each as if it were alone."""

import json
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from refusals import assert_refused
from torch.testing import assert_close

from seqmodels.batch import IGNORE, Batch
from seqmodels.experiments.data import MemoryDataModule
from seqmodels.experiments.methods import METHODS
from seqmodels.experiments.model import MemoryModel, small_start
from seqmodels.experiments.results import grid, parse_lengths, seeded, success_table, train, write_success
from seqmodels.nn import GRU, RNN, Backbone, GatedDeltaNet, Transformer
from seqmodels.nn.unrolling import unroll
from seqmodels.tasks.regularizers import gradient_change

MAKERS: dict[str, Any] = {
    "RNN": lambda: RNN(6, 8),
    "GRU": lambda: GRU(6, 8),
    "Transformer": lambda: Transformer(6, num_layers=1, num_heads=1, context=64),
    "GatedDeltaNet": lambda: GatedDeltaNet(8, num_layers=1, num_heads=2),
}


def batch_of(task: str, seeds: list[int]) -> Batch:
    return MemoryDataModule(task, 12, batch_size=4, seeds=seeds).training_batches()[0, 0]


@pytest.mark.parametrize("omega", [0.0, 2.0])
@pytest.mark.parametrize("name", MAKERS)
def test_losses_and_steps_are_those_of_each_alone(name: str, omega: float) -> None:
    """Loss, penalty, clipping and optimizer: three together are three alone."""
    if omega and name in ("Transformer", "GatedDeltaNet"):
        assert_refused("it is for recurrent networks", MemoryModel, [MAKERS[name]()], 4, omega=omega)
        return
    seeds = [1, 2, 3]
    settings: dict[str, Any] = {"optimizer": "sgd", "lr": 0.5, "clip": 0.1, "omega": omega, "features": 6}
    together = MemoryModel(seeded(MAKERS[name], seeds), 4, **settings)
    batch = batch_of("temporal-order", seeds)
    alone = []
    for place, seed in enumerate(seeds):
        model = MemoryModel(seeded(MAKERS[name], [seed]), 4, **settings)
        model.heads[0].load_state_dict(together.heads[place].state_dict())
        for own, theirs in zip(model.embeddings, together.embeddings[place : place + 1], strict=True):
            own.load_state_dict(theirs.state_dict())
        alone.append(model)
    losses = together.losses(batch)
    parts = [Batch(*pair) for pair in zip(batch.inputs.chunk(3), batch.targets.chunk(3), strict=True)]
    assert_close(losses, torch.cat([model.losses(part) for model, part in zip(alone, parts, strict=True)]))
    before = [[p.detach().clone() for p in model.parameters()] for model in alone]
    for model, data in [(together, batch), *zip(alone, parts, strict=True)]:
        optimizer = model.configure_optimizers()
        model.training_step(data, 0).backward()
        model.configure_gradient_clipping(optimizer)
        optimizer.step()
    for place, model in enumerate(alone):
        for mine, theirs in zip(together.networks[place].parameters(), model.networks[0].parameters(), strict=True):
            assert_close(mine, theirs)
        moved = torch.cat([(p - was).flatten() for p, was in zip(model.parameters(), before[place], strict=True)])
        assert_close(moved.norm(), torch.tensor(0.5 * 0.1), rtol=1e-4, atol=0)  # the gradient was longer than its limit


def test_losses_are_the_mean_over_targets_and_the_penalty() -> None:
    network = RNN(6, 8)
    model = MemoryModel([network], 4, omega=1.5)
    batch = batch_of("temporal-order", [1])
    y, layers = unroll(network, batch.inputs)
    error = torch.nn.functional.cross_entropy(model.heads[0](y)[:, -1], batch.targets[:, -1])
    assert_close(model.losses(batch), (error + 1.5 * gradient_change(error, layers)).view(1))
    numbers = MemoryModel([RNN(2, 8)], 0)
    batch = batch_of("adding", [1])
    answers = numbers(batch)[:, -1, 0]
    assert_close(numbers.losses(batch), (answers - batch.targets[:, -1]).square().mean().view(1))


def test_errors_are_counted_over_all_batches() -> None:
    model = MemoryModel([RNN(6, 8), RNN(6, 8)], 4)
    batches = [batch_of("temporal-order", [seed, seed]) for seed in (1, 2, 3)]
    model.on_validation_epoch_start()
    wrong = torch.zeros(2)
    for batch in batches:
        model.validation_step(batch, 0)
        answers = model(batch)[:, -1].argmax(-1) != batch.targets[:, -1]
        wrong += answers.view(2, -1).sum(1)
    model.on_validation_epoch_end()
    assert model.errors == pytest.approx((wrong / 12).tolist())


def test_a_gradient_that_is_no_number_is_no_step() -> None:
    model = MemoryModel([RNN(6, 8), RNN(6, 8)], 4, optimizer="sgd", lr=1.0)
    before = [p.clone() for p in model.parameters()]
    model.training_step(batch_of("temporal-order", [1, 2]), 0).backward()
    for p in model.networks[0].parameters():
        p.grad = torch.full_like(p, float("nan"))
    optimizer = model.configure_optimizers()
    model.configure_gradient_clipping(optimizer)
    optimizer.step()
    first = [id(p) for part in (model.networks[0], model.heads[0]) for p in part.parameters()]
    for p, was in zip(model.parameters(), before, strict=True):
        if id(p) in first:
            assert torch.equal(p, was)
    assert any(not torch.equal(p, was) for p, was in zip(model.parameters(), before, strict=True))


def plain() -> Backbone:
    return small_start(RNN(6, 30, recurrent_init="sparse"), 0.1)


def test_a_short_problem_is_learned_and_training_ends_then(tmp_path: Path) -> None:
    """Plain networks with clipping and Omega at length 10: both learn, and not before they are looked at twice."""
    data = MemoryDataModule("temporal-order", 10, seeds=[1, 2], examples=500)
    model = MemoryModel(seeded(plain, data.seeds), data.task.outputs, "adam", lr=3e-3, omega=1.0)
    found = train(model, data, max_steps=1500, check_every=5)
    assert all(step is not None and step % 5 == 0 and step > 5 for step in found["solved"])
    assert found["steps"] == max(found["solved"]) < 1500
    assert max(found["best"]) < 0.01
    results = {"RNN, 10": [found], "GRU, 10": []}
    assert "| RNN | 2/2 after" in write_success(results, [10], tmp_path)
    assert (tmp_path / "success.md").read_text() == success_table(results, [10])
    assert (tmp_path / "success.png").stat().st_size > 0


def test_examples_lengthen_as_they_are_learned() -> None:
    """What counts is the full length: what was solved before is forgotten, the network is not."""
    data = MemoryDataModule("temporal-order", 14, seeds=[1, 2], examples=500, shortest=10)
    model = MemoryModel(seeded(plain, data.seeds), data.task.outputs, "adam", lr=3e-3, omega=1.0)
    early = train(model, data, max_steps=10, check_every=5)
    assert (early["solved"], data.positions) == ([None, None], 10)
    found = train(model, data, max_steps=1500, check_every=5)
    assert data.positions == 14
    assert found["steps"] == max(found["solved"]) < 1500
    fresh = MemoryModel(seeded(plain, data.seeds), data.task.outputs, "adam", lr=3e-3, omega=1.0)
    assert max(train(fresh, data, max_steps=5, check_every=5)["best"]) > 0.5  # at 14 positions


def test_what_was_solved_of_shorter_examples_is_not_solved() -> None:
    """One of two networks has learned the short ones when time is up."""
    data = MemoryDataModule("adding", 20, seeds=[1, 2], examples=10, shortest=10)
    model = MemoryModel([RNN(2, 4), RNN(2, 4)], 0)
    model.on_validation_epoch_end = lambda: setattr(model, "errors", [0.0, 0.5])  # type: ignore[method-assign]
    found = train(model, data, max_steps=10, check_every=5)
    assert (found["solved"], found["length"]) == ([None, None], 10)
    assert found["best"] == [data.task.trivial] * 2
    data = MemoryDataModule("adding", 10, seeds=[1, 2], examples=10)
    model = MemoryModel([RNN(2, 4), RNN(2, 4)], 0)
    model.on_validation_epoch_end = lambda: setattr(model, "errors", [0.0, 0.5])  # type: ignore[method-assign]
    assert train(model, data, max_steps=10, check_every=5)["solved"] == [5, None]


def test_answers_are_drawn_from_the_seed_alone() -> None:
    alone, among = (MemoryModel([RNN(2, 4) for _ in seeds], 0, seeds=seeds) for seeds in ([7], [3, 7]))
    assert_close(alone.heads[0].weight, among.heads[1].weight, rtol=0, atol=0)
    assert not torch.equal(among.heads[0].weight, among.heads[1].weight)


def test_parameters_are_saved_once() -> None:
    model = MemoryModel([RNN(2, 4)], 0, omega=1.0)
    assert len(model.state_dict()) == len(list(model.parameters()))


def test_time_ends_training_too() -> None:
    data = MemoryDataModule("adding", 10, examples=10)
    found = train(MemoryModel([RNN(2, 4)], 0), data, max_steps=1000, max_minutes=1e-9, check_every=5)
    assert found["steps"] == 5
    assert found["solved"] == [None]
    json.dumps(found)


def test_table() -> None:
    runs = {
        "A b, 20": [{"solved": [5, None, 7], "steps": 9}],
        "A b, 50": [{"solved": [None, None, None], "steps": 40_000}],
        "C, 20": [],
        "D, 20": [{"solved": [5], "steps": 5}, {"solved": [None], "steps": 9}],
    }
    assert success_table(runs, [20, 50]).splitlines() == [
        "|  | T = 20 | T = 50 |",
        "| --- | --- | --- |",
        "| A b | 2/3 after 5 of 9 | 0/3 in 40,000 |",
        "| C | - | - |",
        "| D | 1/2 after 5 of 9 | - |",
    ]


def test_what_a_sweep_refuses() -> None:
    assert parse_lengths("adding", "50,20") == [20, 50]
    assert parse_lengths("permuted-digits", "50") == [64]
    assert_refused("lengths='20;50' was given", parse_lengths, "adding", "20;50")
    assert_refused("'addin' is not known", parse_lengths, "addin", "20")
    assert_refused("expected at least 10", parse_lengths, "adding", "2,20")
    assert_refused("shortest=15 was given with a length of 10", parse_lengths, "adding", "10,20", 15)
    assert_refused("'B' is not known; choose from A, C", grid, {"A": 1, "C": 2}, "A,B", [20])
    assert_refused("expected lr above 0", MemoryModel, [RNN(2, 4)], 0, lr=0)
    assert (batch_of("temporal-order", [1]).targets == IGNORE).any()


def test_a_sweep_crosses_methods_and_lengths() -> None:
    methods = {"A": "a", "C": "c"}
    assert grid(methods, None, [20, 50]) == {
        "A, 20": ("a", 20), "C, 20": ("c", 20), "A, 50": ("a", 50), "C, 50": ("c", 50),
    }  # fmt: skip
    assert list(grid(methods, "C", [20])) == ["C, 20"]


def test_every_method_makes_a_network_that_learns() -> None:
    """Those whose inputs have another size than the examples have a layer before them."""
    for name, (network, shape, std, training) in METHODS.items():
        data = MemoryDataModule("temporal-order", 10, batch_size=2)
        (made,) = seeded(partial(cast(Any, network), data.task.inputs, 6, **shape), [1])
        model = MemoryModel([small_start(made, std)], data.task.outputs, features=data.task.inputs, **training)
        loss = model.losses(data.training_batches()[0, 0]).sum()
        loss.backward()
        assert loss.isfinite(), name
        assert all(p.grad is not None for p in model.parameters()), name
