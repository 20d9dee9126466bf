"""RWKV-7: an associative memory that removes and writes under different keys, and sees two inputs at a time."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError
from seqmodels.nn.associative import by_head, full_precision
from seqmodels.nn.attention import Span
from seqmodels.nn.block import Activation
from seqmodels.nn.cell import Cell, CellState, last_output
from seqmodels.nn.chunkwise import Kernel, chunkwise, recurrent
from seqmodels.nn.min_gru import precise
from seqmodels.nn.mixer_stack import CellMixer, MixerStack, head_size, own_eps
from seqmodels.nn.norms import Norm, make_norm, unit_length
from seqmodels.nn.trace import Trace
from seqmodels.state import State

FASTEST = math.exp(-0.5)
"""The largest decay, as a logarithm: no feature loses more than 45 % in a step."""

SHIFTS = ("r", "w", "k", "v", "a", "g")
"""What is computed from a mixture of an input and the one before it, each with shares of its own."""

Ranks = tuple[int, int, int, int]
"""Features that decays, rates, the gate of the outputs and shares of values are computed from."""


class RWKV7Cell(Cell):
    """`S_t = (diag(w_t) - (a_t * u_t) u_t^T) S_{t-1} + k_t v_t^T` (Peng et al. 2025), the time mixing of RWKV-7.

    The decay `w` is a gate between 0.545 and 1 for each feature of a key, `a` a rate of learning for each, `u` a key of
    length 1 whose value is removed. The state is `(h, S, x)`: the output, which the next step does not need, the memory
    (B, H, K, K), and the last input (B, D).

    Later layers mix their values with those of the first: it gives them, behind its output, and they take them, behind
    their input.

    Args:
        input_size: features D of the inputs, without the values that are taken.
        hidden_size: features of the outputs.
        num_heads: heads H.
        size: features of keys and of values.
        ranks: features that decays, rates, the gate of the outputs and shares of values are each computed from.
        eps: added to the variance of what is normalised, for each feature of a head.
        gives: whether its values stand behind its output.
        takes: whether values of the first layer stand behind its input.
    """

    highway = "w"
    state_names = ("h",)

    def __init__(
        self, input_size: int, hidden_size: int, num_heads: int, size: int, ranks: Ranks, eps: float = 1e-5,
        gives: bool = False, takes: bool = False,
    ) -> None:  # fmt: skip
        inner = num_heads * size
        super().__init__(input_size + takes * inner, hidden_size + gives * inner)
        self.heads, self.size, self.width, self.eps = num_heads, size, input_size, eps * size
        self.ranks, self.gives, self.takes = ranks, gives, takes
        self.shares = nn.ParameterList([nn.Parameter(torch.rand(input_size)) for _ in SHIFTS])
        self.query, self.key, self.value = (nn.Linear(input_size, inner, bias=False) for _ in range(3))
        self.down = nn.ModuleList([nn.Linear(input_size, rank, bias=False) for rank in ranks[:3]])
        self.up = nn.ModuleList(
            [nn.Linear(rank, inner, bias=name != "g") for rank, name in zip(ranks[:3], "wag", strict=True)]
        )
        self.removed = nn.Parameter(torch.full((inner,), 0.85))  # shares of a key that is removed
        self.learned = nn.Parameter(torch.ones(inner))  # to which the rate scales what is written
        self.bonus = nn.Parameter(torch.zeros(inner))  # weights of the current value
        self.norm_weight, self.norm_bias = nn.Parameter(torch.ones(inner)), nn.Parameter(torch.zeros(inner))
        self.out = nn.Linear(inner, hidden_size, bias=False)
        if takes:
            self.value_down = nn.Linear(input_size, ranks[3], bias=False)
            self.value_up = nn.Linear(ranks[3], inner)

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.hidden_size,), (self.heads, self.size, self.size), (self.width,)

    @property
    def vector_size(self) -> None:
        return None

    def _features(self, x: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        """`r`, log `w`, `k`, `v`, `a`, `u`, (B, T, H, K), and the gate (B, T, H K), of inputs and those before them."""
        x, first = x[..., : self.width], x[..., self.width :]
        shifted = [x + share * (before.to(x.dtype) - x) for share in self.shares]
        r, k, v = (precise(map_(shifted[n])) for map_, n in ((self.query, 0), (self.key, 2), (self.value, 3)))
        low = [precise(map_(shifted[n])) for map_, n in zip(self.down, (1, 4, 5), strict=True)]
        with full_precision(r):
            log_w = -FASTEST * self.up[0](low[0].tanh()).sigmoid()
            a = self.up[1](low[1]).sigmoid()
            gate = self.up[2](low[2].sigmoid())
            if self.takes:
                v = v + (precise(first) - v) * self.value_up(precise(self.value_down(shifted[3]))).sigmoid()
        u = unit_length(by_head(k * self.removed, self.heads), 1e-24)
        k = k * (1 + (a - 1) * self.learned)
        return *(by_head(t, self.heads) for t in (r, log_w, k, v, a)), u, gate

    def _run(self, x: Tensor, state: CellState, lengths: Tensor | None, kernel: Kernel) -> tuple[Tensor, CellState]:
        B, T, _ = x.shape
        before = torch.cat((state[2].to(x.dtype).unsqueeze(1), x[:, :-1, : self.width]), 1)
        r, log_w, k, v, a, u, gate = self._features(x, before)
        beta = torch.ones_like(r[..., 0])
        if lengths is not None:  # at padding nothing decays, is removed or is written
            beyond = (torch.arange(T, device=x.device) >= lengths[:, None]).unsqueeze(-1)
            log_w, beta = log_w.masked_fill(beyond.unsqueeze(-1), 0.0), beta.masked_fill(beyond, 0.0)
        none = torch.zeros_like(v)
        # Two steps of the kernel for each position: the first decays and removes, the second writes and reads.
        q, keys, values, decays, asked, strengths = (
            torch.stack(pair, 2).flatten(1, 2)
            for pair in ((none, r), (a * u, k), (none, v), (log_w, none), (u * (-log_w).exp(), none), (beta, beta))
        )
        with full_precision(r):
            o, S = kernel(q, keys, values, decays, strengths, state[1], delta=True, ask=asked)
        o = o.view(B, T, 2, self.heads, -1)[:, :, 1]
        if lengths is not None:
            S = torch.where((lengths > 0).view(-1, 1, 1, 1), S, state[1].to(S.dtype))
        y = F.layer_norm(o, o.shape[-1:], eps=self.eps).flatten(2) * self.norm_weight + self.norm_bias
        weight = (r * k * by_head(self.bonus, self.heads)).sum(-1, keepdim=True)
        y = ((y + (weight * v).flatten(2)) * gate).to(x.dtype)
        y = self.out(y)
        if self.gives:
            y = torch.cat((y, v.flatten(2).to(y.dtype)), -1)
        return y, (last_output(y, lengths, state[0]), S, last_output(x[..., : self.width], lengths, state[2]))

    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        return self._run(projected.unsqueeze(1), state, None, recurrent)[1]

    def sequence(self, x: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        """See `Cell.sequence`: in chunks."""
        return self._run(x, state, lengths, chunkwise)

    def gates(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The decays `w` and the rates of learning of each feature of a key."""
        _, log_w, _, _, a, *_ = self._features(projected.unsqueeze(1), state[2].unsqueeze(1))
        return {"w": log_w.exp().flatten(1), "rate": a.flatten(1)}

    def norms(self, projected: Tensor, state: CellState, following: CellState) -> dict[str, Tensor]:
        """Lengths of the keys that are written, and norms of the memory, of each head."""
        _, _, k, *_ = self._features(projected.unsqueeze(1), state[2].unsqueeze(1))
        return {"k": k.squeeze(1).norm(dim=-1), "S": following[1].flatten(2).norm(dim=-1)}


class ChannelMixingCell(Cell):
    """`y_t = W_v relu(W_k (x_t + s (x_{t-1} - x_t)))^2`, RWKV-7's feed-forward layers, which see two inputs.

    The state is `(h, x)`: the output, which the next step does not need, and the last input, (B, D) both.

    Args:
        size: features D of inputs and outputs.
        width: features between the layers.
    """

    state_tensors = 2
    state_names = ("h",)

    def __init__(self, size: int, width: int) -> None:
        super().__init__(size, size)
        self.share = nn.Parameter(torch.rand(size))
        self.key, self.out = nn.Linear(size, width, bias=False), nn.Linear(width, size, bias=False)

    @property
    def vector_size(self) -> None:
        return None

    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        return self.sequence(projected.unsqueeze(1), state)[1]

    def sequence(self, x: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        """See `Cell.sequence`: all at once."""
        before = torch.cat((state[1].to(x.dtype).unsqueeze(1), x[:, :-1]), 1)
        y: Tensor = self.out(self.key(x + self.share * (before - x)).relu().square())
        return y, (last_output(y, lengths, state[0]), last_output(x, lengths, state[1]))


class TimeMixer(CellMixer):
    """A layer of time mixing, which passes on the values of the first layer of a stack."""

    def forward(self, x: Tensor, state: State, span: Span, trace: Trace | None = None) -> tuple[Tensor, State]:
        cell = cast(RWKV7Cell, self.cell)
        values = cast(list[Tensor], span.passed)
        y, state = super().forward(torch.cat((x, values[0]), -1) if cell.takes else x, state, span, trace)
        if cell.gives:
            y, own = y.split_with_sizes([cell.width, y.shape[-1] - cell.width], -1)
            values.append(own)
        return y, state


class RWKV7(MixerStack):
    """RWKV-7 (Peng et al. 2025): two residual blocks for each layer, its time mixing and its channel mixing.

    The activation is that of channel mixing, a squared ReLU, unless `channel_mixing` is false. Further arguments: see
    `MixerStack`.

    Args:
        head_size: features of a key and of a value; default: input_size / num_heads.
        decay_rank: features that the decays of a layer are computed from.
        rate_rank: likewise the rates of learning.
        gate_rank: likewise the gate of the outputs.
        value_rank: likewise the shares of the first layer's values.
        value_residual: mix the values of later layers with those of the first.
        channel_mixing: use layers that see two inputs; feed-forward layers without it.
        norm_first: norm the inputs of the first block, too.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        head_size: int | None = None,
        decay_rank: int = 16,
        rate_rank: int = 16,
        gate_rank: int = 16,
        value_rank: int = 16,
        value_residual: bool = True,
        channel_mixing: bool = True,
        norm_first: bool = True,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        feed_forward_size: int | None = None,
        eps: float | None = None,
    ) -> None:
        ranks = {"decay_rank": decay_rank, "rate_rank": rate_rank, "gate_rank": gate_rank, "value_rank": value_rank}
        if few := [f"{name}={rank}" for name, rank in ranks.items() if rank < 1]:
            raise InputError(f"RWKV7({few[0]}) was given; expected at least 1")
        if channel_mixing and feed_forward_size == 0:
            raise InputError("feed_forward_size=0 was given; expected a width, or channel_mixing=False")
        self.settings = head_size, (decay_rank, rate_rank, gate_rank, value_rank)
        self.value_residual, self.channel_mixing = value_residual and num_layers > 1, channel_mixing
        self.norm_first = norm_first
        self.mixed_size = 4 * input_size if feed_forward_size is None else feed_forward_size
        self.in_place = not (self.value_residual or channel_mixing or norm_first)
        blocks, width = (2 * num_layers, 0) if channel_mixing else (num_layers, feed_forward_size)
        super().__init__(input_size, blocks, num_heads, norm, activation, dropout, memory_size, width, eps)
        self.norm_inputs = make_norm(norm, input_size, eps) if norm_first else nn.Identity()

    def _mixer(self, number: int) -> nn.Module:
        if self.channel_mixing and number % 2:
            return CellMixer(ChannelMixingCell(self.input_size, self.mixed_size))
        (size, ranks), shares = self.settings, self.value_residual
        sizes = self.input_size, self.input_size, self.heads[0], head_size(self, size), ranks, own_eps(self, 1e-5)
        return TimeMixer(RWKV7Cell(*sizes, shares and number == 0, shares and number > 0))

    def _cell(self) -> Cell:
        raise NotImplementedError  # layers differ

    def _read(
        self, x: Tensor, mask: Tensor | None, seen: Tensor, key_positions: State, cached: int
    ) -> tuple[Tensor, State, Span]:
        x, key_positions, span = super()._read(self.norm_inputs(x), mask, seen, key_positions, cached)
        return x, key_positions, span._replace(passed=[])
