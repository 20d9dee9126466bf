"""Linear attention with decay, by head and by feature of a key: RetNet, GLA, HGRN2."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError
from seqmodels.nn.associative import AssociativeCell, Plan, Rest, Terms, by_head, gated_unit
from seqmodels.nn.attention import rotate
from seqmodels.nn.block import Activation
from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.chunkwise import Kernel
from seqmodels.nn.mixer_stack import MixerStack, head_size, own_eps
from seqmodels.nn.norms import Norm, RMSNorm
from seqmodels.nn.positions import rotary_angles

TEMPERATURE = 16.0
"""Root of the gates of GLA, which keeps them near 1 (Yang et al. 2024)."""


class LinearAttentionCell(AssociativeCell):
    """`S_t = a_t S_{t-1} + k_t v_t^T`; outputs are normalised by head, and gated by SiLU.

    The base of cells that differ in the decay alone; here it is a gate for each head, `sigmoid(x_t)^(1/16)`.

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the outputs.
        num_heads: heads H.
        size: features of keys and of values.
        convolution: positions that the short convolution of queries, keys and values sees; 0 for none.
        more: features that the decay is computed from.
        eps: added to the mean square of what is normalised.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_heads: int, size: int, convolution: int = 0,
        more: int | None = None, eps: float = 1e-6,
    ) -> None:  # fmt: skip
        rest = num_heads * size, num_heads if more is None else more
        super().__init__(
            input_size, hidden_size, num_heads=num_heads, key_size=size, value_size=size, rest=rest,
            convolution=convolution,
        )  # fmt: skip
        self.norm = RMSNorm(size, eps=eps * size)  # of outputs that are not divided by the root of K

    def decay(self, x: Tensor) -> Tensor:
        """Logarithms of the decay, (B, T, H) or (B, T, H, K), from its features (B, T, more)."""
        return F.logsigmoid(x) / TEMPERATURE

    def terms(self, q: Tensor, k: Tensor, v: Tensor, rest: Rest) -> Terms:
        return Terms(q, k, v, self.decay(rest[1]), v.new_ones(v.shape[:3]))

    def readout(self, o: Tensor, terms: Terms, rest: Rest) -> Tensor:
        return cast(Tensor, self.norm(o)).flatten(2) * F.silu(rest[0])

    def plan(self) -> Plan:
        readout, out = gated_unit(self.norm, self.out.weight)
        return super().plan()._replace(readout=readout, out=out)

    def gates(self, projected: Tensor, state: tuple[Tensor, ...], weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The decay `a` of each head, or of each feature of its keys."""
        return {"a": super().gates(projected, state, weights)["a"]}


class RetentionCell(LinearAttentionCell):
    """The same with a constant decay for each head, and rotary positions (Sun et al. 2023).

    With these the state has the number of positions that were read, (B, 1), behind the memory.

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the outputs.
        num_heads: heads H.
        size: features of keys and of values.
        shortest: steps of memory, `1 / (1 - a)`, of the first head.
        longest: of the last one; those between are spaced evenly in their logarithm.
        rotary: turn pairs of features of queries and keys with the position.
        eps: added to the mean square of what is normalised.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_heads: int, size: int, shortest: float, longest: float,
        rotary: bool = True, eps: float = 1e-6,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, num_heads, size, more=0, eps=eps)
        ratio = (longest / shortest) ** (1 / max(1, num_heads - 1))
        self.turned = size // 2 * 2 if rotary else 0
        self.decays = [math.log1p(-1 / (shortest * ratio**head)) for head in range(num_heads)]

    def decay(self, x: Tensor) -> Tensor:
        return x.new_tensor(self.decays).expand(*x.shape[:2], -1)

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        return (*super().memory_shapes, (1,)) if self.turned else super().memory_shapes

    def recall(self, terms: Terms, memory: CellState, kernel: Kernel) -> tuple[Tensor, CellState]:
        if not self.turned:
            return super().recall(terms, memory, kernel)
        S, seen = memory
        positions = seen + torch.arange(terms.q.shape[1], dtype=seen.dtype, device=seen.device)
        angles = rotary_angles(positions, self.turned)
        cos, sin = angles.cos().to(terms.q.dtype), angles.sin().to(terms.q.dtype)
        q, k = (rotate(t.transpose(1, 2), cos, sin).transpose(1, 2) for t in (terms.q, terms.k))
        o, S = kernel(q, k, *terms[2:], S)
        return o, (S, seen + terms.beta[:, :, 0].sum(1, keepdim=True))  # a strength is 1, and 0 at padding


class GatedLinearAttentionCell(LinearAttentionCell):
    """The same with a gate for each feature of a key, from a few features of the input (GLA, Yang et al. 2024).

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the outputs.
        num_heads: heads H.
        size: features of keys and of values.
        rank: features that all gates are computed from.
        convolution: positions that the short convolution of queries, keys and values sees; 0 for none.
        eps: added to the mean square of what is normalised.
    """

    by_key = True

    def __init__(
        self, input_size: int, hidden_size: int, num_heads: int, size: int, rank: int, convolution: int = 0,
        eps: float = 1e-6,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, num_heads, size, convolution, rank, eps)
        self.decay_map = nn.Linear(rank, num_heads * size)

    def decay(self, x: Tensor) -> Tensor:
        return by_head(F.logsigmoid(self.decay_map(x)) / TEMPERATURE, self.heads)


class HGRN2Cell(LinearAttentionCell):
    """`S_t = diag(f_t) S_{t-1} + (1 - f_t) v_t^T` (Qin et al. 2024): the key is what the forget gate lets go.

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the outputs.
        num_heads: heads H.
        size: features of keys and of values.
        lowest: lower bound of the forget gates.
        eps: added to the mean square of what is normalised.
    """

    by_key = True
    highway = "f"

    def __init__(
        self, input_size: int, hidden_size: int, num_heads: int, size: int, lowest: float = 0.0, eps: float = 1e-6
    ) -> None:
        super().__init__(input_size, hidden_size, num_heads, size, more=0, eps=eps)
        self.lowest = lowest

    def terms(self, q: Tensor, k: Tensor, v: Tensor, rest: Rest) -> Terms:
        let_go = (1 - self.lowest) * (-k).sigmoid()
        decay = F.logsigmoid(k) if self.lowest == 0 else (-let_go).log1p()
        return Terms(F.silu(q), let_go, v, decay, v.new_ones(v.shape[:3]))

    def gates(self, projected: Tensor, state: tuple[Tensor, ...], weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The forget gates `f`, one for each feature of a key."""
        return {"f": super().gates(projected, state, weights)["a"]}


class SimpleGLA(MixerStack):
    """Residual layers of linear attention with a gate for each head (Yang et al. 2024).

    Further arguments: see `MixerStack`.

    Args:
        head_size: features of a key and of a value; default: input_size / num_heads.
        convolution: positions that the short convolution of queries, keys and values sees; 0 for none.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        head_size: int | None = None,
        convolution: int = 4,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        feed_forward_size: int | None = None,
        eps: float | None = None,
    ) -> None:
        self.settings = head_size, convolution
        super().__init__(
            input_size, num_layers, num_heads, norm, activation, dropout, memory_size, feed_forward_size, eps
        )

    def _cell(self) -> Cell:
        size, convolution = self.settings
        return LinearAttentionCell(
            self.input_size, self.input_size, self.heads[0], head_size(self, size), convolution, eps=own_eps(self)
        )


class RetNet(MixerStack):
    """Residual layers of linear attention with a constant decay for each head (Sun et al. 2023).

    Further arguments: see `MixerStack`.

    Args:
        head_size: features of a key and of a value; default: input_size / num_heads.
        shortest: steps of memory of the head that forgets first.
        longest: of the one that forgets last.
        rotary: turn pairs of features of queries and keys with the position.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        head_size: int | None = None,
        shortest: float = 32.0,
        longest: float = 512.0,
        rotary: bool = True,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        feed_forward_size: int | None = None,
        eps: float | None = None,
    ) -> None:
        if not 1 < shortest <= longest < float("inf"):
            raise InputError(
                f"RetNet(shortest={shortest}, longest={longest}) was given; expected more than one step, since the "
                "decay is 1 - 1 / steps, and the longest not below the shortest"
            )
        self.settings = head_size, shortest, longest, rotary
        super().__init__(
            input_size, num_layers, num_heads, norm, activation, dropout, memory_size, feed_forward_size, eps
        )

    def _cell(self) -> Cell:
        size, shortest, longest, rotary = self.settings
        size, eps = head_size(self, size), own_eps(self)
        return RetentionCell(self.input_size, self.input_size, self.heads[0], size, shortest, longest, rotary, eps)


class GLA(MixerStack):
    """Residual layers of linear attention with a gate for each feature of a key (Yang et al. 2024).

    Further arguments: see `MixerStack`.

    Args:
        head_size: features of a key and of a value; default: input_size / num_heads.
        rank: features that the gates are computed from.
        convolution: positions that the short convolution of queries, keys and values sees; 0 for none.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        head_size: int | None = None,
        rank: int = 16,
        convolution: int = 0,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        feed_forward_size: int | None = None,
        eps: float | None = None,
    ) -> None:
        if rank < 1:
            raise InputError(f"GLA(rank={rank}) was given; expected at least 1")
        self.settings = head_size, rank, convolution
        super().__init__(
            input_size, num_layers, num_heads, norm, activation, dropout, memory_size, feed_forward_size, eps
        )

    def _cell(self) -> Cell:
        size, rank, convolution = self.settings
        size, eps = head_size(self, size), own_eps(self)
        return GatedLinearAttentionCell(self.input_size, self.input_size, self.heads[0], size, rank, convolution, eps)


class HGRN2(MixerStack):
    """Residual layers of gated recurrences with matrices as states (Qin et al. 2024).

    Further arguments: see `MixerStack`.

    Args:
        head_size: features of a key and of a value; default: input_size / num_heads.
        lowest: lower bound of the forget gates, so that a layer remembers for some steps at least.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        head_size: int | None = None,
        lowest: float = 0.0,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        feed_forward_size: int | None = None,
        eps: float | None = None,
    ) -> None:
        if not 0 <= lowest < 1:
            raise InputError(f"HGRN2(lowest={lowest}) was given; expected a decay from 0 to below 1")
        self.settings = head_size, lowest
        super().__init__(
            input_size, num_layers, num_heads, norm, activation, dropout, memory_size, feed_forward_size, eps
        )

    def _cell(self) -> Cell:
        size, lowest = self.settings
        heads, size = self.heads[0], head_size(self, size)
        return HGRN2Cell(self.input_size, self.input_size, heads, size, lowest, own_eps(self))
