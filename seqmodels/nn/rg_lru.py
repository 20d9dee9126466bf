"""The real-gated linear recurrent unit of Griffin and Hawk (De et al. 2024)."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError
from seqmodels.nn.block import Activation
from seqmodels.nn.cell import Cell, CellState, last_output
from seqmodels.nn.min_gru import precise, scan
from seqmodels.nn.mixer_stack import MixerStack
from seqmodels.nn.norms import Norm
from seqmodels.nn.short_convolution import ShortConvolution

POWER = 8.0
"""The constant c: a fully open gate decays by the eighth power of a unit's base."""


class RGLRUCell(Cell):
    """`s_t = a_t s_{t-1} + sqrt(1 - a_t^2) (i_t x_t)` with `a_t = a^(8 r_t)`, behind a short convolution.

    The gates `r` and `i` are sigmoids of the convolved input, by maps within each head. Outputs are a projection of the
    states, gated by GELU. The state is `(h, s)` and the last inputs of the convolution: the output, which the next step
    does not need, the recurrent units (B, H), and (B, W - 1, H).

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the outputs.
        width: recurrent units.
        num_heads: parts of the units whose gates do not see each other.
        convolution: positions that the short convolution sees.
        scale_first: whether the first input of a row is scaled as the others are. Griffin's own code leaves it as it
            is; then whether a row has begun is a further state, (B, 1).
    """

    state_names = ("h", "s")
    highway = "a"

    def __init__(
        self, input_size: int, hidden_size: int, width: int, num_heads: int, convolution: int = 4,
        scale_first: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size)
        self.width, self.heads, self.scale_first = width, num_heads, scale_first
        self.projection = nn.Linear(input_size, 2 * width)
        self.projection.stacked_maps = 2  # type: ignore[assignment]  # read by optimizers
        self.convolution = ShortConvolution(width, convolution, bias=True)
        size = width // num_heads
        self.gate_maps = nn.Parameter(torch.randn(num_heads, size, 2 * size) * size**-0.5)  # of i and r
        self.gate_biases = nn.Parameter(torch.zeros(2 * width))
        kept = torch.empty(width).uniform_(0.9, 0.999)  # a^8
        self.base = nn.Parameter((kept.log() / -POWER).expm1().log())  # softplus of it is -log a
        self.out = nn.Linear(width, hidden_size)

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        shapes = (self.hidden_size,), (self.width,), (self.convolution.width - 1, self.width)
        return shapes if self.scale_first else (*shapes, (1,))

    @property
    def vector_size(self) -> None:
        return None

    def project(self, x: Tensor) -> Tensor:
        """The inputs of the recurrence, and those of the gate of its outputs: (..., 2 H)."""
        return cast(Tensor, self.projection(x))

    def coefficients(self, x: Tensor, begun: tuple[Tensor, ...] = ()) -> tuple[Tensor, Tensor]:
        """`log a` and `b`, (B, T, H), from the convolved inputs; `begun`, (B, 1), is 0 where the first is a row's."""
        by_head = x.view(-1, self.heads, x.shape[-1] // self.heads).transpose(0, 1)
        gates = (by_head @ self.gate_maps).transpose(0, 1)
        i, r = (part.reshape(x.shape) for part in gates.chunk(2, -1))
        of_i, of_r = self.gate_biases.chunk(2)
        log_a = -POWER * (r + of_r).sigmoid() * F.softplus(self.base)
        # Where nothing decays, nothing is written; the slope of a root is bounded there.
        written = (-(2 * log_a).expm1()).clamp(min=1e-12).sqrt()
        for one in begun:
            one = one.to(written.dtype).unsqueeze(1)
            written = torch.cat((1 - one + one * written[:, :1], written[:, 1:]), 1)
        return log_a, written * (i + of_i).sigmoid() * x

    def _run(self, projected: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        inputs, gate = projected.chunk(2, -1)
        x, before = self.convolution(inputs, state[2], lengths)
        log_a, b = self.coefficients(precise(x), state[3:])
        a = log_a.exp()
        if lengths is not None:  # at padding the state stays
            beyond = (torch.arange(x.shape[1], device=x.device) >= lengths[:, None]).unsqueeze(-1)
            a, b = a.masked_fill(beyond, 1.0), b.masked_fill(beyond, 0.0)
        s = scan(a, b, state[1]) if a.shape[1] > 1 else a * state[1].unsqueeze(1) + b
        y = cast(Tensor, self.out((s * F.gelu(precise(gate), approximate="tanh")).to(projected.dtype)))
        begun = tuple(torch.ones_like(one) for one in state[3:])
        if lengths is not None:
            begun = tuple(
                torch.where(lengths.unsqueeze(1) > 0, one, old) for one, old in zip(begun, state[3:], strict=True)
            )
        return y, (last_output(y, lengths, state[0]), s[:, -1], before, *begun)

    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        return self._run(projected.unsqueeze(1), state)[1]

    def sequence(self, x: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        """See `Cell.sequence`: all steps in one scan."""
        return self._run(self.project(x), state, lengths)

    def gates(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The fraction `a` of each unit that is kept."""
        x, _ = self.convolution(projected.unsqueeze(1).chunk(2, -1)[0], state[2])
        return {"a": self.coefficients(precise(x))[0].exp().squeeze(1)}


class RGLRU(MixerStack):
    """Residual layers of RG-LRU, as in Hawk; with attention in `Hybrid` as in Griffin.

    Further arguments: see `MixerStack`.

    Args:
        num_heads: parts of the units whose gates do not see each other.
        width: recurrent units of a layer; default: input_size.
        convolution: positions that the short convolution sees.
        scale_first: scale the first input of a row as the others, which Griffin's own code does not.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        width: int | None = None,
        convolution: int = 4,
        scale_first: bool = True,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        feed_forward_size: int | None = None,
        eps: float | None = None,
    ) -> None:
        width = input_size if width is None else width
        if num_heads < 1 or width < 1 or width % num_heads or convolution < 2:
            raise InputError(
                f"RGLRU expects a width divisible by num_heads and a convolution of at least 2, got width={width}, "
                f"num_heads={num_heads}, convolution={convolution}"
            )
        self.settings = width, convolution, scale_first
        super().__init__(
            input_size, num_layers, num_heads, norm, activation, dropout, memory_size, feed_forward_size, eps
        )

    def _cell(self) -> Cell:
        width, convolution, scale_first = self.settings
        return RGLRUCell(self.input_size, self.input_size, width, self.heads[0], convolution, scale_first)
