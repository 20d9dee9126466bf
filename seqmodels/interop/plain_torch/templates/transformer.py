"""A Transformer language model in plain torch: embedding, blocks, softmax layer.

    from model import load
    model = load()
    logits, state = model(ids)            # ids: int64 (rows, positions)
    logits, state = model(more, state)    # goes on after them

Needs torch and safetensors. The settings are in `config.json`, the weights in `model.safetensors`.
"""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

PLAIN = {
    "gelu": F.gelu, "gelu-tanh": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu, "silu": F.silu,
}  # fmt: skip
GATED = {"geglu": PLAIN["gelu"], "geglu-tanh": PLAIN["gelu-tanh"], "reglu": F.relu, "swiglu": F.silu}


def make_norm(kind, size, eps):
    if kind == "rms":
        return nn.RMSNorm(size, eps)
    return nn.LayerNorm(size, 1e-5 if eps is None else eps)


class Attention(nn.Module):
    """Causal self-attention over a cache, with rotary positions if there is a rotation."""

    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads, self.size, self.scale = c["heads"], c["kv_heads"], c["head_size"], c["scale"]
        self.project = nn.Linear(c["size"], (self.heads + 2 * self.kv_heads) * self.size, c["qkv_bias"])
        self.out = nn.Linear(self.heads * self.size, c["size"], c["out_bias"])
        if c["qk_norm"]:
            self.norm_query = nn.RMSNorm(self.size, c["eps"])
            self.norm_key = nn.RMSNorm(self.size, c["eps"])
        self.qk_norm = c["qk_norm"]

    def forward(self, x, cache, visible, rotation):
        rows, length, _ = x.shape
        heads = self.project(x).view(rows, length, -1, self.size).transpose(1, 2)
        q, k, v = heads.split((self.heads, self.kv_heads, self.kv_heads), 1)
        if self.qk_norm:
            q, k = self.norm_query(q), self.norm_key(k)
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        if cache is not None:
            k, v = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2)
        grouped = self.heads != self.kv_heads
        y = F.scaled_dot_product_attention(q, k, v, visible, scale=self.scale, enable_gqa=grouped)
        return self.out(y.transpose(1, 2).reshape(rows, length, -1)), (k, v)


def rotate(x, cos, sin):
    """Rotate feature pairs `(k, k + R / 2)` of heads; features from R on stay."""
    turned = 2 * cos.shape[-1]
    a, b = x[..., :turned].chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos, x[..., turned:]), -1)


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gated = c["activation"] in GATED
        self.activation = (PLAIN | GATED)[c["activation"]]
        self.up = nn.Linear(c["size"], c["width"] * (2 if self.gated else 1), c["feed_forward_bias"])
        self.out = nn.Linear(c["width"], c["size"], c["feed_forward_bias"])

    def forward(self, x):
        x = self.up(x)
        if self.gated:
            gate, value = x.chunk(2, -1)
            return self.out(self.activation(gate) * value)
        return self.out(self.activation(x))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.residual = c["residual"]
        self.norm_mixer = make_norm(c["norm"], c["size"], c["eps"])
        self.norm_feed_forward = make_norm(c["norm"], c["size"], c["eps"])
        self.mixer, self.feed_forward = Attention(c), FeedForward(c)

    def forward(self, x, cache, visible, rotation):
        if self.residual == "post-norm":
            y, cache = self.mixer(x, cache, visible, rotation)
            x = self.norm_mixer(x + y)
            return self.norm_feed_forward(x + self.feed_forward(x)), cache
        y, cache = self.mixer(self.norm_mixer(x), cache, visible, rotation)
        if self.residual == "parallel":
            return x + y + self.feed_forward(self.norm_feed_forward(x)), cache
        x = x + y
        return x + self.feed_forward(self.norm_feed_forward(x)), cache


class LanguageModel(nn.Module):
    """Token ids to logits of the next token, and the state: the number of tokens read, and keys and values."""

    def __init__(self, config):
        super().__init__()
        self.config = c = config
        self.embedding = nn.Embedding(c["vocab_size"], c["size"])
        if c["positions"] == "learned":
            self.position = nn.Embedding(c["context"] + c["offset"], c["size"])
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["layers"]))
        self.norm = nn.Identity() if c["residual"] == "post-norm" else make_norm(c["norm"], c["size"], c["eps"])
        self.head = nn.Linear(c["size"], c["vocab_size"])

    def angles(self, positions, size):
        """Angles of pairs of features at positions (T,), (T, size / 2)."""
        c = self.config
        frequencies = c["rotary_base"] ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)
        scaling = c["rotary_scaling"]
        if scaling is not None and c["positions"] == "rotary":
            kept = torch.zeros_like(frequencies)
            if "low" in scaling:
                turns = scaling["context"] * frequencies / (2 * math.pi)
                kept = ((turns - scaling["low"]) / (scaling["high"] - scaling["low"])).clamp(0, 1)
            frequencies = frequencies * (kept + (1 - kept) / scaling["factor"])
        return positions[:, None] * frequencies

    def forward(self, ids, state=None):
        c = self.config
        seen, caches = (0, [None] * len(self.blocks)) if state is None else state
        past = 0 if caches[0] is None else caches[0][0].shape[2]
        x = self.embedding(ids) * c["input_scale"]
        positions, rotation = torch.arange(seen, seen + ids.shape[1]), None
        if c["positions"] == "learned":
            x = x + self.position(positions + c["offset"])
        elif c["positions"] == "sinusoidal":
            angles = self.angles(positions + c["offset"], c["size"])
            x = x + torch.cat((angles.sin(), angles.cos()), -1).to(x.dtype)
        else:
            angles = self.angles(positions, c["rotary_size"])
            rotation = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        distance = torch.arange(past, past + ids.shape[1])[:, None] - torch.arange(past + ids.shape[1])
        visible = (distance >= 0) & (distance < c["window"])
        following = []
        for block, cache in zip(self.blocks, caches):
            x, cache = block(x, cache, visible, rotation)
            following.append(tuple(part[:, :, -max(1, c["window"] - 1) :] for part in cache))
        return self.head(self.norm(x)), (seen + ids.shape[1], following)


def load(folder=Path(__file__).parent):
    """The model with its weights, in evaluation mode."""
    folder = Path(folder)
    model = LanguageModel(json.loads((folder / "config.json").read_text())["model"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()
