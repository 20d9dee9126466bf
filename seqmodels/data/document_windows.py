"""Windows that end where their document ends: short documents are padded, long ones cut."""

import torch
from torch import Tensor

from seqmodels.batch import BOS, PAD, Batch
from seqmodels.data.sampler import Replica
from seqmodels.data.windows import SlidingWindows, TrainingWindows, shifted


def document_windows(column: Tensor, length: int, stride: int) -> tuple[Tensor, Tensor]:
    """Windows of a column that never cross a document; one begins at every BOS.

    The windows of a document begin `stride` tokens apart, as many as it takes for the last to reach its end: together
    they predict every token of it but its BOS, at a stride of at most `length`.

    Args:
        column: token ids (N,), BOS at the start of each document.
        length: positions T of a window, which has at most T + 1 tokens.
        stride: distance between the starts of neighbouring windows.

    Returns:
        The index of the first token of each window and the index behind its last, int64 (W,) each.
    """
    starts = (column == BOS).nonzero().squeeze(1)
    ends = torch.cat([starts[1:], torch.tensor([len(column)])])
    targets = ends - starts - 1
    starts, ends, targets = starts[targets > 0], ends[targets > 0], targets[targets > 0]  # others predict nothing
    enough = 1 + (targets - length).clamp(min=0).add(stride - 1) // stride
    counts = torch.minimum(enough, targets.add(stride - 1) // stride)  # a long stride may leap over the end
    before = counts.cumsum(0) - counts
    number = torch.arange(int(counts.sum())) - before.repeat_interleave(counts)  # within its document
    first = starts.repeat_interleave(counts) + number * stride
    return first, torch.minimum(first + length + 1, ends.repeat_interleave(counts))


def gather_windows(column: Tensor, first: Tensor, behind: Tensor, width: int) -> Batch:
    """The windows from `first` to before `behind`, (B,) each, as a batch of `width` positions, padded on the right."""
    positions = first[:, None] + torch.arange(width + 1)
    inside = positions < behind[:, None]
    tokens = torch.where(inside, column[positions.clamp(max=len(column) - 1)], PAD)
    mask = inside[:, :-1]
    return shifted(tokens)._replace(mask=None if mask.all() else mask)


class DocumentWindows(TrainingWindows):
    """Windows within documents, padded on the right to `length`; see `TrainingWindows`."""

    def find(self) -> int:
        self.first, self.behind = document_windows(self.column, self.length, self.stride)
        return len(self.first)

    def gather(self, rows: Tensor) -> Batch:
        return gather_windows(self.column, self.first[rows], self.behind[rows], self.length)


class ScoredDocuments(SlidingWindows):
    """Every token of a text scored exactly once, in windows that slide along each document; see `SlidingWindows`.

    A batch is as wide as its longest window.
    """

    def find(self, replica: Replica) -> None:
        found = document_windows(self.column, self.length, self.stride)
        first, behind = (each[replica.rank :: replica.world] for each in found)
        none = torch.tensor([len(self.column) - 1])
        self.first, self.behind = (first, behind) if len(first) else (none, none + 1)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        rows = self.rows(place[1])
        first, behind = self.first[rows], self.behind[rows]
        width = max(1, int((behind - first).max()) - 1)
        return self.scored(gather_windows(self.column, first, behind, width), self.column[first] == BOS)
