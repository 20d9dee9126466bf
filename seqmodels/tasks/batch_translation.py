"""Translation of texts in batches of similar lengths, by one model or an ensemble."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from seqmodels.batch import EOS, padded
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.decoding import Beam, Draws, RowGenerators, beam_search, draw
from seqmodels.decoding.beam_search import Hypothesis, MemoryStep
from seqmodels.errors import InputError
from seqmodels.nn.dropout import evaluating
from seqmodels.state import State
from seqmodels.tasks.workers import Workers

TOKENS = 8192
"""Maximum number of source tokens of a batch times the rows per sentence, padding included: the more, the fewer steps
in which all but a few sentences are finished."""
LARGE = 2**14
"""Vocabulary from which batches are half as large, for the memory of its scores."""


class Translates(Protocol):
    """A module that translates: a `Translator`, or a language model behind `PrefixLM`."""

    tokenizer: Tokenizer
    source_tokenizer: Tokenizer
    longest_target: int
    """See `SequenceTask.longest_target`."""

    @property
    def max_length(self) -> int | None:
        """Maximum number of positions of source and target; None for no limit."""

    @property
    def device(self) -> torch.device:
        """Device of the model."""

    def encode(self, source: Tensor, mask: Tensor | None = None) -> State:
        """Encode sources (B, S), each with EOS at its end."""

    def step(self, tokens: Tensor, state: State | None, memory: State) -> tuple[Tensor, State]:
        """One token per row to logits of the next, and the state."""

    def aligned_step(self, tokens: Tensor, state: State | None, memory: State) -> tuple[Tensor, State, Tensor]:
        """`step`, and its attention weights over the source, (B, S)."""


class Translation(NamedTuple):
    """One translation of a text."""

    text: str
    score: float
    """See `Hypothesis`; 0 for the translation of an empty text."""
    log_probability: float
    """In nats."""
    complete: bool = True
    """See `Hypothesis`."""


def translations(
    models: Sequence[Translates],
    texts: Sequence[str],
    how: Beam | Draws,
    first_number: int = 0,
    workers: Workers | None = None,
) -> list[list[Translation]]:
    """Translate texts by one model, or by an ensemble whose probabilities are averaged at each token.

    See `Translator.translate`. Random samples follow from the number of a text, counted over several calls. Without
    `workers`, one batch is computed after another.

    Raises:
        InputError: the vocabularies of the models differ, the texts are no list of strings, or `how` is another object.
    """
    first = models[0]
    for model in models[1:]:
        for side in ("tokenizer", "source_tokenizer"):
            if getattr(model, side).json != getattr(first, side).json:
                raise InputError(
                    f"the models of the ensemble differ in their {side.replace('_', ' ')}; expected the same"
                )
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"expected a list of texts to translate, got {texts!r:.80}")
    if not isinstance(how, Beam | Draws):
        raise InputError(f"expected Beam(...) or Draws(...) behind the texts, got {how!r:.80}")
    longest = positions(models)
    texts = [text if text.strip() else "" for text in texts]  # white space is an empty text
    sources = [ids if longest is None else ids[: longest - 1] for ids in first.source_tokenizer.encode_batch(texts)]
    results = [[Translation("", 0.0, 0.0)] for _ in texts]
    tokens = TOKENS // 2 if first.tokenizer.vocab_size > LARGE else TOKENS
    batches = list(_batches([len(ids) for ids in sources], tokens // how.rows))

    def translated(rows: list[int]) -> list[list[Hypothesis]]:
        return hypotheses(models, [sources[row] for row in rows], how, [first_number + row for row in rows])

    for rows, found in zip(batches, (workers or Workers()).map(translated, batches), strict=True):
        for row, best in zip(rows, found, strict=True):
            results[row] = [Translation(first.tokenizer.decode(one.tokens), *one[1:]) for one in best]
    return results


def positions(models: Sequence[Translates]) -> int | None:
    """Maximum number of positions of a source, EOS included, and of a target; None for no limit."""
    return min((model.max_length for model in models if model.max_length is not None), default=None)


def _batches(lengths: list[int], tokens: int) -> Iterator[list[int]]:
    """Rows that are translated together, the longest first; empty ones are left out."""
    batch: list[int] = []
    for row in sorted((row for row, length in enumerate(lengths) if length), key=lengths.__getitem__, reverse=True):
        if batch and (len(batch) + 1) * (lengths[batch[0]] + 1) > tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@torch.inference_mode()
def hypotheses(
    models: Sequence[Translates], sources: Sequence[list[int]], how: Beam | Draws, numbers: Sequence[int] | None = None
) -> list[list[Hypothesis]]:
    """`translations` of one batch of sources, token ids without EOS, as ids.

    Random samples follow from the numbers of the sources; None for their places.
    """
    first = models[0]
    source, mask = padded([torch.tensor([*ids, EOS]) for ids in sources])
    source, mask = source.to(first.device), None if mask is None else mask.to(first.device)
    limits = how.limits([len(ids) for ids in sources], max(model.longest_target for model in models))
    if (longest := positions(models)) is not None:
        limits = [min(limit, longest) for limit in limits]
    with contextlib.ExitStack() as stack:
        for model in models:
            stack.enter_context(evaluating(cast(nn.Module, model)))
        memories = tuple(model.encode(source, mask) for model in models)
        if isinstance(how, Draws):
            keys = [(number, sample) for number in numbers or range(len(sources)) for sample in range(how.samples)]
            chance = RowGenerators(how.seed, keys, first.device)
            return draw(_together(models), (memories, ()), limits, how.sampling, chance)
        if not how.coverage_penalty:
            return beam_search(_together(models), (memories, ()), limits, how)
        real = torch.ones_like(source, dtype=torch.bool) if mask is None else mask
        step, memory = _covering(models), (memories, real)
        return beam_search(step, memory, limits, how, lambda state: how.coverage_penalty * _covered(state))


def _together(models: Sequence[Translates]) -> MemoryStep:
    """One step of an ensemble: states and memories in tuples, probabilities averaged."""

    def step(tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, State]:
        states = [None] * len(models) if state is None else state
        parts = [model.step(tokens, *known) for model, *known in zip(models, states, memory[0], strict=True)]
        return _mean([logits for logits, _ in parts]), tuple(following for _, following in parts)

    return step


def _covering(models: Sequence[Translates]) -> MemoryStep:
    """`_together`, with the attention that each source token received so far, (R, S), beside the states."""

    def step(tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, State]:
        memories, real = memory
        states, given = ([None] * len(models), 0.0) if state is None else state
        parts = [model.aligned_step(tokens, *known) for model, *known in zip(models, states, memories, strict=True)]
        weights = torch.stack([found.float() for *_, found in parts]).mean(0)  # a sum over all steps
        beams = len(tokens) // len(real)
        given = given + weights.masked_fill(~real.repeat_interleave(beams, 0), 1.0)  # padding counts as covered
        return _mean([logits for logits, *_ in parts]), (tuple(following for _, following, _ in parts), given)

    return step


def _covered(state: State) -> Tensor:
    """`sum(log(min(attention, 1)))` of each row, from the state of `_covering`."""
    given: Tensor = state[1]  # type: ignore[assignment]
    return given.clamp(1e-9, 1.0).log().sum(1)


def _mean(logits: list[Tensor]) -> Tensor:
    """Logits whose softmax is the mean of several softmaxes."""
    if len(logits) == 1:
        return logits[0]
    return torch.stack([one.float().log_softmax(-1) for one in logits]).logsumexp(0)
