"""Mamba-2: a linear recurrence of matrices whose step sizes, keys and queries depend on the input."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError
from seqmodels.nn.associative import AssociativeCell, Plan, Rest, Terms, by_head, initial_steps, unit
from seqmodels.nn.block import Activation
from seqmodels.nn.cell import Cell
from seqmodels.nn.mixer_stack import MixerStack, own_eps
from seqmodels.nn.norms import Norm, unit_length


class Mamba2Cell(AssociativeCell):
    """`S_t = exp(-A dt_t) S_{t-1} + dt_t B_t x_t^T`, `y_t = S_t^T C_t + D x_t` (Dao and Gu 2024).

    In the words of associative memories, `B` is the key, `x` the value, `C` the query, and the step size `dt_t` the
    writing strength, from which the decay follows. Outputs are gated by SiLU, then normalised by group.

    Args:
        input_size: features of the inputs.
        hidden_size: features of the outputs.
        num_heads: heads H.
        value_size: features of a head.
        key_size: features of B and of C.
        groups: groups of heads with the same B and C.
        convolution: positions that the short convolution of x, B and C sees.
        eps: added to the mean square of what is normalised.
    """

    convolution_bias = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_heads: int,
        value_size: int,
        key_size: int,
        groups: int = 1,
        convolution: int = 4,
        eps: float = 1e-5,
    ) -> None:
        inner = num_heads * value_size
        super().__init__(
            input_size, hidden_size, num_heads=num_heads, groups=groups, key_size=key_size, value_size=value_size,
            rest=(inner, num_heads), convolution=convolution,
        )  # fmt: skip
        self.rate = nn.Parameter(torch.arange(1, num_heads + 1).float().log())  # of A
        self.bias = nn.Parameter(initial_steps(num_heads))
        self.skip = nn.Parameter(torch.ones(num_heads))  # D
        self.norm, self.eps = nn.Parameter(torch.ones(inner)), eps

    def terms(self, q: Tensor, k: Tensor, v: Tensor, rest: Rest) -> Terms:
        step = F.softplus(rest[1] + self.bias)
        return Terms(q, k, v, -self.rate.exp() * step, step)

    def readout(self, o: Tensor, terms: Terms, rest: Rest) -> Tensor:
        y = (o + self.skip.unsqueeze(-1) * terms.v).flatten(2)
        by_group = by_head(y * F.silu(rest[0]), self.groups)
        size = by_group.shape[-1]
        return unit_length(by_group, self.eps * size).flatten(2) * (self.norm * math.sqrt(size))

    def plan(self) -> Plan:
        inner = self.parts[1]
        scale = self.bias.new_ones(sum(self.parts[1:]))
        shift = torch.cat((self.bias.new_zeros(inner), self.bias))
        rate, skip, size = -self.rate.exp(), self.skip.unsqueeze(-1), inner // self.groups
        least = scale.new_tensor([[[self.eps * size]]])

        def terms(q: Tensor, k: Tensor, v: Tensor, rest: Rest) -> Terms:
            step = F.softplus(rest[1])
            return Terms(q, k, v, (rate * step).exp_(), step)

        def readout(o: Tensor, terms: Terms, rest: Rest) -> Tensor:
            y = torch.addcmul(o, skip, terms.v).flatten(2) * F.silu(rest[0])
            return unit(by_head(y, self.groups), least).flatten(2)

        return Plan(scale, shift, terms, readout, self.out.weight * self.norm * size**0.5)

    def gates(self, projected: Tensor, state: tuple[Tensor, ...], weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The decay `a` of each head; the step size is no gate, since it may be larger than 1."""
        return {"a": super().gates(projected, state, weights)["a"]}


class Mamba2(MixerStack):
    """Residual layers of Mamba-2's recurrence.

    Further arguments: see `MixerStack`.

    Args:
        state_size: features of a key, by which each head's state is larger than its output.
        expand: features inside a layer for each of its inputs; 2 in Mamba-2, which has no feed-forward layers.
        groups: groups of heads with the same keys and queries.
        convolution: positions that the short convolution of values, keys and queries sees; 0 for none.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        state_size: int = 64,
        expand: int = 1,
        groups: int = 1,
        convolution: int = 4,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        feed_forward_size: int | None = None,
        eps: float | None = None,
    ) -> None:
        if min(state_size, expand, groups, num_heads) < 1 or expand * input_size % num_heads or num_heads % groups:
            raise InputError(
                f"Mamba2 expects sizes of at least 1, expand x input_size divisible by num_heads and num_heads by "
                f"groups, got input_size={input_size}, num_heads={num_heads}, state_size={state_size}, "
                f"expand={expand}, groups={groups}"
            )
        self.settings = expand * input_size // num_heads, state_size, groups, convolution
        super().__init__(
            input_size, num_layers, num_heads, norm, activation, dropout, memory_size, feed_forward_size, eps
        )

    def _cell(self) -> Cell:
        heads, eps = self.heads[0], own_eps(self, 1e-5)
        return Mamba2Cell(self.input_size, self.input_size, heads, *self.settings, eps)
