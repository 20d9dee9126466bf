"""A network that reads a text from both ends."""

from typing import cast

import torch
from torch import Tensor, nn

from seqmodels.config import construct
from seqmodels.errors import InputError
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.cell import Cell
from seqmodels.nn.trace import Trace
from seqmodels.state import State


class Bidirectional(Backbone):
    """Two networks alike, one of which reads from the end (Schuster and Paliwal 1997): every output knows what comes
    before and after it. Features of the outputs are those of the first network, then those of the second.

    Args:
        network: any network that looks back only; the second one is built like it.
    """

    causal = False

    def __init__(self, network: Backbone) -> None:
        super().__init__()
        if not network.causal or network.memory_size is not None:
            raise InputError(
                f"Bidirectional expects a network that looks back only and attends to no memory, got {network!r:.80}"
            )
        self.ways = nn.ModuleList([network, construct(network.constructor_call, Backbone)])
        self.input_size, self.output_size = network.input_size, 2 * network.output_size
        self.max_length = network.max_length

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        """See `Backbone.forward`."""
        self._check_start(x, state, mask, memory)
        forwards, backwards = self.ways
        y, _ = forwards(x, mask=mask)
        z, _ = backwards(x.flip(1), mask=None if mask is None else mask.flip(1))
        return torch.cat((y, z.flip(1)), -1), ()

    def traced(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State, Trace]:
        """See `Backbone.traced`: what the first network has inside, and what the second, with names that begin with
        `backward`, both in the order of the text.
        """
        self._check_start(x, state, mask, memory)
        forwards, backwards = (cast(Backbone, way) for way in self.ways)
        y, _, trace = forwards.traced(x, mask=mask)
        z, _, other = backwards.traced(x.flip(1), mask=None if mask is None else mask.flip(1))
        for found, dims in ((other.units, (1,)), (other.gates, (1,)), (other.attention, (2, 3))):
            found.update({name: tensor.flip(dims) for name, tensor in found.items()})
        trace.take(other, "backward {}".format)
        return torch.cat((y, z.flip(1)), -1), (), trace

    def _check_start(self, x: Tensor, state: State | None, mask: Tensor | None, memory: State | None) -> None:
        self._check(x, mask, memory)
        if state is not None:
            raise InputError("Bidirectional looks both ways: it reads a text as a whole, from no state")

    def cells(self) -> dict[str, Cell]:
        """See `Backbone.cells`: those of both networks, named as in `traced`."""
        forwards, backwards = (cast(Backbone, way).cells() for way in self.ways)
        return forwards | {f"backward {name}": cell for name, cell in backwards.items()}

    def units(self) -> dict[nn.Module, tuple[str, ...]]:
        """See `Backbone.units`: those of both networks."""
        return {part: methods for way in self.ways for part, methods in cast(Backbone, way).units().items()}

    def summary(self, y: Tensor, mask: Tensor) -> Tensor:
        """See `Backbone.summary`: what each way ended with, which for the second is at the first position."""
        forwards, backwards = y.chunk(2, -1)
        last = super().summary(forwards, mask)
        first = super().summary(backwards.flip(1), mask.flip(1))
        return torch.cat((last, first), -1)
