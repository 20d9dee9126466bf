"""Batches against slow readings of the text, one number after the other.

In most texts here every token occurs once, so that a token tells its place.
"""

import itertools
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from batches import epoch_of, joined, same
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seqmodels.batch import BOS, EOS, IGNORE, Batch
from seqmodels.data import Batches, DocumentWindows, Lanes, Replica, ScoredLanes, ScoredWindows, Windows
from seqmodels.data.sampler import permutation
from seqmodels.errors import InputError

FIRST = 10
"""Token at place 0 of a text in which a token tells its place."""

DTYPES = st.sampled_from([torch.int16, torch.int32, torch.int64])


def numbered(count: int, dtype: torch.dtype = torch.int16) -> Tensor:
    return torch.arange(FIRST, FIRST + count, dtype=dtype)


def rows_of(batches: list[Batch]) -> list[list[int]]:
    return [row for batch in batches for row in batch.inputs.tolist()]


def check_shift(batch: Batch, text: list[int]) -> None:
    """Every target is what follows its input in the text; BOS never is one."""
    assert batch.inputs.dtype == batch.targets.dtype == torch.int64
    assert batch.mask is None
    for token, target in zip(batch.inputs.flatten().tolist(), batch.targets.flatten().tolist(), strict=True):
        if target != IGNORE:
            assert target != BOS
            assert target == text[text.index(token) + 1]


# Windows


@given(
    tokens=st.lists(st.sampled_from([BOS, EOS, 4, 5, 6, 7]), min_size=2, max_size=60),
    length=st.integers(1, 8),
    stride=st.integers(1, 11),
    batch_size=st.integers(1, 4),
    dtype=DTYPES,
)
def test_windows_in_order(tokens: list[int], length: int, stride: int, batch_size: int, dtype: torch.dtype) -> None:
    """Against a loop over the text."""
    starts = [place for place in range(0, len(tokens), stride) if place + length < len(tokens)]
    column = torch.tensor(tokens, dtype=dtype)
    if len(starts) < batch_size:
        with pytest.raises(InputError):
            Windows(column, length, batch_size, stride, False, 1, Replica())
        return
    windows = Windows(column, length, batch_size, stride, False, 1, Replica())
    assert len(windows) == len(starts) // batch_size
    for epoch in (0, 3):
        for k, batch in enumerate(epoch_of(windows, epoch)):
            mine = starts[k * batch_size : (k + 1) * batch_size]
            assert batch.inputs.tolist() == [tokens[place : place + length] for place in mine]
            following = [tokens[place + 1 : place + length + 1] for place in mine]
            assert batch.targets.tolist() == [[IGNORE if t == BOS else t for t in row] for row in following]
            assert (batch.mask, batch.continues, batch.continued) == (None, False, False)
    assert column.tolist() == tokens  # reading changes nothing


@given(
    count=st.integers(2, 120),
    length=st.integers(1, 6),
    stride=st.integers(1, 8),
    batch_size=st.integers(1, 4),
    seed=st.integers(0, 1 << 40),
    epoch=st.integers(0, 1000),
)
def test_epoch_has_every_window_once(
    count: int, length: int, stride: int, batch_size: int, seed: int, epoch: int
) -> None:
    starts = [place for place in range(0, count, stride) if place + length < count]
    if len(starts) < batch_size:
        return
    windows = Windows(numbered(count), length, batch_size, stride, True, seed, Replica())
    read = rows_of(epoch_of(windows, epoch))
    everything = {tuple(range(FIRST + place, FIRST + place + length)) for place in starts}
    assert len(read) == len({tuple(row) for row in read})  # no window twice
    assert {tuple(row) for row in read} <= everything
    assert len(everything) - len(read) == len(starts) % batch_size  # none missing but those that fill no batch
    for batch in epoch_of(windows, epoch):
        check_shift(batch, numbered(count).tolist())


def test_orders_of_epochs() -> None:
    make = lambda seed: Windows(numbered(200), 3, 4, 3, True, seed, Replica())  # noqa: E731
    orders = {(seed, epoch): rows_of(epoch_of(make(seed), epoch)) for seed in range(3) for epoch in range(4)}
    for one, other in itertools.combinations(orders, 2):
        assert orders[one] != orders[other]
    permutation.cache_clear()
    windows = make(2)
    for epoch in (3, 0, 1, 3):  # visited in any order, and more than once
        assert rows_of(epoch_of(windows, epoch)) == orders[2, epoch]


def test_what_is_left_over_is_read_in_other_epochs() -> None:
    windows = Windows(numbered(32), 3, 4, 3, True, 1, Replica())  # 10 windows, 2 batches
    counts = Counter(tuple(row) for epoch in range(50) for row in rows_of(epoch_of(windows, epoch)))
    assert len(counts) == 10
    assert min(counts.values()) > 25


def test_windows_fit_to_the_token() -> None:
    assert rows_of(epoch_of(Windows(numbered(5), 4, 1, 4, True, 1, Replica()))) == [numbered(5)[:4].tolist()]
    with pytest.raises(InputError, match="length=4 does not fit a text of 3 tokens"):
        Windows(numbered(4), 4, 1, 4, True, 1, Replica())


def test_fewer_windows_than_a_batch() -> None:
    assert len(Windows(numbered(13), 3, 2, 3, True, 1, Replica(0, 2))) == 1
    with pytest.raises(InputError, match=r"3 windows of length=3 at stride=3, fewer than a batch of 4"):
        Windows(numbered(12), 3, 2, 3, True, 1, Replica(0, 2))


# Lanes


@given(
    count=st.integers(2, 150),
    length=st.integers(1, 8),
    batch_size=st.integers(1, 4),
    seed=st.integers(0, 1 << 40),
    epoch=st.integers(0, 1000),
    dtype=DTYPES,
)
def test_lanes(count: int, length: int, batch_size: int, seed: int, epoch: int, dtype: torch.dtype) -> None:
    """Against a loop: B equal lanes side by side from the beginning of this epoch on, cut into steps."""
    column, width = numbered(count, dtype), (count - length) // batch_size
    if width < length:
        with pytest.raises(InputError):
            Lanes(column, length, batch_size, seed, Replica())
        return
    lanes = Lanes(column, length, batch_size, seed, Replica())
    assert len(lanes) == width // length
    beginning = int(lanes[epoch, 0].inputs[0, 0]) - FIRST
    assert 0 <= beginning < length
    for k, batch in enumerate(epoch_of(lanes, epoch)):
        places = [beginning + row * width + k * length for row in range(batch_size)]
        assert batch.inputs.tolist() == [list(range(FIRST + p, FIRST + p + length)) for p in places]
        assert batch.targets.tolist() == [list(range(FIRST + p + 1, FIRST + p + length + 1)) for p in places]
        assert batch.mask is None
        assert batch.continues is (k > 0)
        assert batch.continued is (k < len(lanes) - 1)
    assert column.tolist() == numbered(count).tolist()


@pytest.mark.parametrize("dtype", [torch.int16, torch.int64])
def test_rows_go_on_where_they_ended(dtype: torch.dtype) -> None:
    """Over three epochs in a row, as a loop sees them, in a text with beginnings of documents inside."""
    text = [FIRST + place if place % 7 else BOS for place in range(400)]
    lanes = Lanes(torch.tensor(text, dtype=dtype), 6, 5, 1, Replica())
    before, beginnings = None, set()
    for epoch in range(3):
        targets = []
        for k, batch in enumerate(epoch_of(lanes, epoch)):
            if batch.continues:
                assert before is not None
                last, first = before.targets[:, -1], batch.inputs[:, 0]
                assert torch.equal(torch.where(last == IGNORE, BOS, last), first)
            assert batch.continues == (k > 0)
            assert before is None or batch.continues == before.continued  # the two ends of a promise agree
            assert (batch.inputs == BOS).any()
            assert not (batch.targets == BOS).any()
            assert torch.equal(batch.targets[:, :-1] == IGNORE, batch.inputs[:, 1:] == BOS)
            targets += [target for target in batch.targets.flatten().tolist() if target != IGNORE]
            before = batch
        assert not before.continued
        assert len(targets) == len(set(targets))  # nothing twice in an epoch
        missing = sum(token != BOS for token in text) - len(targets)
        assert missing < 2 * 6 + 5 * 6  # the beginning, the end, and of each lane less than a step
        beginnings.add(int(batch.inputs[0, 0]))
    assert len(beginnings) > 1


def test_lanes_begin_elsewhere_in_every_epoch() -> None:
    lanes = Lanes(numbered(100), 8, 2, 1, Replica())
    beginnings = [int(lanes[epoch, 0].inputs[0, 0]) - FIRST for epoch in range(100)]
    assert set(beginnings) == set(range(8))
    again = Lanes(numbered(100), 8, 2, 1, Replica())
    assert [int(again[epoch, 0].inputs[0, 0]) - FIRST for epoch in range(99, -1, -1)] == beginnings[::-1]
    other = Lanes(numbered(100), 8, 2, 2, Replica())
    assert [int(other[epoch, 0].inputs[0, 0]) - FIRST for epoch in range(100)] != beginnings


def test_more_lanes_than_a_text_allows() -> None:
    assert len(Lanes(numbered(5 + 4 * 5), 5, 2, 1, Replica(1, 2))) == 1
    with pytest.raises(InputError, match="4 lanes of at least length=5 do not fit a text of 23 tokens"):
        Lanes(numbered(5 + 4 * 5 - 1), 5, 2, 1, Replica(1, 2))


# The ranks

MAKERS: dict[str, Callable[[Tensor, int, Replica], Batches]] = {
    "windows": lambda column, batch_size, replica: Windows(column, 5, batch_size, 3, True, 7, replica),
    "windows in order": lambda column, batch_size, replica: Windows(column, 5, batch_size, 3, False, 7, replica),
    "documents": lambda column, batch_size, replica: DocumentWindows(column, 5, batch_size, 3, True, 7, replica),
    "lanes": lambda column, batch_size, replica: Lanes(column, 5, batch_size, 7, replica),
}


@pytest.mark.parametrize("kind", MAKERS)
@given(count=st.integers(100, 200), batch_size=st.integers(1, 3), world=st.integers(2, 4), epoch=st.integers(0, 5))
def test_ranks_read_one_batch_together(kind: str, count: int, batch_size: int, world: int, epoch: int) -> None:
    """W ranks with B rows each read, one rank below the other, what one process with W * B rows reads."""
    column = numbered(count).clone()
    column[::11] = BOS
    one = MAKERS[kind](column, batch_size * world, Replica())
    ranks = [MAKERS[kind](column, batch_size, Replica(rank, world)) for rank in range(world)]
    assert {len(rank) for rank in ranks} == {len(one)}
    for k in range(len(one)):
        parts = [rank[epoch, k] for rank in ranks]
        assert {len(part.inputs) for part in parts} == {batch_size}
        assert same([joined(parts)], [one[epoch, k]])


# Every token scored once


def check_scored(ranks: list[Batches], text: list[int]) -> None:
    """The scored places of all batches of all ranks are all places but the first and those of BOS, each once."""
    scored = []
    for rank in ranks:
        for batch in [*epoch_of(rank), *epoch_of(rank, 1)]:  # and the second time the same
            for token, target in zip(batch.inputs.flatten().tolist(), batch.targets.flatten().tolist(), strict=True):
                if target != IGNORE:
                    scored.append(target - FIRST)
                    assert token in (target - 1, BOS)  # read right before
                    assert text[target - FIRST - 1] == token
    wanted = [place for place, token in enumerate(text) if place and token != BOS]
    assert sorted(scored) == sorted(wanted * 2)


TEXTS = st.tuples(st.integers(1, 70), st.integers(2, 20)).map(
    lambda drawn: [FIRST + place if place % drawn[1] else BOS for place in range(drawn[0])]
)


@given(text=TEXTS, length=st.integers(1, 12), lanes=st.integers(1, 9), world=st.integers(1, 4), dtype=DTYPES)
def test_scored_lanes(text: list[int], length: int, lanes: int, world: int, dtype: torch.dtype) -> None:
    column = torch.tensor(text, dtype=dtype)
    ranks = [ScoredLanes(column, length, lanes, Replica(rank, world)) for rank in range(world)]
    check_scored(list(ranks), text)
    assert column.tolist() == text
    assert len({len(rank) for rank in ranks}) == 1
    for rank in ranks:
        before = None
        for k, batch in enumerate(epoch_of(rank)):
            assert batch.continues is (k > 0)
            assert batch.continued is (k < len(rank) - 1)
            if before is not None:  # a row goes on where it ended, as far as it has text
                real = (batch.targets != IGNORE).any(1) & (before.targets[:, -1] != IGNORE)
                assert torch.equal(before.targets[real, -1], batch.inputs[real, 0])
            before = batch


@given(text=TEXTS, length=st.integers(1, 12), lanes=st.integers(1, 9))
def test_all_but_the_first_token_of_a_lane_have_context(text: list[int], length: int, lanes: int) -> None:
    """So there must be few lanes: no more than asked for, and in a short text one."""
    column = torch.tensor(text)
    batches = epoch_of(ScoredLanes(column, length, lanes, Replica()))
    if batches:
        assert len(batches[0].inputs) <= lanes
        assert len(batches[0].inputs) <= max(1, (len(text) - 1) // length)


@given(text=TEXTS, length=st.integers(1, 12), batch_size=st.integers(1, 5), world=st.integers(1, 4), dtype=DTYPES)
def test_scored_windows(text: list[int], length: int, batch_size: int, world: int, dtype: torch.dtype) -> None:
    column = torch.tensor(text, dtype=dtype)
    ranks = [ScoredWindows(column, length, batch_size, Replica(rank, world)) for rank in range(world)]
    check_scored(list(ranks), text)
    assert column.tolist() == text
    for rank in ranks:
        for batch in epoch_of(rank):
            assert 1 <= len(batch.inputs) <= batch_size
            assert batch.inputs.shape[1] == length
            assert (batch.continues, batch.continued) == (False, False)


def test_ranks_take_turns_with_scored_windows() -> None:
    counts = [len(ScoredWindows(numbered(101), 5, 1, Replica(rank, 3))) for rank in range(3)]
    assert sum(counts) == 20
    assert max(counts) - min(counts) <= 1
