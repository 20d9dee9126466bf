"""Which examples make a batch, and loading batches by number."""

import random
from collections.abc import Callable

import pytest
import torch
from batches import epoch_of, same
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data.distributed import DistributedSampler

from seqmodels.data import Lanes, Replica, Windows
from seqmodels.data.sampler import Batches, BatchNumbers, examples, generator, loader, permutation

SEEDS = st.integers(-(1 << 62), 1 << 62)


@given(count=st.integers(1, 300), seed=SEEDS, epoch=st.integers(0, 10_000))
def test_permutation_depends_on_its_arguments_only(count: int, seed: int, epoch: int) -> None:
    order = permutation(count, seed, epoch).tolist()
    assert sorted(order) == list(range(count))
    permutation.cache_clear()
    torch.manual_seed(seed % 1000)
    before = torch.get_rng_state()
    assert permutation(count, seed, epoch).tolist() == order
    assert torch.equal(torch.get_rng_state(), before)  # and takes no chance from anybody


def test_permutations_are_even() -> None:
    """Every example comes about equally often in the first half."""
    counts = torch.zeros(20)
    for epoch in range(400):
        counts[permutation(20, 1, epoch)[:10]] += 1
    assert counts.min() > 150
    assert counts.max() < 250


@given(seed=SEEDS, epoch=st.integers(0, 10_000))
def test_generator(seed: int, epoch: int) -> None:
    draw = lambda seed, epoch: torch.randint(1 << 62, (), generator=generator(seed, epoch)).item()  # noqa: E731
    assert draw(seed, epoch) == draw(seed, epoch)
    assert len({draw(seed, epoch), draw(seed, epoch + 1), draw(seed + 1, epoch), draw(seed + 1, epoch + 1)}) == 4


@given(
    batch_size=st.integers(1, 4),
    world=st.integers(1, 4),
    steps=st.integers(1, 5),
    rest=st.integers(0, 3),
    seed=SEEDS,
    epoch=st.integers(0, 100),
    shuffle=st.booleans(),
)
def test_examples(batch_size: int, world: int, steps: int, rest: int, seed: int, epoch: int, shuffle: bool) -> None:
    """All ranks' rows of all steps, in turn, are the beginning of the order."""
    count = batch_size * world * steps + rest
    order = permutation(count, seed, epoch).tolist() if shuffle else list(range(count))
    read: list[int] = []
    places = [(step, rank) for step in range(steps) for rank in range(world)]
    found: dict[tuple[int, int], Tensor] = {}
    for step, rank in random.Random(seed).sample(places, len(places)):  # asked for in any order
        found[step, rank] = examples(
            count, batch_size, step, Replica(rank, world), seed=seed, epoch=epoch, shuffle=shuffle
        )
    for place in places:
        assert found[place].dtype == torch.int64
        assert found[place].shape == (batch_size,)
        read += found[place].tolist()
    assert read == order[: len(read)]
    assert count - len(read) == rest


# The loader

COLUMN = torch.arange(4, 124, dtype=torch.int16)


def windows() -> Batches:
    return Windows(COLUMN, 5, 3, 4, True, 1, Replica())


def lanes() -> Batches:
    return Lanes(COLUMN, 5, 3, 1, Replica())


@pytest.mark.parametrize("start", [3, len(windows())])
def test_batch_numbers(start: int) -> None:
    """The first epoch may begin in the middle; its length is that of an epoch all the same."""
    count = len(windows())
    numbers = BatchNumbers(windows(), place=(5, start))
    assert isinstance(numbers, DistributedSampler)  # what Lightning does not replace
    assert len(numbers) == count
    assert list(numbers) == [(5, k) for k in range(start, count)]
    assert len(numbers) == count
    numbers.set_epoch(6)
    assert list(numbers) == list(numbers) == [(6, k) for k in range(count)]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize("make", [windows, lanes])
def test_loader(make: Callable[[], Batches], start: int, num_workers: int) -> None:
    """The same batches in the same order, whatever the number of processes, in this epoch and the next."""
    loaded = loader(make(), place=(4, start), num_workers=num_workers)
    assert len(loaded) == len(make())
    assert isinstance(loaded.sampler, BatchNumbers)
    assert same(list(loaded), epoch_of(make(), 4, start))
    for epoch in (5, 6):
        loaded.sampler.set_epoch(epoch)
        assert same(list(loaded), epoch_of(make(), epoch))
