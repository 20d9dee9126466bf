"""What runs on a GPU only."""

import pytest
import torch
from torch.testing import assert_close

from seqmodels.batch import IGNORE
from seqmodels.data import Tokenizer
from seqmodels.decoding import Sampling
from seqmodels.nn import GRU, LSTM, RNN, Backbone, Transformer
from seqmodels.nn.key_cache import CACHE_GROWTH
from seqmodels.state import select
from seqmodels.tasks import LanguageModel
from seqmodels.tasks.losses import linear_nats
from seqmodels.tasks.stepping import GraphedPredictor

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

NETWORKS = {
    "LSTM": lambda: LSTM(16, 16, num_layers=2),
    "GRU": lambda: GRU(16, 16),
    "RNN": lambda: RNN(16, 16),
    "rotary": lambda: Transformer(16, 2, 4, 2, context=50),
    "learned": lambda: Transformer(16, 2, 4, context=4 * CACHE_GROWTH, positions="learned"),
}


def made(network: Backbone) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(network, Tokenizer.char(["abcdefgh"])).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.double().cuda()


@torch.inference_mode()
@pytest.mark.parametrize("name", NETWORKS)
def test_recorded_steps_are_those_of_the_network(name: str) -> None:
    """While caches grow, and after rows have left."""
    model = made(NETWORKS[name]())
    steps, state = model.steps(None, 3), None
    assert isinstance(steps, GraphedPredictor)
    generator = torch.Generator().manual_seed(1)
    rows = 3
    for number in range(2 * CACHE_GROWTH + 20):
        tokens = torch.randint(4, model.tokenizer.vocab_size, (rows,), generator=generator).cuda()
        logits, state = model.step(tokens, state)
        found = steps(tokens)
        kept = ~found.isneginf().all(0)
        assert_close(found[:, kept], logits[:, kept], rtol=1e-9, atol=1e-9)
        if number == CACHE_GROWTH + 7:
            places = torch.tensor([2, 0]).cuda()
            steps.select(places)
            state, rows = select(state, places), 2
    assert steps._graph is not None


@pytest.mark.parametrize("name", NETWORKS)
def test_the_text_is_that_of_the_cpu(name: str) -> None:
    model = made(NETWORKS[name]())
    prompts, settings = ["abc", "h"], {"max_tokens": 100, "sampling": Sampling(), "seed": 3}
    found = []
    for device in ("cuda", "cpu"):
        model = model.to(device)
        several = model.generate_batch(prompts, samples=2, **settings)
        found.append((several, "".join(model.generate("ab", **settings))))
    assert found[0] == found[1]


def test_the_loss_is_that_of_the_cpu() -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(*shape, dtype=torch.float64) for shape in ((4, 6, 8), (50, 8), (50,))]
    targets = torch.randint(50, (4, 6))
    found = []
    for device in ("cpu", "cuda"):
        given = [tensor.to(device).requires_grad_() for tensor in tensors]
        objective, nats = linear_nats(*given, targets.to(device), 0.1, 600)
        found.append([nats, *torch.autograd.grad(objective, given)])
    assert_close([tensor.cpu() for tensor in found[1]], found[0])


def test_the_loss_in_half_precision_with_an_odd_vocabulary() -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(*shape) for shape in ((4, 30, 64), (501, 64), (501,))]
    targets = torch.randint(501, (4, 30))
    targets[0, :5] = IGNORE
    for compiled in (False, True):
        found = []
        for device in ("cpu", "cuda"):
            given = [tensor.to(device).requires_grad_() for tensor in tensors]
            with torch.autocast("cuda", torch.bfloat16):
                objective, nats = linear_nats(*given, targets.to(device), 0.1, 30 * 512, compiled and device == "cuda")
            found.append([nats, *torch.autograd.grad(objective, given)])
        for there, here in zip(*found, strict=True):
            assert (there - here.cpu()).norm() < 0.01 * there.norm()
