"""Windows within documents, against loops over the documents.

In most texts here every token occurs once, so that a token tells its place.
"""

import pytest
import torch
from batches import epoch_of
from hypothesis import given
from hypothesis import strategies as st

from seqmodels import GRU
from seqmodels.batch import BOS, IGNORE, PAD
from seqmodels.data import DocumentWindows, Replica, ScoredDocuments
from seqmodels.errors import InputError

FIRST = 10
DTYPES = st.sampled_from([torch.int16, torch.int32, torch.int64])
LENGTHS = st.lists(st.integers(0, 15), min_size=1, max_size=8)
"""Of documents, without their BOS."""


def text_of(lengths: list[int]) -> list[list[int]]:
    """Documents, each from its BOS on."""
    documents, place = [], FIRST
    for length in lengths:
        documents.append([BOS, *range(place, place + length)])
        place += length
    return documents


def column_of(documents: list[list[int]], dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.tensor([token for document in documents for token in document], dtype=dtype)


def windows_of(documents: list[list[int]], length: int, stride: int) -> list[list[int]]:
    """By hand: of each document as many as it takes to reach its end."""
    found = []
    for document in documents:
        for start in range(0, len(document) - 1, stride):
            found.append(document[start : start + length + 1])
            if start + length + 1 >= len(document):
                break
    return found


@given(
    lengths=LENGTHS, length=st.integers(1, 9), stride=st.integers(1, 12), batch_size=st.integers(1, 4), dtype=DTYPES,
    shuffle=st.booleans(), epoch=st.integers(0, 9),
)  # fmt: skip
def test_windows(
    lengths: list[int], length: int, stride: int, batch_size: int, dtype: torch.dtype, shuffle: bool, epoch: int
) -> None:
    documents = text_of(lengths)
    column = column_of(documents, dtype)
    wanted = windows_of(documents, length, stride)
    if len(wanted) < batch_size:
        with pytest.raises(InputError, match=f"has {len(wanted)} windows of length={length} at"):
            DocumentWindows(column, length, batch_size, stride, shuffle, 1, Replica())
        return
    windows = DocumentWindows(column, length, batch_size, stride, shuffle, 1, Replica())
    assert len(windows) == len(wanted) // batch_size
    read = []
    for batch in epoch_of(windows, epoch):
        assert batch.inputs.dtype == batch.targets.dtype == torch.int64
        assert batch.inputs.shape == batch.targets.shape == (batch_size, length)
        assert not batch.continues
        assert not batch.continued
        mask = torch.ones_like(batch.inputs, dtype=torch.bool) if batch.mask is None else batch.mask
        assert batch.mask is None or not mask.all()
        for inputs, targets, real in zip(batch.inputs.tolist(), batch.targets.tolist(), mask.tolist(), strict=True):
            assert real == [token != PAD for token in inputs]
            following = [token for token in targets if token != IGNORE]
            assert targets == following + [IGNORE] * (length - len(following))  # padding is on the right
            whole = inputs[:1] + following
            assert inputs == (whole + [PAD] * length)[:length]
            read.append(whole)
    if shuffle:
        assert all(window in wanted for window in read)
        assert len({tuple(window) for window in read}) == len(read)
    else:
        assert read == wanted[: len(read)]
    assert column.tolist() == column_of(documents).tolist()


@given(
    lengths=LENGTHS, length=st.integers(1, 9), data=st.data(), batch_size=st.integers(1, 4), world=st.integers(1, 4),
    dtype=DTYPES,
)  # fmt: skip
def test_every_token_is_scored_once(
    lengths: list[int], length: int, data: st.DataObject, batch_size: int, world: int, dtype: torch.dtype
) -> None:
    stride = data.draw(st.none() | st.integers(1, length))
    documents = text_of(lengths)
    column = column_of(documents, dtype)
    ranks = [ScoredDocuments(column, length, batch_size, Replica(rank, world), stride) for rank in range(world)]
    scored = []
    for rank in ranks:
        assert len(rank) > 0  # no rank waits for another
        for batch in epoch_of(rank):
            assert 1 <= batch.inputs.shape[1] <= length
            for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
                document = next(d for d in documents if inputs[0] in d[1:] or inputs[0] == BOS)
                for place, target in enumerate(targets):
                    if target != IGNORE:
                        document = next(d for d in documents if target in d)
                        before = document[: document.index(target)]
                        context = inputs[: place + 1]
                        assert context == before[len(before) - len(context) :]  # of its own document, to the token
                        least = length - (stride or length) + 1
                        assert len(context) >= min(least, len(before))
                        scored.append(target)
    assert sorted(scored) == [token for document in documents for token in document[1:]]


def test_stride_longer_than_a_window() -> None:
    with pytest.raises(InputError, match="stride=5 was given for windows of length=4; expected at most that"):
        ScoredDocuments(column_of(text_of([9])), 4, 1, Replica(), 5)


def test_padding_and_other_documents_change_nothing() -> None:
    """What a network makes of a document does not depend on its neighbours in the batch."""
    torch.manual_seed(0)
    network = GRU(3, 5).double()
    embedding = torch.randn(200, 3, dtype=torch.float64)
    documents = text_of([3, 8, 1, 6])
    (batch,) = epoch_of(ScoredDocuments(column_of(documents), 10, 4, Replica()))
    y, _ = network(embedding[batch.inputs], mask=batch.mask)
    for row, document in enumerate(documents):
        alone, _ = network(embedding[torch.tensor([document[:-1]])])
        torch.testing.assert_close(y[row : row + 1, : len(document) - 1], alone)
