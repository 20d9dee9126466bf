"""A network that reads a text in both directions."""

from typing import cast

import torch
from torch import Tensor, nn

from seqmodels.config import construct
from seqmodels.errors import InputError
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.trace import Trace
from seqmodels.state import State


class Bidirectional(Backbone):
    """Two networks of the same kind, one of which reads from the end (Schuster and Paliwal 1997).

    Features of the outputs are those of the forward network, then those of the backward network.

    Args:
        network: any causal network without a memory; the backward network is built from its constructor call.
    """

    causal = False

    def __init__(self, network: Backbone) -> None:
        super().__init__()
        if not network.causal or network.memory_size is not None:
            raise InputError(f"Bidirectional expects a causal network without a memory, got {type(network).__name__}")
        self.ways = nn.ModuleList([network, construct(network.constructor_call, Backbone)])
        self.input_size, self.output_size = network.input_size, 2 * network.output_size
        self.max_length = network.max_length

    @property
    def directions(self) -> tuple[Backbone, Backbone]:
        """The forward and the backward network."""
        return cast(tuple[Backbone, Backbone], tuple(self.ways))

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        self._check(x, mask, memory, state)
        forwards, backwards = self.ways
        y, _ = forwards(x, mask=mask)
        z, _ = backwards(x.flip(1), mask=None if mask is None else mask.flip(1))
        return torch.cat((y, z.flip(1)), -1), ()

    def traced(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State, Trace]:
        """See `Backbone.traced`; names of the backward network begin with `backward`. Both are in the text's order."""
        self._check(x, mask, memory, state)
        forwards, backwards = self.directions
        y, _, trace = forwards.traced(x, mask=mask)
        z, _, other = backwards.traced(x.flip(1), mask=None if mask is None else mask.flip(1))
        for found, dims in ((other.units, (1,)), (other.gates, (1,)), (other.attention, (2, 3))):
            found.update({name: tensor.flip(dims) for name, tensor in found.items()})
        trace.take(other, "backward {}".format)
        return torch.cat((y, z.flip(1)), -1), (), trace

    def summary(self, y: Tensor, mask: Tensor) -> Tensor:
        """See `Backbone.summary`: the last output of each direction, which for the second is at the first position."""
        forwards, backwards = y.chunk(2, -1)
        last = super().summary(forwards, mask)
        first = super().summary(backwards.flip(1), mask.flip(1))
        return torch.cat((last, first), -1)
