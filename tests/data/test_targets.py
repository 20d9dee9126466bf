"""Chosen targets against a loop over each row."""

import pytest
import torch
from batches import epoch_of, same
from hypothesis import given
from hypothesis import strategies as st

from seqmodels.batch import IGNORE
from seqmodels.data import ChosenTargets, DocumentWindows, Lanes, Replica, Windows
from seqmodels.data.targets import check_targets, choose_targets
from seqmodels.errors import InputError

ROWS = st.integers(1, 12).flatmap(
    lambda T: st.lists(st.lists(st.sampled_from([IGNORE, 4, 5, 6]), min_size=T, max_size=T), min_size=1, max_size=4)
)


@given(rows=ROWS, number=st.integers(1, 14))
def test_against_a_loop(rows: list[list[int]], number: int) -> None:
    every, last = [], []
    for row in rows:
        there = [place for place, target in enumerate(row) if target != IGNORE]
        kept = there[-number:]
        last.append([target if place in kept else IGNORE for place, target in enumerate(row)])
        kept = there[number - 1 :: number]
        every.append([target if place in kept else IGNORE for place, target in enumerate(row)])
    targets = torch.tensor(rows)
    assert choose_targets(targets, f"last:{number}").tolist() == last
    assert choose_targets(targets, f"every:{number}").tolist() == every
    assert choose_targets(targets, "last").equal(choose_targets(targets, "last:1"))
    assert choose_targets(targets, "all") is targets
    assert targets.tolist() == rows


@pytest.mark.parametrize("choice", ["all", "last", "last:2", "every:3"])
def test_only_targets_change(choice: str) -> None:
    column = torch.arange(4, 104).clone()
    column[::9] = 1
    for batches in (
        Windows(column, 7, 3, 7, True, 1, Replica()),
        Lanes(column, 7, 3, 1, Replica()),
        DocumentWindows(column, 7, 3, 7, True, 1, Replica()),
    ):
        some = ChosenTargets(batches, choice)
        wanted = [batch._replace(targets=choose_targets(batch.targets, choice)) for batch in epoch_of(batches, 2)]
        assert same(epoch_of(some, 2), wanted)


def test_nothing_left() -> None:
    column = torch.tensor([1, 4, 4, 4, 4, 1, 4, 4, 1, 4])
    documents = DocumentWindows(column, 6, 1, 6, True, 1, Replica())
    check_targets(documents, "every:4")  # of which one document has so many
    with pytest.raises(InputError, match="targets='every:5' leaves nothing"):
        check_targets(documents, "every:5")
    check_targets(documents, "last:100")
