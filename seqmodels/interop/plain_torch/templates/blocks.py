"""Residual blocks of attention, recurrent and feed-forward layers, and stacks of them."""

import math
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F

from seqmodels.interop.plain_torch.templates.memories import rotate
from seqmodels.interop.plain_torch.templates.models import make
from seqmodels.interop.plain_torch.templates.recurrent import last


class RMSNormPlusOne(nn.RMSNorm):
    """RMS norm with scales of 1 + w."""

    def forward(self, x):
        return F.rms_norm(x, self.normalized_shape, 1 + self.weight, self.eps)


class Attention(nn.Module):
    """Self-attention over a cache, with rotary positions if there is a rotation."""

    def __init__(self, size, heads, kv_heads, head_size, scale, qkv_bias, out_bias, norm, eps, gate):
        super().__init__()
        self.heads, self.kv_heads, self.size, self.scale = heads, kv_heads, head_size, scale
        self.gates = heads if gate else 0
        self.project = nn.Linear(size, (heads + 2 * kv_heads + self.gates) * head_size, qkv_bias)
        self.out = nn.Linear(heads * head_size, size, out_bias)
        self.norm_query = None if norm is None else make_norm(norm, head_size, eps)
        self.norm_key = None if norm is None else make_norm(norm, head_size, eps)

    def forward(self, x, cache, span):
        rows, length, _ = x.shape
        heads = self.project(x).view(rows, length, -1, self.size).transpose(1, 2)
        q, k, v, gate = heads.split((self.heads, self.kv_heads, self.kv_heads, self.gates), 1)
        if self.norm_query is not None:
            q, k = self.norm_query(q), self.norm_key(k)
        if span.rotation is not None:
            q, k = rotate(q, *span.rotation), rotate(k, *span.rotation)
        if cache is not None:
            k, v = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2)
        grouped = self.heads != self.kv_heads
        y = F.scaled_dot_product_attention(q, k, v, span.visible, scale=self.scale, enable_gqa=grouped)
        if self.gates:
            y = y * gate.sigmoid()
        keep = max(1, span.window - 1)
        return self.out(y.transpose(1, 2).reshape(rows, length, -1)), (k[:, :, -keep:], v[:, :, -keep:])


class CrossAttention(nn.Module):
    """Attention to a source, whose keys and values are made once, by `remember`."""

    def __init__(self, size, memory_size, heads, head_size, scale, qkv_bias, out_bias):
        super().__init__()
        self.size, self.scale = head_size, scale
        self.query = nn.Linear(size, heads * head_size, qkv_bias)
        self.project = nn.Linear(memory_size, 2 * heads * head_size, qkv_bias)
        self.out = nn.Linear(heads * head_size, size, out_bias)

    def by_head(self, x):
        return x.view(*x.shape[:2], -1, self.size).transpose(1, 2)

    def remember(self, source):
        return [self.by_head(part) for part in self.project(source).chunk(2, -1)]

    def forward(self, x, memory, real):
        y = F.scaled_dot_product_attention(self.by_head(self.query(x)), *memory, real[:, None, None], scale=self.scale)
        return self.out(y.transpose(1, 2).flatten(2))


class CellMixer(nn.Module):
    """A cell in the place of attention."""

    def __init__(self, cell):
        super().__init__()
        self.cell = make(cell)

    def forward(self, x, state, span):
        return self.cell(x, state, span.lengths)


class TimeMixer(CellMixer):
    """RWKV-7's, which passes on the values of the first layer of a stack."""

    def forward(self, x, state, span):
        y, state = super().forward(torch.cat((x, span.values), -1) if self.cell.takes else x, state, span)
        if self.cell.gives:
            y, span.values = y.split([x.shape[-1], y.shape[-1] - x.shape[-1]], -1)
        return y, state


class RecurrentMixer(nn.Module):
    """A recurrent layer in the place of attention, with a linear layer behind it."""

    def __init__(self, network, size, bias):
        super().__init__()
        self.network, self.out = make(network), nn.Linear(size, size, bias)

    def forward(self, x, state, span):
        y, state = self.network(x, state, span.lengths)
        return self.out(y), state


class FeedForward(nn.Module):
    def __init__(self, size, width, activation, bias):
        super().__init__()
        functions = {
            "gelu": F.gelu, "gelu-tanh": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu, "silu": F.silu,
        }  # fmt: skip
        gated = {"geglu": "gelu", "geglu-tanh": "gelu-tanh", "reglu": "relu", "swiglu": "silu"}
        self.gated, self.activation = activation in gated, functions[gated.get(activation, activation)]
        self.up = nn.Linear(size, width * (2 if self.gated else 1), bias)
        self.out = nn.Linear(width, size, bias)

    def forward(self, x):
        x = self.up(x)
        if self.gated:
            gate, value = x.chunk(2, -1)
            return self.out(self.activation(gate) * value)
        return self.out(self.activation(x))


def make_norm(name, size, eps):
    return {"layer": nn.LayerNorm, "rms": nn.RMSNorm, "rms-plus-one": RMSNormPlusOne}[name](size, eps)


class Block(nn.Module):
    """A mixer of positions, attention to a source if there is one, and a feed-forward layer, each behind a norm.

    pre-norm: `x + f(norm(x))`; post-norm: `norm(x + f(x))`; parallel: all of them read the input of the block.
    """

    def __init__(self, mixer, cross, feed_forward, norm, residual):
        super().__init__()
        self.residual, self.branches = residual, []
        for name, settings in {"mixer": mixer, "cross": cross, "feed_forward": feed_forward}.items():
            if settings is not None:
                setattr(self, name, make(settings))
                setattr(self, f"norm_{name}", make_norm(**norm))
                self.branches.append(name)

    def forward(self, x, state, span, memory=None):
        first = x
        for name in self.branches:
            part, norm = getattr(self, name), getattr(self, f"norm_{name}")
            h = x if self.residual == "post-norm" else norm(first if self.residual == "parallel" else x)
            if name == "mixer":
                y, state = part(h, state, span)
            else:
                y = part(h, memory, span.source) if name == "cross" else part(h)
            x = norm(x + y) if self.residual == "post-norm" else x + y
        return x, state


class Residual(nn.Module):
    """A stack of residual blocks; its state is the number of positions read, and the state of each block."""

    def __init__(self, size, blocks, norm, residual, positions, window, causal, input_scale, norm_inputs):
        super().__init__()
        self.size, self.positions, self.window, self.causal = size, positions, window, causal
        self.input_scale = input_scale
        self.blocks = nn.ModuleList(Block(norm=norm, residual=residual, **settings) for settings in blocks)
        self.norm = nn.Identity() if residual == "post-norm" else make_norm(**norm)
        self.norm_inputs = make_norm(**norm) if norm_inputs else nn.Identity()
        if "table" in positions:
            self.position = nn.Embedding(*positions["table"])

    def remember(self, source, real, lengths, state):
        """The source for blocks that attend to it."""
        return {"real": real, "blocks": [block.cross.remember(source) for block in self.blocks]}

    def forward(self, x, state=None, lengths=None, memory=None):
        seen, states = (0, [None] * len(self.blocks)) if state is None else state
        attending = [block_state for block, block_state in zip(self.blocks, states) if hasattr(block.mixer, "kv_heads")]
        past = attending[0][0].shape[2] if attending and attending[0] is not None else 0
        x, span = self.placed(self.norm_inputs(x), seen, past, lengths)
        span.source = None if memory is None else memory["real"]
        following = []
        for number, (block, block_state) in enumerate(zip(self.blocks, states)):
            x, end = block(x, block_state, span, None if memory is None else memory["blocks"][number])
            following.append(end)
        return self.norm(x), (seen + x.shape[1], following)

    def placed(self, x, seen, past, lengths):
        """Inputs with vectors of their positions, and what the blocks need to know of these."""
        p, length, device = self.positions, x.shape[1], x.device
        span = SimpleNamespace(lengths=lengths, window=self.window, rotation=None, visible=None, values=None)
        x = x * self.input_scale
        if p["how"] == "nothing to see":
            return x, span
        places = torch.arange(seen, seen + length, device=device)
        keys = torch.arange(past + length, device=device)
        distance = torch.arange(past, past + length, device=device)[:, None] - keys
        visible = (distance.abs() < self.window) & ((distance >= 0) | (not self.causal))
        if lengths is not None:  # what stands behind the end of a row sees itself, which nobody reads
            visible = (visible & (keys < lengths.view(-1, 1, 1, 1))) | (distance == 0)
        span.visible = visible
        if p["how"] == "learned":
            x = x + self.position(places + p["offset"])
        elif p["how"] == "sinusoidal":
            angles = angles_of(places + p["offset"], self.size, 10_000.0, None)
            x = x + torch.cat((angles.sin(), angles.cos()), -1).to(x)
        elif p["how"] == "relative":
            bias = self.position(buckets(distance, self.causal, p["one_way"], p["farthest"])).movedim(-1, 0)
            span.visible = bias.masked_fill(~visible, -torch.inf)
        elif p["how"] == "rotary":
            angles = angles_of(places, p["turned"], p["base"], p["scaling"])
            span.rotation = angles.cos().to(x), angles.sin().to(x)
        return x, span

    def summary(self, y, lengths):
        if self.causal:
            return last(y, lengths)
        return y.mean(1) if lengths is None else y.sum(1) / lengths.unsqueeze(1)


def angles_of(places, size, base, scaling):
    """Angles of pairs of features at places (T,), (T, size / 2), in double precision, which not every device has."""
    frequencies = base ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)
    if scaling is not None:
        kept = torch.zeros_like(frequencies)
        if "low" in scaling:
            turns = scaling["context"] * frequencies / (2 * math.pi)
            kept = ((turns - scaling["low"]) / (scaling["high"] - scaling["low"])).clamp(0, 1)
        frequencies = frequencies * (kept + (1 - kept) / scaling["factor"])
    return places.cpu()[:, None] * frequencies


def buckets(distance, causal, one_way, farthest):
    """Numbers of the buckets of T5's relative positions."""
    size, single = distance.clamp(min=0) if causal else distance.abs(), one_way // 2
    growth = (size.clamp(min=1).float() / single).log() / math.log(farthest / single)
    far = single + (growth * (one_way - single)).long().clamp(max=one_way - single - 1)
    bucket = torch.where(size < single, size, far)
    return bucket if causal else bucket + one_way * (distance < 0)
