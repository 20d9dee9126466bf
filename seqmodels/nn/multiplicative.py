"""Multiplicative RNN and LSTM: the recurrent matrix depends on the input, through shared factors.

`W_rec(x_t) = W_hf diag(W_fx x_t) W_fh`: the state is mapped to factors by `W_fh`, each factor is scaled by the input,
and `W_hf` maps them back. Letters as in `rnn_lstm_gru`; `m` stands for the scaled factors.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.nn.cell import Cell, CellState, last_output
from seqmodels.nn.dropout import weight_dropout
from seqmodels.nn.initialization import Initialization, initialize_bias, initialize_map
from seqmodels.nn.multiplicative_kernel import recur
from seqmodels.nn.recurrent import RecurrentStack


class MultiplicativeCell(Cell):
    """The factors `m_t = W_fx x_t * W_fh h_{t-1}`, one for each hidden unit, in the place of `h_{t-1}`."""

    maps: tuple[str, ...] = ("h",)
    """Letters of the gates and candidates whose matrices are stacked in `W_hf`."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.factors_of_input = nn.Linear(input_size, hidden_size, bias=False)
        self.factors_of_state = nn.Linear(hidden_size, hidden_size, bias=False)
        self.from_input = nn.Linear(input_size, len(self.maps) * hidden_size)
        self.from_factors = nn.Linear(hidden_size, len(self.maps) * hidden_size, bias=False)
        for stacked in (self.from_input, self.from_factors):
            stacked.stacked_maps = len(self.maps)  # type: ignore[assignment]  # read by optimizers

    def reset_parameters(self, recurrent: Initialization = "orthogonal") -> None:
        """See `Cell.reset_parameters` and `initialize_bias`; inputs of unit variance have factors of unit variance."""
        initialize_map(self.factors_of_state.weight, recurrent)
        initialize_map(self.from_factors.weight, recurrent)
        nn.init.normal_(self.factors_of_input.weight, std=self.input_size**-0.5)
        initialize_bias(self.from_input.bias, self.maps)

    def project(self, x: Tensor) -> Tensor:
        """The factors of the input, and its part of the gates: (..., (1 + maps) * H)."""
        return torch.cat((self.factors_of_input(x), self.from_input(x)), -1)

    def weights(self) -> tuple[Tensor, ...]:
        """`W_fh` and `W_hf`."""
        matrices = self.factors_of_state.weight, self.from_factors.weight
        return tuple(weight_dropout(matrix, self.weight_dropout, self.training) for matrix in matrices)

    def sequence(self, x: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        """See `Cell.sequence`: the loop over `advance` with a backward pass of its own."""
        if torch.compiler.is_compiling():  # the compiler fuses the plain loop itself
            return super().sequence(x, state, lengths)
        if lengths is not None:  # what stands at padding, which may be anything, is not read
            beyond = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
            x = x.masked_fill(beyond.unsqueeze(-1), 0.0)
        by_time = x.transpose(0, 1)
        factors, of_input = self.factors_of_input(by_time), self.from_input(by_time)
        dtype = factors.dtype  # under autocast that of products, except for `c`, a sum of many steps
        of_state, from_factors = (weight.to(dtype) for weight in self.weights())
        states = recur(factors, of_input, of_state, from_factors, (state[0].to(dtype), *state[1:]))
        by_row = [tensor.transpose(0, 1) for tensor in states]
        end = tuple(last_output(y, lengths, start) for y, start in zip(by_row, state, strict=True))
        return by_row[0], end

    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        return self._activate(self._preactivations(projected, state, weights), state)

    def _preactivations(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> Tensor:
        """Inputs of the nonlinearities, (B, maps * H)."""
        factors, of_input = projected.tensor_split([self.hidden_size], -1)
        of_state, from_factors = weights
        m = factors * F.linear(state[0], of_state)
        return of_input + F.linear(m, from_factors)

    @abstractmethod
    def _activate(self, a: Tensor, state: CellState) -> CellState:
        """The next state from the result of `_preactivations`."""


class MultiplicativeRNNCell(MultiplicativeCell):
    """`h_t = tanh(W_hf m_t + W_hx x_t + b)` (Sutskever, Martens and Hinton 2011)."""

    def _activate(self, a: Tensor, state: CellState) -> CellState:
        return (a.tanh(),)


class MultiplicativeLSTMCell(MultiplicativeCell):
    """An LSTM with `m_t` in the place of `h_{t-1}` (Krause et al. 2016)."""

    state_tensors = 2
    maps = ("i", "f", "g", "o")
    highway = "f"

    def _activate(self, a: Tensor, state: CellState) -> CellState:
        i, f, g, o = a.chunk(4, -1)
        c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def gates(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        i, f, _, o = self._preactivations(projected, state, weights).sigmoid().chunk(4, -1)
        return {"i": i, "f": f, "o": o}


class MultiplicativeRNN(RecurrentStack):
    """A vanilla network with a recurrent matrix for each input."""

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return MultiplicativeRNNCell(input_size, hidden_size)


class MultiplicativeLSTM(RecurrentStack):
    """An LSTM with recurrent matrices for each input."""

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return MultiplicativeLSTMCell(input_size, hidden_size)
