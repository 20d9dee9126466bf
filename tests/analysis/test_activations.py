"""What units do while a network reads, by character."""

import itertools
import re

import pytest
import torch
from refusals import assert_refused

from seqmodels import GRU, LSTM, LanguageModel, MinGRU, Transformer
from seqmodels.analysis.activations import activations, place, untrained
from seqmodels.analysis.character_labels import labels
from seqmodels.batch import BOS, Batch
from seqmodels.data import Tokenizer
from seqmodels.errors import InputError
from seqmodels.nn import Backbone

TEXTS = ["def f(x):\n    return 'ä'\n", "a", "(b)\n" * 9]


def model(backbone: Backbone | None = None, tokenizer: Tokenizer | None = None) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(backbone or LSTM(6, 5, num_layers=2), tokenizer or Tokenizer.char(TEXTS)).eval()


def alone(task: LanguageModel, text: str) -> torch.Tensor:
    """All units after each token of one text that is read at once, (N, U)."""
    inputs = torch.tensor([[BOS, *task.tokenizer.encode(text)]])
    with torch.inference_mode():
        _, _, trace = task.traced(Batch(inputs, inputs))
    return torch.cat(list(trace.units.values()), -1)[0, 1:]


@pytest.mark.parametrize(
    "backbone",
    [LSTM(6, 5, num_layers=2), GRU(6, 5), MinGRU(6, 5), Transformer(8, 1, 2)],
    ids=lambda b: type(b).__name__,
)
@pytest.mark.parametrize(("lanes", "chunk"), [(1, 64), (2, 7), (3, 1)])
def test_texts_side_by_side_are_as_each_alone(
    backbone: Backbone, lanes: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.analysis.activations.LANES", lanes)
    monkeypatch.setattr("seqmodels.analysis.activations.CHUNK", chunk)
    task = model(backbone).train()
    found = activations(task, TEXTS)
    assert task.training
    task.eval()
    torch.testing.assert_close(found.values, torch.cat([alone(task, text) for text in TEXTS]))
    assert found.texts.tolist() == [number for number, text in enumerate(TEXTS) for _ in text]
    assert found.characters.tolist() == [place for text in TEXTS for place in range(len(text))]


def test_pieces_of_a_long_text_are_read_with_what_is_before_them() -> None:
    task, text = model(LSTM(6, 5, forget_bias=-2.0)), "(b)\n" * 50  # which forgets within few steps
    whole = alone(task, text)
    torch.testing.assert_close(activations(task, [text], span=30, context=25).values, whole, atol=1e-4, rtol=0)
    short = activations(task, [text], span=30, context=1).values
    torch.testing.assert_close(short[:30], whole[:30])  # which have nothing before them
    assert not torch.allclose(short, whole, atol=1e-2)


def test_positions_that_end_are_not_outrun() -> None:
    task = model(Transformer(8, 1, 2, context=16, positions="learned"))
    found = activations(task, ["(b)\n" * 20])
    assert found.characters.tolist() == list(range(80))
    torch.testing.assert_close(found.values[:8], alone(task, "(b)\n" * 2))


@pytest.mark.parametrize("tokenizer", [Tokenizer.byte(), Tokenizer.bpe(TEXTS * 9, 270), Tokenizer.word(TEXTS)])
def test_tokens_have_the_place_of_their_last_character(tokenizer: Tokenizer) -> None:
    found = activations(model(tokenizer=tokenizer), TEXTS)
    for number, text in enumerate(TEXTS):
        here = found.characters[found.texts == number].tolist()
        if tokenizer.vocab_size > 200:  # of bytes
            lengths = [len(tokenizer.token_bytes[token]) for token in tokenizer.encode(text)]
            characters = [place for place, letter in enumerate(text) for _ in letter.encode()]
            assert here == [characters[behind - 1] for behind in itertools.accumulate(lengths)]
        else:
            assert here == [match.end() - 1 for match in re.finditer(r"\n|\S+", text)]
    known = labels(TEXTS, {"where": lambda text: list(range(len(text)))})["where"]
    assert found.labelled(known).tolist() == found.characters.tolist()


def test_what_is_kept_is_bounded_and_units_can_be_chosen() -> None:
    task = model()
    everything = activations(task, TEXTS)
    assert everything.units[:2] == ("1.h.0", "1.h.1")
    assert len(everything.units) == 20
    some = activations(task, TEXTS, most=everything.values.numel() // 3 + 1)
    assert torch.equal(some.values, everything.values[::3])
    assert torch.equal(some.characters, everything.characters[::3])
    assert torch.equal(some.texts, everything.texts[::3])
    one = activations(task, TEXTS, ["2.c.3"])
    assert torch.equal(one.values[:, 0], everything.unit("2.c.3"))


def test_the_untrained_has_the_shape_and_not_the_weights() -> None:
    task = model()
    before = torch.random.get_rng_state()
    fresh = untrained(task, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for (name, mine), theirs in zip(task.state_dict().items(), fresh.state_dict().values(), strict=True):
        assert mine.shape == theirs.shape
        assert mine.ndim == 1 or not torch.equal(mine, theirs), name
    assert torch.equal(untrained(task, seed=1).embedding.weight, fresh.embedding.weight)
    assert fresh.training is task.training


def test_mistakes() -> None:
    task = model()
    with pytest.raises(InputError, match=r"no unit '1.x.3' in this network; choose one of 1.h.0 to 1.h.4, 1.c.0 to"):
        activations(task, TEXTS, ["1.x.3"])
    assert_refused(r"no unit '1.h.5'", place, "1.h.5", ("1.h.0", "1.h.4"))
    assert_refused("no text to read", activations, task, ["", ""])
