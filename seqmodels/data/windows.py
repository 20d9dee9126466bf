"""Batches from a token column: sliding windows, or lanes whose state is carried.

Datasets of whole batches: `[epoch, k]` gathers batch k of an epoch by one indexed read of a strided view. The shift by
one between inputs and targets is made in `shifted`, for every kind of text.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from seqmodels.batch import BOS, IGNORE, PAD, Batch
from seqmodels.data.sampler import Batches, Replica, examples, generator
from seqmodels.errors import InputError


def shifted(tokens: Tensor, continues: bool = False, goes_on: bool = False) -> Batch:
    """Inputs and targets from tokens (B, T + 1): the targets are the inputs one step later.

    The beginning of another document cannot be predicted, and padding need not be: BOS and PAD, the two lowest ids,
    are never targets.
    """
    targets = torch.threshold(tokens[:, 1:].long(), BOS, IGNORE)  # PAD and BOS are not above BOS
    return Batch(tokens[:, :-1].long(), targets, continues=continues, goes_on=goes_on)


class TrainingWindows(Batches):
    """Windows of a token column for training, each read from the initial state.

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
            raise InputError(
                f"a text of {len(column) - 1:,} tokens has {self.count} windows of length={length} at "
                f"stride={stride}, fewer than a batch of {batch_size * replica.world}; give a smaller batch_size, "
                "length or stride"
            )

    @abstractmethod
    def find(self) -> int:
        """Find the windows; returns their number."""

    @abstractmethod
    def gather(self, rows: Tensor) -> Batch:
        """The windows with these numbers, int64 (B,), as a batch."""

    def __len__(self) -> int:
        return self.count // (self.batch_size * self.replica.world)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        epoch, step = place
        rows = examples(
            self.count, self.batch_size, step, self.replica, seed=self.seed, epoch=epoch, shuffle=self.shuffle
        )
        return self.gather(rows)


class Windows(TrainingWindows):
    """Windows of `length` tokens that run across documents; see `TrainingWindows`."""

    def find(self) -> int:
        if len(self.column) <= self.length:
            raise InputError(
                f"a window of length={self.length} does not fit a text of {len(self.column) - 1:,} tokens; "
                "give a smaller length or more text"
            )
        self.view = self.column.unfold(0, self.length + 1, self.stride)  # (windows, T + 1), no copy
        return len(self.view)

    def gather(self, rows: Tensor) -> Batch:
        return shifted(self.view.index_select(0, rows))


class Lanes(Batches):
    """The text cut into lanes that run side by side: row b of a batch continues row b of the previous one.

    Truncated BPTT: gradients reach back to the start of the batch, the state comes from before. Every epoch
    begins at another of the first `length` tokens, so that the text is cut into other chunks.

    Args: see `TrainingWindows`; there are `batch_size` lanes B on each rank.

    Raises:
        InputError: the text is too short for that many lanes.
    """

    def __init__(self, column: Tensor, length: int, batch_size: int, seed: int, replica: Replica) -> None:
        self.together = batch_size * replica.world
        self.width = (len(column) - length) // self.together
        if self.width < length:
            raise InputError(
                f"{self.together} lanes of at least length={length} do not fit a text of {len(column) - 1:,} tokens; "
                "give a smaller batch_size or length, or more text"
            )
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
        return shifted(rows, continues=step > 0, goes_on=step + 1 < len(self))


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
        self.rows, self.length = torch.zeros(len(starts), self.width + 1, dtype=column.dtype).fill_(PAD), length
        self.counts = [max(0, min(self.width, scored - int(start))) for start in starts]
        for row, start, count in zip(self.rows, starts.tolist(), self.counts, strict=True):
            text = column[start : start + count + 1]  # empty if the text ends before this lane
            row[: len(text)] = text

    def __len__(self) -> int:
        return -(-self.width // self.length)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        step = place[1]
        first = step * self.length
        rows = self.rows[:, first : first + self.length + 1]
        batch = shifted(rows, continues=step > 0, goes_on=step + 1 < len(self))
        return _without_end(batch, torch.tensor(self.counts) - first)


class SlidingWindows(Batches):
    """Windows that slide along a text and score each token once.

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

    first: Tensor
    """Start of each of this rank's windows, (W,). A rank without any has one that scores nothing: none waits."""

    def __init__(
        self, column: Tensor, length: int, batch_size: int, replica: Replica, stride: int | None = None
    ) -> None:
        self.column, self.length, self.batch_size, self.stride = column, length, batch_size, stride or length
        if self.stride > length:
            raise InputError(f"stride={stride} was given for windows of length={length}; expected at most that")
        self.find(replica)

    @abstractmethod
    def find(self, replica: Replica) -> None:
        """Find the windows of a rank."""

    def __len__(self) -> int:
        return -(-len(self.first) // self.batch_size)

    def rows(self, step: int) -> slice:
        """The windows of a batch."""
        return slice(step * self.batch_size, (step + 1) * self.batch_size)

    def scored(self, batch: Batch, begins: Tensor) -> Batch:
        """The batch without targets that are context only; `begins` (B,) is true for the first window of a text."""
        if self.stride == self.length:
            return batch
        context = (torch.arange(batch.targets.shape[1]) < self.length - self.stride) & ~begins[:, None]
        return batch._replace(targets=batch.targets.masked_fill(context, IGNORE))


class ScoredWindows(SlidingWindows):
    """Every token of a text scored exactly once, in windows that run across documents; see `SlidingWindows`."""

    def find(self, replica: Replica) -> None:
        # As many as are needed for the last to reach the end.
        count = 1 + max(0, -(-(len(self.column) - 1 - self.length) // self.stride))
        first = (torch.arange(count) * self.stride)[replica.rank :: replica.world]
        self.first = first if len(first) else torch.tensor([len(self.column) - 1])

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        first = self.first[self.rows(place[1])]
        positions = first[:, None] + torch.arange(self.length + 1)
        tokens = self.column[positions.clamp(max=len(self.column) - 1)]
        batch = _without_end(shifted(tokens), len(self.column) - 1 - first)
        return self.scored(batch, first == 0)


def _without_end(batch: Batch, counts: Tensor) -> Batch:
    """The batch with targets from position `counts` (B,) on ignored: the text has ended there."""
    beyond = torch.arange(batch.targets.shape[1]) >= counts[:, None]
    return batch._replace(targets=batch.targets.masked_fill(beyond, IGNORE))
