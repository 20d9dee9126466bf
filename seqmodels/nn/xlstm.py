"""The layers of xLSTM (Beck et al. 2024): mLSTM, whose state is a matrix, and sLSTM, an LSTM with exponential gates.

Exponential gates may overflow. Both keep their states divided by `exp(m)`, where the stabiliser `m` is the largest
logarithm so far, of every row by itself; outputs do not depend on it.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError
from seqmodels.nn.associative import AssociativeCell, Rest, Terms
from seqmodels.nn.block import Activation
from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.chunkwise import Kernel
from seqmodels.nn.dropout import weight_dropout
from seqmodels.nn.initialization import Initialization, initialize_bias, initialize_map
from seqmodels.nn.mixer_stack import MixerStack, head_size, own_eps
from seqmodels.nn.norms import Norm
from seqmodels.nn.recurrent import RecurrentStack


class MLSTMCell(AssociativeCell):
    """`C_t = f_t C_{t-1} + i_t k_t v_t^T`, `n_t = f_t n_{t-1} + i_t k_t`, `h_t = C_t^T q_t / max(|n_t^T q_t|, 1)`.

    `f` is a sigmoid and `i` an exponential, of inputs that are softly bounded by 15. Outputs are normalised by head,
    and gated by a sigmoid, as in xLSTM 7B (Beck et al. 2025). The memory is `(C, n)` as one tensor (B, H, K, V + 1) and
    `m`, (B, H).

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the outputs.
        num_heads: heads H.
        key_size: features K of a key.
        value_size: features V of a value.
        convolution: positions that the short convolution of queries, keys and values sees; 0 for none.
        eps: added to the variance of what is normalised.
    """

    bound = 15.0
    highway = "f"

    def __init__(
        self, input_size: int, hidden_size: int, num_heads: int, key_size: int, value_size: int, convolution: int = 0,
        eps: float = 1e-6,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_heads=num_heads, key_size=key_size, value_size=value_size,
            rest=(num_heads * value_size, 2 * num_heads), convolution=convolution,
        )  # fmt: skip
        self.bias = nn.Parameter(torch.cat((torch.full((num_heads,), -10.0), torch.linspace(3, 6, num_heads))))
        self.norm, self.eps = nn.Parameter(torch.ones(num_heads, value_size).flatten()), eps

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.heads, self.key_size, self.value_size + 1), (self.heads,)

    def initial_state(self, rows: int, like: Tensor) -> CellState:
        h, C, m, *before = super().initial_state(rows, like)
        return h, C, torch.full_like(m, -torch.inf), *before

    def terms(self, q: Tensor, k: Tensor, v: Tensor, rest: Rest) -> Terms:
        """The decay is that of `f`; in the place of beta stands the logarithm of `i`."""
        a = self.bound * ((rest[1] + self.bias) / self.bound).tanh()
        i, f = a.chunk(2, -1)
        return Terms(q * self.key_size**-0.5, k, v, F.logsigmoid(f), i)

    def masked(self, terms: Terms, beyond: Tensor) -> Terms:
        hidden = beyond.unsqueeze(-1)
        return terms._replace(
            decay=terms.decay.masked_fill(hidden, 0.0), beta=terms.beta.masked_fill(hidden, -torch.inf)
        )

    def recall(self, terms: Terms, memory: CellState, kernel: Kernel) -> tuple[Tensor, CellState]:
        q, k, v, decay, log_i = terms
        C, start = memory
        m = _running_maxima(decay, log_i, start)
        before = torch.cat((start.detach().unsqueeze(1).to(m.dtype), m[:, :-1]), 1)
        empty = before.isinf()  # nothing was written, so nothing decays
        decay = decay + (before - m).masked_fill(empty, 0.0)
        decay = decay - decay.detach().clamp(min=0)  # rounded above zero
        beta = (log_i - m).masked_fill(m.isinf(), -torch.inf).exp()
        o, C = kernel(q, k, F.pad(v, (0, 1), value=1.0), decay, beta, C)
        read, normalizer = o.split_with_sizes([self.value_size, 1], -1)
        o = read / (torch.maximum(normalizer.abs(), (-m).exp().unsqueeze(-1)) + 1e-6)
        return o, (C, m[:, -1])

    def readout(self, o: Tensor, terms: Terms, rest: Rest) -> Tensor:
        y = F.layer_norm(o, o.shape[-1:], eps=self.eps).flatten(2) * self.norm
        return y * rest[0].sigmoid()

    def gates(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The forget gate `f`, and the input gate `i` as a fraction of the largest so far, of each head."""
        terms, _, _ = self._terms(projected.unsqueeze(1), state, None)
        m = _running_maxima(terms.decay, terms.beta, state[2])
        return {"f": terms.decay.exp().squeeze(1), "i": (terms.beta - m).exp().squeeze(1)}


@torch.no_grad()
def _running_maxima(decay: Tensor, log_i: Tensor, start: Tensor) -> Tensor:
    """The stabiliser `m_t = max(m_{t-1} + decay_t, log i_t)` at all positions, (B, T, H), a constant for gradients."""
    sums = decay.cumsum(1)
    highest = log_i - sums
    if highest.shape[1] > 1:  # ONNX has no running maximum, and a step needs none
        highest = highest.cummax(1).values
    return sums + torch.maximum(highest, start.unsqueeze(1))


class MLSTM(MixerStack):
    """Residual layers of mLSTM, an LSTM with a matrix as its cell state and no recurrent weights.

    Further arguments: see `MixerStack`.

    Args:
        head_size: features of a value; default: input_size / num_heads.
        key_size: features of a key; default: half of a value's, as in xLSTM 7B, or one.
        convolution: positions that the short convolution of queries, keys and values sees; 0 for none.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        head_size: int | None = None,
        key_size: int | None = None,
        convolution: int = 0,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        feed_forward_size: int | None = None,
        eps: float | None = None,
    ) -> None:
        self.settings = head_size, key_size, convolution
        super().__init__(
            input_size, num_layers, num_heads, norm, activation, dropout, memory_size, feed_forward_size, eps
        )

    def _cell(self) -> Cell:
        value, key, convolution = self.settings
        value = head_size(self, value)
        key = max(1, value // 2) if key is None else key
        eps = own_eps(self)
        return MLSTMCell(self.input_size, self.input_size, self.heads[0], key, value, convolution, eps)


class SLSTMCell(Cell):
    """`c_t = f_t c_{t-1} + i_t tanh(z_t)`, `n_t = f_t n_{t-1} + i_t`, `h_t = o_t c_t / n_t`.

    `i` is an exponential, `f` and `o` are sigmoids; all depend on `h_{t-1}` by recurrent maps within each head. The
    state is `(h, c, n, m)`, (B, H) each.

    Args:
        input_size: features D of the inputs.
        hidden_size: hidden units H.
        num_heads: parts of the hidden state that do not see each other.
    """

    state_tensors = 4
    state_names = ("h",)
    highway = "f"
    maps = ("i", "f", "z", "o")

    def __init__(self, input_size: int, hidden_size: int, num_heads: int = 1) -> None:
        super().__init__(input_size, hidden_size)
        self.heads = num_heads
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.from_input.stacked_maps = 4  # type: ignore[assignment]  # read by optimizers
        self.from_state = nn.Linear(hidden_size // num_heads, 4 * hidden_size, bias=False)
        """The maps of each head, one head after the other."""
        self.from_state.stacked_maps = 4 * num_heads  # type: ignore[assignment]

    def reset_parameters(self, recurrent: Initialization = "orthogonal") -> None:
        """See `Cell.reset_parameters` and `initialize_bias`."""
        initialize_map(self.from_state.weight, recurrent)
        initialize_bias(self.from_input.bias, self.maps)

    def initial_state(self, rows: int, like: Tensor) -> CellState:
        h, c, n, m = super().initial_state(rows, like)
        return h, c, n, torch.full_like(m, -torch.inf)

    @property
    def vector_size(self) -> int:
        return 2 * self.hidden_size

    def from_vector(self, features: Tensor) -> CellState:
        """`h` and `c` as given, as if they had been written with the strength 1."""
        h, c = features.chunk(2, -1)
        return h, c, torch.ones_like(c), torch.zeros_like(c)

    def project(self, x: Tensor) -> Tensor:
        """The input's part of the gates, (..., 4 H)."""
        return cast(Tensor, self.from_input(x))

    def weights(self) -> tuple[Tensor, ...]:
        return (weight_dropout(self.from_state.weight, self.weight_dropout, self.training),)

    def _preactivations(self, projected: Tensor, h: Tensor, weights: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Inputs of the nonlinearities, (B, H) each."""
        size = self.hidden_size // self.heads
        if self.heads == 1:
            return (projected + F.linear(h, *weights)).chunk(4, -1)
        maps = weights[0].view(self.heads, 4 * size, size)
        of_state = torch.einsum("...hd,hed->...he", h.reshape(*h.shape[:-1], self.heads, size), maps)
        by_map = of_state.view(*h.shape[:-1], self.heads, 4, size).transpose(-2, -3)
        return (projected + by_map.flatten(-3)).chunk(4, -1)

    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        h, c, n, m = state
        i, f, z, o = self._preactivations(projected, h, weights)
        decayed = F.logsigmoid(f) + m.detach()
        m = torch.maximum(decayed, i).detach()
        write, keep = (i - m).exp(), (decayed - m).exp()
        c, n = keep * c + write * z.tanh(), keep * n + write
        return o.sigmoid() * c / n, c, n, m

    def gates(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The gates `f` and `o`, and `i` as a fraction of the largest so far."""
        i, f, _, o = self._preactivations(projected, state[0], weights)
        m = torch.maximum(F.logsigmoid(f) + state[3], i)
        return {"i": (i - m).exp(), "f": f.sigmoid(), "o": o.sigmoid()}


class SLSTM(RecurrentStack):
    """An LSTM with exponential input gates and a normaliser, which can revise what it stored.

    Further arguments: see `RecurrentStack`.

    Args:
        num_heads: parts of the hidden state that do not see each other within a layer.
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
        num_heads: int = 1,
    ) -> None:
        if num_heads < 1 or hidden_size % num_heads:
            raise InputError(f"SLSTM expects hidden_size divisible by num_heads, got {hidden_size} and {num_heads}")
        self.num_heads = num_heads
        super().__init__(
            input_size, hidden_size, num_layers, dropout, weight_dropout, recurrent_init, learn_initial_state
        )

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return SLSTMCell(input_size, hidden_size, self.num_heads)
