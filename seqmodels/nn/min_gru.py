"""Minimal GRU and LSTM (Feng et al. 2024): gates do not depend on the state, so that training is parallel over time.

Both are linear recurrences `h_t = a_t * h_{t-1} + b_t`: a scan for sequences, one line for a step. Letters as in
`rnn_lstm_gru`.
"""

import math
from abc import abstractmethod
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.initialization import Initialization, initialize_bias
from seqmodels.nn.recurrent import RecurrentStack

SERIAL_FROM = 1 << 12
"""Features of a step, over all rows, above which a CPU gains nothing from several steps at once."""


def scan(a: Tensor, b: Tensor, start: Tensor, pieces: int | None = None) -> Tensor:
    """All states of the recurrence `h_t = a_t * h_{t-1} + b_t` (Martin and Cundy 2018), feature by feature.

    Time is cut into pieces that run in parallel, each from a state of zero; then their final states are passed from
    piece to piece and added. One piece is a plain loop of T steps; sqrt(T) pieces take 2 sqrt(T) consecutive steps.

    Args:
        a: factors (B, T, D), at most 1 in size, or products over a piece may overflow.
        b: summands (B, T, D).
        start: the state before the first step, (B, D).
        pieces: number of pieces; by default one where a single step occupies a CPU, else sqrt(T).

    Returns:
        States (B, T, D), in double precision if `b` is, else in single precision.
    """
    dtype = torch.float64 if b.dtype == torch.float64 else torch.float32  # a sum of many steps
    B, T, D = b.shape
    if pieces is None:
        pieces = 1 if b.device.type == "cpu" and B * D >= SERIAL_FROM else math.isqrt(T)
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
    if missing := length * pieces - T:  # steps after the last, discarded
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
    """`h_t = a_t * h_{t-1} + b_t`, with `a_t` and `b_t` from the input alone."""

    maps: tuple[str, ...] = ("z", "n")
    """Letters of the gates and the candidate whose matrices are stacked in one weight matrix."""
    highway = "a"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.from_input = nn.Linear(input_size, len(self.maps) * hidden_size)
        self.from_input.stacked_maps = len(self.maps)  # type: ignore[assignment]  # read by optimizers

    def reset_parameters(self, recurrent: Initialization = "orthogonal") -> None:
        """See `Cell.reset_parameters` and `initialize_bias`; there is no recurrent matrix."""
        initialize_bias(self.from_input.bias, self.maps)

    @abstractmethod
    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """`a` and `b`, (..., H), from the result of `project`."""

    def project(self, x: Tensor) -> Tensor:
        """Gates before their nonlinearity, and the candidate: (..., maps * H)."""
        return cast(Tensor, self.from_input(x))

    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        a, b = self.coefficients(precise(projected))
        return (a * state[0] + b,)

    def gates(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The fraction `a` of the state that is kept; all other gates are one minus it."""
        return {"a": self.coefficients(precise(projected))[0]}

    def sequence(self, x: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        """See `Cell.sequence`: all steps in one scan."""
        a, b = self.coefficients(precise(self.project(x)))
        if lengths is not None:  # after the last real step the state stays
            beyond = (torch.arange(x.shape[1], device=x.device) >= lengths[:, None]).unsqueeze(-1)
            a, b = a.masked_fill(beyond, 1.0), b.masked_fill(beyond, 0.0)
        h = scan(a, b, state[0])
        return h, (h[:, -1],)


def precise(projected: Tensor) -> Tensor:
    """In single precision at least: in half precision, gates cannot remember for more than a few hundred steps."""
    return projected if projected.dtype == torch.float64 else projected.float()


class MinGRUCell(MinimalCell):
    """`h_t = (1 - z_t) * h_{t-1} + z_t * n_t` with `z_t = sigmoid(W_z x_t + b_z)` and `n_t = W_n x_t + b_n`."""

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        update, n = projected.chunk(2, -1)
        return (-update).sigmoid(), update.sigmoid() * n


class MinLSTMCell(MinimalCell):
    """`h_t = f_t * h_{t-1} + i_t * g_t`, the gates divided by their sum: `f_t / (f_t + i_t)` and `i_t / (f_t + i_t)`.

    The bias of the forget gate is initialised to 1, as in `LSTMCell`.
    """

    maps = ("f", "i", "g")

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        f, i, g = projected.chunk(3, -1)
        difference = F.logsigmoid(f) - F.logsigmoid(i)  # the quotient of two nearly closed gates has no digits
        return difference.sigmoid(), (-difference).sigmoid() * g


class MinimalStack(RecurrentStack):
    """Layers of a minimal cell, which has no recurrent weights to initialise or to drop.

    The gates of a layer depend on earlier inputs only through the layer below, so two layers or more are needed.
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
    """A GRU that is parallel over time."""

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return MinGRUCell(input_size, hidden_size)


class MinLSTM(MinimalStack):
    """An LSTM that is parallel over time."""

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return MinLSTMCell(input_size, hidden_size)
