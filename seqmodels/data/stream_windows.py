"""Batches of a text that is never stored: read in sequence, and yet batch `k` is a function of `k`.

Which token stands where follows from the shards, the seed and the number of ranks, and so does a block of windows from
the place where it begins. A place is four numbers: that is all a resumed run needs to go on to the bit.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqmodels.batch import BOS, EOS, Batch
from seqmodels.data.sampler import Batches, Replica, permutation
from seqmodels.data.stream_corpus import StreamedCorpus
from seqmodels.data.token_column import encode, grouped
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.data.windows import shifted
from seqmodels.errors import InputError

ENDLESS = 1 << 40
"""Batches of a stream, which begins anew when it has ended: the budget ends a run."""


class Place(NamedTuple):
    """Where a token stands in what a rank reads: epoch, shard in its order, row, and token of the row, BOS included."""

    epoch: int = 0
    shard: int = 0
    row: int = 0
    token: int = 0


class TokenStream:
    """The tokens that a rank reads from a place on, without end: its shards, epoch after epoch.

    An epoch reads as `column.token_column` has the same rows: one after the other, each document between BOS and EOS,
    and BOS at the very start in any case.

    Args:
        corpus: whose rows are read.
        tokenizer: what to encode with.
        order: the shards that this rank reads in an epoch, in their order.
        bos: begin each document with BOS.
        eos: end each with EOS.
        place: where to begin.
    """

    def __init__(
        self,
        corpus: StreamedCorpus,
        tokenizer: Tokenizer,
        order: Callable[[int], list[int]],
        bos: bool,
        eos: bool,
        place: Place,
    ) -> None:
        self.corpus, self.tokenizer, self.order, self.bos, self.eos = corpus, tokenizer, order, bos, eos
        self._coming = self._encoded(place)
        self._here: deque[tuple[Place, np.ndarray]] = deque()

    def take(self, count: int, forward: int) -> tuple[Tensor, Place]:
        """Tokens from here on, and where it is that it goes on.

        Args:
            count: how many tokens.
            forward: how far it goes on, less than that.

        Returns:
            Token ids (count,), and the place `forward` tokens from here.
        """
        held = sum(len(ids) for _, ids in self._here)
        while held < count:
            self._here.append(next(self._coming))
            held += len(self._here[-1][1])
        tokens = np.concatenate([ids for _, ids in self._here])[:count]
        while len(self._here[0][1]) <= forward:
            forward -= len(self._here.popleft()[1])
        place, ids = self._here[0]
        self._here[0] = place._replace(token=place.token + forward), ids[forward:]
        return torch.from_numpy(tokens), self._here[0][0]

    def _encoded(self, place: Place) -> Iterator[tuple[Place, np.ndarray]]:
        while True:
            # Not beyond the end of an epoch: a short text would be read a thousand times for one group.
            for group in grouped(self._rows(place), lambda row: len(row[1])):
                encoded = encode(self.tokenizer, [text for _, text, _, _ in group])
                for (at, _, starts, ends), ids in zip(group, encoded, strict=True):
                    first = at.shard == at.row == 0
                    opening, closing = [BOS] * (first or (self.bos and starts)), [EOS] * (self.eos and ends)
                    whole = np.concatenate([opening, ids, closing], dtype=ids.dtype, casting="unsafe")
                    yield at, whole[at.token :]
            place = Place(place.epoch + 1)

    def _rows(self, place: Place) -> Iterator[tuple[Place, str, bool, bool]]:
        """What is left of an epoch."""
        order = self.order(place.epoch)
        for shard in range(place.shard, len(order)):
            for text, starts, ends in self.corpus.rows_of(order[shard], place.row):
                yield place, text, starts, ends
                place = Place(place.epoch, shard, place.row + 1)
            place = Place(place.epoch, shard + 1)


class StreamedWindows(Batches):
    """Windows of a stream, each read from a fresh state: those of a block of text in random order.

    Each rank reads shards of its own, in an order drawn anew in each epoch. The windows of a block, which lie side by
    side in the text, are shuffled among themselves. The next block is read by a thread while this one is trained on.
    All batches are one epoch for a trainer; those of the text follow each other within it without a gap.

    Args:
        corpus: what is read.
        tokenizer: what to encode with.
        length: positions T of a window.
        batch_size: rows B on each rank.
        stride: distance between the starts of neighbours, at most the length.
        buffer: windows of a block, rounded to whole batches; 0 for the order of the text, in which shards and windows
            come as they are.
        seed: what the order depends on.
        replica: which rank this is.
        bos: begin each document with BOS.
        eos: end each with EOS.

    Raises:
        InputError: there are fewer shards than ranks.
    """

    def __init__(
        self,
        corpus: StreamedCorpus,
        tokenizer: Tokenizer,
        length: int,
        batch_size: int,
        stride: int,
        buffer: int,
        seed: int,
        replica: Replica,
        bos: bool,
        eos: bool,
    ) -> None:
        self.shards = len(corpus.numbers)
        if self.shards < replica.world:
            raise InputError(
                f"{corpus.origin} has {self.shards} shards to train on for {replica.world} processes, and each reads "
                f"shards of its own; split it into {replica.world} files or more, or give fewer devices"
            )
        self.length, self.batch_size, self.stride = length, batch_size, stride
        self.seed, self.replica, self.shuffle = seed, replica, buffer > 0
        self.steps = max(1, buffer // batch_size)
        self._begin = partial(TokenStream, corpus, tokenizer, self.order, bos, eos)
        self._places = {0: Place()}
        self._block, self._windows = -1, torch.empty(0)
        self._next = -1
        self._thread = ThreadPoolExecutor(1, "stream")
        self._coming: Future[tuple[Tensor, Place]]

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
        """The shards that this rank reads in an epoch: all ranks together read each of them once."""
        order = permutation(self.shards, self.seed, epoch) if self.shuffle else torch.arange(self.shards)
        return [int(number) for number in order[self.replica.rank :: self.replica.world]]

    def windows(self, block: int) -> Tensor:
        """The windows of a block, (S, T + 1), in the order of the text."""
        if block != self._block:
            if block != self._next:
                self._read_from(max(known for known in self._places if known <= block))
            while self._block != block:
                tokens, place = self._coming.result()
                self._windows, self._block = tokens.unfold(0, self.length + 1, self.stride), self._next
                self._places = {n: at for n, at in self._places.items() if n == 0 or n >= self._block - 1}
                self._places[self._block + 1] = place
                self._next += 1
                self._coming = self._thread.submit(self._take, self._stream)
        return self._windows

    def _read_from(self, block: int) -> None:
        self._stream, self._block, self._next = self._begin(self._places[block]), -1, block
        self._coming = self._thread.submit(self._take, self._stream)

    def _take(self, stream: TokenStream) -> tuple[Tensor, Place]:
        windows = self.steps * self.batch_size
        return stream.take((windows - 1) * self.stride + self.length + 1, windows * self.stride)

    def position(self, step: int) -> list[int]:
        """The block that a batch is in, and the place where this begins."""
        block = step // self.steps
        return [block, *self._places[block]]

    def seek(self, position: list[int]) -> None:
        """Read on from a block when one of its batches is asked for."""
        self._places[position[0]] = Place(*position[1:])
