"""Problems of long memory: what is asked for follows from what was shown, and from nothing else."""

import datasets
import numpy as np
import pytest
import torch
from refusals import assert_refused
from torch import Generator, Tensor

from seqmodels.batch import IGNORE
from seqmodels.experiments.data import MemoryDataModule
from seqmodels.experiments.problems import TASKS, digits, memory_task

ROWS = 4000


def made(name: str, length: int) -> tuple[Tensor, Tensor]:
    inputs, targets = memory_task(name, length).make(length, ROWS, Generator().manual_seed(0), True)
    assert inputs.shape == (ROWS, length, memory_task(name, length).inputs)
    assert targets.shape == (ROWS, length)
    return inputs, targets


def tokens(inputs: Tensor) -> Tensor:
    assert (inputs.sum(-1) == 1).all()  # one-hot
    return inputs.argmax(-1)


@pytest.mark.parametrize("length", [10, 20, 57, 200])
@pytest.mark.parametrize(
    ("name", "borders"),
    [("temporal-order", ((10, 20), (50, 60))), ("temporal-order-3bit", ((10, 20), (33, 43), (66, 76)))],
)
def test_temporal_order(length: int, name: str, borders: tuple[tuple[int, int], ...]) -> None:
    inputs, targets = made(name, length)
    seen = tokens(inputs)
    places = [(row < 2).nonzero()[:, 0].tolist() for row in seen]
    assert all(len(few) == len(borders) for few in places)
    for place, (low, high) in enumerate(borders):
        first, last = low * length // 100, max(high * length // 100, low * length // 100 + 1)
        assert {few[place] for few in places} == set(range(first, last))  # all of the published places, and no other
    symbols = torch.stack([seen[row, torch.tensor(few)] for row, few in enumerate(places)])
    bits = 2 ** torch.arange(len(borders) - 1, -1, -1)
    assert torch.equal(targets[:, -1], symbols @ bits)
    assert (targets[:, :-1] == IGNORE).all()
    classes = memory_task(name, length).outputs
    assert classes == 2 ** len(borders)
    assert (torch.bincount(targets[:, -1], minlength=classes) / ROWS - 1 / classes).abs().max() < 0.03


@pytest.mark.parametrize("length", [10, 101])
def test_adding(length: int) -> None:
    inputs, targets = made("adding", length)
    numbers, markers = inputs.unbind(-1)
    assert all((half.sum(1) == 1).all() for half in (markers[:, : length // 2], markers[:, length // 2 :]))
    torch.testing.assert_close((numbers * markers).sum(1), targets[:, -1])
    assert targets[:, :-1].isnan().all()
    products = made("multiplication", length)[1][:, -1]
    torch.testing.assert_close(products, numbers.where(markers > 0, 1).prod(1))
    for name, answers, constant in (("adding", targets[:, -1], 1), ("multiplication", products, 0.25)):
        error = (answers - constant).square().mean().item()
        assert memory_task(name, length).trivial == pytest.approx(error, rel=0.06)
        assert memory_task(name, length).solved < error / 10


def test_copying() -> None:
    inputs, targets = made("copying", 50)
    seen = tokens(inputs)
    assert torch.equal(targets[:, -10:], seen[:, :10])
    assert seen[:, :10].unique().tolist() == list(range(8))
    assert (seen[:, 10:39] == 8).all()
    assert (seen[:, 39] == 9).all()
    assert (seen[:, 40:] == 8).all()
    assert (targets[:, :-10] == IGNORE).all()


def test_random_permutation() -> None:
    inputs, targets = made("random-permutation", 30)
    seen = tokens(inputs)
    assert torch.equal(targets[:, -1], seen[:, 0])
    assert seen[:, 0].unique().tolist() == [0, 1]
    assert seen[:, 1:].min() == 2
    assert seen.max() == 99
    assert memory_task("random-permutation", 30).outputs == 100


def test_digits_are_read_point_by_point() -> None:
    sklearn = pytest.importorskip("sklearn.datasets")
    inputs, targets = made("sequential-digits", 64)
    pictures = {tuple(picture) for picture in sklearn.load_digits().data[:-297].astype(int).tolist()}
    rows = (inputs[..., 0] * 16).int().tolist()
    assert all(tuple(row) in pictures for row in rows)
    held_out = {tuple(picture) for picture in sklearn.load_digits().data[-297:].astype(int).tolist()}
    scored, _ = TASKS["sequential-digits"].make(64, 500, Generator().manual_seed(0), False)
    assert all(tuple(row) in held_out for row in (scored[..., 0] * 16).int().tolist())
    shuffled, answers = made("permuted-digits", 64)
    assert torch.equal(answers, targets)
    assert not torch.equal(shuffled, inputs)
    assert torch.equal(shuffled.sort(1).values, inputs.sort(1).values)
    assert torch.equal(made("permuted-digits", 64)[0], shuffled)  # one order for all


def test_batches_of_a_seed_do_not_depend_on_the_others() -> None:
    alone = MemoryDataModule("adding", 20, batch_size=3, seeds=[7], examples=5)
    among = MemoryDataModule("adding", 20, batch_size=3, seeds=[1, 7, 2], examples=5)
    for place in ((0, 0), (0, 5), (2, 1)):
        batch = alone.training_batches()[place]
        both = among.training_batches()[place]
        assert torch.equal(both.inputs[3:6], batch.inputs)
        assert not torch.equal(both.inputs[:3], batch.inputs)
    first, later = alone.training_batches()[0, 0], alone.training_batches()[1, 0]
    assert not torch.equal(first.inputs, later.inputs)  # examples never come twice
    scored = among.scored_batches("validation")
    inputs = torch.cat([scored[0, k].inputs for k in range(len(scored))])
    assert len(inputs) == 15
    assert torch.equal(inputs[:5], inputs[5:10])


def test_examples_become_longer_up_to_their_length() -> None:
    data = MemoryDataModule("temporal-order", 20, batch_size=3, seeds=[1, 2], examples=5, shortest=12)
    training, scored = data.training_batches(), data.scored_batches("validation")
    lengths = [12, 17, 20, 20]
    for length, longer in zip(lengths, [True, True, False, False], strict=True):
        assert training[0, 0].inputs.shape[1] == scored[0, 0].inputs.shape[1] == data.positions == length
        assert data.lengthen() is longer


def test_all_examples_are_scored() -> None:
    data = MemoryDataModule("temporal-order", 20, examples=1234)
    batches = data.scored_batches("validation")
    assert sum(len(batches[0, k].inputs) for k in range(len(batches))) == 1234


def test_bad_tasks_and_sizes() -> None:
    assert_refused("'temporal' is not known; choose one of temporal-order, ", MemoryDataModule, "temporal", 20)
    assert_refused("length=3 was given with adding; expected at least 10", MemoryDataModule, "adding", 3)
    assert_refused("length=20 was given with copying; expected at least 30", MemoryDataModule, "copying", 20)
    assert_refused("whose examples have 64 positions", MemoryDataModule, "sequential-digits", 65)
    assert_refused("batch_size of 0 was given", MemoryDataModule, "adding", 20, batch_size=0)
    assert_refused("seeds of 0", MemoryDataModule, "adding", 20, seeds=[])
    assert_refused(r"seeds=\[1, -1\] were given", MemoryDataModule, "adding", 20, seeds=[1, -1])
    assert_refused("shortest=21 was given with a length of 20", MemoryDataModule, "adding", 20, shortest=21)
    assert_refused("shortest=5 was given with adding; expected at least 10", MemoryDataModule, "adding", 20, shortest=5)


def test_mnist_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    digits.cache_clear()

    def nothing(*arguments: object, **settings: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("seqmodels.data.corpora.datasets.load_dataset", nothing)
    assert_refused("ylecun/mnist", memory_task("sequential-mnist", 784).make, 784, 2, Generator(), True)


def test_mnist_as_the_hub_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    digits.cache_clear()
    picture = np.arange(784, dtype=np.uint8).reshape(28, 28)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    rows = datasets.Dataset.from_dict({"image": [picture, picture.T.copy()], "label": [3, 5]}, features=features)
    made_of = datasets.DatasetDict({"train": rows, "test": rows})
    monkeypatch.setattr("seqmodels.data.corpora.datasets.load_dataset", lambda name, subset: made_of)
    inputs, targets = memory_task("sequential-mnist", 784).make(784, 20, Generator().manual_seed(0), True)
    digits.cache_clear()
    for row, label in zip(inputs[..., 0], targets[:, -1].tolist(), strict=True):
        expected = picture if label == 3 else picture.T
        assert torch.equal((row * 255).round(), torch.from_numpy(expected.reshape(-1).astype("float32")))
