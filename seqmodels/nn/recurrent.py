"""Stacks of recurrent cells behind the `Backbone` contract."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.cell import Cell
from seqmodels.nn.dropout import variational_dropout
from seqmodels.nn.initialization import Initialization
from seqmodels.nn.trace import Trace, Unrolled
from seqmodels.state import State, where


class RecurrentStack(Backbone):
    """Layers of one cell, each reading the outputs of the one below; the base of all recurrent networks.

    The state is a tuple with the cell's own state for each layer.

    Args:
        input_size: features of the inputs.
        hidden_size: features of the state and output of every layer.
        num_layers: how many layers.
        dropout: share of outputs dropped between layers while training.
        weight_dropout: share of the recurrent weights dropped while training, anew in each batch (Merity et al. 2018).
        recurrent_init: how the recurrent maps begin: orthogonal, identity, np-rnn, sparse, glorot or uniform.
        learn_initial_state: start from a learned state rather than from zeros.
    """

    unrolls = True

    def __init__(
        self,
        input_size: int = 64,
        hidden_size: int = 256,
        num_layers: int = 1,
        dropout: float = 0.0,
        weight_dropout: float = 0.0,
        recurrent_init: Initialization = "orthogonal",
        learn_initial_state: bool = False,
    ) -> None:
        super().__init__()
        if min(input_size, hidden_size, num_layers) < 1 or not (0 <= dropout < 1 and 0 <= weight_dropout < 1):
            raise InputError(
                f"{type(self).__name__} expects sizes and layers of at least 1 and dropout in [0, 1), got "
                f"input_size={input_size}, hidden_size={hidden_size}, num_layers={num_layers}, dropout={dropout}, "
                f"weight_dropout={weight_dropout}"
            )
        self.input_size, self.output_size, self.dropout = input_size, hidden_size, dropout
        sizes = [input_size] + [hidden_size] * num_layers
        cells = [self._cell(D, hidden_size) for D in sizes[:-1]]
        for cell in cells:
            cell.reset_parameters(recurrent_init)
            cell.weight_dropout = weight_dropout
        self.layers = nn.ModuleList(cells)
        self.state_size = sum(cell.state_tensors for cell in cells) * hidden_size
        start = torch.zeros(self.state_size)  # a vector: it does not decay
        self.start: Tensor
        if learn_initial_state:
            self.start = nn.Parameter(start)
        else:
            self.register_buffer("start", start, persistent=False)

    @abstractmethod
    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        """The cell of one layer."""

    def initial_state(self, rows: int) -> State:
        """The state before the first position, for a batch of that many rows."""
        return self.as_state(self.start.expand(rows, -1))

    def as_state(self, features: Tensor) -> State:
        """See `Backbone.as_state`: `h` and what else there is of each layer, from the first to the last."""
        tensors = iter(features.view(len(features), -1, self.output_size).unbind(1))
        return tuple(tuple(next(tensors) for _ in range(cell.state_tensors)) for cell in self.layers)  # type: ignore[arg-type]

    def cells(self) -> dict[str, Cell]:
        """See `Backbone.cells`: one for each layer."""
        return {str(number): cell for number, cell in enumerate(self.layers, 1)}  # type: ignore[misc]

    def units(self) -> dict[nn.Module, tuple[str, ...]]:
        """See `Backbone.units`: the layers."""
        return dict.fromkeys(self.layers, ("step", "sequence"))

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        """See `Backbone.forward`; a single position goes through the cell's equation, more through its kernel."""
        self._check(x, mask, memory)
        if state is None:
            state = self.initial_state(x.shape[0])
        elif self.start.requires_grad and torch.is_grad_enabled():
            x = x + 0 * self.start.sum()  # DDP expects a gradient for every parameter at every step
        order = lengths = None
        if mask is not None and x.shape[1] > 1:
            # Move the real positions to the front, in their order, and back again at the end.
            lengths = mask.sum(1)
            order = mask.logical_not().to(torch.uint8).argsort(dim=1, stable=True)
            x = x.gather(1, order.unsqueeze(-1).expand_as(x))
        ends: list[State] = []
        for number, (cell, start) in enumerate(zip(self.layers, state, strict=True)):
            if number:
                x = variational_dropout(x, self.dropout, self.training)
            if x.shape[1] == 1:
                end = cell.step(x.squeeze(1), start)  # type: ignore[operator]
                if mask is not None:
                    end = where(mask.squeeze(1), end, start)
                x = end[0].unsqueeze(1)
            else:
                x, end = cell.sequence(x, start, lengths)  # type: ignore[operator]
            ends.append(end)
        if order is not None:
            x = torch.zeros_like(x).scatter(1, order.unsqueeze(-1).expand_as(x), x)
        if mask is not None:
            x = x * mask.unsqueeze(-1)
        return x, tuple(ends)

    def unrolled(
        self, x: Tensor, state: State | None = None, mask: Tensor | None = None, lightly: bool = False
    ) -> tuple[Tensor, list[Unrolled]]:
        """What `forward` returns first, by the cells' equations, so that nothing is hidden in a kernel.

        Args:
            x: inputs, (B, T, input_size).
            state: see `forward`.
            mask: see there.
            lightly: see `Cell.unroll_lightly`; padding takes the long way all the same.

        Returns:
            Outputs (B, T, output_size), and what happened in each layer, from the first to the last.
        """
        self._check(x, mask, None)
        layers: list[Unrolled] = []
        start = self.initial_state(x.shape[0]) if state is None else state
        for number, (cell, before) in enumerate(zip(self.layers, start, strict=True)):
            if number:
                x = variational_dropout(x, self.dropout, self.training)
            light = lightly and mask is None
            layer = cell.unroll_lightly(x, before) if light else cell.unroll(x, before, mask)  # type: ignore[operator]
            layers.append(layer)
            x = layer.over_time()[0]
        return x if mask is None else x * mask.unsqueeze(-1), layers

    def traced(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State, Trace]:
        """See `Backbone.traced`: hidden and cell states of each layer, `1.h` and `1.c`, and its gates."""
        self._check(x, mask, memory)
        y, layers = self.unrolled(x, state, mask)
        trace = Trace()
        for number, (cell, layer) in enumerate(zip(self.layers, layers, strict=True), 1):
            for name, tensors in zip("hc", zip(*layer.states, strict=True), strict=False):
                trace.units[f"{number}.{name}"] = _real(torch.stack(tensors, 1), mask)
            for name in layer.gates[0]:
                trace.gates[f"{number}.{name}"] = _real(torch.stack([each[name] for each in layer.gates], 1), mask)
            if cell.highway is not None:
                trace.highways.append(f"{number}.{cell.highway}")
        return y, tuple(layer.states[-1] for layer in layers), trace


def _real(values: Tensor, mask: Tensor | None) -> Tensor:
    """Zero at padding."""
    return values if mask is None else values * mask.unsqueeze(-1)
