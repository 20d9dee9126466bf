"""Recurrent cells: the equation of one step, and the whole sequence by that equation or by a fused kernel.

The step is the definition. `sequence` must agree with it in values and gradients; where torch has a fused
kernel, the kernel holds the parameters, in torch's layout, and the step reads them from there.

Names are the textbook's: `h` hidden state, `c` cell state, `i` input gate, `f` forget gate, `o` output gate,
`v` value; `r` and `z` are the reset and update gates of the GRU. B rows, T positions, D features.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.state import State, where


class Cell(nn.Module, ABC):
    """One recurrence over time.

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the hidden state, which is also the output.
    """

    state_tensors: int = 1
    """How many tensors (B, hidden_size) the state has."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size

    def reset_parameters(self) -> None:
        """Draw the weights a new network starts with; the cell's modules have done so unless it says otherwise."""

    @abstractmethod
    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One step in time.

        Args:
            x: inputs (B, D).
            state: `state_tensors` tensors (B, hidden_size), the first of them `h`.

        Returns:
            The next state; its first tensor is the output.
        """

    def sequence(
        self, x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All steps, one after the other.

        Args:
            x: inputs (B, T, D).
            state: the state before the first step.
            lengths: int64 (B,), how many leading positions of each row are real; the rest leaves the state
                as it is. None where all are real.

        Returns:
            Outputs (B, T, hidden_size) and the state after the last real step of each row.
        """
        outputs = []
        for t, x_t in enumerate(x.unbind(1)):
            following = self.step(x_t, state)
            state = following if lengths is None else where(t < lengths, following, state)  # type: ignore[assignment]
            outputs.append(state[0])
        return torch.stack(outputs, 1), state


class FusedCell(Cell):
    """A cell whose sequence runs in one kernel of torch, which holds the parameters."""

    kernel: nn.RNNBase
    gates: int = 1
    """How many maps are stacked in each matrix."""

    def _hold(self, kernel: nn.RNNBase) -> None:
        """Take the parameters from this kernel, and tell optimisers how many maps each of its matrices stacks."""
        kernel.stacked_maps = self.gates
        self.kernel = kernel

    def reset_parameters(self) -> None:
        """Orthogonal recurrent maps (Saxe et al. 2014), one for each gate, and zero biases."""
        for name, parameter in self.kernel.named_parameters():
            if "weight_hh" in name:
                for block in parameter.chunk(parameter.shape[0] // self.hidden_size):
                    nn.init.orthogonal_(block)
            elif "bias" in name:
                nn.init.zeros_(parameter)

    def sequence(
        self, x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All steps in one kernel; see `Cell.sequence`, with which it agrees."""
        layers = tuple(tensor.unsqueeze(0).contiguous() for tensor in state)  # (1, B, D): torch counts layers first
        start: State = layers if len(layers) > 1 else layers[0]
        if lengths is None:
            y, end = self.kernel(x, start)
        else:
            # A packed row has at least one step. Rows without any keep their state.
            counts = lengths.clamp(min=1).cpu()
            packed, end = self.kernel(pack_padded_sequence(x, counts, batch_first=True, enforce_sorted=False), start)
            y, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        end = tuple(tensor.squeeze(0) for tensor in (end if isinstance(end, tuple) else (end,)))
        if lengths is not None:
            end = where(lengths > 0, end, state)
        return y, end

    def _maps(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """`W_in x + b` and `W_rec h + b`, for all gates at once: (B, gates * hidden_size) each."""
        w = self.kernel
        return F.linear(x, w.weight_ih_l0, w.bias_ih_l0), F.linear(h, w.weight_hh_l0, w.bias_hh_l0)  # type: ignore[arg-type]


class RNNCell(FusedCell):
    """`h_t = f(W_rec h_{t-1} + W_in x_t + b)` (Elman 1990), `f` the hyperbolic tangent or ReLU."""

    def __init__(self, input_size: int, hidden_size: int, nonlinearity: Literal["tanh", "relu"] = "tanh") -> None:
        super().__init__(input_size, hidden_size)
        self.nonlinearity = torch.tanh if nonlinearity == "tanh" else torch.relu
        self._hold(nn.RNN(input_size, hidden_size, nonlinearity=nonlinearity, batch_first=True))

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = state
        from_input, from_state = self._maps(x, h)
        return (self.nonlinearity(from_state + from_input),)


class LSTMCell(FusedCell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate by Gers et al. 2000).

    `c_t = f_t * c_{t-1} + i_t * v_t` and `h_t = o_t * tanh(c_t)`: along `c` the gradient is only scaled by `f`.
    The forget gate starts with a bias of 1 (Jozefowicz et al. 2015), so that a new network remembers.
    """

    state_tensors = 2
    gates = 4

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self._hold(nn.LSTM(input_size, hidden_size, batch_first=True))

    def reset_parameters(self) -> None:
        """As all fused cells, but for the forget gate's bias."""
        super().reset_parameters()
        with torch.no_grad():
            self.kernel.bias_ih_l0[self.hidden_size : 2 * self.hidden_size] = 1.0  # type: ignore[operator]

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = state
        from_input, from_state = self._maps(x, h)
        i, f, v, o = (from_input + from_state).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * v.tanh()
        return o.sigmoid() * c.tanh(), c


class GRUCell(FusedCell):
    """Gated recurrent unit (Cho et al. 2014), with the reset gate after the recurrent map.

    `h_t = (1 - z_t) * v_t + z_t * h_{t-1}` with `v_t = tanh(W_in x_t + b_in + r_t * (W_rec h_{t-1} + b_rec))`:
    the hidden state itself is the highway. The reset gate stands after the map, as in cuDNN and torch.
    """

    gates = 3

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self._hold(nn.GRU(input_size, hidden_size, batch_first=True))

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = state
        from_input, from_state = self._maps(x, h)
        r_in, z_in, v_in = from_input.chunk(3, -1)
        r_rec, z_rec, v_rec = from_state.chunk(3, -1)
        z = (z_in + z_rec).sigmoid()
        v = (v_in + (r_in + r_rec).sigmoid() * v_rec).tanh()
        return (v + z * (h - v),)
