"""The chunkwise kernel against its recurrence, at the borders of numbers, and kernels that are handed in."""

import pytest
import torch
from refusals import assert_refused
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from seqmodels.nn import chunkwise
from seqmodels.nn.chunkwise import recurrent

B, K, V = 2, 3, 5
KINDS = [(False, False), (True, False), (False, True), (True, True)]


def terms(T: int, by_key: bool, groups: int = 2, heads: int = 2, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    q, k = torch.randn(B, T, groups, K), F.normalize(torch.randn(B, T, groups, K), dim=-1)
    decay = -3 * torch.randn(B, T, heads, *[K] * by_key).exp()
    rest = torch.randn(B, T, heads).sigmoid(), torch.randn(B, heads, K, V)
    return [term.to(dtype) for term in (q, k, torch.randn(B, T, heads, V), decay, *rest)]


def results(kernel, given: list[Tensor], **settings) -> list[Tensor]:  # type: ignore[no-untyped-def]
    """Values and gradients."""
    own = [term.clone().requires_grad_() for term in given]
    values = kernel(*own, **settings)
    torch.manual_seed(1)
    loss = torch.stack([(value * torch.randn(value.shape).to(value.dtype)).sum() for value in values]).sum()
    return [*values, *torch.autograd.grad(loss, own)]


@pytest.mark.parametrize(("delta", "by_key"), KINDS)
@pytest.mark.parametrize("T", [1, 2, 13, 40])
@pytest.mark.parametrize("strength", [1.0, 0.2, 0.01])
def test_it_is_the_recurrence(delta: bool, by_key: bool, T: int, strength: float) -> None:
    """Decays by key: of a few steps at once, of halves of a chunk, and of a whole one."""
    for groups, heads in ((2, 2),) if by_key else ((2, 2), (1, 4)):
        given = terms(T, by_key, groups, heads)
        given[3] = given[3] * strength
        wanted = results(recurrent, given, delta=delta)
        for chunk in (None, 1, 7, 16, 64):
            found = results(chunkwise.chunkwise, given, delta=delta, chunk=chunk)
            assert_close(found, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("by_key", [False, True])
def test_keys_to_ask_by(by_key: bool) -> None:
    """The delta rule looks under other keys than it writes under."""
    given = [*terms(40, by_key), F.normalize(torch.randn(B, 40, 2, K).double(), dim=-1)]
    kernels = (
        lambda *a, kernel=kernel: kernel(*a[:6], delta=True, ask=a[6]) for kernel in (recurrent, chunkwise.chunkwise)
    )
    wanted, found = (results(kernel, given) for kernel in kernels)
    assert_close(found, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("delta", "by_key"), KINDS)
def test_strong_and_absent_decays(delta: bool, by_key: bool) -> None:
    """Products of decays that underflow, and one of zero, after which small differences still count."""
    given = terms(40, by_key)
    given[3] = given[3] * torch.tensor([1e-4, 1.0, 100.0, 1e4])[torch.arange(40) % 4].view(1, 40, *[1] * (1 + by_key))
    given[3][0, 20] = -torch.inf
    wanted = results(recurrent, given, delta=delta)
    assert all(value.isfinite().all() for value in wanted)
    assert_close(results(chunkwise.chunkwise, given, delta=delta), wanted, rtol=1e-10, atol=1e-11)
    single = results(chunkwise.chunkwise, [term.float() for term in given], delta=delta)
    assert_close(single, [value.float() for value in wanted], rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("delta", [False, True])
def test_the_widest_decays_of_one_product(delta: bool) -> None:
    """Just within the limit, where exponentials are largest, single precision has the digits that it has elsewhere."""
    given = terms(32, True)
    given[3] = torch.full_like(given[3], -chunkwise.SPAN / 31).mul_(torch.tensor([1.0, 0.5, 0.0]))
    wanted = results(recurrent, given, delta=delta)
    single = results(chunkwise.chunkwise, [term.float() for term in given], delta=delta)
    assert_close(single, [value.float() for value in wanted], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("by_key", [False, True])
def test_gradients_of_gradients(by_key: bool) -> None:
    given = [term.requires_grad_() for term in terms(3, by_key)]
    assert torch.autograd.gradgradcheck(lambda *a: chunkwise.chunkwise(*a, delta=True, chunk=2), given)


def test_what_does_not_fit() -> None:
    given = terms(4, False)
    assert_refused("chunk=0 was given; expected at least 1", chunkwise.chunkwise, *given, chunk=0)
    for place in range(6):
        wrong = [term[:, :-1] if number == place else term for number, term in enumerate(given)]
        assert_refused("were given; expected", chunkwise.chunkwise, *wrong)
    given[3] = given[3] + 50
    assert_refused("a decay with logarithm", chunkwise.chunkwise, *given)
    given[3] = given[3].fill_(torch.nan)
    assert chunkwise.chunkwise(*given)[0].isnan().any()  # for those who look for it


def test_a_kernel_is_handed_in() -> None:
    calls = []

    def mine(*terms: Tensor, delta: bool = False) -> tuple[Tensor, Tensor]:
        calls.append(delta)
        return recurrent(*terms, delta=delta)

    try:
        chunkwise.hand_in(mine, delta=True, device="cpu")
        assert chunkwise.fastest("cpu", True, False) is mine
        assert chunkwise.fastest("cpu", False, False) is chunkwise.chunkwise
        assert len(calls) == 3
    finally:
        chunkwise.hand_in(None, delta=True, device="cpu")
    assert chunkwise.fastest("cpu", True, False) is chunkwise.chunkwise


def test_a_wrong_kernel_is_refused() -> None:
    def scaled(q: Tensor, *terms: Tensor, delta: bool = False) -> tuple[Tensor, Tensor]:
        return recurrent(q * K**-0.5, *terms, delta=delta)

    assert_refused("differs from the recurrence by", chunkwise.hand_in, scaled, delta=False, device="cpu")

    def without_gradients(*terms: Tensor, delta: bool = False) -> tuple[Tensor, Tensor]:
        return tuple(value.detach() for value in recurrent(*terms, delta=delta))  # type: ignore[return-value]

    assert_refused("raised RuntimeError on 1 positions", chunkwise.hand_in, without_gradients, delta=True, device="cpu")
    assert chunkwise.fastest("cpu", True, False) is chunkwise.chunkwise
