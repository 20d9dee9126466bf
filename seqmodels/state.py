"""State: the memory of a network as a nested tuple of tensors, batch first.

The state of an LSTM is `(h, c)` for each layer, that of a Transformer the keys and values it has seen. Code
that carries, detaches, repeats or reorders a state never needs to know which: it maps over the tensors.
`None` stands for the initial state wherever a state is expected.
"""

from collections.abc import Callable
from typing import TypeAlias, Union

import torch
from torch import Tensor

State: TypeAlias = Union[Tensor, tuple["State", ...]]  # noqa: UP007 - a string on either side of | fails at run time


def map_state(fn: Callable[..., Tensor], state: State, *others: State) -> State:
    """Apply `fn` to every tensor of `state` together with its counterparts in `others`, which have the same nesting."""
    if isinstance(state, Tensor):
        return fn(state, *others)
    return tuple(map_state(fn, *parts) for parts in zip(state, *others, strict=True))


def first_tensor(state: State) -> Tensor:
    """The first tensor of the state; all of them have its number of rows and its device."""
    return state if isinstance(state, Tensor) else next(first_tensor(part) for part in state if part != ())


def tensors_of(state: State) -> list[Tensor]:
    """All tensors of the state, in the order of its nesting."""
    return [state] if isinstance(state, Tensor) else [tensor for part in state for tensor in tensors_of(part)]


def detach(state: State) -> State:
    """The same state, cut from the graph: truncated BPTT stops gradients here."""
    return map_state(Tensor.detach, state)


def select(state: State, rows: Tensor) -> State:
    """Rows of the batch by their integer indices (N,), in that order; a row may be taken more than once."""
    return map_state(lambda tensor: tensor.index_select(0, rows), state)


def repeat(state: State, times: int) -> State:
    """Every row `times` times, the copies of a row side by side."""
    return map_state(lambda tensor: tensor.repeat_interleave(times, 0), state)


def where(rows: Tensor, state: State, otherwise: State) -> State:
    """Row by row, `state` where `rows`, bool (B,), is true, and `otherwise`, of the same nesting, where it is false."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(rows.view(-1, *[1] * (a.ndim - 1)), a, b.to(a.dtype))

    return map_state(pick, state, otherwise)
