"""RWKV-7: an associative memory that removes and writes under different keys, and sees two inputs at a time."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError
from seqmodels.nn.associative import by_head, full_precision
from seqmodels.nn.block import Activation
from seqmodels.nn.cell import Cell, CellState, last_output
from seqmodels.nn.chunkwise import Kernel, chunkwise, recurrent
from seqmodels.nn.min_gru import precise
from seqmodels.nn.mixer_stack import MixerStack, head_size
from seqmodels.nn.norms import Norm

FASTEST = math.exp(-0.5)
"""The largest decay, as a logarithm: no feature loses more than 45 % in a step."""

SHIFTS = ("r", "w", "k", "v", "a", "g")
"""What is computed from a mixture of an input and the one before it, each with shares of its own."""


class RWKV7Cell(Cell):
    """`S_t = (diag(w_t) - (a_t * u_t) u_t^T) S_{t-1} + k_t v_t^T` (Peng et al. 2025), the time mixing of RWKV-7.

    The decay `w` is a gate between 0.545 and 1 for each feature of a key, `a` a rate of learning for each, `u` a key of
    length 1 whose value is removed. Values of the first layer, which RWKV-7 adds in later ones, are left out. The state
    is `(h, S, x)`: the output, which the next step does not need, the memory (B, H, K, K), and the last input (B, D).

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the outputs.
        num_heads: heads H.
        size: features of keys and of values.
        rank: features that decays, rates and the gate of the outputs are each computed from.
    """

    highway = "w"
    state_names = ("h",)

    def __init__(self, input_size: int, hidden_size: int, num_heads: int, size: int, rank: int) -> None:
        super().__init__(input_size, hidden_size)
        self.heads, self.size = num_heads, size
        inner = num_heads * size
        self.shares = nn.ParameterList([nn.Parameter(torch.rand(input_size)) for _ in SHIFTS])
        self.query, self.key, self.value = (nn.Linear(input_size, inner, bias=False) for _ in range(3))
        self.down = nn.ModuleList([nn.Linear(input_size, rank, bias=False) for _ in "wag"])
        self.up = nn.ModuleList([nn.Linear(rank, inner, bias=name != "g") for name in "wag"])
        self.removed = nn.Parameter(torch.full((inner,), 0.85))  # shares of a key that is removed
        self.learned = nn.Parameter(torch.ones(inner))  # to which the rate scales what is written
        self.bonus = nn.Parameter(torch.zeros(inner))  # weights of the current value
        self.norm_weight, self.norm_bias = nn.Parameter(torch.ones(inner)), nn.Parameter(torch.zeros(inner))
        self.out = nn.Linear(inner, hidden_size, bias=False)

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.hidden_size,), (self.heads, self.size, self.size), (self.input_size,)

    @property
    def vector_size(self) -> None:
        return None

    def _features(self, x: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        """`r`, log `w`, `k`, `v`, `a`, `u`, (B, T, H, K), and the gate (B, T, H K), of inputs and those before them."""
        shifted = [x + share * (before.to(x.dtype) - x) for share in self.shares]
        r, k, v = (precise(map_(shifted[n])) for map_, n in ((self.query, 0), (self.key, 2), (self.value, 3)))
        low = [precise(map_(shifted[n])) for map_, n in zip(self.down, (1, 4, 5), strict=True)]
        with full_precision(r):
            log_w = -FASTEST * self.up[0](low[0].tanh()).sigmoid()
            a = self.up[1](low[1]).sigmoid()
            gate = self.up[2](low[2].sigmoid())
        u = F.normalize(by_head(k * self.removed, self.heads), dim=-1)
        k = k * (1 + (a - 1) * self.learned)
        return *(by_head(t, self.heads) for t in (r, log_w, k, v, a)), u, gate

    def _run(self, x: Tensor, state: CellState, lengths: Tensor | None, kernel: Kernel) -> tuple[Tensor, CellState]:
        B, T, _ = x.shape
        before = torch.cat((state[2].to(x.dtype).unsqueeze(1), x[:, :-1]), 1)
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
        y = F.layer_norm(o, o.shape[-1:], eps=1e-5 * self.size).flatten(2) * self.norm_weight + self.norm_bias
        weight = (r * k * by_head(self.bonus, self.heads)).sum(-1, keepdim=True)
        y = ((y + (weight * v).flatten(2)) * gate).to(x.dtype)
        y = self.out(y)
        return y, (last_output(y, lengths, state[0]), S, last_output(x, lengths, state[2]))

    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        return self._run(projected.unsqueeze(1), state, None, recurrent)[1]

    def sequence(self, x: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        """See `Cell.sequence`: in chunks."""
        return self._run(x, state, lengths, chunkwise)

    def gates(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The decays `w` and the rates `a` of each feature of a key."""
        _, log_w, _, _, a, *_ = self._features(projected.unsqueeze(1), state[2].unsqueeze(1))
        return {"w": log_w.exp().flatten(1), "a": a.flatten(1)}

    def norms(self, projected: Tensor, state: CellState, following: CellState) -> dict[str, Tensor]:
        """Lengths of the keys that are written, and norms of the memory, of each head."""
        _, _, k, *_ = self._features(projected.unsqueeze(1), state[2].unsqueeze(1))
        return {"k": k.squeeze(1).norm(dim=-1), "S": following[1].flatten(2).norm(dim=-1)}


class RWKV7(MixerStack):
    """Residual layers of RWKV-7's time mixing, with feed-forward layers in the place of its channel mixing.

    Further arguments: see `MixerStack`.

    Args:
        head_size: features of a key and of a value; default: input_size / num_heads.
        rank: features that decays, rates and the gate of the outputs are each computed from.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        head_size: int | None = None,
        rank: int = 16,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        feed_forward_size: int | None = None,
        eps: float | None = None,
    ) -> None:
        if rank < 1:
            raise InputError(f"RWKV7(rank={rank}) was given; expected at least 1")
        self.settings = head_size, rank
        super().__init__(
            input_size, num_layers, num_heads, norm, activation, dropout, memory_size, feed_forward_size, eps
        )

    def _cell(self) -> Cell:
        size, rank = self.settings
        return RWKV7Cell(self.input_size, self.input_size, self.heads[0], head_size(self, size), rank)
