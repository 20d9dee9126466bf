"""Sentences with their translations as batches: buckets of similar lengths under a budget of tokens, padded."""

import functools
from collections.abc import Sequence
from typing import Literal

import datasets
import torch
from torch import Tensor

from seqmodels.batch import BOS, EOS, IGNORE, Batch, padded
from seqmodels.data.bpe_dropout import BpeDropout
from seqmodels.data.sampler import Batches, Replica, generator
from seqmodels.data.windows import shifted
from seqmodels.errors import InputError

Layout = Literal["pair", "joined"]


class Sentences:
    """One side of a parallel text.

    Args:
        column: token ids (N,), each sentence from its BOS to its EOS, as made by `tokenize_column`.
        dropout: re-segments words in every epoch; `lengths` are those without it.
        texts: the sentences as text, for dropout.
    """

    def __init__(self, column: Tensor, dropout: BpeDropout | None = None, texts: Sequence[str] = ()) -> None:
        self.column, self.dropout, self.texts = column, dropout, texts
        self.first = (column == BOS).nonzero().squeeze(1)
        """Start of each sentence, int64 (P,)."""
        self.behind = torch.cat([self.first[1:], torch.tensor([len(column)])])
        """Start of the next one."""

    def __len__(self) -> int:
        return len(self.first)

    @functools.cached_property
    def lengths(self) -> Tensor:
        """Tokens of each sentence without BOS and EOS, int64 (P,)."""
        return self.behind - self.first - 2

    def gather(self, rows: Tensor, epoch: int, longest: int, *, bos: bool, eos: bool) -> list[Tensor]:
        """The tokens of sentences, with BOS in front and EOS at the end where asked for.

        Args:
            rows: indices of the sentences, int64 (B,).
            epoch: epoch in which they are read, for BPE-dropout.
            longest: most tokens, without BOS and EOS, of a sentence that BPE-dropout has cut; others stay as they were.
            bos: with BOS.
            eos: with EOS.
        """
        found = []
        starts, ends = self.first[rows].tolist(), self.behind[rows].tolist()
        for number, first, behind in zip(rows.tolist(), starts, ends, strict=True):
            tokens = self.column[first:behind].long()
            if self.dropout is not None:
                ids = self.dropout.encode(self.texts[number], epoch, number)
                tokens = torch.tensor([BOS, *ids, EOS]) if len(ids) <= longest else tokens
            found.append(tokens[int(not bos) : len(tokens) - int(not eos)])
        return found


def pair_batch(
    source: Sentences, target: Sentences, rows: Tensor, layout: Layout, epoch: int = 0, longest: int = 0
) -> Batch:
    """Pairs of sentences as a batch.

    Args:
        source: source sentences.
        target: their translations.
        rows: indices of the pairs, int64 (B,).
        layout: pair, with the source in `Batch.source`; or joined, with the source in front of the target in one row,
            `BOS source BOS target EOS`, of which the target alone is scored.
        epoch: epoch in which they are read, for BPE-dropout.
        longest: most tokens of a side that BPE-dropout has cut, without BOS and EOS.
    """
    writing = target.gather(rows, epoch, longest, bos=True, eos=True)
    if layout == "pair":
        read, source_mask = padded(source.gather(rows, epoch, longest, bos=False, eos=True))
        tokens, mask = padded(writing)
        batch = shifted(tokens)
        mask = None if mask is None else mask[:, 1:]  # an input is real if a token follows it
        return batch._replace(mask=mask, source=read, source_mask=source_mask)
    reading = source.gather(rows, epoch, longest, bos=True, eos=False)
    tokens, mask = padded([torch.cat(both) for both in zip(reading, writing, strict=True)])
    batch = shifted(tokens)
    given = torch.arange(tokens.shape[1] - 1) < torch.tensor([len(row) for row in reading])[:, None]
    targets = batch.targets.masked_fill(given, IGNORE)
    return batch._replace(targets=targets, mask=None if mask is None else mask[:, 1:])


class Buckets(Batches):
    """Batches of pairs of similar lengths under a budget of tokens, in random order.

    Pairs are sorted by the lengths of target and source, ties at random, and cut into batches, which are shuffled; all
    of it again in each epoch, and the same on every rank. A rank takes every W-th pair of a batch, so that all ranks
    have equally many batches, and W ranks see what one would with W times the budget. Every pair is in exactly one
    batch of an epoch.

    Args:
        source: source sentences.
        target: their translations.
        rows: indices of the pairs to be used, int64 (N,).
        batch_tokens: most tokens of a batch, padding included: pairs times the longest sentence of either side. A batch
            of W times as many is split among W ranks, of which one may get a pair more than another.
        layout: see `pair_batch`.
        seed: random seed of the order; None for batches from the shortest to the longest.
        replica: rank and number of processes.
        texts: rows of the corpus, whose column `target` has the reference translations of batches that are scored.
        max_length: most tokens of a side that BPE-dropout has cut.
        growth: how many times as long its sentences usually are; those for which the budget has no room stay whole.

    Raises:
        InputError: a pair is longer than a batch may be, or there are fewer pairs than ranks.
    """

    def __init__(
        self, source: Sentences, target: Sentences, rows: Tensor, batch_tokens: int, layout: Layout, seed: int | None,
        replica: Replica, max_length: int = 0, growth: float = 1.0, texts: datasets.Dataset | None = None,
    ) -> None:  # fmt: skip
        self.texts = texts
        self.source, self.target, self.rows = source, target, rows
        self.layout, self.seed, self.replica = layout, seed, replica
        self.batch_tokens, self.max_length = batch_tokens, max_length
        sources, targets = source.lengths[rows] + 1, target.lengths[rows] + 1  # with EOS, and BOS or EOS
        self.keys = targets * (int(sources.max()) + 1) + sources if len(rows) else rows
        widths = sources + targets + 1 if layout == "joined" else torch.maximum(sources, targets)
        if len(rows) < replica.world:
            raise InputError(f"{len(rows)} pairs are fewer than the {replica.world} processes that read them")
        if (longest := int(widths.max())) > batch_tokens:
            given = f"batch_tokens={batch_tokens} was given for a batch"
            raise InputError(f"a pair is {longest} tokens long, and {given}; give more, or a smaller max_length")
        self._order = functools.lru_cache(maxsize=1)(self._drawn)
        if growth > 1:
            most = min(batch_tokens, max_length + 1 if layout == "pair" else 2 * max_length + 3)
            widths = torch.maximum(widths, (widths * growth).ceil().long().clamp(max=most))
        self.cuts = _cuts(widths[self.keys.argsort(stable=True)].tolist(), batch_tokens * replica.world, replica.world)

    def __len__(self) -> int:
        return len(self.cuts) - 1

    def _drawn(self, epoch: int) -> tuple[Tensor, Tensor]:
        """The pairs from short to long, and the order of the batches that they are cut into."""
        if self.seed is None:
            return self.rows[self.keys.argsort(stable=True)], torch.arange(len(self))
        rng = generator(self.seed, epoch)
        shuffled = torch.randperm(len(self.rows), generator=rng)
        by_length = shuffled[self.keys[shuffled].argsort(stable=True)]
        return self.rows[by_length], torch.randperm(len(self), generator=rng)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        epoch, step = place
        pairs, order = self._order(epoch)
        number = int(order[step])
        together = pairs[self.cuts[number] : self.cuts[number + 1]]
        mine = together[self.replica.rank :: self.replica.world]
        # What dropout adds fits the budget too: BOS and EOS count, and of joined pairs both sides.
        room = self.batch_tokens // len(mine) - 1
        longest = min(self.max_length, room if self.layout == "pair" else (room - 2) // 2)
        batch = pair_batch(self.source, self.target, mine, self.layout, epoch, longest)
        return batch if self.texts is None else batch._replace(references=tuple(self.texts[mine.tolist()]["target"]))


def _cuts(widths: list[int], budget: int, least: int) -> list[int]:
    """Cut a row of pairs into parts whose number of pairs times the widest is within the budget.

    The parts have at least `least` pairs; for this, the last may exceed the budget, by fewer pairs than that.
    """
    cuts, widest = [0], 0
    for place, width in enumerate(widths):
        widest = max(widest, width)
        if widest * (place + 1 - cuts[-1]) > budget and place > cuts[-1]:
            cuts.append(place)
            widest = width
    if len(widths) - cuts[-1] < least and len(cuts) > 1:
        cuts.pop()
    return [*cuts, len(widths)]
