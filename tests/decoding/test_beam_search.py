"""Beam search against exhaustive search, against a slow beam search, and its laws."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from seqmodels.batch import BOS, EOS
from seqmodels.decoding import Beam, Hypothesis, beam_search
from seqmodels.decoding.beam_search import MemoryStep, _greatest
from seqmodels.errors import InputError
from seqmodels.state import State

V = 7
"""Four special tokens and three words."""
WORDS = range(4, V)


def table(sentences: int, seed: int = 0, sharpness: float = 1.0) -> Tensor:
    """Logits of a model that knows the sentence, how far it is and the last token: (sentences, 12, V, V)."""
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(sentences, 12, V, V, generator=chance, dtype=torch.float64) * sharpness


def step_of(logits: Tensor) -> MemoryStep:
    """The model as a step; its state is how many tokens each row has read, its memory the number of the sentence."""

    def step(tokens: Tensor, state: State | None, memory: State) -> tuple[Tensor, State]:
        assert isinstance(memory, Tensor)
        read = torch.zeros(len(tokens), dtype=torch.int64) if state is None else state
        assert isinstance(read, Tensor)
        sentences = memory.repeat_interleave(len(tokens) // len(memory))
        return logits[sentences, read.clamp(max=11), tokens], read + 1

    return step


def log_probabilities(logits: Tensor, sentence: int, tokens: list[int]) -> float:
    """Of a translation and its end, among the tokens that may be written."""
    total, last = 0.0, BOS
    for place, token in enumerate([*tokens, EOS]):
        allowed = logits[sentence, min(place, 11), last].clone()
        allowed[[0, 1, 3]] = -torch.inf
        total += float(allowed.log_softmax(-1)[token])
        last = token
    return total


def everything(logits: Tensor, sentence: int, longest: int) -> list[tuple[float, list[int]]]:
    """All translations of at most so many tokens, the end among them, with their log-probabilities."""
    return [
        (log_probabilities(logits, sentence, list(words)), list(words))
        for length in range(longest)
        for words in itertools.product(WORDS, repeat=length)
    ]


@pytest.mark.parametrize("normalization", ["length", "gnmt"])
@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
def test_a_wide_beam_finds_what_exhaustive_search_finds(normalization: str, penalty: float) -> None:
    logits, longest = table(4), 4
    beam = Beam(200, penalty, normalization, n_best=3, max_length=longest)  # type: ignore[arg-type]
    found = beam_search(step_of(logits), torch.arange(4), [longest] * 4, beam)
    for sentence, hypotheses in enumerate(found):
        every = everything(logits, sentence, longest)
        ranked = sorted(every, key=lambda one: -one[0] / beam.divisor(len(one[1]) + 1))
        complete = [one for one in hypotheses if len(one.tokens) < longest]  # others were cut at the limit
        wanted = [tokens for _, tokens in ranked[: len(complete)]]
        assert [one.tokens for one in complete] == wanted[: len(complete)]
        for one in complete:
            assert math.isclose(one.log_probability, log_probabilities(logits, sentence, one.tokens), abs_tol=1e-4)
            assert math.isclose(one.score, one.log_probability / beam.divisor(len(one.tokens) + 1), rel_tol=1e-5)


def test_what_the_logarithm_is_divided_by() -> None:
    assert Beam(normalization="gnmt", length_penalty=0.6).divisor(7) == pytest.approx(2**0.6)  # (5 + 7) / 6
    assert Beam(length_penalty=0.5).divisor(9) == pytest.approx(3)
    assert Beam(length_penalty=0).divisor(9) == 1


def slow_beam_search(logits: Tensor, sentence: int, limit: int, beam: Beam) -> list[Hypothesis]:
    """The same search for one sentence, in plain Python."""
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[Hypothesis] = []
    for length in range(1, limit + 1):
        candidates = []
        for total, tokens in running:
            allowed = logits[sentence, min(length - 1, 11), tokens[-1] if tokens else BOS].float().clone()
            allowed[[0, 1, 3]] = -torch.inf
            gains = allowed.log_softmax(-1)
            if length <= beam.min_length:
                gains[EOS] = -torch.inf
            candidates += [(total + float(gains[token]), [*tokens, token]) for token in range(V)]
        candidates = sorted((c for c in candidates if c[0] > -math.inf), key=lambda c: -c[0])[: 2 * beam.size]
        for total, tokens in candidates[: beam.size]:
            if tokens[-1] == EOS:
                finished.append(Hypothesis(tokens[:-1], total / beam.divisor(length), total))
        running = [c for c in candidates if c[1][-1] != EOS][: beam.size]
        if length == limit:
            finished += [Hypothesis(tokens, total / beam.divisor(length), total, False) for total, tokens in running]
        finished = sorted(finished, key=lambda one: -one.score)[: beam.size]
        enough = len(finished) >= beam.size and bool(running)
        reached = limit if beam.exhaustive else length
        enough = enough and finished[beam.size - 1].score >= running[0][0] / beam.divisor(reached)
        if not running or enough or (beam.size == 1 and finished):
            break
    return finished[: beam.n_best]


@pytest.mark.parametrize(("size", "n_best"), [(1, 1), (2, 2), (5, 5), (5, 1), (5, 2)])
@pytest.mark.parametrize(("min_length", "exhaustive"), [(0, False), (3, False), (0, True)])
def test_many_sentences_at_once_are_searched_as_each_alone(
    size: int, n_best: int, min_length: int, exhaustive: bool
) -> None:
    logits = table(16, seed=1, sharpness=2.0)
    limits = [3 + number % 8 for number in range(16)]
    beam = Beam(size, 0.8, n_best=n_best, min_length=min_length, exhaustive=exhaustive)
    found = beam_search(step_of(logits), torch.arange(16), limits, beam)
    for sentence, (hypotheses, limit) in enumerate(zip(found, limits, strict=True)):
        wanted = slow_beam_search(logits, sentence, limit, beam)
        assert [(one.tokens, one.complete) for one in hypotheses] == [(one.tokens, one.complete) for one in wanted]
        for ours, theirs in zip(hypotheses, wanted, strict=True):
            assert math.isclose(ours.score, theirs.score, abs_tol=1e-4)


@pytest.mark.parametrize("exhaustive", [False, True])
@pytest.mark.parametrize("size", [2, 4, 60])
def test_the_best_is_the_best_of_many(size: int, exhaustive: bool) -> None:
    """Asked for one hypothesis or for all of the beam; the wider of two, up to all there are, is not worse."""
    logits = table(50, seed=5, sharpness=2.0)
    limits = [6] * 50
    one, all_of_them = (
        beam_search(step_of(logits), torch.arange(50), limits, Beam(size, n_best=n_best, exhaustive=exhaustive))
        for n_best in (1, size)
    )
    assert [found[0] for found in one] == [found[0] for found in all_of_them]


def test_no_empty_translation_where_a_likelier_one_is_left() -> None:
    """The end at once has 0.51; else a certain one of three tokens, whose logarithm is divided by its length."""
    logits = torch.full((1, 12, V, V), -torch.inf, dtype=torch.float64)
    logits[0, 0, BOS, [EOS, 4]] = torch.tensor([0.51, 0.49], dtype=torch.float64).log()
    logits[0, 1, 4, 5] = logits[0, 2, 5, EOS] = 0.0
    for n_best in (1, 2):
        (found,) = beam_search(step_of(logits), torch.arange(1), [12], Beam(2, n_best=n_best))
        assert found[0].tokens == [4, 5]
        assert math.isclose(found[0].score, math.log(0.49) / 3, abs_tol=1e-6)


@pytest.mark.parametrize("size", [1, 3])
def test_a_step_may_forbid_the_end(size: int) -> None:
    logits = table(2, seed=4)
    logits[:, :3, :, EOS] = -torch.inf
    for found in beam_search(step_of(logits), torch.arange(2), [6] * 2, Beam(size)):
        assert len(found[0].tokens) >= 3
    logits[0, 1, 4:, 4] = torch.nan
    with pytest.raises(InputError, match="diverged"):
        beam_search(step_of(logits), torch.arange(2), [6] * 2, Beam(size))


def test_a_search_to_the_end_is_never_worse() -> None:
    """Of 200 tables the heuristic misses some, where length is rewarded."""
    logits = table(200, seed=6, sharpness=1.5)
    plain, full = (
        [
            found[0].score
            for found in beam_search(
                step_of(logits), torch.arange(200), [10] * 200, Beam(3, 1.5, exhaustive=exhaustive)
            )
        ]
        for exhaustive in (False, True)
    )
    assert all(one <= other + 1e-6 for one, other in zip(plain, full, strict=True))
    assert plain != full


def test_finished_sentences_leave_the_batch() -> None:
    """Rows that are stepped on become fewer as sentences are done."""
    logits = table(8, seed=2)
    logits[:4, :, :, EOS] += 20  # these end at once
    rows: list[int] = []

    def step(tokens: Tensor, state: State | None, memory: State) -> tuple[Tensor, State]:
        rows.append(len(tokens))
        return step_of(logits)(tokens, state, memory)

    beam_search(step, torch.arange(8), [10] * 8, Beam(3))
    assert rows[0] == 8
    assert max(rows) <= 24
    assert min(rows[2:]) <= 12


def test_lengths_are_kept() -> None:
    logits = table(6, seed=3)
    for least, most in ((0, 2), (4, 4), (2, 9)):
        beam = Beam(4, min_length=least, max_length=most, n_best=4)
        for hypotheses in beam_search(step_of(logits), torch.arange(6), [most] * 6, beam):
            assert hypotheses
            assert all(least <= len(one.tokens) <= most for one in hypotheses)
            assert all(min(one.tokens, default=4) >= 4 for one in hypotheses)


def test_nothing_to_search() -> None:
    assert beam_search(step_of(table(1)), torch.arange(0), [], Beam()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "beam of 0 was given; expected at least 1"),
        ({"n_best": 6}, "n_best=6 was given with a beam of 5"),
        ({"length_penalty": -1.0}, "length_penalty=-1.0"),
        ({"normalization": "words"}, "choose length or gnmt"),
        ({"min_length": 5, "max_length": 4}, "no maximum below the minimum"),
        ({"max_length": 0}, "expected at least 0 and 1"),
    ],
)
def test_beams_that_make_no_sense_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Beam(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [10, 64 * 12, 64 * 50 + 13, 64 * 50])
def test_the_greatest_of_many_are_found_by_blocks(width: int) -> None:
    figures = torch.randn(5, width, generator=torch.Generator().manual_seed(width))
    figures[0, :] = -torch.inf
    figures[1, -3:] += 10
    figures[2, 64:70] += 10
    best, places = _greatest(figures, 5)
    assert (best == figures.topk(5).values).all()
    assert (places[1:] == figures.topk(5).indices[1:]).all()
    assert len(set(places[0].tolist())) == 5
