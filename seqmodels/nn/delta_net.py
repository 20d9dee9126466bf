"""DeltaNet: an associative memory that replaces what is stored under a key, and forgets nothing else."""

from typing import cast

from torch import Tensor

from seqmodels.nn.associative import AssociativeCell, Rest, Terms
from seqmodels.nn.block import Activation
from seqmodels.nn.cell import Cell
from seqmodels.nn.mixer_stack import MixerStack, head_size, own_eps
from seqmodels.nn.norms import Norm, RMSNorm


class DeltaCell(AssociativeCell):
    """`S_t = (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T` (Schlag et al. 2021; Yang et al. 2024).

    Keys have length 1, and there are no decays: what is not replaced stays as it is, however long. With writing
    strengths up to 2 a step may reflect the memory along a key, which is what counting modulo two needs (Grazzi et al.
    2025). The outputs of each head are normalised.

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the outputs.
        num_heads: heads H.
        size: features of keys and of values.
        convolution: positions that the short convolution of queries, keys and values sees; 0 for none.
        negative: writing strengths up to 2.
        eps: added to the mean square of what is normalised.
    """

    delta = normalized = True
    highway = None

    def __init__(
        self, input_size: int, hidden_size: int, num_heads: int, size: int, convolution: int = 4,
        negative: bool = False, eps: float = 1e-6,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_heads=num_heads, key_size=size, value_size=size, rest=(num_heads,),
            convolution=convolution,
        )  # fmt: skip
        self.strongest = 2.0 if negative else 1.0
        self.norm = RMSNorm(size, eps=eps * size)  # of outputs that are not divided by the root of K

    def terms(self, q: Tensor, k: Tensor, v: Tensor, rest: Rest) -> Terms:
        beta = self.strongest * rest[0].sigmoid()
        return Terms(q, k, v, beta.new_zeros(beta.shape), beta)

    def readout(self, o: Tensor, terms: Terms, rest: Rest) -> Tensor:
        return cast(Tensor, self.norm(o)).flatten(2)

    def gates(self, projected: Tensor, state: tuple[Tensor, ...], weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """`beta` as a fraction of its largest value, of each head."""
        return {"beta": super().gates(projected, state, weights)["beta"] / self.strongest}


class DeltaNet(MixerStack):
    """Residual layers of an associative memory that is written by the delta rule, without decays.

    Further arguments: see `MixerStack`.

    Args:
        head_size: features of a key and of a value; default: input_size / num_heads.
        convolution: positions that the short convolution of queries, keys and values sees; 0 for none.
        negative: eigenvalues of a step from -1 rather than from 0, which parity and other counting need.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        head_size: int | None = None,
        convolution: int = 4,
        negative: bool = False,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        feed_forward_size: int | None = None,
        eps: float | None = None,
    ) -> None:
        self.settings = head_size, convolution, negative
        super().__init__(
            input_size, num_layers, num_heads, norm, activation, dropout, memory_size, feed_forward_size, eps
        )

    def _cell(self) -> Cell:
        size, convolution, negative = self.settings
        return DeltaCell(
            self.input_size, self.input_size, self.heads[0], head_size(self, size), convolution, negative, own_eps(self)
        )
