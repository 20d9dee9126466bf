"""Gated DeltaNet: an associative memory that forgets all at once by a gate, and one thing by the delta rule."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError
from seqmodels.nn.associative import AssociativeCell, Plan, Rest, Terms, gated_unit, initial_steps
from seqmodels.nn.block import Activation
from seqmodels.nn.cell import Cell
from seqmodels.nn.mixer_stack import MixerStack, head_size, own_eps
from seqmodels.nn.norms import Norm, RMSNorm


class GatedDeltaCell(AssociativeCell):
    """`S_t = a_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T` (Yang, Kautz and Hatamizadeh 2024).

    Keys have length 1, so `I - beta k k^T` has the eigenvalue `1 - beta` along the key: with beta up to 1 a value is
    replaced, with beta up to 2 it may also be reflected, which is what counting modulo two needs (Grazzi et al. 2025).
    The decay is `a_t = exp(-A softplus(x_t + b))` for each head, as in Mamba-2. The outputs of each head are
    normalised, and gated by SiLU.

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the outputs.
        num_heads: heads H.
        key_size: features K of a key.
        value_size: features V of a value.
        convolution: positions that the short convolution of queries, keys and values sees; 0 for none.
        negative: writing strengths up to 2.
        groups: groups of heads with the same queries and keys; default: as many as heads.
        largest_rate: the largest A that is drawn at the start; published is 16.
        eps: added to the mean square of what is normalised.
    """

    delta = normalized = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_heads: int,
        key_size: int,
        value_size: int,
        convolution: int = 4,
        negative: bool = False,
        groups: int | None = None,
        largest_rate: float = 16.0,
        eps: float = 1e-6,
    ) -> None:
        rest = num_heads * value_size, num_heads, num_heads
        super().__init__(
            input_size, hidden_size, num_heads=num_heads, groups=groups, key_size=key_size, value_size=value_size,
            rest=rest, convolution=convolution,
        )  # fmt: skip
        self.strongest = 2.0 if negative else 1.0
        self.rate = nn.Parameter(torch.empty(num_heads).uniform_(largest_rate / 1600, largest_rate).log())  # of A
        self.bias = nn.Parameter(initial_steps(num_heads))
        self.norm = RMSNorm(value_size, eps=eps * key_size)  # of outputs that are not divided by the root of K

    def terms(self, q: Tensor, k: Tensor, v: Tensor, rest: Rest) -> Terms:
        _, strength, step = rest
        decay = -self.rate.exp() * F.softplus(step + self.bias)
        beta = strength.sigmoid()
        return Terms(q, k, v, decay, beta if self.strongest == 1 else self.strongest * beta)

    def readout(self, o: Tensor, terms: Terms, rest: Rest) -> Tensor:
        return cast(Tensor, self.norm(o)).flatten(2) * F.silu(rest[0])

    def plan(self) -> Plan:
        """`exp(-A softplus(x))` is `sigmoid(-x)^A`: one sigmoid for decays and writing strengths."""
        values, H = self.parts[1], self.heads
        scale = torch.cat((self.bias.new_ones(values + H), -torch.ones_like(self.bias)))
        shift = torch.cat((self.bias.new_zeros(values + H), -self.bias))
        power = self.rate.exp()

        def terms(q: Tensor, k: Tensor, v: Tensor, rest: Rest) -> Terms:
            beta, kept = rest[1].sigmoid(), rest[2].sigmoid()
            return Terms(q, k, v, kept.pow_(power), beta if self.strongest == 1 else beta.mul_(self.strongest))

        return Plan(scale, shift, terms, *gated_unit(self.norm, self.out.weight))

    def gates(self, projected: Tensor, state: tuple[Tensor, ...], weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The decay `a`, and `beta` as a fraction of its largest value, of each head."""
        found = super().gates(projected, state, weights)
        return found | {"beta": found["beta"] / self.strongest}


class GatedDeltaNet(MixerStack):
    """Residual layers of an associative memory that is written by the gated delta rule.

    Further arguments: see `MixerStack`.

    Args:
        head_size: features of a key; default: input_size / num_heads.
        value_size: features of a value; default: head_size.
        convolution: positions that the short convolution of queries, keys and values sees; 0 for none.
        negative: eigenvalues of a step from -1 rather than from 0, which parity and other counting need.
        groups: groups of heads with the same queries and keys; default: as many as heads.
        largest_rate: the largest A of the decays `exp(-A softplus(x_t + b))` at the start. With the published 16 most
            heads begin by forgetting half of everything within some ten to a hundred steps; with 0.16 they remember a
            hundred times as long, from where counting is learned more easily.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        head_size: int | None = None,
        value_size: int | None = None,
        convolution: int = 4,
        negative: bool = False,
        groups: int | None = None,
        largest_rate: float = 16.0,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        feed_forward_size: int | None = None,
        eps: float | None = None,
    ) -> None:
        if value_size is not None and value_size < 1:
            raise InputError(f"GatedDeltaNet(value_size={value_size}) was given; expected at least 1")
        if groups is not None and (groups < 1 or num_heads % groups):
            raise InputError(f"GatedDeltaNet expects num_heads divisible by groups, got {num_heads} and {groups}")
        if not 0 < largest_rate < math.inf:
            raise InputError(f"GatedDeltaNet(largest_rate={largest_rate}) was given; expected a number above 0")
        self.settings = head_size, value_size, convolution, negative, groups, largest_rate
        super().__init__(
            input_size, num_layers, num_heads, norm, activation, dropout, memory_size, feed_forward_size, eps
        )

    def _cell(self) -> Cell:
        size, value, convolution, negative, groups, rate = self.settings
        key, eps = head_size(self, size), own_eps(self)
        return GatedDeltaCell(
            self.input_size, self.input_size, self.heads[0], key, value or key, convolution, negative, groups, rate, eps
        )
