"""RNN, LSTM and GRU: the textbook's equations, with torch's fused kernels for whole sequences.

Letters are the textbook's: `h` hidden state, `c` cell state; input gate `i`, forget gate `f`, candidate `g` and output
gate `o` of the LSTM; reset gate `r`, update gate `z` and candidate `n` of the GRU. Some lectures write `v`, for value,
for both candidates. B rows, T positions, D features, H hidden units.
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
from seqmodels.nn.dropout import weight_dropout
from seqmodels.nn.initialization import Initialization, initialize_bias, initialize_map
from seqmodels.nn.recurrent import RecurrentStack
from seqmodels.state import State, select, where


class FusedCell(Cell):
    """A cell whose sequence runs in one kernel of torch; the kernel's module holds the parameters.

    Args:
        input_size: features D of the inputs.
        hidden_size: features H of the hidden state.
        kernel: one layer of torch's `RNN`, `LSTM` or `GRU`, batch first.
    """

    maps: tuple[str, ...] = ("h",)
    """Letters of the gates and candidates, whose matrices are stacked in the kernel's, in torch's order."""
    forget_bias = 1.0
    """Initial bias of the forget gate, where there is one."""

    def __init__(self, input_size: int, hidden_size: int, kernel: nn.RNNBase) -> None:
        super().__init__(input_size, hidden_size)
        kernel.stacked_maps = len(self.maps)  # read by optimizers
        self.kernel = kernel

    def reset_parameters(self, recurrent: Initialization = "orthogonal") -> None:
        """See `Cell.reset_parameters`; biases are zero, except that of a forget gate, which is `forget_bias`."""
        initialize_map(self.kernel.weight_hh_l0, recurrent)  # type: ignore[arg-type]
        nn.init.zeros_(self.kernel.bias_hh_l0)  # type: ignore[arg-type]
        initialize_bias(self.kernel.bias_ih_l0, self.maps, self.forget_bias)  # type: ignore[arg-type]

    def project(self, x: Tensor) -> Tensor:
        """`W_in x + b` of all gates, (..., maps * H)."""
        return F.linear(x, self.kernel.weight_ih_l0, self.kernel.bias_ih_l0)  # type: ignore[arg-type]

    def weights(self) -> tuple[Tensor, ...]:
        """The recurrent matrix, (maps * H, H), and its bias."""
        recurrent: Tensor = self.kernel.weight_hh_l0  # type: ignore[assignment]
        return weight_dropout(recurrent, self.weight_dropout, self.training), self.kernel.bias_hh_l0  # type: ignore[return-value]

    def sequence(self, x: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        """See `Cell.sequence`: all steps in one kernel."""
        recurrent, bias = self.weights()
        matrices = [self.kernel.weight_ih_l0, recurrent, self.kernel.bias_ih_l0, bias]
        # With biases, one layer, no dropout, whether gradients are needed, one direction.
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
        """Torch's kernel: outputs, then the tensors of the state, (1, B, H) each."""

    def _layered(self, state: State) -> Any:
        """The state as the kernel expects it, with layers as the first dimension."""
        layers = tuple(tensor.unsqueeze(0).contiguous() for tensor in state)  # type: ignore[union-attr]
        return layers if len(layers) > 1 else layers[0]


class RNNCell(FusedCell):
    """`h_t = f(W_rec h_{t-1} + W_in x_t + b)` (Elman 1990), `f` the hyperbolic tangent or ReLU."""

    def __init__(self, input_size: int, hidden_size: int, nonlinearity: Literal["tanh", "relu"] = "tanh") -> None:
        kernel = nn.RNN(input_size, hidden_size, nonlinearity=nonlinearity, batch_first=True)
        super().__init__(input_size, hidden_size, kernel)
        self.nonlinearity = torch.tanh if nonlinearity == "tanh" else torch.relu

    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        return (self.nonlinearity(F.linear(state[0], *weights) + projected),)

    def _fused(self, *arguments: Any) -> tuple[Tensor, ...]:
        return (torch.rnn_tanh if self.nonlinearity is torch.tanh else torch.rnn_relu)(*arguments)


class LSTMCell(FusedCell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate by Gers et al. 2000).

    `c_t = f_t * c_{t-1} + i_t * g_t` and `h_t = o_t * tanh(c_t)`; the state is `(h, c)`, (B, H) each. On the direct
    path along `c` the gradient is only scaled by `f`, whose bias is initialised to 1 (Jozefowicz et al. 2015), so that
    a new network remembers.
    """

    state_tensors = 2
    highway = "f"
    maps = ("i", "f", "g", "o")

    def __init__(self, input_size: int, hidden_size: int, forget_bias: float = 1.0) -> None:
        super().__init__(input_size, hidden_size, nn.LSTM(input_size, hidden_size, batch_first=True))
        self.forget_bias = forget_bias

    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        h, c = state
        i, f, g, o = (F.linear(h, *weights) + projected).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def gates(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        i, f, _, o = (F.linear(state[0], *weights) + projected).sigmoid().chunk(4, -1)
        return {"i": i, "f": f, "o": o}

    def _fused(self, *arguments: Any) -> tuple[Tensor, ...]:
        x = arguments[0]
        low_precision = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
        if x.device.type != "cpu" or not low_precision or has_bf16_lstm():
            return torch.lstm(*arguments)
        with torch.autocast("cpu", enabled=False):
            return tuple(tensor.to(x.dtype) for tensor in torch.lstm(*_to_float32(arguments)))


def _to_float32(value: Any) -> Any:
    """Arguments of a kernel with floating-point tensors in single precision."""
    if isinstance(value, tuple | list):
        return type(value)(_to_float32(part) for part in value)
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


class GRUCell(FusedCell):
    """Gated recurrent unit (Cho et al. 2014), with the reset gate after the recurrent matrix, as in cuDNN and torch.

    `h_t = (1 - z_t) * n_t + z_t * h_{t-1}` with `n_t = tanh(W_in x_t + b_in + r_t * (W_rec h_{t-1} + b_rec))`:
    on the direct path along `h` the gradient is scaled by `z`.
    """

    highway = "z"
    maps = ("r", "z", "n")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, nn.GRU(input_size, hidden_size, batch_first=True))

    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        (h,) = state
        r_in, z_in, n_in = projected.chunk(3, -1)
        r_rec, z_rec, n_rec = F.linear(h, *weights).chunk(3, -1)
        update = (z_in + z_rec).sigmoid()
        n = (n_in + (r_in + r_rec).sigmoid() * n_rec).tanh()
        return (n + update * (h - n),)

    def gates(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        r, update, _ = projected.chunk(3, -1)
        r_rec, z_rec, _ = F.linear(state[0], *weights).chunk(3, -1)
        return {"r": (r + r_rec).sigmoid(), "z": (update + z_rec).sigmoid()}

    def _fused(self, *arguments: Any) -> tuple[Tensor, ...]:
        return torch.gru(*arguments)


class RNN(RecurrentStack):
    """Vanilla recurrent network, `h_t = f(W_rec h_{t-1} + W_in x_t + b)`; with ReLU and
    `recurrent_init="identity"` an IRNN (Le et al. 2015).

    Further arguments: see `RecurrentStack`.

    Args:
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
    """Long short-term memory, whose cell state is a highway for gradients.

    Further arguments: see `RecurrentStack`.

    Args:
        forget_bias: initial bias of the forget gate; the higher, the longer a new network remembers.
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
    """Gated recurrent unit, whose hidden state is a highway for gradients."""

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return GRUCell(input_size, hidden_size)
