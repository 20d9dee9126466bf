"""Translations drawn at random: how often each comes, and what each depends on."""

import math
from collections import Counter

import pytest
import torch
from decoding.test_beam_search import V, everything, log_probabilities, step_of, table

from seqmodels import GRU, Beam, Draws, InputError, Sampling, Tokenizer, Translator
from seqmodels.batch import EOS
from seqmodels.decoding import RowGenerators, beam_search, draw

TEXTS = ["ab", "", "c", "abcabca", "ba"]


def chance(sentences: int, samples: int, seed: int = 0) -> RowGenerators:
    return RowGenerators(seed, [(sentence, sample) for sentence in range(sentences) for sample in range(samples)])


@pytest.fixture(scope="module")
def model() -> Translator:
    torch.manual_seed(0)
    tokenizer = Tokenizer.char(["abc"])
    return Translator(GRU(8, 8), GRU(8, 16), tokenizer, attention="general").eval()


def test_each_translation_comes_as_often_as_it_is_likely() -> None:
    samples, logits = 20_000, table(2, seed=5)
    found = draw(step_of(logits), torch.arange(2), [3, 3], Sampling(), chance(2, samples))
    for sentence, drawn in enumerate(found):
        counts = Counter(tuple(one.tokens) for one in drawn)
        likely = [one for one in everything(logits, sentence, 3) if one[0] > math.log(0.005)]
        assert len(likely) > 5
        for log_probability, tokens in likely:
            if len(tokens) < 3:  # three words are cut there, with no end
                expected = samples * math.exp(log_probability)
                assert abs(counts[tuple(tokens)] - expected) < 5 * expected**0.5


def test_probabilities_are_those_of_the_model_whatever_the_sampling() -> None:
    logits = table(3, seed=6)
    sampling = Sampling(temperature=0.5, top_k=3, repetition_penalty=1.3)
    for sentence, drawn in enumerate(draw(step_of(logits), torch.arange(3), [9] * 3, sampling, chance(3, 20))):
        complete = [one for one in drawn if len(one.tokens) < 9]
        assert complete
        for one in complete:
            wanted = log_probabilities(logits, sentence, one.tokens)
            assert math.isclose(one.log_probability, wanted, abs_tol=1e-4)
            assert math.isclose(one.score, wanted / (len(one.tokens) + 1), abs_tol=1e-4)


def test_a_temperature_of_zero_is_greedy() -> None:
    logits = table(8, seed=7)
    drawn = draw(step_of(logits), torch.arange(8), [6] * 8, Sampling(temperature=0), chance(8, 1))
    greedy = beam_search(step_of(logits), torch.arange(8), [6] * 8, Beam(1))
    assert [one.tokens for (one,) in drawn] == [one.tokens for (one,) in greedy]


def test_repetition_penalty_counts_what_was_written() -> None:
    """With a penalty that forbids, no word comes twice."""
    logits = table(4, seed=8).clamp(max=-1.0)  # negative, so that the penalty multiplies
    logits[..., EOS] = -4.0
    drawn = draw(step_of(logits), torch.arange(4), [3] * 4, Sampling(repetition_penalty=1e6), chance(4, 50))
    assert all(len(set(one.tokens)) == len(one.tokens) for found in drawn for one in found)
    assert V - 4 in {len(one.tokens) for found in drawn for one in found}


def test_each_is_cut_at_its_own_limit() -> None:
    logits = table(3, seed=9)
    logits[..., EOS] = -50.0  # none ends by itself
    drawn = draw(step_of(logits), torch.arange(3), [2, 9, 5], Sampling(), chance(3, 4))
    assert [{len(one.tokens) for one in found} for found in drawn] == [{2}, {9}, {5}]


def test_what_is_drawn_does_not_depend_on_the_other_texts(model: Translator) -> None:
    how = Draws(3, Sampling(1.2), seed=4)
    together = model.translate(TEXTS, how)
    assert [len(found) for found in together] == [3, 1, 3, 3, 3]
    assert together == model.translate(TEXTS, how)
    assert together[:1] == model.translate(TEXTS[:1], how)
    more = model.translate(TEXTS, Draws(5, Sampling(1.2), seed=4))
    assert [[one.text for one in found[:3]] for found in more] == [[one.text for one in found] for found in together]
    assert together != model.translate(TEXTS, Draws(3, Sampling(1.2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"samples": 0}, "samples=0"), ({"seed": -1}, "seed=-1"), ({"max_length": 0}, "max_length=0")],
)
def test_draws_that_make_no_sense_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Draws(**arguments)  # type: ignore[arg-type]
