"""Drawing tokens, and writing text with them."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import NETWORKS
from torch import Tensor
from torch.testing import assert_close
from training import small_model, small_module

from seqmodels import InputError, LanguageModel, Sampling, Tokenizer
from seqmodels.batch import BOS, EOS, Batch
from seqmodels.decoding import stream
from seqmodels.nn import LSTM, Transformer
from seqmodels.state import State


@given(st.integers(1, 8), st.floats(0.05, 1.0), st.floats(0.2, 3.0), st.integers(0, 10**6))
def test_probabilities_by_hand(top_k: int, top_p: float, temperature: float, seed: int) -> None:
    """Against a plain-Python reading of the definitions, on seven tokens."""
    logits = torch.randn(7, generator=torch.Generator().manual_seed(seed)) * 3
    found = Sampling(temperature, top_k, top_p).probabilities(logits[None])[0]
    ranked = sorted(range(7), key=lambda i: -float(logits[i]))[:top_k]
    weights = {i: torch.exp(logits[i].double() / temperature).item() for i in ranked}
    total, before, kept = sum(weights.values()), 0.0, {}
    for i in ranked:
        if abs(before - top_p) < 1e-5:
            return  # too close to call in single precision
        if before < top_p or top_p == 1:
            kept[i] = weights[i] / total
        before += weights[i] / total
    wanted = torch.tensor([kept.get(i, 0.0) for i in range(7)])
    assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -torch.inf]]).repeat(20_000, 1)
    drawn = Sampling(0.7).draw(logits, torch.Generator().manual_seed(0))
    shares = drawn.bincount(minlength=4) / 20_000
    assert_close(shares, (logits[0] / 0.7).softmax(-1), rtol=0, atol=0.015)


def test_greedy_takes_the_likeliest() -> None:
    logits = torch.tensor([[0.1, 3.0, 1.0], [2.0, -1.0, 1.9]])
    for sampling in (Sampling(0.0), Sampling(top_k=1), Sampling(top_p=1e-6)):
        assert sampling.draw(logits, torch.Generator()).tolist() == [1, 0]


@pytest.mark.parametrize(
    "setting", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}, {"temperature": float("nan")}]
)
def test_settings_that_make_no_sense(setting: dict[str, float]) -> None:
    with pytest.raises(InputError, match="was given; expected"):
        Sampling(**setting)  # type: ignore[arg-type]


def test_stream_knows_no_model() -> None:
    """Over a step that counts: every token is fed back in, with the state."""

    def step(tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        total = tokens if state is None else state + tokens  # type: ignore[operator]
        return torch.nn.functional.one_hot((tokens + 1) % 5, 5).float(), total

    rows = list(stream(step, torch.tensor([0, 3]), None, Sampling(0.0), 4, torch.Generator()))
    assert rows == [[1, 4], [2, 0], [3, 1], [4, 2]]


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
    pieces = list(model.generate(max_tokens=30, seed=1))
    assert len(pieces) > 10  # as it is drawn, not at the end


def test_generation_leaves_the_modes_of_its_caller(text_file: Path) -> None:
    pieces = small_model(small_module(text_file, True)).generate("the", seed=1)
    next(pieces)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


def only(model: LanguageModel, token: int) -> None:
    """Make a model that always says the same."""
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.fill_(-100.0)[token] = 100.0


def test_stops_at_the_end_of_a_document(text_file: Path) -> None:
    model = small_model(small_module(text_file, True))
    only(model, EOS)
    assert "".join(model.generate("the", max_tokens=40)) == ""


def test_never_writes_other_special_tokens(text_file: Path) -> None:
    model = small_model(small_module(text_file, True))
    for token in (0, 1, 3):
        only(model, token)
        assert "\N{REPLACEMENT CHARACTER}" not in "".join(model.generate("the", max_tokens=40, seed=0))


def test_bytes_come_out_as_whole_characters() -> None:
    tokenizer = Tokenizer.byte()
    model = LanguageModel(LSTM(4, 4), tokenizer)
    text = "é€😀"
    ids = iter(tokenizer.encode(text))

    def step(tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        logits = torch.full((1, tokenizer.vocab_size), -100.0)
        logits[0, next(ids)] = 100.0
        return logits, ()

    model.step = step  # type: ignore[method-assign]
    assert list(model.generate(max_tokens=9)) == ["é", "€", "😀"]


def test_prompt_outside_the_vocabulary(text_file: Path) -> None:
    model = small_model(small_module(text_file, True))
    with pytest.raises(InputError, match="'☃'"):
        model.generate("the ☃")


def test_text_longer_than_learned_positions(text_file: Path) -> None:
    data = small_module(text_file, True)
    model = small_model(data, Transformer(8, 1, 2, context=16, positions="learned"))
    assert len(list(model.generate("the", max_tokens=12, seed=0))) <= 12
    with pytest.raises(InputError, match="max_tokens=12"):
        model.generate("the", max_tokens=13)
