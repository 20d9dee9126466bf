"""The textbook's recurrent cells, and torch's fused kernels beside their equations.

Names are the textbook's: `h` hidden state, `c` cell state, `i` input gate, `f` forget gate, `o` output gate,
`v` value; `r` and `z` are the reset and update gates of the GRU. B rows, T positions, D features.
"""

from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.environment import has_bf16_lstm
from seqmodels.errors import InputError
from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.elman import ElmanUnrolled, elman
from seqmodels.nn.initialization import Initialization
from seqmodels.nn.recurrent import RecurrentStack
from seqmodels.nn.trace import Unrolled
from seqmodels.state import State, select, where


class FusedCell(Cell):
    """A cell whose sequence runs in one kernel of torch, a module of which holds the parameters."""

    maps: tuple[str, ...] = ("h",)
    """What the maps that are stacked in each matrix compute, by its textbook name."""

    def __init__(self, input_size: int, hidden_size: int, kernel: nn.RNNBase) -> None:
        super().__init__(input_size, hidden_size)
        kernel.stacked_maps = len(self.maps)  # optimisers ask
        self.kernel = kernel

    def recurrent_maps(self) -> list[Tensor]:
        return [self.kernel.weight_hh_l0]  # type: ignore[list-item]

    def named_maps(self) -> dict[str, Tensor]:
        return dict(zip(self.maps, self.kernel.weight_hh_l0.chunk(len(self.maps)), strict=True))  # type: ignore[operator]

    def reset_parameters(self, recurrent: Initialization = "orthogonal") -> None:
        """See `Cell.reset_parameters`; biases are zero."""
        super().reset_parameters(recurrent)
        for name, parameter in self.kernel.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)

    def read(self, x: Tensor) -> Tensor:
        """`W_in x + b`, for all gates at once: (..., maps * hidden_size)."""
        return F.linear(x, self.kernel.weight_ih_l0, self.kernel.bias_ih_l0)  # type: ignore[arg-type]

    def weights(self) -> tuple[Tensor, ...]:
        return self._dropped(self.kernel.weight_hh_l0), self.kernel.bias_hh_l0  # type: ignore[arg-type,return-value]

    def sequence(self, x: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        """All steps in one kernel; see `Cell.sequence`, with which it agrees."""
        recurrent, bias = self.weights()
        matrices = [self.kernel.weight_ih_l0, recurrent, self.kernel.bias_ih_l0, bias]
        # With biases, one layer, no dropout, whether gradients will be asked for, one direction.
        options = (matrices, True, 1, 0.0, torch.is_grad_enabled(), False)
        if lengths is None:
            y, *end = self._fused(x, self._layered(state), *options, True)  # batch first
            return y, tuple(tensor.squeeze(0) for tensor in end)
        # A packed row has at least one step. Rows without any keep their state.
        packed = pack_padded_sequence(x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        start = self._layered(select(state, packed.sorted_indices))  # type: ignore[arg-type]
        y, *end = self._fused(packed.data, packed.batch_sizes, start, *options)
        y, _ = pad_packed_sequence(packed._replace(data=y), batch_first=True, total_length=x.shape[1])
        following = select(tuple(tensor.squeeze(0) for tensor in end), packed.unsorted_indices)  # type: ignore[arg-type]
        return y, where(lengths > 0, following, state)  # type: ignore[return-value]

    @abstractmethod
    def _fused(self, *arguments: Any) -> tuple[Tensor, ...]:
        """Torch's kernel: outputs, then the state, a tensor (1, B, hidden_size) for each of its tensors."""

    def _layered(self, state: State) -> Any:
        """The state as the kernel takes it: torch counts layers first."""
        layers = tuple(tensor.unsqueeze(0).contiguous() for tensor in state)  # type: ignore[union-attr]
        return layers if len(layers) > 1 else layers[0]


class RNNCell(FusedCell):
    """`h_t = f(W_rec h_{t-1} + W_in x_t + b)` (Elman 1990), `f` the hyperbolic tangent or ReLU."""

    light = True

    def __init__(self, input_size: int, hidden_size: int, nonlinearity: Literal["tanh", "relu"] = "tanh") -> None:
        kernel = nn.RNN(input_size, hidden_size, nonlinearity=nonlinearity, batch_first=True)
        super().__init__(input_size, hidden_size, kernel)
        self.nonlinearity = torch.tanh if nonlinearity == "tanh" else torch.relu

    def advance(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        return (self.nonlinearity(F.linear(state[0], *weights) + z),)

    def unroll_lightly(self, x: Tensor, state: CellState) -> Unrolled:
        return self.side_by_side(x, self.read(x), state, tuple(weight.unsqueeze(0) for weight in self.weights()), self)

    def side_by_side(self, x: Tensor, z: Tensor, state: CellState, weights: tuple[Tensor, ...], cell: Cell) -> Unrolled:
        """Sequences of N such cells, each with weights of its own.

        Args:
            x: inputs (N * B, T, D).
            z: what the cells read of them, (N * B, T, H).
            state: the state before the first step, (N * B, H).
            weights: recurrent weights (N, H, H) and biases (N, H).
            cell: that of the sequence.
        """
        recurrent, bias = weights
        N = len(recurrent)
        z = z + bias.repeat_interleave(len(z) // N, 0).unsqueeze(1)
        start = state[0].view(N, -1, self.hidden_size)
        h = elman(z.view(N, -1, *z.shape[1:]), start, recurrent, self.nonlinearity is torch.relu)
        return ElmanUnrolled(cell, x, z, h.flatten(0, 1), recurrent)

    def pulled_back(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...], delta: CellState) -> CellState:
        """`(delta * f'(a)) W_rec` with the slope of `f` held constant, too (Pascanu et al. 2013)."""
        with torch.no_grad():
            (h,) = self.advance(z, state, weights)
            slope = 1 - h.square() if self.nonlinearity is torch.tanh else (h > 0).to(h.dtype)
        return ((delta[0] * slope) @ weights[0],)

    def _fused(self, *arguments: Any) -> tuple[Tensor, ...]:
        return (torch.rnn_tanh if self.nonlinearity is torch.tanh else torch.rnn_relu)(*arguments)


class LSTMCell(FusedCell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate by Gers et al. 2000).

    `c_t = f_t * c_{t-1} + i_t * v_t` and `h_t = o_t * tanh(c_t)`: along `c` the gradient is only scaled by `f`.
    The forget gate starts with a bias of 1 (Jozefowicz et al. 2015), so that a new network remembers.
    """

    state_tensors = 2
    highway = "f"
    maps = ("i", "f", "v", "o")

    def __init__(self, input_size: int, hidden_size: int, forget_bias: float = 1.0) -> None:
        super().__init__(input_size, hidden_size, nn.LSTM(input_size, hidden_size, batch_first=True))
        self.forget_bias = forget_bias

    def reset_parameters(self, recurrent: Initialization = "orthogonal") -> None:
        """As all fused cells, but for the forget gate's bias."""
        super().reset_parameters(recurrent)
        with torch.no_grad():
            self.kernel.bias_ih_l0[self.hidden_size : 2 * self.hidden_size] = self.forget_bias  # type: ignore[operator]

    def advance(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        h, c = state
        i, f, v, o = (F.linear(h, *weights) + z).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * v.tanh()
        return o.sigmoid() * c.tanh(), c

    def gates(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        i, f, _, o = (F.linear(state[0], *weights) + z).sigmoid().chunk(4, -1)
        return {"i": i, "f": f, "o": o}

    def _fused(self, *arguments: Any) -> tuple[Tensor, ...]:
        x = arguments[0]
        half = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
        if x.device.type != "cpu" or not half or has_bf16_lstm():
            return torch.lstm(*arguments)
        with torch.autocast("cpu", enabled=False):
            return tuple(tensor.to(x.dtype) for tensor in torch.lstm(*_in_single(arguments)))


def _in_single(value: Any) -> Any:
    """Arguments of a kernel with its tensors of numbers in single precision."""
    if isinstance(value, tuple | list):
        return type(value)(_in_single(part) for part in value)
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


class GRUCell(FusedCell):
    """Gated recurrent unit (Cho et al. 2014), with the reset gate after the recurrent map.

    `h_t = (1 - z_t) * v_t + z_t * h_{t-1}` with `v_t = tanh(W_in x_t + b_in + r_t * (W_rec h_{t-1} + b_rec))`:
    the hidden state itself is the highway. The reset gate stands after the map, as in cuDNN and torch.
    """

    highway = "z"
    maps = ("r", "z", "v")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, nn.GRU(input_size, hidden_size, batch_first=True))

    def advance(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        (h,) = state
        r_in, z_in, v_in = z.chunk(3, -1)
        r_rec, z_rec, v_rec = F.linear(h, *weights).chunk(3, -1)
        update = (z_in + z_rec).sigmoid()
        v = (v_in + (r_in + r_rec).sigmoid() * v_rec).tanh()
        return (v + update * (h - v),)

    def gates(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        r, update, _ = z.chunk(3, -1)
        r_rec, z_rec, _ = F.linear(state[0], *weights).chunk(3, -1)
        return {"r": (r + r_rec).sigmoid(), "z": (update + z_rec).sigmoid()}

    def _fused(self, *arguments: Any) -> tuple[Tensor, ...]:
        return torch.gru(*arguments)


class RNN(RecurrentStack):
    """Vanilla recurrent network, `h_t = f(W_rec h_{t-1} + W_in x_t + b)`.

    Args:
        input_size: as all others, see `RecurrentStack`.
        hidden_size: see there.
        num_layers: see there.
        dropout: see there.
        weight_dropout: see there.
        recurrent_init: see there; with identity and ReLU this is the IRNN (Le, Jaitly and Hinton 2015).
        learn_initial_state: see there.
        nonlinearity: f, the hyperbolic tangent or ReLU.
    """

    def __init__(
        self,
        input_size: int = 64,
        hidden_size: int = 256,
        num_layers: int = 1,
        dropout: float = 0.0,
        weight_dropout: float = 0.0,
        recurrent_init: Initialization = "orthogonal",
        learn_initial_state: bool = False,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise InputError(f"RNN(nonlinearity={nonlinearity!r}) is not known; choose 'tanh' or 'relu'")
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, dropout, weight_dropout, recurrent_init, learn_initial_state
        )

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return RNNCell(input_size, hidden_size, self.nonlinearity)


class LSTM(RecurrentStack):
    """Long short-term memory; its cell state is a highway for gradients.

    Args:
        input_size: as all others, see `RecurrentStack`.
        hidden_size: see there.
        num_layers: see there.
        dropout: see there.
        weight_dropout: see there.
        recurrent_init: see there.
        learn_initial_state: see there.
        forget_bias: of the forget gate in a new network; the higher, the longer it remembers.
    """

    def __init__(
        self,
        input_size: int = 64,
        hidden_size: int = 256,
        num_layers: int = 1,
        dropout: float = 0.0,
        weight_dropout: float = 0.0,
        recurrent_init: Initialization = "orthogonal",
        learn_initial_state: bool = False,
        forget_bias: float = 1.0,
    ) -> None:
        self.forget_bias = forget_bias
        super().__init__(
            input_size, hidden_size, num_layers, dropout, weight_dropout, recurrent_init, learn_initial_state
        )

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return LSTMCell(input_size, hidden_size, self.forget_bias)


class GRU(RecurrentStack):
    """Gated recurrent unit; its hidden state is the highway. Arguments as of `RecurrentStack`."""

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return GRUCell(input_size, hidden_size)
