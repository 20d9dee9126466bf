"""A recurrent cell: the equation of one step, and the whole sequence by that equation.

The equation is the definition; a faster way to compute the sequence must agree with it in values and gradients.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from seqmodels.nn.dropout import weight_dropout
from seqmodels.nn.initialization import Initialization, initialize_map
from seqmodels.nn.trace import Unrolled
from seqmodels.state import where

CellState = tuple[Tensor, ...]


class Cell(nn.Module, ABC):
    """One recurrence over time.

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the hidden state, which is also the output.
    """

    state_tensors: int = 1
    """How many tensors (B, hidden_size) the state has: `h` and, where there is a cell state, `c`."""
    highway: str | None = None
    """Name of the gate that scales the state from step to step, where there is one."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.weight_dropout = 0.0
        """Share of the recurrent weights dropped while training."""

    def recurrent_maps(self) -> list[Tensor]:
        """The matrices that the hidden state goes through, each (maps * hidden_size, hidden_size)."""
        return []

    def named_maps(self) -> dict[str, Tensor]:
        """Each of these by itself, (hidden_size, hidden_size), by the name of what it helps to compute."""
        return {}

    def reset_parameters(self, recurrent: Initialization = "orthogonal") -> None:
        """Draw the recurrent maps that a new network starts with, each of those stacked in a matrix by itself."""
        for matrix in self.recurrent_maps():
            for block in matrix.chunk(len(matrix) // self.hidden_size):
                initialize_map(block, recurrent)

    def read(self, x: Tensor) -> Tensor:
        """What the inputs have to say, which needs no state: it is computed at all positions at once.

        Args:
            x: inputs (..., D).

        Returns:
            Features (..., K): the inputs themselves, unless a cell says otherwise.
        """
        return x

    def weights(self) -> tuple[Tensor, ...]:
        """The recurrent weights, some of them dropped while training: the same for all steps of a sequence."""
        return ()

    def _dropped(self, weight: Tensor) -> Tensor:
        return weight_dropout(weight, self.weight_dropout, self.training)

    @abstractmethod
    def advance(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        """The equation: one step in time.

        Args:
            z: what `read` made of the inputs, (B, K).
            state: `state_tensors` tensors (B, hidden_size), the first of them `h`.
            weights: what `weights` returned.

        Returns:
            The next state; its first tensor is the output.
        """

    def unroll(self, x: Tensor, state: CellState, mask: Tensor | None = None) -> Unrolled:
        """A sequence by the equation, with all that happened.

        Args:
            x: inputs (B, T, D).
            state: the state before the first step.
            mask: bool (B, T), False at padding, which leaves the state as it is; None where all is real.
        """
        weights = self.weights()
        happened = Unrolled(self, x, [], [], [])
        for t, z in enumerate(self.read(x).unbind(1)):
            happened.gates.append(self.gates(z, state, weights))
            following = self.advance(z, state, weights)
            happened.computed.append(following)
            if mask is not None:
                following = where(mask[:, t], following, state)  # type: ignore[assignment]
            state = tuple(tensor.view_as(tensor) for tensor in following)
            happened.states.append(state)
        return happened

    def unroll_lightly(self, x: Tensor, state: CellState) -> Unrolled:
        """The same without gates, and where there is a faster way to it, with states that are not on the way of the
        gradient: their gradients are found by `Unrolled.deltas` all the same.
        """
        return self.unroll(x, state)

    def pulled_back(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...], delta: CellState) -> CellState:
        """A gradient with respect to the state after a step, taken back through it: `delta` times the Jacobian of the
        step. It is a function of the weights alone; what the step started from is a constant.

        Args:
            z: see `advance`; any number of dimensions may stand in front of the last.
            state: the state before the step.
            weights: what `weights` returned.
            delta: the gradient, of the shapes of a state.
        """
        with torch.enable_grad():
            before = tuple(tensor.detach().requires_grad_() for tensor in state)
            after = self.advance(z.detach(), before, weights)
            return torch.autograd.grad(after, before, delta, create_graph=True)

    def step(self, x: Tensor, state: CellState) -> CellState:
        """One step from inputs (B, D); see `advance`."""
        return self.advance(self.read(x), state, self.weights())

    light: bool = False
    """Whether `unroll_lightly` is faster than `sequence`."""

    def gates(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The gates of one step by their textbook names, (B, hidden_size) each and between 0 and 1; see `advance`."""
        return {}

    def sequence(self, x: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        """All steps, one after the other.

        Args:
            x: inputs (B, T, D).
            state: the state before the first step.
            lengths: int64 (B,), how many leading positions of each row are real; the rest leaves the state
                as it is. None where all are real.

        Returns:
            Outputs (B, T, hidden_size) and the state after the last real step of each row.
        """
        states, weights = [], self.weights()
        for t, z in enumerate(self.read(x).unbind(1)):
            following = self.advance(z, state, weights)
            state = following if lengths is None else where(t < lengths, following, state)  # type: ignore[assignment]
            states.append(state[0])
        return torch.stack(states, 1), state
