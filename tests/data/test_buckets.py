"""Buckets of pairs: every pair once, within the budget, the same on any number of ranks, hardly any padding."""

import pytest
import torch
from torch import Tensor

from seqmodels.batch import BOS, EOS, IGNORE, PAD
from seqmodels.data import Buckets, Replica, Sentences
from seqmodels.data.buckets import pair_batch
from seqmodels.errors import InputError


def sentences(lengths: list[int], first: int) -> Sentences:
    """Sentence `i` is the token `first + i`, as often as it is long."""
    parts = [[BOS, *[first + number] * length, EOS] for number, length in enumerate(lengths)]
    return Sentences(torch.tensor([token for part in parts for token in part], dtype=torch.int32))


def some(count: int, seed: int = 0) -> tuple[Sentences, Sentences, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    source = torch.randint(1, 25, (count,), generator=chance)
    target = (source + torch.randint(-3, 4, (count,), generator=chance)).clamp(min=1)
    return sentences(source.tolist(), 10), sentences(target.tolist(), 10_000), torch.arange(count)


def buckets(count: int = 500, batch_tokens: int = 300, replica: Replica = Replica(), **others: object) -> Buckets:
    source, target, rows = some(count)
    arguments = {"layout": "pair", "seed": 1} | others
    return Buckets(source, target, rows, batch_tokens, replica=replica, **arguments)  # type: ignore[arg-type]


def numbers(batches: Buckets, epoch: int) -> list[list[int]]:
    """Which pairs each batch of an epoch has."""
    found = []
    for step in range(len(batches)):
        batch = batches[epoch, step]
        assert batch.source is not None
        assert (batch.source[:, 0] - 10 == batch.targets[:, 0] - 10_000).all()  # each beside its own translation
        found.append((batch.source[:, 0] - 10).tolist())
    return found


def test_every_pair_once_in_each_epoch_and_in_another_order() -> None:
    batches = buckets()
    first, second = numbers(batches, 0), numbers(batches, 1)
    for epoch in (first, second):
        assert sorted(number for batch in epoch for number in batch) == list(range(500))
    assert first != second
    assert numbers(buckets(), 1) == second  # a function of seed and epoch alone
    assert numbers(buckets(seed=2), 0) != first


def test_the_budget_holds_and_little_is_padding() -> None:
    batches = buckets(9_000, 1_000)
    slots = real = 0
    for step in range(len(batches)):
        batch = batches[0, step]
        assert batch.source is not None
        for side in (batch.source, batch.inputs):
            assert side.numel() <= 1_000
        for tokens, mask in ((batch.source, batch.source_mask), (batch.inputs, batch.mask)):
            slots += tokens.numel()
            real += tokens.numel() if mask is None else int(mask.sum())
    assert 1 - real / slots < 0.05


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_what_one_would_see(world: int) -> None:
    one = numbers(buckets(501, 100 * world), 3)
    ranks = [numbers(buckets(501, 100, Replica(rank, world)), 3) for rank in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    assert len(one) == len(ranks[0])
    for whole, *parts in zip(one, *ranks, strict=True):
        assert sorted(whole) == sorted(number for part in parts for number in part)
        sizes = [len(part) for part in parts]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1


def test_without_a_seed_from_short_to_long() -> None:
    batches = buckets(seed=None)
    widths = [batches[0, step].targets.shape[1] for step in range(len(batches))]
    assert widths == sorted(widths)
    assert numbers(batches, 0) == numbers(batches, 1)


def test_what_a_batch_of_pairs_holds() -> None:
    source, target = sentences([2, 1], 10), sentences([1, 3], 20)
    batch = pair_batch(source, target, torch.tensor([0, 1]), "pair")
    assert batch.source is not None
    assert batch.source.tolist() == [[10, 10, EOS], [11, EOS, PAD]]
    assert batch.source_mask is not None
    assert batch.source_mask.tolist() == [[True, True, True], [True, True, False]]
    assert batch.inputs.tolist() == [[BOS, 20, EOS, PAD], [BOS, 21, 21, 21]]
    assert batch.targets.tolist() == [[20, EOS, IGNORE, IGNORE], [21, 21, 21, EOS]]
    assert batch.mask is not None
    assert batch.mask.tolist() == [[True, True, False, False], [True] * 4]


def test_what_a_batch_of_joined_pairs_holds() -> None:
    source, target = sentences([2, 1], 10), sentences([1, 3], 20)
    batch = pair_batch(source, target, torch.tensor([0, 1]), "joined")
    assert batch.source is None
    assert batch.inputs.tolist() == [[BOS, 10, 10, BOS, 20, EOS], [BOS, 11, BOS, 21, 21, 21]]
    assert batch.targets.tolist() == [
        [IGNORE, IGNORE, IGNORE, 20, EOS, IGNORE],
        [IGNORE, IGNORE, 21, 21, 21, EOS],
    ]
    assert batch.mask is not None
    assert batch.mask.tolist() == [[True] * 5 + [False], [True] * 6]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"tokens long, and batch_tokens=10 was given for a batch"):
        buckets(batch_tokens=10)
    with pytest.raises(InputError, match="2 pairs are fewer than the 3 processes"):
        buckets(2, replica=Replica(0, 3))
