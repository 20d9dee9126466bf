"""Words in context: which vectors they have, and senses compared."""

import math
from pathlib import Path

import pytest
import torch
from networks import NETWORKS
from refusals import assert_refused

from seqmodels import GRU, LSTM, LanguageModel, Tokenizer, Transformer
from seqmodels.analysis import Senses, compare_senses, contextual, draw_senses
from seqmodels.batch import BOS, IGNORE, Batch
from seqmodels.errors import InputError
from seqmodels.nn import Backbone

TEXT = "The bank, a café bank; banks and embank.\nOur bank naïve 火 bank"
PLACES = [4, 17, 45, 58]
WORDY = "the river bank was wet\na bank of money and the bank\n"


@pytest.fixture(params=["char", "byte", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return {
        "char": lambda: Tokenizer.char([TEXT]),
        "byte": Tokenizer.byte,
        "bpe": lambda: Tokenizer.bpe([TEXT, "bank bank the the"], 300),
    }[request.param]()


def model(tokenizer: Tokenizer, backbone: Backbone | None = None) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(backbone or LSTM(6, 8, num_layers=2, dropout=0.5), tokenizer, input_dropout=0.5)


def test_where_words_are(tokenizer: Tokenizer) -> None:
    """Each occurrence is found in the tokens that spell it, and no part of another word is one."""
    found = contextual(model(tokenizer), TEXT, "bank")
    assert [one.first for one in found] == PLACES
    assert [TEXT[place : place + 4] for place in PLACES] == ["bank"] * 4
    assert all("".join(one.tokens).strip() == "bank" for one in found)
    assert {one.layer for one in found} == {"2.h"}
    assert contextual(model(tokenizer), TEXT, "river") == []
    assert [one.first for one in contextual(model(tokenizer), TEXT, "café")] == [12]
    assert len(contextual(model(tokenizer), TEXT, "火")) == 1
    assert len(contextual(model(tokenizer), TEXT, "a café")) == 1  # several words


def test_vectors_are_those_of_a_text_that_ends_there(tokenizer: Tokenizer) -> None:
    """A causal network that has read so far has them in its state; here in training mode, to see dropout left out."""
    task = model(tokenizer).train()
    for one in contextual(task, TEXT, "bank"):
        ids = torch.tensor([[BOS, *tokenizer.encode(TEXT[: one.first + 4])]])
        task.eval()
        _, ((_, _), (h, _)) = task(Batch(ids, torch.full_like(ids, IGNORE)))  # type: ignore[misc]
        task.train()
        torch.testing.assert_close(one.vector, h[0].detach(), atol=1e-6, rtol=0)  # type: ignore[has-type]
    assert task.training


def test_the_mean_over_the_tokens_of_a_word() -> None:
    task = model(Tokenizer.byte())
    traced = task.eval().traced(Batch(ids := torch.tensor([[BOS, *task.tokenizer.encode(TEXT)]]), ids))[2]
    (last,), (mean,) = (contextual(task, TEXT, "café", "1.c", pooling) for pooling in ("last", "mean"))  # type: ignore[arg-type]
    assert "".join(last.tokens[:3]) == "caf"
    assert len(last.tokens) == 5
    where = slice(1 + len("The bank, a "), 1 + len("The bank, a ") + 5)
    torch.testing.assert_close(mean.vector, traced.units["1.c"][0, where].mean(0).detach())
    torch.testing.assert_close(last.vector, traced.units["1.c"][0, where][-1].detach())


def test_words_as_tokens() -> None:
    """Also behind white space that is lost, and where the word is unknown to the vocabulary."""
    task = model(Tokenizer.word([WORDY]))
    found = contextual(task, "the   bank\n\n of bank", "bank")
    assert [one.first for one in found] == [6, 16]
    (unknown,) = contextual(task, "the zebra of", "zebra")
    assert unknown.tokens == (" <unk>",)


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network(name: str) -> None:
    """Every network has layers to choose from, whose vectors differ."""
    task = model(Tokenizer.word([WORDY]), NETWORKS[name]())
    ids = torch.tensor([[BOS, *task.tokenizer.encode(WORDY)]])
    units = task.eval().traced(Batch(ids, ids))[2].units
    for layer in units:
        one, two, _ = contextual(task, WORDY, "bank", layer)
        assert one.vector.shape == units[layer].shape[2:]
        assert not torch.equal(one.vector, two.vector)
        torch.testing.assert_close(two.vector, units[layer][0, 8].detach(), atol=1e-6, rtol=0)
    default = contextual(task, WORDY, "bank")[0].layer
    assert default.split(".")[0] == list(units)[-1].split(".")[0]
    assert not default.endswith(".c")


def test_requests_that_are_refused() -> None:
    task = model(Tokenizer.word([WORDY]), Transformer(8, num_layers=1, num_heads=2, context=8, positions="learned"))
    assert_refused("'7' is not there; choose one of 1", contextual, task, "the bank", "bank", "7")
    assert_refused(r"11 tokens.* room for 7", contextual, task, WORDY.replace("was wet\n", ""), "bank")
    assert len(contextual(task, "the the the the the the bank", "bank")) == 1
    assert_refused("pooling='max'", contextual, task, "the bank", "bank", pooling="max")
    assert_refused("1 senses", compare_senses, task, {"river": ["the bank"]}, "bank")
    assert_refused("'money' has no sentences", compare_senses, task, {"river": ["the bank"], "money": []}, "bank")
    with pytest.raises(InputError, match="'the money' lacks the word 'bank'"):
        compare_senses(task, {"river": ["the bank"], "money": ["the money"]}, "bank")


def test_figures_of_senses() -> None:
    cosines = torch.tensor([[1, 0.9, 0.1, 0.3], [0.9, 1, 0.2, 0.4], [0.1, 0.2, 1, 0.25], [0.3, 0.4, 0.25, 1]])
    found = Senses("bank", "1.h", ["river", "river", "money", "money"], ["w", "x", "y", "z"], cosines)
    assert found.within == pytest.approx((0.9 + 0.25) / 2)
    assert found.between == pytest.approx((0.1 + 0.3 + 0.2 + 0.4) / 4)
    assert found.nearest == 3 / 4  # z is nearer to x than to y
    alone = Senses("bank", "1.h", ["river", "money"], ["w", "x"], cosines[:2, :2])
    assert math.isnan(alone.within)
    assert math.isnan(alone.nearest)


def test_senses_are_compared(tmp_path: Path) -> None:
    task = model(Tokenizer.word([WORDY]), GRU(6, 8))
    sentences = {"river": ["the river bank", "river bank was wet"], "money": ["money of the bank and bank"]}
    found = compare_senses(task, sentences, "bank")
    assert found.senses == ["river", "river", "money", "money"]
    assert found.sentences == [*sentences["river"], *sentences["money"] * 2]
    assert found.layer == "1.h"
    vectors = torch.stack([one.vector for text in found.sentences[:3] for one in contextual(task, text, "bank")])
    for centred in (False, True):
        moved = vectors - centred * vectors.mean(0)
        cosines = compare_senses(task, sentences, "bank", centred=centred).cosines
        torch.testing.assert_close(cosines, torch.cosine_similarity(moved[:, None], moved, dim=-1), atol=1e-6, rtol=0)
    figure = draw_senses(found)
    figure.savefig(tmp_path / "senses.png")
    assert figure.axes[0].get_yticklabels()[0].get_text() == "river: the river bank"
