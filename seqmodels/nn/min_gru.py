"""The linear recurrence `h_t = a_t * h_{t-1} + b_t`, in parallel over time.

Recurrent networks whose gates do not see the state: training is parallel over time (Feng et al. 2024).
"""

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.initialization import Initialization
from seqmodels.nn.recurrent import RecurrentStack

ENOUGH = 1 << 12
"""Features of a step, over all rows, from which on a processor gains nothing by taking several steps at once."""


def scan(a: Tensor, b: Tensor, start: Tensor, pieces: int | None = None) -> Tensor:
    """All states of the recurrence `h_t = a_t * h_{t-1} + b_t` (Martin and Cundy 2018), feature by feature.

    Time is cut into pieces that run side by side, each as if it began at zero; then the states at their ends are passed
    on from piece to piece and added in. With T pieces of one step or one piece of T steps that is a plain loop; with
    sqrt(T) pieces it takes 2 sqrt(T) steps one after the other, however many there are.

    Args:
        a: factors (B, T, D); up to 1 in size, or products over a piece may overflow.
        b: summands (B, T, D).
        start: the state before the first step, (B, D).
        pieces: how many; where not given, one on a processor that a single step keeps busy, else sqrt(T).

    Returns:
        h: (B, T, D), in double precision where `b` is, else in single precision.
    """
    dtype = torch.float64 if b.dtype == torch.float64 else torch.float32  # a sum of many steps
    B, T, D = b.shape
    if pieces is None:
        pieces = 1 if b.device.type == "cpu" and B * D >= ENOUGH else math.isqrt(T)
    return _Scan.apply(a.to(dtype), b.to(dtype), start.to(dtype), pieces)  # type: ignore[no-any-return,no-untyped-call]


class _Scan(torch.autograd.Function):
    """The gradient of the recurrence is the same recurrence, backwards in time: `g_t = dL/dh_t + a_{t+1} * g_{t+1}`."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, start: Tensor, pieces: int) -> Tensor:
        h = _forwards(a, b, start, pieces)
        ctx.save_for_backward(a, h, start)
        ctx.pieces = pieces
        return h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        a, h, start = ctx.saved_tensors
        factors = torch.cat((a[:, 1:], torch.zeros_like(a[:, :1])), 1).flip(1)
        g = _Scan.apply(factors, gradients[0].flip(1), torch.zeros_like(start), ctx.pieces).flip(1)  # type: ignore[no-untyped-call]
        before = torch.cat((start.unsqueeze(1), h[:, :-1]), 1)
        return g * before, g, g[:, 0] * a[:, 0], None


def _forwards(a: Tensor, b: Tensor, start: Tensor, pieces: int) -> Tensor:
    B, T, D = b.shape
    length = -(-T // pieces)
    if missing := length * pieces - T:  # steps after the last, which nobody reads
        a, b = (torch.cat((tensor, tensor.new_zeros(B, missing, D)), 1) for tensor in (a, b))
    a, b = a.view(B, -1, length, D), b.view(B, -1, length, D)
    h = torch.empty_like(b)
    h[:, :, 0] = b[:, :, 0]
    h[:, 0, 0] += a[:, 0, 0] * start
    for t in range(1, length):
        torch.addcmul(b[:, :, t], a[:, :, t], h[:, :, t - 1], out=h[:, :, t])
    if pieces > 1:
        products = a.cumprod(2)
        for piece in range(1, a.shape[1]):
            h[:, piece].addcmul_(products[:, piece], h[:, piece - 1, -1:])
    return h.view(B, -1, D)[:, :T]


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
