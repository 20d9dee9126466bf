"""Kimi Delta Attention: Gated DeltaNet with a decay for each feature of a key."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError
from seqmodels.nn.associative import AssociativeCell, Rest, Terms, by_head, initial_steps
from seqmodels.nn.block import Activation
from seqmodels.nn.cell import Cell
from seqmodels.nn.mixer_stack import MixerStack, head_size, own_eps
from seqmodels.nn.norms import Norm, RMSNorm


class KimiDeltaCell(AssociativeCell):
    """`S_t = (I - beta_t k_t k_t^T) diag(a_t) S_{t-1} + beta_t k_t v_t^T` (Kimi Team 2025).

    As `GatedDeltaCell`, but decays and the gate of the outputs, a sigmoid, come from a few features of the input.

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the outputs.
        num_heads: heads H.
        size: features of keys and of values.
        rank: features that the decays are computed from, and as many for the gate of the outputs.
        convolution: positions that the short convolution of queries, keys and values sees; 0 for none.
        eps: added to the mean square of what is normalised.
    """

    delta = normalized = by_key = True

    def __init__(
        self, input_size: int, hidden_size: int, num_heads: int, size: int, rank: int, convolution: int = 4,
        eps: float = 1e-6,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_heads=num_heads, key_size=size, value_size=size, rest=(rank, rank, num_heads),
            convolution=convolution,
        )  # fmt: skip
        self.decay_map = nn.Linear(rank, num_heads * size, bias=False)
        self.gate_map = nn.Linear(rank, num_heads * size)
        self.rate = nn.Parameter(torch.empty(num_heads).uniform_(1, 16).log())  # of A
        self.bias = nn.Parameter(initial_steps(num_heads * size))
        self.norm = RMSNorm(size, eps=eps * size)  # of outputs that are not divided by the root of K

    def terms(self, q: Tensor, k: Tensor, v: Tensor, rest: Rest) -> Terms:
        steps = F.softplus(self.decay_map(rest[0]) + self.bias)
        decay = -self.rate.exp().unsqueeze(-1) * by_head(steps, self.heads)
        return Terms(q, k, v, decay, rest[2].sigmoid())

    def readout(self, o: Tensor, terms: Terms, rest: Rest) -> Tensor:
        gate: Tensor = self.gate_map(rest[1]).sigmoid()
        return cast(Tensor, self.norm(o)).flatten(2) * gate


class KimiDeltaNet(MixerStack):
    """Residual layers of Kimi Delta Attention.

    Further arguments: see `MixerStack`.

    Args:
        head_size: features of a key and of a value; default: input_size / num_heads.
        rank: features that the decays are computed from, and as many for the gate of the outputs; default: head_size.
        convolution: positions that the short convolution of queries, keys and values sees; 0 for none.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        head_size: int | None = None,
        rank: int | None = None,
        convolution: int = 4,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        feed_forward_size: int | None = None,
        eps: float | None = None,
    ) -> None:
        if rank is not None and rank < 1:
            raise InputError(f"KimiDeltaNet(rank={rank}) was given; expected at least 1")
        self.settings = head_size, rank, convolution
        super().__init__(
            input_size, num_layers, num_heads, norm, activation, dropout, memory_size, feed_forward_size, eps
        )

    def _cell(self) -> Cell:
        size, rank, convolution = self.settings
        size = head_size(self, size)
        rank = size if rank is None else rank
        eps = own_eps(self)
        return KimiDeltaCell(self.input_size, self.input_size, self.heads[0], size, rank, convolution, eps)
