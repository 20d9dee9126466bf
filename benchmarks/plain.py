"""Rivals: the networks that a user would write in plain torch."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layers = tuple[Tensor, Tensor]
"""State of an LSTM: hidden and cell state, layers first."""


class PlainLSTM(nn.Module):
    """A language model in three lines of torch, with `size` features of embedding and layers."""

    def __init__(self, vocab_size: int, size: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, size)
        self.lstm = nn.LSTM(size, size, num_layers=layers, batch_first=True)
        self.head = nn.Linear(size, vocab_size)

    def forward(self, tokens: Tensor, state: Layers | None = None) -> tuple[Tensor, Layers]:
        """Tokens (B, T) to logits (B, T, V), and the state after the last."""
        y, state = self.lstm(self.embedding(tokens), state)
        return self.head(y), state


class PlainGPT(nn.Module):
    """The Transformer of GPT-2 (Radford et al. 2019), as most tutorials write it: pre-norm, learned positions, tied
    embeddings, with at most `context` positions.
    """

    def __init__(self, vocab_size: int, size: int, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocab_size, size), nn.Embedding(context, size)
        self.blocks = nn.ModuleList(_Block(size, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(size)
        self.head = nn.Linear(size, vocab_size, bias=False)
        self.head.weight = self.embedding.weight
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1 and "norm" not in name:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Tokens (B, T) to logits (B, T, V)."""
        x = self.embedding(tokens) + self.position(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)), None


class _Block(nn.Module):
    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(size), nn.LayerNorm(size)
        self.project, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = (
            part.view(B, T, self.heads, D // self.heads).transpose(1, 2)
            for part in self.project(self.norm_attention(x)).chunk(3, -1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, D))
        return x + self.down(F.gelu(self.up(self.norm_feed_forward(x))))
