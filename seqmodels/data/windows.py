"""A token column as batches: sliding windows, or lanes whose state is carried. The only shift by one.

Each of these is a dataset of whole batches: `[epoch, k]` gathers batch k of an epoch at once, by one indexed
read of a strided view. They differ in which positions they take; a task cannot tell them apart.
"""

import torch
from torch import Tensor

from seqmodels.batch import BOS, IGNORE, PAD, Batch
from seqmodels.data.sampler import Batches, Replica, examples, generator
from seqmodels.errors import InputError


def shifted(tokens: Tensor, continues: bool = False, goes_on: bool = False) -> Batch:
    """Inputs and targets from tokens (B, T + 1): the targets are the inputs one step later.

    Nobody needs to predict that a document begins after another has ended, nor padding: BOS and PAD, the two
    lowest ids, are never targets.
    """
    targets = torch.threshold(tokens[:, 1:].long(), BOS, IGNORE)  # what is not above BOS: PAD and BOS
    return Batch(tokens[:, :-1].long(), targets, continues=continues, goes_on=goes_on)


class Windows(Batches):
    """Windows of `length` tokens, each read from a fresh state.

    Args:
        column: token ids (N,).
        length: positions T of a window.
        batch_size: rows B on each rank.
        stride: distance between the starts of neighbours.
        shuffle: in random order, anew in each epoch, or as they come.
        seed: what the order depends on.
        replica: which rank this is.

    Raises:
        InputError: the text is too short for one batch.
    """

    def __init__(
        self, column: Tensor, length: int, batch_size: int, stride: int, shuffle: bool, seed: int, replica: Replica
    ) -> None:
        together = batch_size * replica.world
        if len(column) <= length:
            raise InputError(
                f"a window of length={length} does not fit a text of {len(column) - 1:,} tokens; "
                "give a smaller length or more text"
            )
        self.view = column.unfold(0, length + 1, stride)  # (windows, T + 1), no copy
        if len(self.view) < together:
            raise InputError(
                f"a text of {len(column) - 1:,} tokens has {len(self.view)} windows of length={length} at "
                f"stride={stride}, fewer than a batch of {together}; give a smaller batch_size, length or stride"
            )
        self.batch_size, self.shuffle, self.seed, self.replica = batch_size, shuffle, seed, replica

    def __len__(self) -> int:
        return len(self.view) // (self.batch_size * self.replica.world)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        epoch, step = place
        rows = examples(
            len(self.view), self.batch_size, step, self.replica, seed=self.seed, epoch=epoch, shuffle=self.shuffle
        )
        return shifted(self.view.index_select(0, rows))


class Lanes(Batches):
    """The text cut into lanes that run side by side: row b of a batch goes on where row b of the last ended.

    Truncated BPTT: gradients reach back to the start of the batch, the state comes from before. Every epoch
    begins at another of the first `length` tokens, so that chunks are cut elsewhere.

    Args:
        column: token ids (N,).
        length: positions T of a batch.
        batch_size: lanes B on each rank.
        seed: what the beginnings depend on.
        replica: which rank this is.

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
        """This rank's lanes in an epoch, (B, width + 1), each going one token into the next; a view."""
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
        lanes: how many lanes, over all ranks. Only the first token of a lane is scored without context.
        replica: which rank this is.
    """

    def __init__(self, column: Tensor, length: int, lanes: int, replica: Replica) -> None:
        scored = len(column) - 1
        lanes = max(replica.world, min(lanes, scored // length))  # no lane shorter than a batch
        self.width = -(-scored // lanes)
        starts = torch.arange(replica.rank, lanes, replica.world) * self.width
        self.rows, self.length = torch.zeros(len(starts), self.width + 1, dtype=column.dtype).fill_(PAD), length
        self.counts = [max(0, min(self.width, scored - int(start))) for start in starts]
        for row, start, count in zip(self.rows, starts.tolist(), self.counts, strict=True):
            text = column[start : start + count + 1]  # empty where the text has ended before this lane
            row[: len(text)] = text

    def __len__(self) -> int:
        return -(-self.width // self.length)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        step = place[1]
        first = step * self.length
        rows = self.rows[:, first : first + self.length + 1]
        batch = shifted(rows, continues=step > 0, goes_on=step + 1 < len(self))
        return _without_end(batch, torch.tensor(self.counts) - first)


class Sliding(Batches):
    """What all windows have in common that slide along a text and score each token once.

    The first window of a text scores all of its tokens, every other the last `stride` of them, which have at least
    `length - stride` tokens of context.

    Args:
        column: token ids (N,).
        length: positions T of a window.
        batch_size: rows of a batch.
        stride: distance between the starts of neighbours; as long as a window where not given, so that they lie side
            by side.

    Raises:
        InputError: the stride is longer than a window, so that tokens between windows would never be scored.
    """

    first: Tensor
    """Where this rank's windows begin, (W,). A rank without any has one that scores nothing: none waits."""

    def __init__(self, column: Tensor, length: int, batch_size: int, stride: int | None) -> None:
        self.column, self.length, self.batch_size, self.stride = column, length, batch_size, stride or length
        if self.stride > length:
            raise InputError(f"stride={stride} was given for windows of length={length}; expected at most that")

    def __len__(self) -> int:
        return -(-len(self.first) // self.batch_size)

    def rows(self, step: int) -> slice:
        """Which of the windows are in a batch."""
        return slice(step * self.batch_size, (step + 1) * self.batch_size)

    def scored(self, batch: Batch, begins: Tensor) -> Batch:
        """The batch without targets that are context only; `begins` (B,) says which windows are the first of a text."""
        if self.stride == self.length:
            return batch
        context = (torch.arange(batch.targets.shape[1]) < self.length - self.stride) & ~begins[:, None]
        return batch._replace(targets=batch.targets.masked_fill(context, IGNORE))


class ScoredWindows(Sliding):
    """Every token of a text scored exactly once, in windows that slide along it, each read from a fresh state.

    Args:
        column: token ids (N,); the first is context only.
        length: positions T of a window.
        batch_size: rows of a batch.
        replica: which rank this is; the ranks take turns, and nothing is scored twice to make them equal.
        stride: see `Sliding`.
    """

    def __init__(
        self, column: Tensor, length: int, batch_size: int, replica: Replica, stride: int | None = None
    ) -> None:
        super().__init__(column, length, batch_size, stride)
        # As many as are needed for the last to reach the end.
        count = 1 + max(0, -(-(len(column) - 1 - length) // self.stride))
        first = (torch.arange(count) * self.stride)[replica.rank :: replica.world]
        self.first = first if len(first) else torch.tensor([len(column) - 1])

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        first = self.first[self.rows(place[1])]
        positions = first[:, None] + torch.arange(self.length + 1)
        tokens = self.column[positions.clamp(max=len(self.column) - 1)]
        batch = _without_end(shifted(tokens), len(self.column) - 1 - first)
        return self.scored(batch, first == 0)


def _without_end(batch: Batch, counts: Tensor) -> Batch:
    """Targets from `counts` (B,) on are not scored: what stands there is no text."""
    beyond = torch.arange(batch.targets.shape[1]) >= counts[:, None]
    return batch._replace(targets=batch.targets.masked_fill(beyond, IGNORE))
