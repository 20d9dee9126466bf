"""Drawing tokens, and writing text with them."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import NETWORKS
from torch import Tensor
from torch.testing import assert_close
from trainers import small_model, small_module

from seqmodels import InputError, LanguageModel, Sampling, Tokenizer
from seqmodels.batch import BOS, EOS, PAD, UNK, Batch
from seqmodels.decoding import RowGenerators, stream
from seqmodels.nn import LSTM


def by_hand(logits: list[float], sampling: Sampling, seen: set[int]) -> list[float] | None:
    """Probabilities of tokens, written out from the definitions; None where single precision may decide otherwise."""
    adjusted = []
    for token, logit in enumerate(logits):
        logit += sampling.logit_bias.get(token, 0.0)
        if token in seen:
            logit = logit / sampling.repetition_penalty if logit > 0 else logit * sampling.repetition_penalty
        adjusted.append(logit / sampling.temperature)
    ranked = sorted(range(len(logits)), key=lambda i: -adjusted[i])[: sampling.top_k]
    weights = {i: math.exp(adjusted[i] - adjusted[ranked[0]]) for i in ranked}
    total, before, kept = sum(weights.values()), 0.0, {}
    for i in ranked:
        top_p, min_p = sampling.top_p or 1.0, sampling.min_p or 0.0
        if abs(before - top_p) < 1e-5 or abs(weights[i] - min_p) < 1e-5:
            return None
        if (before < top_p or top_p == 1) and weights[i] >= min_p:
            kept[i] = weights[i]
        before += weights[i] / total
    return [kept.get(i, 0.0) / sum(kept.values()) for i in range(len(logits))]


@given(
    st.builds(
        Sampling,
        temperature=st.floats(0.2, 3.0),
        top_k=st.none() | st.integers(1, 8),
        top_p=st.none() | st.floats(0.05, 1.0),
        min_p=st.none() | st.floats(0.01, 0.9),
        repetition_penalty=st.floats(0.5, 3.0),
        logit_bias=st.dictionaries(st.integers(0, 6), st.floats(-5, 5)),
    ),
    st.sets(st.integers(0, 6)),
    st.integers(0, 10**6),
)
def test_probabilities_by_hand(sampling: Sampling, seen: set[int], seed: int) -> None:
    """Against a plain-Python reading of the definitions, on seven tokens."""
    logits = torch.randn(2, 7, generator=torch.Generator().manual_seed(seed)) * 3
    marks = torch.tensor([[token in seen for token in range(7)], [False] * 7])
    found = sampling.probabilities(logits, marks)
    for row, tokens in enumerate((seen, set())):  # rows may have seen different things
        if (wanted := by_hand(logits[row].tolist(), sampling, tokens)) is not None:
            assert_close(found[row], torch.tensor(wanted), rtol=1e-4, atol=1e-6)


def test_order_of_operations() -> None:
    """Each pair of neighbours gives something else the other way round."""
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    seen = torch.tensor([[True, False, False]])
    bias_first = Sampling(repetition_penalty=2.0, logit_bias={0: -4.0})
    assert_close(bias_first.adjusted(logits, seen), torch.tensor([[-4.0, 1.0, 0.0]]))
    # At temperature 2 the weights are e^1, e^0.5 and e^0: the last is 0.37 of the first, not 0.14.
    assert (Sampling(2.0, min_p=0.3).probabilities(logits) > 0).all()
    # Of the two likeliest, the first has 0.73 of the probability; of all three only 0.67.
    assert (Sampling(top_k=2, top_p=0.7).probabilities(logits) > 0).sum() == 1


def drawn(sampling: Sampling, logits: Tensor, seed: int = 0, seen: Tensor | None = None) -> Tensor:
    return sampling.draw(logits, torch.rand(len(logits), generator=torch.Generator().manual_seed(seed)), seen)


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -torch.inf]]).repeat(20_000, 1)
    shares = drawn(Sampling(0.7), logits).bincount(minlength=4) / 20_000
    assert_close(shares, (logits[0] / 0.7).softmax(-1), rtol=0, atol=0.015)


@pytest.mark.parametrize("chance", [0.0, 0.5, 1 - 2**-53])
def test_never_draws_what_has_no_probability(chance: float) -> None:
    """At both ends of the random numbers, and with gaps in between."""
    logits = torch.tensor([[-torch.inf, 0.3, -torch.inf, 1.7, 0.1, -torch.inf]]) + torch.randn(200, 1)
    tokens = Sampling(1.0, top_k=2).draw(logits, torch.full((200,), chance, dtype=torch.float64))
    assert set(tokens.tolist()) == {1 if chance == 0 else 3}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sum_that_reaches_p_is_enough(dtype: torch.dtype) -> None:
    for shares, p, kept in (([0.3, 0.1, 0.1, 0.5], 0.8, 2), ([0.2, 0.2, 0.2, 0.4], 0.6, 2), ([0.1] * 10, 0.7, 7)):
        found = Sampling(top_p=p).probabilities(torch.tensor([shares], dtype=dtype).log())
        assert int((found > 0).sum()) == kept


def test_greedy_takes_the_likeliest() -> None:
    logits = torch.tensor([[0.1, 3.0, 1.0], [2.0, -1.0, 1.9]])
    for sampling in (Sampling(0.0), Sampling(top_k=1), Sampling(top_p=1e-6), Sampling(min_p=1.0)):
        assert drawn(sampling, logits).tolist() == [1, 0]
    seen = torch.tensor([[False, True, False], [True, False, False]])
    assert drawn(Sampling(0.0, repetition_penalty=4.0), logits, seen=seen).tolist() == [2, 2]
    assert drawn(Sampling(0.0, logit_bias={1: -100.0}), logits).tolist() == [2, 0]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.0), Sampling(top_k=2, top_p=0.5)])
def test_logits_that_are_not_numbers(sampling: Sampling) -> None:
    with pytest.raises(InputError, match="diverged"):
        drawn(sampling, torch.tensor([[0.0, 1.0], [0.0, torch.nan]]))


BAD_SETTINGS: dict[str, list[Any]] = {
    "temperature": [-1.0, math.nan, 1e-40],
    "top_k": [0],
    "top_p": [0.0, 1.5],
    "min_p": [0.0, 1.01],
    "repetition_penalty": [0.0, -1.2],
    "logit_bias": [{-1: 1.0}, {5: math.nan}, {5: math.inf}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in BAD_SETTINGS for value in BAD_SETTINGS[name]])
def test_settings_that_make_no_sense(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name}=.* was given; expected"):
        Sampling(**{name: value})


def test_bias_of_a_token_that_is_not_there() -> None:
    with pytest.raises(InputError, match="token 2; expected ids below 2"):
        drawn(Sampling(logit_bias={2: 1.0}), torch.zeros(1, 2))


def test_chance_of_a_row_is_its_own() -> None:
    """The same beside any others, and when others leave; two keys, or two seeds, share nothing."""
    keys = [(0, 0), (0, 1), (1, 0)]
    together, alone = RowGenerators(7, keys), RowGenerators(7, keys[2:])
    numbers = []
    for step in range(600):  # more than two blocks
        if step == 300:
            together.select([2, 0])
        numbers.append(together.next()[2 if step < 300 else 0])
        assert numbers[-1] == alone.next()[0]
    assert 0 <= min(numbers) < 0.01 < 0.99 < max(numbers) < 1
    assert sum(numbers) / 600 == pytest.approx(0.5, abs=0.05)
    assert len({float(number) for seed in (7, 8) for number in RowGenerators(seed, keys).next()}) == 6
    assert RowGenerators(None, keys).next()[0] != RowGenerators(None, keys).next()[0]
    with pytest.raises(InputError, match="seed=-1"):
        RowGenerators(-1, keys)


class Counting:
    """A model whose next token is always one more; it sums up what it reads."""

    def __init__(self) -> None:
        self.sums: list[list[int]] = []
        self.total = torch.tensor(0)

    def __call__(self, tokens: Tensor) -> Tensor:
        self.total = self.total + tokens
        self.sums.append(self.total.tolist())
        return torch.nn.functional.one_hot((tokens + 1) % 5, 5).float() * 9

    def select(self, rows: Tensor) -> None:
        self.total = self.total[rows]


class Fixed:
    """A model that always predicts the same."""

    def __call__(self, tokens: Tensor) -> Tensor:
        return torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]]).repeat(len(tokens), 1)

    def select(self, rows: Tensor) -> None:
        pass


def test_stream_knows_no_model() -> None:
    """Over a step that counts: every token is fed back in, with the state."""
    rows = list(stream(Counting(), torch.tensor([0, 3]), Sampling(0.0), 4, RowGenerators(0, [(0,), (1,)])))
    assert rows == [[1, 4], [2, 0], [3, 1], [4, 2]]


def test_rows_leave_the_stream() -> None:
    steps, keys = Counting(), [(row,) for row in range(3)]
    rows = stream(steps, torch.tensor([0, 3, 1]), Sampling(0.0), 9, RowGenerators(0, keys))
    assert next(rows) == [1, 4, 2]
    assert rows.send([0, 2]) == [2, 3]
    assert next(rows) == [3, 4]
    assert rows.send([1]) == [0]
    assert steps.sums == [[0, 3, 1], [1, 3], [3, 6], [10]]
    with pytest.raises(StopIteration):
        rows.send([])


def test_stream_remembers_what_each_row_has_seen() -> None:
    """With a bar that no logit passes twice, every row goes on to what it has not had yet, the prompt included."""
    seen = torch.zeros(2, 5, dtype=torch.bool)
    seen[1, 0] = True
    once = Sampling(0.0, repetition_penalty=1000.0)
    rows = stream(Fixed(), torch.tensor([2, 3]), once, 4, RowGenerators(0, [(0,), (1,)]), seen)
    assert next(rows) == [0, 1]
    assert next(rows) == [1, 2]
    assert rows.send([1]) == [4]
    assert not seen[0].any()  # what the caller gave stays as it was
    free = list(stream(Fixed(), torch.tensor([2]), once, 3, RowGenerators(0, [(0,)])))
    assert free == [[0], [1], [3]]


@pytest.mark.parametrize("name", NETWORKS)
def test_greedy_text_is_that_of_whole_forwards(text_file: Path, name: str) -> None:
    """Generation by steps with a carried state, against the argmax of a forward over everything so far."""
    data = small_module(text_file, True)
    model = small_model(data, NETWORKS[name]())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    prompt = data.tokenizer.decode(data.tokens("train")[1:8].tolist())
    ids = [BOS, *data.tokenizer.encode(prompt)]
    for _ in range(10):
        logits, _ = model(Batch(torch.tensor([ids]), torch.tensor([ids])))
        logits[..., [0, 1, 3]] = -torch.inf
        ids.append(int(logits[0, -1].argmax()))
    wanted = data.tokenizer.decode(ids[8:18] if EOS not in ids[8:] else ids[8 : ids.index(EOS, 8)])
    assert "".join(model.generate(prompt, max_tokens=10, sampling=Sampling(0.0))) == wanted


def test_generation(text_file: Path) -> None:
    model = small_model(small_module(text_file, True)).train()
    first, second = ("".join(model.generate("the", max_tokens=40, seed=1)) for _ in range(2))
    assert first == second != "".join(model.generate("the", max_tokens=40, seed=2))
    assert "".join(model.generate("the", max_tokens=0)) == ""
    assert model.training  # left as it was found
    pieces = model.generate(max_tokens=30, seed=1)
    next(pieces)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
    assert len(list(pieces)) > 10  # as it is drawn, not at the end


def only(model: LanguageModel, token: int) -> None:
    """Make a model that always says the same."""
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.fill_(-100.0)[token] = 100.0


def test_stops_at_the_end_of_a_document_and_writes_no_other_special_token(text_file: Path) -> None:
    model = small_model(small_module(text_file, True))
    only(model, EOS)
    assert "".join(model.generate("the", max_tokens=40)) == ""
    for token in (PAD, BOS, UNK):
        only(model, token)
        assert "\N{REPLACEMENT CHARACTER}" not in "".join(model.generate("the", max_tokens=40, seed=0))


def test_bytes_come_out_as_whole_characters() -> None:
    tokenizer = Tokenizer.byte()
    model = LanguageModel(LSTM(4, 4), tokenizer)
    text = "é€😀"
    ids = iter(tokenizer.encode(text))

    def step(tokens: Tensor) -> Tensor:
        logits = torch.full((1, tokenizer.vocab_size), -100.0)
        logits[0, next(ids)] = 100.0
        return logits

    model.steps = lambda state, rows: step  # type: ignore[method-assign,assignment,return-value]
    assert list(model.generate(max_tokens=9)) == ["é", "€", "😀"]
