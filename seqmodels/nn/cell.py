"""A recurrent cell: the equation of one step, and a sequence as a loop over that equation.

The equation is the definition; a faster implementation of the sequence must agree with it in values and gradients.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from seqmodels.nn.initialization import Initialization
from seqmodels.state import where

CellState = tuple[Tensor, ...]


class Cell(nn.Module, ABC):
    """One recurrence over time.

    Args:
        input_size: features D of the inputs.
        hidden_size: features H of the hidden state, which is also the output.
    """

    state_tensors: int = 1
    """Number of tensors in the state: 1 for `h`, 2 for `h` and a cell state `c`."""
    state_names: tuple[str, ...] = ("h", "c")
    """Letters of the state's tensors, as far as they are vectors of units; a trace shows these."""
    highway: str | None = None
    """Name of the gate that scales the state from step to step; None for cells without one."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.weight_dropout = 0.0
        """Dropout probability of recurrent weights in training."""

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the state's tensors for one row, the first of them `h`, (H,); all others may have any."""
        return ((self.hidden_size,),) * self.state_tensors

    def initial_state(self, rows: int, like: Tensor) -> CellState:
        """The state before the first step, for a batch of `rows` rows, with the type and the device of `like`."""
        # Not `like.new_zeros`: zeros that are like a part of a sharded weight are a part of a state.
        return tuple(torch.zeros(rows, *shape, dtype=like.dtype, device=like.device) for shape in self.state_shapes)

    @property
    def vector_size(self) -> int | None:
        """Features of a vector from which `from_vector` makes a state; None if there is no such map."""
        vectors = all(shape == (self.hidden_size,) for shape in self.state_shapes)
        return len(self.state_shapes) * self.hidden_size if vectors else None

    def from_vector(self, features: Tensor) -> CellState:
        """A state from features (B, vector_size), such as a learned one or one that is computed from a source."""
        return features.chunk(self.state_tensors, -1)

    def reset_parameters(self, recurrent: Initialization = "orthogonal") -> None:
        """Initialise recurrent matrices with the given method, where there are any."""

    def project(self, x: Tensor) -> Tensor:
        """The part of a step that needs no state, computed at all positions at once: inputs (..., D) to (..., K).

        The inputs themselves unless a cell overrides this.
        """
        return x

    def weights(self) -> tuple[Tensor, ...]:
        """The recurrent weights after weight dropout, shared by all steps of a sequence."""
        return ()

    @abstractmethod
    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        """The equation: one step in time, from the results of `project`, (B, K), and of `weights`.

        A state has a tensor (B, ...) for each of `state_shapes`. The first of them is `h`, the output, (B, H).
        """

    def gates(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The gates of one step by their textbook letters, (B, H) each and between 0 and 1; arguments as `advance`."""
        return {}

    def norms(self, projected: Tensor, state: CellState, following: CellState) -> dict[str, Tensor]:
        """Sizes that a trace shows beside units, (B, N) each, from the states before and after a step."""
        return {}

    def step(self, x: Tensor, state: CellState) -> CellState:
        """One step from inputs (B, D)."""
        return self.advance(self.project(x), state, self.weights())

    def sequence(self, x: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        """All steps, one after the other, from inputs (B, T, D) and the state before the first.

        Only as many leading positions of each row as `lengths`, int64 (B,), are not padding, which leaves the state
        unchanged. Returns outputs (B, T, H) and the state after the last real step of each row.
        """
        states, weights = [], self.weights()
        for t, projected in enumerate(self.project(x).unbind(1)):
            following = self.advance(projected, state, weights)
            state = following if lengths is None else where(t < lengths, following, state)  # type: ignore[assignment]
            states.append(state[0])
        return torch.stack(states, 1), state


def last_output(y: Tensor, lengths: Tensor | None, before: Tensor) -> Tensor:
    """The output at the last real position of each row, (B, H), of outputs (B, T, H); `before` for rows without one.

    Only as many leading positions of each row as `lengths`, int64 (B,), are not padding.
    """
    if lengths is None:
        return y[:, -1]
    last = y[torch.arange(len(y), device=y.device), (lengths - 1).clamp(min=0)]
    return torch.where(lengths.unsqueeze(-1) > 0, last, before.to(y.dtype))
