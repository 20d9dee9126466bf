"""Cross-entropy over a sample of the vocabulary, beside sums over all of it."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from seqmodels import LSTM, LanguageModel, NGram, Tokenizer
from seqmodels.batch import IGNORE, Batch
from seqmodels.errors import InputError
from seqmodels.tasks import sampled_softmax
from seqmodels.tasks.losses import scored_logits
from seqmodels.tasks.sampled_softmax import draw, sampled_nats

TARGETS = torch.tensor([[1, 7, IGNORE], [0, 3, 3]])


@pytest.fixture
def layer() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    sizes = (2, 3, 4), (8, 4), (8,)
    y, weight, bias = (torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes)
    return y, weight, bias


def of_draw(sample: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """As `draw` from a vocabulary of eight tokens, with these two of the last six."""
    return torch.tensor([0, 1, *sample]), torch.tensor([0.0, 0.0, math.log(3), math.log(3)]).double()


def test_the_mean_of_the_sum_is_right(layer: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all samples that can be drawn, the estimated sum of one position is on average the sum over all tokens."""
    y, weight, bias = layer
    for place, token in ((0, 1), (1, 7), (2, 3)):
        position, target, ratios = y[:1, place : place + 1], torch.tensor([[token]]), []
        for sample in itertools.combinations(range(2, 8), 2):
            monkeypatch.setattr(sampled_softmax, "draw", lambda *_, sample=sample: of_draw(sample))
            ratios.append(sampled_nats(position, weight, bias, target, 4).exp())  # the sum by its own term
        wanted = scored_logits(F.linear(position, weight, bias), target, 0.0)[0].exp()
        assert_close(torch.stack(ratios).mean(), wanted)


def test_gradients(layer: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the formula, token by token."""
    y, weight, bias = layer
    chosen, stand_for = of_draw((3, 6))
    monkeypatch.setattr(sampled_softmax, "draw", lambda *_: (chosen, stand_for))
    found = sampled_nats(y, weight, bias, TARGETS, 4)
    wanted = torch.zeros((), dtype=torch.float64)
    for row, column in itertools.product(range(2), range(3)):
        if (target := int(TARGETS[row, column])) != IGNORE:
            logits = weight @ y[row, column] + bias
            counted = {int(token): float(more) for token, more in zip(chosen, stand_for, strict=True)} | {target: 0.0}
            terms = [logits[token] + more for token, more in counted.items()]
            wanted = wanted - logits[target] + torch.stack(terms).logsumexp(0)
    assert_close(found, wanted)
    assert_close(*(torch.autograd.grad(each, layer) for each in (found, wanted)))


def test_draws_are_distinct_and_stand_for_all() -> None:
    torch.manual_seed(1)
    chosen, stand_for = draw(100, 11, torch.device("cpu"))
    assert chosen[:5].tolist() == [0, 1, 2, 3, 4]
    assert len(set(chosen.tolist())) == 11
    assert 5 <= int(chosen[5:].min()) <= int(chosen[5:].max()) < 100
    assert_close(stand_for.exp().sum(), torch.tensor(100.0))
    assert not torch.equal(chosen, draw(100, 11, torch.device("cpu"))[0])


def test_batches_without_targets_and_half_precision() -> None:
    torch.manual_seed(0)
    head, y = nn.Linear(16, 40), torch.randn(2, 3, 16, requires_grad=True)
    sampled_nats(y, head.weight, head.bias, torch.full((2, 3), IGNORE), 8).backward()
    assert not torch.cat([one.grad.flatten() for one in (y, head.weight, head.bias)]).any()
    torch.manual_seed(1)
    exact = sampled_nats(y, head.weight, head.bias, TARGETS, 8)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        half = sampled_nats(y, head.weight, head.bias, TARGETS, 8)
    assert half.dtype == torch.float32
    assert_close(half, exact, rtol=1e-2, atol=0.0)


def test_training_samples_and_evaluation_does_not() -> None:
    tokenizer = Tokenizer.char("abcdefgh")
    torch.manual_seed(0)
    task = LanguageModel(LSTM(4, 4, 1), tokenizer, sampled_softmax=4)
    tokens = torch.randint(0, 8, (2, 6))
    batch = Batch(tokens[:, :-1], tokens[:, 1:])
    first, second = (task.losses(batch, None).nats for _ in range(2))
    assert not torch.equal(first, second)
    assert task(batch)[0].shape[-1] == tokenizer.vocab_size


@pytest.mark.parametrize("build", [
    lambda: LanguageModel(LSTM(4, 4, 1), Tokenizer.char("ab"), sampled_softmax=1),
    lambda: LanguageModel(LSTM(4, 4, 1), Tokenizer.char("ab"), sampled_softmax=6),
    lambda: LanguageModel(LSTM(4, 4, 1), Tokenizer.char("ab"), logit_cap=5.0, sampled_softmax=2),
    lambda: LanguageModel(NGram(3), Tokenizer.char("ab"), sampled_softmax=2),
])  # fmt: skip
def test_where_nothing_can_be_sampled(build: object) -> None:
    with pytest.raises(InputError, match=r"sampled_softmax=\d was given"):
        build()  # type: ignore[operator]
