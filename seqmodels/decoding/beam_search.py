"""Beam search over `step(tokens, state, memory) -> (logits, state)`, for a batch of sentences."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from seqmodels.batch import BOS, EOS, NEVER, PAD
from seqmodels.decoding.sampling import check_finite
from seqmodels.errors import InputError
from seqmodels.state import State, first_tensor, select

MemoryStep = Callable[[Tensor, State | None, State], tuple[Tensor, State]]
"""Tokens (R,), a state of R rows and a memory of R or fewer to logits (R, V) and the next state.

The caller may change the logits in place.
"""

Bonus = Callable[[State], Tensor]
"""A state of R rows to what is added to the scores of hypotheses that end there, (R,), none above 0."""

Normalization = Literal["length", "gnmt"]

BLOCK = 64
"""Figures per block when the greatest of many are searched."""


@dataclass(frozen=True)
class Beam:
    """Settings of a beam search.

    Attributes:
        size: hypotheses that are extended side by side; 1 is greedy search.
        length_penalty: exponent of the length by which log-probabilities are divided; 0 for none, above 1 for longer
            translations.
        normalization: length, the number of tokens, EOS included; or gnmt, `(5 + tokens) / 6` (Wu et al. 2016, eq. 14).
        coverage_penalty: weight of `sum(log(min(attention, 1)))` over source tokens, with the attention that each
            received in total (Wu et al. 2016, eq. 14), against untranslated words; 0 for none.
        n_best: hypotheses returned per sentence, at most `size`.
        min_length: minimum number of tokens.
        max_length: maximum number of tokens; None for twice as many as the source has and 10 more, or for the longest
            target of training where that is longer.
        exhaustive: search until no unfinished hypothesis can become better at any length up to its limit.
        early_stopping: search no further once `size` hypotheses are complete.
        forced_end: the last token that the limit allows is EOS, at no cost, as in Marian.
        renormalize: tokens that are never generated are left out of the softmax; otherwise they keep their probability.

    Raises:
        InputError: a value makes no sense.
    """

    size: int = 5
    length_penalty: float = 1.0
    normalization: Normalization = "length"
    coverage_penalty: float = 0.0
    n_best: int = 1
    min_length: int = 0
    max_length: int | None = None
    exhaustive: bool = False
    early_stopping: bool = False
    forced_end: bool = False
    renormalize: bool = True

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"a beam of {self.size} was given; expected at least 1")
        if not 1 <= self.n_best <= self.size:
            raise InputError(f"n_best={self.n_best} was given with a beam of {self.size}; expected 1 to {self.size}")
        for name in ("length_penalty", "coverage_penalty"):
            if (value := getattr(self, name)) < 0:
                raise InputError(f"{name}={value} was given; expected at least 0")
        if self.normalization not in get_args(Normalization):
            raise InputError(f"normalization={self.normalization!r} was given; choose length or gnmt")
        if self.min_length < 0 or (self.max_length is not None and self.max_length < max(1, self.min_length)):
            given = f"min_length={self.min_length} and max_length={self.max_length} were given"
            raise InputError(f"{given}; expected at least 0 and 1, and no maximum below the minimum")

    def limits(self, source_lengths: Sequence[int], longest: int = 0) -> list[int]:
        """Maximum number of tokens of the translation of each source, see `length_limits`."""
        return length_limits(source_lengths, self.max_length, max(longest, self.min_length))

    @property
    def rows(self) -> int:
        """Rows of a batch per sentence."""
        return self.size

    def divisor(self, length: int | Tensor) -> float | Tensor:
        """The divisor of the log-probability of hypotheses of that many tokens."""
        base = length if self.normalization == "length" else (5 + length) / 6
        return base**self.length_penalty


def length_limits(source_lengths: Sequence[int], max_length: int | None, longest: int) -> list[int]:
    """Maximum number of tokens of the translation of each source.

    Where none is given, units and languages decide: the targets of training, the longest of which is given, may have
    more tokens than twice those of the source and 10.
    """
    return [max_length or max(10 + 2 * length, longest) for length in source_lengths]


class Hypothesis(NamedTuple):
    """One candidate translation."""

    tokens: list[int]
    """Token ids without EOS."""
    score: float
    """Log-probability over the divisor of its length, by which hypotheses are ranked."""
    log_probability: float
    """In nats."""
    complete: bool = True
    """Whether it ends with EOS; otherwise it was cut at the maximum number of tokens."""


class _Finished:
    """The best finished hypotheses of each sentence, the best first: at most `size` for each."""

    def __init__(self, sentences: int, size: int, device: torch.device) -> None:
        self.scores = torch.full((sentences, size), -torch.inf, device=device)
        self.sums = torch.full((sentences, size), -torch.inf, device=device)
        self.tokens = torch.zeros(sentences, size, 0, dtype=torch.int64, device=device)

    def add(self, sums: Tensor, tokens: Tensor, scores: Tensor) -> None:
        """Add hypotheses (sentences, N) of tokens (sentences, N, T); sums are minus infinity where there is none."""
        self.scores, chosen = torch.cat([self.scores, scores], 1).topk(self.scores.shape[1])
        self.sums = torch.cat([self.sums, sums], 1).gather(1, chosen)
        older = torch.nn.functional.pad(self.tokens, (0, tokens.shape[2] - self.tokens.shape[2]), value=PAD)
        every = torch.cat([older, tokens], 1)
        self.tokens = every.gather(1, chosen.unsqueeze(2).expand(-1, -1, every.shape[2]))

    def of(self, sentence: int, n_best: int) -> list[Hypothesis]:
        """The best of a sentence."""
        columns = (column[sentence].tolist() for column in (self.tokens, self.scores, self.sums))
        found = [
            Hypothesis([token for token in ids if token > EOS], score, total, complete=EOS in ids)
            for ids, score, total in zip(*columns, strict=True)
        ]
        return [hypothesis for hypothesis in found[:n_best] if hypothesis.score > -math.inf]

    def keep(self, sentences: Tensor) -> None:
        """Keep these sentences only."""
        self.scores, self.sums, self.tokens = self.scores[sentences], self.sums[sentences], self.tokens[sentences]


@torch.inference_mode()
def beam_search(
    step: MemoryStep, memory: State, limits: Sequence[int], beam: Beam, bonus: Bonus | None = None
) -> list[list[Hypothesis]]:
    """Translate sentences by beam search.

    A sentence leaves the batch when `size` of its hypotheses are complete and the likeliest unfinished one, scored at
    its present length, is no better than the worst of them (a heuristic, unless the search is exhaustive). A hypothesis
    that reaches its limit is cut.

    Args:
        step: one step of a model.
        memory: of N sentences.
        limits: maximum number of tokens of each translation, N of them.
        beam: settings of the search.
        bonus: added to the scores of complete hypotheses.

    Returns:
        For each sentence its `beam.n_best` hypotheses, the best first; fewer where there are no more.
    """
    N, K = len(limits), beam.size
    device = first_tensor(memory).device
    results: list[list[Hypothesis]] = [[] for _ in limits]
    there = torch.arange(N, device=device)  # sentences that are still in the batch
    limit = torch.tensor(limits, device=device)
    never = torch.tensor(NEVER, device=device)
    finished = _Finished(N, K, device)
    tokens = torch.full((N, 1), BOS, device=device)
    history = torch.zeros(N, 1, 0, dtype=torch.int64, device=device)
    sums = torch.zeros(N, 1, device=device)
    state: State | None = None
    for length in range(1, max(limits, default=0) + 1):
        logits, state = step(tokens.flatten(), state, memory)
        logits = logits.float()
        if beam.renormalize:
            logits = logits.index_fill_(-1, never, -torch.inf)
        gains = logits.log_softmax(-1)
        if not beam.renormalize:
            gains = gains.index_fill_(-1, never, -torch.inf)
        dead = sums.flatten().isneginf()  # hypotheses that cannot be, where there are fewer than the beam has places
        if bool(dead.any()):
            gains[dead] = -torch.inf
        # Nan where any of the logits is; a step may forbid EOS.
        check_finite(gains[:, EOS].nan_to_num(torch.nan, neginf=0.0))
        if length <= beam.min_length:
            gains[:, EOS] = -torch.inf
        V, width = gains.shape[1], sums.shape[1]
        if beam.forced_end and bool((last := length >= limit).any()):
            last = last.repeat_interleave(width)
            gains[last] = -torch.inf
            gains[last, EOS] = 0.0
        extra = sums.new_zeros(len(there), width) if bonus is None else bonus(state).float().view(-1, width)
        total = gains.view(len(there), width, V).add_(sums.unsqueeze(2)).flatten(1)
        # 2K candidates: at most one extension of each of the K hypotheses is its EOS, so K unfinished ones are left.
        best, places = _greatest(total, min(2 * K, total.shape[1]))
        parents, chosen = places // V, places % V
        ends = chosen == EOS
        if bool(ends[:, :K].any()):
            complete = best[:, :K].masked_fill(~ends[:, :K], -torch.inf)
            scores = complete / beam.divisor(length) + extra.gather(1, parents[:, :K])
            finished.add(complete, _extended(history, parents[:, :K], chosen[:, :K]), scores)
        going = best.masked_fill(ends, -torch.inf)
        sums, order = going.topk(min(K, going.shape[1]))
        parents, tokens = parents.gather(1, order), chosen.gather(1, order)
        history = _extended(history, parents, tokens)
        cut = length >= limit
        if bool(cut.any()):
            unfinished = sums.masked_fill(~cut.unsqueeze(1), -torch.inf)
            finished.add(unfinished, history, unfinished / beam.divisor(length) + extra.gather(1, parents))
        enough = finished.scores[:, K - 1] >= sums[:, 0] / beam.divisor(limit if beam.exhaustive else length)
        if K == 1 or beam.early_stopping:
            enough = finished.scores[:, K - 1] > -torch.inf
        done = cut | enough
        rows = parents + torch.arange(len(there), device=device).unsqueeze(1) * width
        if bool(done.any()):
            for place in done.nonzero().squeeze(1).tolist():
                results[int(there[place])] = finished.of(place, beam.n_best)
            stay = (~done).nonzero().squeeze(1)
            if not len(stay):
                break
            finished.keep(stay)
            memory = select(memory, stay)
            there, limit, rows, sums, tokens, history = (
                tensor[stay] for tensor in (there, limit, rows, sums, tokens, history)
            )
        if K > 1 or bool(done.any()):
            state = select(state, rows.flatten())
    return results


def _greatest(figures: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`figures.topk(count)`, (N, count) of (N, M), in half the time where M is large.

    The greatest are in the `count` blocks with the greatest maxima, or in the remainder behind the last block.
    """
    blocks = figures.shape[1] // BLOCK
    if blocks <= 2 * count:
        return figures.topk(count)
    whole = figures[:, : blocks * BLOCK].view(-1, blocks, BLOCK)
    chosen = whole.amax(2).topk(count).indices.unsqueeze(2)
    places = (chosen * BLOCK + torch.arange(BLOCK, device=figures.device)).flatten(1)
    behind = torch.arange(blocks * BLOCK, figures.shape[1], device=figures.device).expand(len(figures), -1)
    places = torch.cat([places, behind], 1)
    best, order = figures.gather(1, places).topk(count)
    return best, places.gather(1, order)


def _extended(history: Tensor, parents: Tensor, tokens: Tensor) -> Tensor:
    """Hypotheses (n, N, T + 1): the parents (n, N) among `history` (n, K, T), each with one of `tokens` (n, N)."""
    before = history.gather(1, parents.unsqueeze(2).expand(-1, -1, history.shape[2]))
    return torch.cat([before, tokens.unsqueeze(2)], 2)
