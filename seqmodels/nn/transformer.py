"""The Transformer behind the `Backbone` contract: decoder alone, encoder, or decoder with a memory."""

from typing import Literal

from torch import nn

from seqmodels.nn.feed_forward import Activation, Norm
from seqmodels.nn.prenorm import PreNormStack


class Transformer(PreNormStack):
    """Transformer, pre-norm, each position attending to itself and the `context - 1` before it.

    With `causal` False it attends to as many that come later, too: an encoder. With a `memory_size` each block
    attends to a memory as well: a decoder of what an encoder has read. Otherwise it is the decoder alone, as GPT.
    Its state is that of `PreNormStack`: the keys and values of each layer, and where they stand.

    Args:
        input_size: features D of inputs and outputs.
        num_layers: how many blocks.
        num_heads: attention heads; D is divisible by it.
        num_kv_heads: heads of keys and values, shared by groups of queries; as many as heads where not given.
        context: how far a position sees, itself included.
        positions: rotary (Su et al. 2021) or learned (one vector for each of `context` positions).
        norm: layer (Ba et al. 2016) or rms (Zhang and Sennrich 2019).
        activation: gelu or swiglu.
        dropout: share dropped of the inputs and of what each half block adds, while training.
        causal: whether a position sees only what comes before it.
        memory_size: features of a memory that each block attends to; None for none.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        num_kv_heads: int | None = None,
        context: int = 256,
        positions: Literal["rotary", "learned"] = "rotary",
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        causal: bool = True,
        memory_size: int | None = None,
    ) -> None:
        super().__init__(
            input_size, num_layers, num_heads, num_kv_heads, context, positions, norm, activation, dropout, causal,
            memory_size,
        )  # fmt: skip

    def _mixer(self, number: int) -> nn.Module:
        return self._attention()
