"""Windows that respect documents: none crosses the border of one; short documents are padded, long ones cut.

Like `windows.py`, datasets of whole batches, each gathered by one indexed read of the column.
"""

import torch
from torch import Tensor

from seqmodels.batch import BOS, PAD, Batch
from seqmodels.data.sampler import Batches, Replica, examples
from seqmodels.data.windows import Sliding, shifted
from seqmodels.errors import InputError


def document_windows(column: Tensor, length: int, stride: int) -> tuple[Tensor, Tensor]:
    """Where windows of a column lie that never cross a document; at every BOS one begins.

    The windows of a document begin `stride` tokens apart, as many as it takes for the last to reach its end: together
    they predict every token of it but its BOS, at a stride of at most `length`.

    Args:
        column: token ids (N,), BOS at the start of each document.
        length: positions T of a window, which is of at most T + 1 tokens.
        stride: distance between the starts of neighbours.

    Returns:
        The place of the first token of each window and the place behind its last, int64 (W,) each.
    """
    starts = (column == BOS).nonzero().squeeze(1)
    ends = torch.cat([starts[1:], torch.tensor([len(column)])])
    targets = ends - starts - 1
    starts, ends, targets = starts[targets > 0], ends[targets > 0], targets[targets > 0]  # nothing to predict in others
    enough = 1 + (targets - length).clamp(min=0).add(stride - 1) // stride
    counts = torch.minimum(enough, targets.add(stride - 1) // stride)  # a long stride may leap over the end
    before = counts.cumsum(0) - counts
    number = torch.arange(int(counts.sum())) - before.repeat_interleave(counts)  # within its document
    first = starts.repeat_interleave(counts) + number * stride
    return first, torch.minimum(first + length + 1, ends.repeat_interleave(counts))


def gathered(column: Tensor, first: Tensor, behind: Tensor, width: int) -> Batch:
    """The windows from `first` to before `behind`, (B,) each, as a batch of `width` positions, padded on the right."""
    places = first[:, None] + torch.arange(width + 1)
    inside = places < behind[:, None]
    tokens = torch.where(inside, column[places.clamp(max=len(column) - 1)], PAD)
    mask = inside[:, :-1]
    return shifted(tokens)._replace(mask=None if mask.all() else mask)


class DocumentWindows(Batches):
    """Windows within documents, each read from a fresh state.

    Args:
        column: token ids (N,), BOS at the start of each document.
        length: positions T of a batch; windows of less are padded on the right.
        batch_size: rows B on each rank.
        stride: distance between the starts of neighbours in a document.
        shuffle: in random order, anew in each epoch, or as they come.
        seed: what the order depends on.
        replica: which rank this is.

    Raises:
        InputError: there are too few windows for one batch.
    """

    def __init__(
        self, column: Tensor, length: int, batch_size: int, stride: int, shuffle: bool, seed: int, replica: Replica
    ) -> None:
        self.first, self.behind = document_windows(column, length, stride)
        together = batch_size * replica.world
        if len(self.first) < together:
            raise InputError(
                f"a text of {len(column) - 1:,} tokens has {len(self.first)} windows of length={length} within its "
                f"documents, fewer than a batch of {together}; give a smaller batch_size, length or stride"
            )
        self.column, self.length, self.batch_size = column, length, batch_size
        self.shuffle, self.seed, self.replica = shuffle, seed, replica

    def __len__(self) -> int:
        return len(self.first) // (self.batch_size * self.replica.world)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        epoch, step = place
        rows = examples(
            len(self.first), self.batch_size, step, self.replica, seed=self.seed, epoch=epoch, shuffle=self.shuffle
        )
        return gathered(self.column, self.first[rows], self.behind[rows], self.length)


class ScoredDocuments(Sliding):
    """Every token of a text scored exactly once, in windows that slide along each document from its start.

    A batch is as wide as its longest window.

    Args:
        column: token ids (N,), BOS at the start of each document.
        length: positions T of a window.
        batch_size: rows of a batch.
        replica: which rank this is; the ranks take turns, and nothing is scored twice to make them equal.
        stride: see `Sliding`.
    """

    def __init__(
        self, column: Tensor, length: int, batch_size: int, replica: Replica, stride: int | None = None
    ) -> None:
        super().__init__(column, length, batch_size, stride)
        first, behind = (each[replica.rank :: replica.world] for each in document_windows(column, length, self.stride))
        none = torch.tensor([len(column) - 1])
        self.first, self.behind = (first, behind) if len(first) else (none, none + 1)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        rows = self.rows(place[1])
        first, behind = self.first[rows], self.behind[rows]
        width = max(1, int((behind - first).max()) - 1)
        return self.scored(gathered(self.column, first, behind, width), self.column[first] == BOS)
