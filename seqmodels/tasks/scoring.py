"""The likelihood of texts under a language model, each a document of its own."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from seqmodels.batch import BOS, EOS, IGNORE, PAD, UNK, Batch
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.environment import wide, widest
from seqmodels.errors import InputError
from seqmodels.files import to_json
from seqmodels.nn import Backbone
from seqmodels.nn.dropout import evaluating
from seqmodels.state import State
from seqmodels.tasks.workers import Workers

MAX_LOGITS = 2**25
"""Logits held at a time, about, which bounds the size of a batch."""
MAX_POSITIONS = 2**12
"""Maximum number of positions of a batch, padding included."""


class Score(NamedTuple):
    """The likelihood of a text under a model; means are NaN where there is nothing to divide by.

    Attributes:
        nats: negative log-likelihood of the text, a sum over its tokens.
        tokens: number of scored tokens, EOS among them if it was scored.
        bytes: length of the text in UTF-8.
        unknown: number of tokens outside the vocabulary.
    """

    nats: float
    tokens: int
    bytes: int
    unknown: int

    @property
    def nats_per_token(self) -> float:
        """Mean cross-entropy; its exponential is the perplexity."""
        return self.nats / self.tokens if self.tokens else math.nan

    @property
    def bits_per_byte(self) -> float:
        """Comparable between models of different vocabularies."""
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan

    def as_columns(self, text: str) -> str:
        """A line with nats, tokens, nats per token, bits per byte and the text, between tabs."""
        return f"{self.nats:.4f}\t{self.tokens}\t{self.nats_per_token:.4f}\t{self.bits_per_byte:.4f}\t{text}"

    def as_json(self, text: str) -> str:
        """A line of JSON in full precision, with null for means of nothing, and the unknown tokens."""
        names = ("nats", "tokens", "nats_per_token", "bits_per_byte", "unknown")
        return to_json({name: getattr(self, name) for name in names} | {"text": text})


class Scoring(nn.Module):
    """Scoring of texts: a mixin of `LanguageModel`."""

    tokenizer: Tokenizer
    backbone: Backbone
    embedding: nn.Embedding

    @torch.inference_mode()
    def score(
        self, texts: Sequence[str], *, eos: bool = False, first_number: int = 1, workers: int | Workers | None = 1
    ) -> list[Score]:
        """The likelihood of texts, each a document of its own: behind BOS, from an empty state.

        Args:
            texts: any number, of any lengths; the score of an empty one is 0.
            eos: score the end of the document, too.
            first_number: number of the first text in error messages.
            workers: processes, each with a batch on a core of its own; None for as many as threads, if that is faster:
                see `Workers`, which several calls may share.

        Returns:
            A score for each text, in their order, independent of the other texts.

        Raises:
            InputError: a text is longer than the positions of the network.
        """
        ids = [tokens + [EOS] * eos for tokens in self.tokenizer.encode_batch(texts)]
        limit = self.backbone.max_length
        for number, tokens in enumerate(ids, first_number):
            if limit is not None and len(tokens) > limit:
                raise InputError(
                    f"text {number} has {len(tokens)} tokens, and this network has {limit} positions; "
                    "split it, or train with positions='rotary'"
                )
        scores = self.score_ids([([BOS], tokens) for tokens in ids], workers)
        return [
            Score(nats, len(tokens), len(text.encode()), tokens.count(UNK))
            for (nats, _), tokens, text in zip(scores, ids, texts, strict=True)
        ]

    @torch.inference_mode()
    def score_ids(
        self, pairs: Sequence[tuple[list[int], list[int]]], workers: int | Workers | None = 1
    ) -> list[tuple[float, bool]]:
        """The likelihood of token ids after others, which are not scored, each pair from an empty state.

        Args:
            pairs: ids that come before, at least one (such as BOS), and the ids that are scored.
            workers: see `score`.

        Returns:
            For each pair, in their order: its nats, and whether each id that is scored is the most probable one.

        Raises:
            InputError: nothing comes before the ids that are scored.
        """
        if not all(before for before, _ in pairs):
            raise InputError("a first token without one before it was given to be scored; begin with BOS")
        found = [(0.0, True)] * len(pairs)
        lengths = [len(before) + len(ids) - 1 if ids else 0 for before, ids in pairs]
        with evaluating(self):
            batches = list(_batches(lengths, self.tokenizer.vocab_size))
            by = workers if isinstance(workers, Workers) else Workers(workers, self.embedding.weight.device)
            scores = by.map(lambda rows: self._scores([pairs[row] for row in rows]), batches)
            for rows, some in zip(batches, scores, strict=True):
                for row, score in zip(rows, some, strict=True):
                    found[row] = score
        return found

    @torch.inference_mode()
    def _scores(self, pairs: list[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        """The sum of each row in double precision, with the state carried along long rows.

        Padding is on the right, where a causal network needs no mask, and its targets are ignored.
        """
        device = self.embedding.weight.device
        width = max(len(before) + len(ids) for before, ids in pairs) - 1
        read = [[*before, *ids[:-1]] for before, ids in pairs]
        scored = [[IGNORE] * (len(before) - 1) + ids for before, ids in pairs]
        inputs = torch.tensor([row + [PAD] * (width - len(row)) for row in read], device=device)
        targets = torch.tensor([row + [IGNORE] * (width - len(row)) for row in scored], device=device)
        sums = torch.zeros(len(pairs), dtype=widest(device), device=device)
        greedy = torch.ones(len(pairs), dtype=torch.bool, device=device)
        state: State | None = None
        length = max(1, _room(self.tokenizer.vocab_size) // len(pairs))
        for first in range(0, width, length):
            piece = slice(first, first + length)
            logits, state = self(Batch(inputs[:, piece], targets[:, piece]), state)
            logits = logits if logits.dtype == torch.float64 else logits.float()
            wanted = targets[:, piece]
            lost = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORE, reduction="none")
            sums += wide(lost.view(len(pairs), -1)).sum(1)
            greedy &= ((logits.argmax(-1) == wanted) | (wanted == IGNORE)).all(1)
        return list(zip(sums.tolist(), greedy.tolist(), strict=True))


def _batches(lengths: list[int], vocab_size: int) -> Iterator[list[int]]:
    """Rows that are scored together, the shortest first; empty ones are left out."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[row] > _room(vocab_size):
            yield batch
            batch = []
        if lengths[row]:
            batch.append(row)
    if batch:
        yield batch


def _room(vocab_size: int) -> int:
    return max(1, min(MAX_POSITIONS, MAX_LOGITS // vocab_size))
