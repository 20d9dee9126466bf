"""Cells whose state is an associative memory: a matrix from keys to values for each head."""

import torch
from torch import nn
from torch.nn import functional as F

from seqmodels.interop.plain_torch.templates.recurrent import Cell


def write(S, key, value, decay, strength, delta=False):
    """`S <- a S + b k v^T`, with the delta rule `S <- a S + b k (v - (a S)^T k)^T`; S is (rows, heads, K, V)."""
    S = decay * S
    if delta:
        value = value - read(S, key)
    return S + strength * key.unsqueeze(-1) * value.unsqueeze(-2)


def read(S, query):
    """`S^T q`, (rows, heads, V)."""
    return (query.unsqueeze(-2) @ S).squeeze(-2)


class Convolution(nn.Module):
    """A short causal convolution of each feature over time, whose last inputs are state."""

    def __init__(self, size, width, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size, 1, width))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def step(self, x, before):
        inputs = torch.cat((before, x.unsqueeze(1)), 1)
        y = (inputs * self.weight.squeeze(1).mT).sum(1)
        return y if self.bias is None else y + self.bias, inputs[:, 1:]


class Memory(Cell):
    """The frame of all such cells: projections, a short convolution, and the memory; `recall` is the recurrence."""

    normalized = False

    def __init__(self, input_size, hidden_size, heads, groups, key_size, value_size, rest, convolution, bias=False):
        super().__init__()
        self.heads, self.groups, self.key_size, self.value_size = heads, groups, key_size, value_size
        mixed = 2 * groups * key_size + heads * value_size
        self.parts = [mixed, *rest]
        self.projection = nn.Linear(input_size, sum(self.parts), bias=False)
        self.convolution = Convolution(mixed, convolution, bias) if convolution else None
        self.out = nn.Linear(heads * value_size, hidden_size, bias=False)
        self.shapes = [(heads, key_size, value_size), *([(convolution - 1, mixed)] if convolution else [])]

    def step(self, x, state):
        mixed, *rest = self.projection(x).split(self.parts, -1)
        memory, before = (state[:-1], state[-1:]) if self.convolution is not None else (state, [])
        if self.convolution is not None:
            mixed, before = self.convolution.step(mixed, *before)
            mixed, before = F.silu(mixed), [before]
        qk, v = mixed.split([2 * self.groups * self.key_size, self.heads * self.value_size], -1)
        qk = qk.view(len(x), 2 * self.groups, self.key_size)
        if self.normalized:
            qk = qk * (qk.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
        q, k = (part.repeat_interleave(self.heads // self.groups, 1) for part in qk.chunk(2, 1))
        y, memory = self.recall(q, k, v.view(len(x), self.heads, -1), rest, memory)
        return self.out(y), [*memory, *before]


def gated(o, norm, gate):
    """What was read, (rows, heads, V), normed by head and gated."""
    return norm(o).flatten(1) * gate


class GatedDelta(Memory):
    """Gated DeltaNet (Yang, Kautz and Hatamizadeh 2024)."""

    normalized = True

    def __init__(self, strongest, eps, **frame):
        super().__init__(**frame)
        self.strongest = strongest
        self.rate, self.bias = nn.Parameter(torch.zeros(self.heads)), nn.Parameter(torch.zeros(self.heads))
        self.norm = nn.RMSNorm(self.value_size, eps)

    def recall(self, q, k, v, rest, memory):
        gate, strength, steps = rest
        decay = (-self.rate.exp() * F.softplus(steps + self.bias)).exp()
        strength = self.strongest * strength.sigmoid()
        S = write(memory[0], k, v, decay[..., None, None], strength[..., None, None], delta=True)
        return gated(read(S, q), self.norm, F.silu(gate)), [S]


class KimiDelta(Memory):
    """Kimi Delta Attention (Kimi Team 2025): Gated DeltaNet with a decay for each feature of a key."""

    normalized = True

    def __init__(self, rank, eps, **frame):
        super().__init__(**frame)
        inner = self.heads * self.key_size
        self.decay_map, self.gate_map = nn.Linear(rank, inner, bias=False), nn.Linear(rank, inner)
        self.rate, self.bias = nn.Parameter(torch.zeros(self.heads)), nn.Parameter(torch.zeros(inner))
        self.norm = nn.RMSNorm(self.value_size, eps)

    def recall(self, q, k, v, rest, memory):
        steps = F.softplus(self.decay_map(rest[0]) + self.bias).view(k.shape)
        decay = (-self.rate.exp().unsqueeze(-1) * steps).exp()
        S = write(memory[0], k, v, decay.unsqueeze(-1), rest[2].sigmoid()[..., None, None], delta=True)
        return gated(read(S, q), self.norm, self.gate_map(rest[1]).sigmoid()), [S]


class LinearAttention(Memory):
    """Linear attention with a decay; here a gate for each head (Yang et al. 2024)."""

    def __init__(self, eps, **frame):
        super().__init__(**frame)
        self.norm = nn.RMSNorm(self.value_size, eps)

    def decay(self, x):
        """(rows, heads, K or 1)."""
        return (F.logsigmoid(x) / 16).exp().unsqueeze(-1)

    def recall(self, q, k, v, rest, memory):
        S = write(memory[0], k, v, self.decay(rest[1]).unsqueeze(-1), 1)
        return gated(read(S, q), self.norm, F.silu(rest[0])), [S]


class GatedLinearAttention(LinearAttention):
    """GLA (Yang et al. 2024): a gate for each feature of a key."""

    def __init__(self, rank, **frame):
        super().__init__(**frame)
        self.decay_map = nn.Linear(rank, self.heads * self.key_size)

    def decay(self, x):
        return (F.logsigmoid(self.decay_map(x)) / 16).exp().view(len(x), self.heads, -1)


class Retention(LinearAttention):
    """RetNet (Sun et al. 2023): constant decays by their logarithms, and rotary positions; the state counts them."""

    def __init__(self, decays, turned, **frame):
        super().__init__(**frame)
        self.decays, self.turned = decays, turned
        self.shapes.insert(1, (1,))

    def decay(self, x):
        return torch.tensor(self.decays, dtype=x.dtype, device=x.device).exp().view(1, -1, 1).expand(len(x), -1, -1)

    def recall(self, q, k, v, rest, memory):
        S, seen = memory
        if self.turned:
            frequencies = 10_000.0 ** -(torch.arange(0, self.turned, 2, dtype=torch.float64) / self.turned)
            angles = (seen.cpu().double() * frequencies).unsqueeze(1)
            q, k = (rotate(part, angles.cos().to(q), angles.sin().to(q)) for part in (q, k))
        y, (S,) = super().recall(q, k, v, rest, [S])
        return y, [S, seen + 1]


class HGRN2(LinearAttention):
    """HGRN2 (Qin et al. 2024): the key is what the forget gate lets go."""

    def __init__(self, lowest, **frame):
        super().__init__(**frame)
        self.lowest = lowest

    def recall(self, q, k, v, rest, memory):
        let_go = (1 - self.lowest) * (-k).sigmoid()
        S = write(memory[0], let_go, v, (1 - let_go).unsqueeze(-1), 1)
        return gated(read(S, F.silu(q)), self.norm, F.silu(rest[0])), [S]


class Mamba2(Memory):
    """Mamba-2 (Dao and Gu 2024): `S <- exp(-A dt) S + dt B x^T`, `y = S^T C + D x`."""

    def __init__(self, eps, **frame):
        super().__init__(bias=True, **frame)
        self.eps = eps
        self.rate, self.bias, self.skip = (nn.Parameter(torch.zeros(self.heads)) for _ in range(3))
        self.norm = nn.Parameter(torch.ones(self.heads * self.value_size))

    def recall(self, q, k, v, rest, memory):
        dt = F.softplus(rest[1] + self.bias)
        S = write(memory[0], k, v, (-self.rate.exp() * dt).exp()[..., None, None], dt[..., None, None])
        y = (read(S, q) + self.skip.unsqueeze(-1) * v).flatten(1) * F.silu(rest[0])
        by_group = y.view(len(y), self.groups, -1)
        return F.rms_norm(by_group, by_group.shape[-1:], eps=self.eps).flatten(1) * self.norm, [S]


class MLSTM(Memory):
    """mLSTM (Beck et al. 2024): exponential input gates and a normaliser, all divided by `exp(m)`."""

    def __init__(self, bound, eps, **frame):
        super().__init__(**frame)
        self.bound, self.eps = bound, eps
        self.bias = nn.Parameter(torch.zeros(2 * self.heads))
        self.norm = nn.Parameter(torch.ones(self.heads * self.value_size))
        self.shapes[:1] = [(self.heads, self.key_size, self.value_size + 1), (self.heads,)]

    def initial(self, x):
        C, m, *before = super().initial(x)
        return [C, torch.full_like(m, -torch.inf), *before]

    def recall(self, q, k, v, rest, memory):
        C, m = memory
        i, f = (self.bound * ((rest[1] + self.bias) / self.bound).tanh()).chunk(2, -1)
        kept = F.logsigmoid(f) + m
        m = torch.maximum(kept, i)
        one = F.pad(v, (0, 1), value=1.0)  # its last feature is the normaliser
        C = write(C, k, one, (kept - m).exp()[..., None, None], (i - m).exp()[..., None, None])
        o, n = read(C, q * self.key_size**-0.5).split([self.value_size, 1], -1)
        o = o / (torch.maximum(n.abs(), (-m).exp().unsqueeze(-1)) + 1e-6)
        return F.layer_norm(o, o.shape[-1:], eps=self.eps).flatten(1) * self.norm * rest[0].sigmoid(), [C, m]


class RGLRU(Cell):
    """The real-gated linear recurrent unit of Griffin (De et al. 2024), behind a short convolution."""

    def __init__(self, input_size, hidden_size, width, heads, convolution, scale_first):
        super().__init__()
        self.heads, self.scale_first, size = heads, scale_first, width // heads
        self.projection, self.out = nn.Linear(input_size, 2 * width), nn.Linear(width, hidden_size)
        self.convolution = Convolution(width, convolution, bias=True)
        self.gate_maps = nn.Parameter(torch.zeros(heads, size, 2 * size))
        self.gate_biases, self.base = nn.Parameter(torch.zeros(2 * width)), nn.Parameter(torch.zeros(width))
        self.shapes = [(width,), (convolution - 1, width), (1,)]  # the last counts positions

    def step(self, x, state):
        s, before, seen = state
        inputs, gate = self.projection(x).chunk(2, -1)
        x, before = self.convolution.step(inputs, before)
        gates = torch.einsum("rhd,hde->rhe", x.view(len(x), self.heads, -1), self.gate_maps)
        i, r = (part.flatten(1) for part in gates.chunk(2, -1))
        of_i, of_r = self.gate_biases.chunk(2)
        log_a = -8 * (r + of_r).sigmoid() * F.softplus(self.base)
        written = (-(2 * log_a).expm1()).clamp(min=1e-12).sqrt()
        if not self.scale_first:  # the first input of a row is taken as it is
            written = torch.where(seen == 0, 1.0, written)
        s = log_a.exp() * s + written * (i + of_i).sigmoid() * x
        return self.out(s * F.gelu(gate, approximate="tanh")), [s, before, seen + 1]


class RWKV7(Cell):
    """RWKV-7's time mixing (Peng et al. 2025): `S <- (diag(w) - (a * u) u^T) S + k v^T`.

    Layers after the first mix their values with its values, which it gives behind its outputs and they take behind
    their inputs.
    """

    def __init__(self, input_size, hidden_size, heads, size, ranks, eps, gives, takes):
        super().__init__()
        self.heads, self.size, self.width, self.eps, self.gives, self.takes = heads, size, input_size, eps, gives, takes
        inner = heads * size
        self.shares = nn.ParameterList([nn.Parameter(torch.zeros(input_size)) for _ in "rwkvag"])
        self.query, self.key, self.value = (nn.Linear(input_size, inner, bias=False) for _ in range(3))
        self.down = nn.ModuleList([nn.Linear(input_size, rank, bias=False) for rank in ranks[:3]])
        self.up = nn.ModuleList(
            [nn.Linear(rank, inner, bias=name != "g") for rank, name in zip(ranks[:3], "wag", strict=True)]
        )
        for name in ("removed", "learned", "bonus", "norm_weight", "norm_bias"):
            setattr(self, name, nn.Parameter(torch.zeros(inner)))
        self.out = nn.Linear(inner, hidden_size, bias=False)
        if takes:
            self.value_down, self.value_up = nn.Linear(input_size, ranks[3], bias=False), nn.Linear(ranks[3], inner)
        self.shapes = [(heads, size, size), (input_size,)]

    def step(self, x, state):
        S, before = state
        x, first = x[:, : self.width], x[:, self.width :]
        xr, xw, xk, xv, xa, xg = (x + share * (before - x) for share in self.shares)
        r, k, v = self.query(xr), self.key(xk), self.value(xv)
        w = (-0.6065306597126334 * self.up[0](self.down[0](xw).tanh()).sigmoid()).exp()  # exp(-1/2)
        a = self.up[1](self.down[1](xa)).sigmoid()
        gate = self.up[2](self.down[2](xg).sigmoid())
        if self.takes:
            v = v + (first - v) * self.value_up(self.value_down(xv)).sigmoid()
        u, k = k * self.removed, k * (1 + (a - 1) * self.learned)
        r, w, k, v, a, u, bonus = (t.view(-1, self.heads, self.size) for t in (r, w, k, v, a, u, self.bonus))
        u = F.normalize(u, dim=-1)
        S = w.unsqueeze(-1) * S - (a * u).unsqueeze(-1) * read(S, u).unsqueeze(-2) + k.unsqueeze(-1) * v.unsqueeze(-2)
        o = F.layer_norm(read(S, r), (self.size,), eps=self.eps).flatten(1) * self.norm_weight + self.norm_bias
        y = self.out((o + ((r * k * bonus).sum(-1, keepdim=True) * v).flatten(1)) * gate)
        return torch.cat((y, v.flatten(1)), -1) if self.gives else y, [S, x]


class ChannelMixing(Cell):
    """RWKV-7's feed-forward layers, which see two inputs."""

    def __init__(self, size, width):
        super().__init__()
        self.share = nn.Parameter(torch.zeros(size))
        self.key, self.out = nn.Linear(size, width, bias=False), nn.Linear(width, size, bias=False)
        self.shapes = [(size,)]

    def step(self, x, state):
        return self.out(self.key(x + self.share * (state[0] - x)).relu().square()), [x]


def rotate(x, cos, sin):
    """Rotate feature pairs `(k, k + R / 2)` of heads; features from R on stay."""
    turned = 2 * cos.shape[-1]
    a, b = x[..., :turned].chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos, x[..., turned:]), -1)
