"""Batches from a token column: sliding windows, or lanes whose state is carried.

Datasets of whole batches: `[epoch, k]` gathers batch k of an epoch by one indexed read of a strided view. The shift by
one between inputs and targets is made in `shifted`, for every kind of text.
"""

import torch
from torch import Tensor

from seqmodels.batch import BOS, IGNORE, PAD, Batch
from seqmodels.data.sampler import Batches, Replica, examples, generator
from seqmodels.errors import InputError


def shifted(tokens: Tensor, continues: bool = False, continued: bool = False) -> Batch:
    """Inputs and targets from tokens (B, T + 1): the targets are the inputs one step later.

    The beginning of another document cannot be predicted, and padding need not be: BOS and PAD, the two lowest ids,
    are never targets.
    """
    targets = torch.threshold(tokens[:, 1:].long(), BOS, IGNORE)  # PAD and BOS are not above BOS
    return Batch(tokens[:, :-1].long(), targets, continues=continues, continued=continued)


def gather_windows(column: Tensor, first: Tensor, behind: Tensor, width: int) -> Batch:
    """The windows from `first` to before `behind`, (B,) each, as a batch of `width` positions, padded on the right."""
    positions = first[:, None] + torch.arange(width + 1)
    inside = positions < behind[:, None]
    tokens = torch.where(inside, column[positions.clamp(max=len(column) - 1)], PAD)
    mask = inside[:, :-1]
    return shifted(tokens)._replace(mask=None if mask.all() else mask)


def document_windows(column: Tensor, length: int, stride: int) -> tuple[Tensor, Tensor]:
    """The first token of each window and the index behind its last, int64 (W,) each, never across a document.

    The windows of a document, which has a BOS at its start, have at most `length` + 1 tokens and begin `stride` tokens
    apart, as many as it takes for the last to reach its end: together they predict every token of it but its BOS, at a
    stride of at most `length`.
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


class Windows(Batches):
    """Windows of `length` tokens for training, each read from the initial state; they run across documents.

    Args:
        column: token ids (N,).
        length: positions T of a window.
        batch_size: rows B on each rank.
        stride: distance between the starts of neighbouring windows.
        shuffle: random order, another one in each epoch, rather than that of the text.
        seed: random seed of the order.
        replica: rank and number of processes.

    Raises:
        InputError: the text is too short for one batch.
    """

    def __init__(
        self, column: Tensor, length: int, batch_size: int, stride: int, shuffle: bool, seed: int, replica: Replica
    ) -> None:
        self.column, self.length, self.batch_size, self.stride = column, length, batch_size, stride
        self.shuffle, self.seed, self.replica = shuffle, seed, replica
        self.count = self.find()
        if self.count < batch_size * replica.world:
            windows = f"{self.count} windows of length={length} at stride={stride}"
            raise InputError(
                f"a text of {len(column) - 1:,} tokens has {windows}, fewer than a batch of "
                f"{batch_size * replica.world}; give a smaller batch_size, length or stride"
            )

    def find(self) -> int:
        """Find the windows; returns their number."""
        if len(self.column) <= self.length:
            text = f"a text of {len(self.column) - 1:,} tokens; give a smaller length or more text"
            raise InputError(f"a window of length={self.length} does not fit {text}")
        self.view = self.column.unfold(0, self.length + 1, self.stride)  # (windows, T + 1), no copy
        return len(self.view)

    def gather(self, rows: Tensor) -> Batch:
        """The windows with these numbers, int64 (B,), as a batch."""
        return shifted(self.view.index_select(0, rows))

    def __len__(self) -> int:
        return self.count // (self.batch_size * self.replica.world)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        epoch, step = place
        rows = examples(
            self.count, self.batch_size, step, self.replica, seed=self.seed, epoch=epoch, shuffle=self.shuffle
        )
        return self.gather(rows)


class DocumentWindows(Windows):
    """Windows that end where their document ends, padded on the right to `length`; see `Windows`."""

    def find(self) -> int:
        self.first, self.behind = document_windows(self.column, self.length, self.stride)
        return len(self.first)

    def gather(self, rows: Tensor) -> Batch:
        return gather_windows(self.column, self.first[rows], self.behind[rows], self.length)


class Lanes(Batches):
    """The text cut into lanes that run side by side: row b of a batch continues row b of the previous one.

    Truncated BPTT: gradients reach back to the start of the batch, the state comes from before. Every epoch
    begins at another of the first `length` tokens, so that the text is cut into other chunks.

    Args: see `Windows`; there are `batch_size` lanes B on each rank.

    Raises:
        InputError: the text is too short for that many lanes.
    """

    def __init__(self, column: Tensor, length: int, batch_size: int, seed: int, replica: Replica) -> None:
        self.together = batch_size * replica.world
        self.width = (len(column) - length) // self.together
        if self.width < length:
            text = f"a text of {len(column) - 1:,} tokens; give a smaller batch_size or length, or more text"
            raise InputError(f"{self.together} lanes of at least length={length} do not fit {text}")
        self.column, self.length, self.batch_size, self.seed, self.replica = column, length, batch_size, seed, replica
        self._epoch, self._lanes = -1, column  # the lanes of the epoch read last

    def __len__(self) -> int:
        return self.width // self.length

    def lanes(self, epoch: int) -> Tensor:
        """This rank's lanes in an epoch, (B, width + 1), each overlapping the next by one token; a view."""
        if epoch != self._epoch:
            first = int(torch.randint(self.length, (), generator=generator(self.seed, epoch)))
            lanes = self.column[first:].unfold(0, self.width + 1, self.width)
            self._epoch, self._lanes = epoch, lanes[self.replica.rows(self.batch_size)]
        return self._lanes

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        epoch, step = place
        first = step * self.length
        rows = self.lanes(epoch)[:, first : first + self.length + 1]
        return shifted(rows, continues=step > 0, continued=step + 1 < len(self))


class ScoredLanes(Batches):
    """Every token of a text scored exactly once, in lanes with the state carried from start to end.

    Args:
        column: token ids (N,); the first is context only.
        length: positions T of a batch.
        lanes: number of lanes over all ranks. Only the first token of a lane is scored without context.
        replica: rank and number of processes.
    """

    def __init__(self, column: Tensor, length: int, lanes: int, replica: Replica) -> None:
        scored = len(column) - 1
        lanes = max(replica.world, min(lanes, scored // length))  # no lane shorter than a batch
        self.width = -(-scored // lanes)
        starts = torch.arange(replica.rank, lanes, replica.world) * self.width
        self.rows, self.length = torch.full((len(starts), self.width + 1), PAD, dtype=column.dtype), length
        for row, start in zip(self.rows, starts.tolist(), strict=True):
            text = column[start : start + self.width + 1]  # empty if the text ends before this lane
            row[: len(text)] = text

    def __len__(self) -> int:
        return -(-self.width // self.length)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        first = place[1] * self.length
        rows = self.rows[:, first : first + self.length + 1]
        return shifted(rows, continues=first > 0, continued=place[1] + 1 < len(self))


class ScoredWindows(Batches):
    """Every token of a text scored exactly once, in windows that slide along it; they run across documents.

    The first window of a text scores all of its tokens, every other one the last `stride` of them, which have at least
    `length - stride` tokens of context. The ranks take turns; no window is scored twice to make them equal.

    Args:
        column: token ids (N,); the first is context only.
        length: positions T of a window.
        batch_size: rows of a batch.
        replica: rank and number of processes.
        stride: distance between the starts of neighbouring windows; default: `length`, side by side.

    Raises:
        InputError: the stride is longer than a window, so that tokens between windows would never be scored.
    """

    def __init__(
        self, column: Tensor, length: int, batch_size: int, replica: Replica, stride: int | None = None
    ) -> None:
        self.column, self.length, self.batch_size, self.stride = column, length, batch_size, stride or length
        if self.stride > length:
            raise InputError(f"stride={stride} was given for windows of length={length}; expected at most that")
        first, behind, opens = (part[replica.rank :: replica.world] for part in self.find())
        if not len(first):  # one that scores nothing, so that no rank waits for this one
            first, behind, opens = (torch.tensor([number]) for number in (len(column) - 1, len(column), 1))
        self.first, self.behind, self.opens = first, behind, opens.bool()

    def find(self) -> tuple[Tensor, Tensor, Tensor]:
        """The first token of each window, the index behind its last, and whether a text opens with it, (W,) each."""
        count = 1 + max(0, -(-(len(self.column) - 1 - self.length) // self.stride))  # until one reaches the end
        first = torch.arange(count) * self.stride
        return first, (first + self.length + 1).clamp(max=len(self.column)), first == 0

    def gather(self, first: Tensor, behind: Tensor) -> Batch:
        """The windows from `first` to before `behind`, (B,) each."""
        # Without a mask: nothing is scored behind the end of the text.
        return gather_windows(self.column, first, behind, self.length)._replace(mask=None)

    def __len__(self) -> int:
        return -(-len(self.first) // self.batch_size)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        rows = slice(place[1] * self.batch_size, (place[1] + 1) * self.batch_size)
        batch = self.gather(self.first[rows], self.behind[rows])
        if self.stride == self.length:
            return batch
        context = (torch.arange(batch.targets.shape[1]) < self.length - self.stride) & ~self.opens[rows, None]
        return batch._replace(targets=batch.targets.masked_fill(context, IGNORE))


class ScoredDocuments(ScoredWindows):
    """Every token of a text scored exactly once, in windows along each document; see `ScoredWindows`.

    A batch is as wide as its longest window.
    """

    def find(self) -> tuple[Tensor, Tensor, Tensor]:
        first, behind = document_windows(self.column, self.length, self.stride)
        return first, behind, self.column[first] == BOS

    def gather(self, first: Tensor, behind: Tensor) -> Batch:
        return gather_windows(self.column, first, behind, max(1, int((behind - first).max()) - 1))
