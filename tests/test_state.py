"""Operations on nested states, each against the same done tensor by tensor."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seqmodels.state import State, detach, map_state, repeat, select, where

B = 4
SHAPES = st.lists(st.integers(1, 3), max_size=3).map(lambda rest: (B, *rest))
NESTINGS = st.recursive(SHAPES, lambda inner: st.lists(inner, max_size=3).map(lambda parts: ("nested", *parts)))
"""States of many nestings, as shapes."""


def build(nesting: tuple[object, ...], dtype: torch.dtype = torch.float64) -> State:
    if nesting[:1] == ("nested",):
        return tuple(build(part, dtype) for part in nesting[1:])  # type: ignore[arg-type]
    return torch.randn(nesting, dtype=dtype)  # type: ignore[call-overload]


def leaves(state: State) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else [leaf for part in state for leaf in leaves(part)]


def nesting(state: State) -> object:
    return "tensor" if isinstance(state, Tensor) else tuple(nesting(part) for part in state)


@given(NESTINGS)
def test_map_state(shapes: tuple[object, ...]) -> None:
    one, two, three = build(shapes), build(shapes), build(shapes)
    found = map_state(lambda a, b, c: 2 * a - b * c, one, two, three)
    assert nesting(found) == nesting(one)
    for result, a, b, c in zip(leaves(found), leaves(one), leaves(two), leaves(three), strict=True):
        assert torch.equal(result, 2 * a - b * c)


@pytest.mark.parametrize("other", [(), (torch.ones(1),), (torch.ones(1),) * 3])
def test_other_nesting(other: State) -> None:
    with pytest.raises(ValueError, match="zip"):
        map_state(torch.add, (torch.ones(1), torch.ones(1)), other)


@given(NESTINGS, st.lists(st.integers(0, B - 1), max_size=7))
def test_select(shapes: tuple[object, ...], rows: list[int]) -> None:
    state = build(shapes)
    found = select(state, torch.tensor(rows, dtype=torch.int64))
    assert nesting(found) == nesting(state)
    for result, tensor in zip(leaves(found), leaves(state), strict=True):
        assert result.shape == (len(rows), *tensor.shape[1:])
        assert all(torch.equal(result[place], tensor[row]) for place, row in enumerate(rows))


@given(NESTINGS, st.integers(1, 3))
def test_repeat(shapes: tuple[object, ...], times: int) -> None:
    """The copies of a row stand side by side, as beams do."""
    state = build(shapes)
    by_hand = select(state, torch.tensor([row for row in range(B) for _ in range(times)]))
    assert nesting(repeat(state, times)) == nesting(state)
    for result, tensor in zip(leaves(repeat(state, times)), leaves(by_hand), strict=True):
        assert torch.equal(result, tensor)


@given(NESTINGS, st.lists(st.booleans(), min_size=B, max_size=B))
def test_where(shapes: tuple[object, ...], rows: list[bool]) -> None:
    state, otherwise = build(shapes, torch.float32), build(shapes, torch.float64)
    found = where(torch.tensor(rows), state, otherwise)
    assert nesting(found) == nesting(state)
    for result, a, b in zip(leaves(found), leaves(state), leaves(otherwise), strict=True):
        assert result.dtype == a.dtype  # a state keeps its type
        for row in range(B):
            assert torch.equal(result[row], a[row] if rows[row] else b[row].float())


def test_detach_cuts_gradients_and_changes_nothing_else() -> None:
    leaf = torch.randn(B, 3, requires_grad=True)
    state = ((leaf * 2, leaf + 1), leaf.exp())
    cut = detach(state)
    assert nesting(cut) == nesting(state)
    for result, tensor in zip(leaves(cut), leaves(state), strict=True):
        assert tensor.requires_grad
        assert not result.requires_grad
        assert torch.equal(result, tensor)
        assert result.data_ptr() == tensor.data_ptr()


def test_gradients_go_through_the_others() -> None:
    leaf = torch.randn(B, 3, requires_grad=True)
    rows = torch.tensor([True, False, True, False])
    cases = [
        (select((leaf,), torch.tensor([1, 1, 3])), [0.0, 2.0, 0.0, 1.0]),
        (repeat((leaf,), 3), [3.0] * 4),
        (where(rows, (leaf,), (torch.zeros(B, 3),)), [1.0, 0.0, 1.0, 0.0]),
    ]
    for state, expected in cases:
        (gradient,) = torch.autograd.grad(leaves(state)[0].sum(), leaf)
        assert gradient[:, 0].tolist() == expected
