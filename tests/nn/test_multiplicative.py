"""Multiplicative layers: the whole sequence with its own backward pass against the loop over the equation."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from seqmodels.nn import Cell, MultiplicativeLSTMCell, MultiplicativeRNNCell
from seqmodels.nn.multiplicative import MultiplicativeCell

B, T, D, H = 4, 6, 5, 8
CELLS = [MultiplicativeRNNCell, MultiplicativeLSTMCell]


def made(kind: type[MultiplicativeCell], dtype: torch.dtype = torch.float64, size: int = H) -> MultiplicativeCell:
    torch.manual_seed(0)
    cell = kind(D, size)
    cell.reset_parameters()
    return cell.to(dtype)


def results(cell: MultiplicativeCell, plain: bool, lengths: Tensor | None = None, ends: bool = True) -> list[Tensor]:
    """Outputs at real positions, states at the end, and all gradients of a loss of them."""
    torch.manual_seed(1)
    like = next(cell.parameters())
    x = torch.randn(B, T, D, dtype=torch.float64).to(like.dtype).requires_grad_()
    states = (torch.randn(B, cell.hidden_size, dtype=torch.float64) for _ in cell.state_shapes)
    start = tuple(state.to(like.dtype).requires_grad_() for state in states)
    y, end = (Cell.sequence if plain else type(cell).sequence)(cell, x, start, lengths)  # type: ignore[arg-type]
    if lengths is not None:
        y = torch.where((torch.arange(T) < lengths[:, None]).unsqueeze(-1), y, 0)
    seen = [y, *end] if ends else [y]
    loss = sum((tensor * torch.linspace(-1, 1, tensor.numel()).view_as(tensor)).sum() for tensor in seen)
    assert isinstance(loss, Tensor)
    gradients = torch.autograd.grad(loss, [x, *start, *cell.parameters()])
    return [y, *end, *gradients]


@pytest.mark.parametrize("lengths", [None, [6, 1, 0, 4]])
@pytest.mark.parametrize("kind", CELLS)
def test_a_sequence_is_the_loop_over_its_equation(kind: type[MultiplicativeCell], lengths: list[int] | None) -> None:
    of_rows = None if lengths is None else torch.tensor(lengths)
    cell = made(kind)
    for ends in (True, False):
        found, expected = (results(cell, plain, of_rows, ends) for plain in (False, True))
        assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", CELLS)
def test_wide_layers_in_single_precision(kind: type[MultiplicativeCell]) -> None:
    """Their products are laid out by oneDNN."""
    cell = made(kind, torch.float32, 512)
    assert_close(results(cell, False), results(cell, True), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", CELLS)
def test_autocast_and_half_precision(kind: type[MultiplicativeCell]) -> None:
    cell = made(kind, torch.float32)
    exact = results(cell, True)
    with torch.autocast("cpu", torch.bfloat16):
        found = results(cell, False)
    assert_close(found, exact, rtol=0.1, atol=0.1, check_dtype=False)
    half = results(cell.bfloat16(), False)
    assert_close(half, exact, rtol=0.2, atol=0.2, check_dtype=False)


@pytest.mark.parametrize("kind", CELLS)
def test_padding_is_not_read(kind: type[MultiplicativeCell]) -> None:
    cell = made(kind)
    x, lengths = torch.randn(B, T, D, dtype=torch.float64), torch.tensor([6, 1, 0, 4])
    other = x.masked_fill((torch.arange(T) >= lengths[:, None]).unsqueeze(-1), torch.nan)
    (y, end), (found, ending) = (cell.sequence(z, cell.initial_state(B, x), lengths) for z in (x, other))
    assert_close(ending, end)
    assert_close(found[3, :4], y[3, :4])
    sum(tensor.sum() for tensor in ending).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in cell.parameters())
