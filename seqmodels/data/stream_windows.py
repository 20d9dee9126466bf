"""Windows of a stream: text that is read in sequence and never stored, and yet batch `k` is a function of `k`.

The order of the tokens is a function of the shards, the seed and the number of ranks, and a block of windows one of the
place where it begins. A place is four integers: a run resumes from them to the bit.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqmodels.batch import Batch
from seqmodels.data.sampler import Batches, Replica, permutation
from seqmodels.data.stream_corpus import StreamedCorpus
from seqmodels.data.token_column import encode, framed, grouped
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.data.windows import shifted
from seqmodels.errors import InputError

ENDLESS = 1 << 40
"""Batches of a stream, which is read again from its start when it ends: the budget ends a run."""


class Place(NamedTuple):
    """The place of a token in the text of a rank: epoch, shard in its order, row, and token of the row, with BOS."""

    epoch: int = 0
    shard: int = 0
    row: int = 0
    token: int = 0


TokenPiece = tuple[Place, np.ndarray]
"""Tokens, and the place of the first."""


class StreamedWindows(Batches):
    """Windows of a stream, each read from the initial state, shuffled within blocks of text.

    Each rank reads its own shards, in a random order that is another one in each epoch. The windows of a block, which
    are adjacent in the text, are shuffled among themselves. A thread reads the next block while this one is trained on.
    All epochs of the text are one epoch for the trainer.

    Args:
        corpus: the text.
        tokenizer: the tokenizer.
        length: positions T of a window.
        batch_size: rows B on each rank.
        stride: distance between the starts of neighbouring windows, at most `length`.
        buffer: windows of a block, rounded to whole batches; 0 for shards and windows in their own order.
        seed: random seed of the order.
        replica: rank and number of processes.
        bos: begin each document with BOS.
        eos: end each with EOS.

    Raises:
        InputError: there are fewer shards than ranks.
    """

    def __init__(
        self, corpus: StreamedCorpus, tokenizer: Tokenizer, length: int, batch_size: int, stride: int, buffer: int,
        seed: int, replica: Replica, bos: bool, eos: bool,
    ) -> None:  # fmt: skip
        self.shards = len(corpus.numbers)
        if self.shards < (world := replica.world):
            shards = f"{self.shards} shards to train on for {world} processes, each to read its own"
            raise InputError(
                f"{corpus.origin} has {shards}; split it into {world} files or more, or give fewer devices"
            )
        self.length, self.batch_size, self.stride = length, batch_size, stride
        self.seed, self.replica, self.shuffle = seed, replica, buffer > 0
        self.steps = max(1, buffer // batch_size)
        self.corpus, self.tokenizer, self.bos, self.eos = corpus, tokenizer, bos, eos
        self._places = {0: Place()}
        self._block, self._windows = -1, torch.empty(0)
        self._thread = ThreadPoolExecutor(1, "stream")
        self._coming: Future[tuple[Tensor, Place]]
        self._stream: tuple[
            Iterator[TokenPiece], deque[TokenPiece]
        ]  # of pieces, and those that were read but not passed

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        epoch, step = place
        if epoch:
            raise InputError("a stream is one epoch for a trainer; give it max_steps and no limit_train_batches")
        block, inside = divmod(step, self.steps)
        windows = self.windows(block)
        rows = torch.arange(len(windows))
        if self.shuffle:
            rows = permutation(len(windows), self.seed, 1 + block * self.replica.world + self.replica.rank)
        return shifted(windows[rows[inside * self.batch_size : (inside + 1) * self.batch_size]])

    def order(self, epoch: int) -> list[int]:
        """The shards of this rank in an epoch; together, the ranks read each shard once."""
        order = permutation(self.shards, self.seed, epoch) if self.shuffle else torch.arange(self.shards)
        return [int(number) for number in order[self.replica.rank :: self.replica.world]]

    def windows(self, block: int) -> Tensor:
        """The windows of a block, (S, T + 1), in the order of the text."""
        if block != self._block and (self._block < 0 or block != self._block + 1):  # not the one that is being read
            known = max(number for number in self._places if number <= block)
            self._block, self._stream = known - 1, (self._encoded(self._places[known]), deque())
            self._read()
        while self._block != block:
            tokens, place = self._coming.result()
            self._windows, self._block = tokens.unfold(0, self.length + 1, self.stride), self._block + 1
            self._places = {n: at for n, at in self._places.items() if n == 0 or n >= self._block - 1}
            self._places[self._block + 1] = place
            self._read()
        return self._windows

    def _read(self) -> None:
        """Begin to read the next block."""
        forward = self.steps * self.batch_size * self.stride
        self._coming = self._thread.submit(self._take, self._stream, forward - self.stride + self.length + 1, forward)

    def position(self, step: int) -> list[int]:
        """The block of a batch, and the place where it begins."""
        block = step // self.steps
        return [block, *self._places[block]]

    def seek(self, position: list[int]) -> None:
        self._places[position[0]] = Place(*position[1:])

    def _take(
        self, stream: tuple[Iterator[TokenPiece], deque[TokenPiece]], count: int, forward: int
    ) -> tuple[Tensor, Place]:
        """The next token ids (count,), and the place after moving on by `forward` tokens, fewer than `count`."""
        coming, here = stream
        held = sum(len(ids) for _, ids in here)
        while held < count:
            here.append(next(coming))
            held += len(here[-1][1])
        tokens = np.concatenate([ids for _, ids in here])[:count]
        while len(here[0][1]) <= forward:
            forward -= len(here.popleft()[1])
        place, ids = here[0]
        here[0] = place._replace(token=place.token + forward), ids[forward:]
        return torch.from_numpy(tokens), here[0][0]

    def _encoded(self, place: Place) -> Iterator[TokenPiece]:
        """The endless tokens of this rank from a place on, in an epoch those of `tokenize_column` for the same rows."""
        while True:
            # Groups end with the epoch: a short text would be read a thousand times for one group.
            for group in grouped(self._rows(place), lambda row: len(row[1])):
                encoded = encode(self.tokenizer, [text for _, text, _, _ in group])
                for (at, _, starts, ends), ids in zip(group, encoded, strict=True):
                    opens = at.shard == at.row == 0 or (self.bos and starts)
                    yield at, framed(ids, opens, self.eos and ends)[at.token :]
            place = Place(place.epoch + 1)

    def _rows(self, place: Place) -> Iterator[tuple[Place, str, bool, bool]]:
        """The rest of an epoch."""
        order = self.order(place.epoch)
        for shard in range(place.shard, len(order)):
            for text, starts, ends in self.corpus.rows_of(order[shard], place.row):
                yield place, text, starts, ends
                place = Place(place.epoch, shard, place.row + 1)
            place = Place(place.epoch, shard + 1)
