"""Recurrent networks whose recurrent map depends on the input: every token has a map of its own, of shared factors.

`W_rec(x_t) = W_hf diag(W_fx x_t) W_fh`: the state goes through `W_fh`, each of the factors is scaled by what the input
says, and `W_hf` takes them back. Names as in `cells`; `m` is the scaled factors.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.initialization import Initialization
from seqmodels.nn.recurrent import RecurrentStack


class MultiplicativeCell(Cell):
    """What both have in common: the factors `m_t = W_fx x_t * W_fh h_{t-1}`, as many as hidden units.

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the hidden state, which is also the output.
    """

    maps: tuple[str, ...] = ("h",)
    """What the maps that take the factors back compute."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.factors_of_input = nn.Linear(input_size, hidden_size, bias=False)
        self.factors_of_state = nn.Linear(hidden_size, hidden_size, bias=False)
        self.from_input = nn.Linear(input_size, len(self.maps) * hidden_size)
        self.from_factors = nn.Linear(hidden_size, len(self.maps) * hidden_size, bias=False)
        for stacked in (self.from_input, self.from_factors):
            stacked.stacked_maps = len(self.maps)  # type: ignore[assignment]  # optimisers ask

    def recurrent_maps(self) -> list[Tensor]:
        return [self.factors_of_state.weight, self.from_factors.weight]

    def named_maps(self) -> dict[str, Tensor]:
        """See `Cell.named_maps`: `m` for the map to the factors, the others are those from the factors on."""
        of_state, from_factors = self.recurrent_maps()
        return {"m": of_state, **dict(zip(self.maps, from_factors.chunk(len(self.maps)), strict=True))}

    def reset_parameters(self, recurrent: Initialization = "orthogonal") -> None:
        """See `Cell.reset_parameters`; biases are zero, and the factors of inputs of unit variance have it, too."""
        super().reset_parameters(recurrent)
        nn.init.normal_(self.factors_of_input.weight, std=self.input_size**-0.5)
        nn.init.zeros_(self.from_input.bias)

    def read(self, x: Tensor) -> Tensor:
        """The factors of the input and what it adds to the gates: (..., (1 + maps) * hidden_size)."""
        return torch.cat((self.factors_of_input(x), self.from_input(x)), -1)

    def weights(self) -> tuple[Tensor, ...]:
        return self._dropped(self.factors_of_state.weight), self._dropped(self.from_factors.weight)

    def advance(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        return self._from_sums(self._sums(z, state, weights), state)

    def _sums(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> Tensor:
        """What enters the nonlinearities, (B, maps * hidden_size)."""
        factors, of_input = z.tensor_split([self.hidden_size], -1)
        of_state, from_factors = weights
        m = factors * F.linear(state[0], of_state)
        return of_input + F.linear(m, from_factors)

    @abstractmethod
    def _from_sums(self, sums: Tensor, state: CellState) -> CellState:
        """The next state from the sums that enter the nonlinearities, (B, maps * hidden_size)."""


class MultiplicativeRNNCell(MultiplicativeCell):
    """`h_t = tanh(W_hf m_t + W_hx x_t + b)` (Sutskever, Martens and Hinton 2011)."""

    def _from_sums(self, sums: Tensor, state: CellState) -> CellState:
        return (sums.tanh(),)


class MultiplicativeLSTMCell(MultiplicativeCell):
    """An LSTM whose gates and value see `m_t` in the place of `h_{t-1}` (Krause et al. 2016).

    The forget gate starts with a bias of 1, as in `LSTMCell`.
    """

    state_tensors = 2
    maps = ("i", "f", "v", "o")
    highway = "f"

    def reset_parameters(self, recurrent: Initialization = "orthogonal") -> None:
        """As the other multiplicative cell, but for the forget gate's bias."""
        super().reset_parameters(recurrent)
        with torch.no_grad():
            self.from_input.bias[self.hidden_size : 2 * self.hidden_size] = 1.0

    def _from_sums(self, sums: Tensor, state: CellState) -> CellState:
        i, f, v, o = sums.chunk(4, -1)
        c = f.sigmoid() * state[1] + i.sigmoid() * v.tanh()
        return o.sigmoid() * c.tanh(), c

    def gates(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        i, f, _, o = self._sums(z, state, weights).sigmoid().chunk(4, -1)
        return {"i": i, "f": f, "o": o}


class MultiplicativeRNN(RecurrentStack):
    """A vanilla network with a recurrent map for each input. Arguments as of `RecurrentStack`."""

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return MultiplicativeRNNCell(input_size, hidden_size)


class MultiplicativeLSTM(RecurrentStack):
    """An LSTM with recurrent maps for each input. Arguments as of `RecurrentStack`."""

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return MultiplicativeLSTMCell(input_size, hidden_size)
