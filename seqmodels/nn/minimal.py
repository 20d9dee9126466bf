"""Recurrent networks whose gates do not see the state: training is parallel over time (Feng et al. 2024)."""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.initialization import Initialization
from seqmodels.nn.recurrent import RecurrentStack
from seqmodels.nn.scan import scan


class MinimalCell(Cell):
    """`h_t = a_t * h_{t-1} + b_t`, `a_t` and `b_t` from the input alone: a scan for sequences, one line for a step.

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the hidden state, which is also the output.
    """

    maps: tuple[str, ...] = ("z", "v")
    """What the maps that are stacked in the matrix compute: gates and the value."""
    highway = "a"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, len(self.maps) * hidden_size)
        self.from_input.stacked_maps = len(self.maps)  # type: ignore[assignment]  # optimisers ask

    def reset_parameters(self, recurrent: Initialization = "orthogonal") -> None:
        """Biases are zero; there is no recurrent map."""
        nn.init.zeros_(self.from_input.bias)

    @abstractmethod
    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """`a` and `b`, (..., hidden_size), from what `read` made of the inputs."""

    def read(self, x: Tensor) -> Tensor:
        """Gates before their nonlinearity, and the value: (..., maps * hidden_size)."""
        return self.from_input(x)  # type: ignore[no-any-return]

    def advance(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        a, b = self.coefficients(_precise(z))
        return (a * state[0] + b,)

    def gates(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The share `a` of the state that is kept; all other gates are one minus it."""
        return {"a": self.coefficients(_precise(z))[0]}

    def sequence(self, x: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        """All steps in one scan; see `Cell.sequence`, with which it agrees."""
        a, b = self.coefficients(_precise(self.read(x)))
        if lengths is not None:  # behind the last real step the state stays
            beyond = (torch.arange(x.shape[1], device=x.device) >= lengths[:, None]).unsqueeze(-1)
            a, b = a.masked_fill(beyond, 1.0), b.masked_fill(beyond, 0.0)
        h = scan(a, b, state[0])
        return h, (h[:, -1],)


def _precise(z: Tensor) -> Tensor:
    """In single precision at least: in half precision, a gate could not remember for more than a few hundred steps."""
    return z if z.dtype == torch.float64 else z.float()


class MinGRUCell(MinimalCell):
    """`h_t = (1 - z_t) * h_{t-1} + z_t * v_t` with `z_t = sigmoid(W_z x_t + b_z)` and `v_t = W_v x_t + b_v`."""

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        update, v = z.chunk(2, -1)
        return (-update).sigmoid(), update.sigmoid() * v


class MinLSTMCell(MinimalCell):
    """`h_t = f_t * h_{t-1} + i_t * v_t`, the gates scaled to sum to one: `f_t / (f_t + i_t)` and `i_t / (f_t + i_t)`.

    The forget gate starts with a bias of 1, as in `LSTMCell`.
    """

    maps = ("f", "i", "v")

    def reset_parameters(self, recurrent: Initialization = "orthogonal") -> None:
        """As the other minimal cell, but for the forget gate's bias."""
        super().reset_parameters(recurrent)
        with torch.no_grad():
            self.from_input.bias[: self.hidden_size] = 1.0

    def coefficients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        f, i, v = z.chunk(3, -1)
        difference = F.logsigmoid(f) - F.logsigmoid(i)  # a quotient of gates that both are nearly zero has no digits
        return difference.sigmoid(), (-difference).sigmoid() * v


class MinimalStack(RecurrentStack):
    """Layers of a minimal cell, which has no recurrent weights to draw or to drop.

    A layer sees the past only through what the layer below hands it, so that two layers or more are needed for a gate
    to depend on what came before.

    Args:
        input_size: features of the inputs.
        hidden_size: features of the state and output of every layer.
        num_layers: how many layers.
        dropout: share of outputs dropped between layers while training.
        learn_initial_state: start from a learned state rather than from zeros.
    """

    def __init__(
        self,
        input_size: int = 64,
        hidden_size: int = 256,
        num_layers: int = 2,
        dropout: float = 0.0,
        learn_initial_state: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, dropout, learn_initial_state=learn_initial_state)


class MinGRU(MinimalStack):
    """A GRU reduced to what can be computed in parallel over time. Arguments as of `MinimalStack`."""

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return MinGRUCell(input_size, hidden_size)


class MinLSTM(MinimalStack):
    """An LSTM reduced to what can be computed in parallel over time. Arguments as of `MinimalStack`."""

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return MinLSTMCell(input_size, hidden_size)
