"""Stacks of recurrent cells behind the `Backbone` contract."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.dropout import variational_dropout
from seqmodels.nn.initialization import Initialization
from seqmodels.nn.trace import Trace
from seqmodels.state import State, where


class RecurrentStack(Backbone):
    """Layers of one cell, each reading the outputs of the one below; the base of all recurrent networks.

    The state is a tuple with the state of each layer's cell.

    Args:
        input_size: features of the inputs.
        hidden_size: hidden units of each layer.
        num_layers: number of layers.
        dropout: dropout probability between layers.
        weight_dropout: dropout probability of recurrent weights, one mask per batch (Merity et al. 2018).
        recurrent_init: initialisation of recurrent matrices: orthogonal, identity, np-rnn, sparse, glorot or uniform.
        learn_initial_state: learn the initial state instead of starting from zeros.
    """

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
        self.layers = nn.ModuleList(self._cell(D, hidden_size) for D in [input_size] + [hidden_size] * (num_layers - 1))
        for cell in self.cells:
            cell.reset_parameters(recurrent_init)
            cell.weight_dropout = weight_dropout
        sizes = [cell.vector_size for cell in self.cells]
        self.state_size = None if None in sizes else sum(cast(list[int], sizes))
        """Features of a vector from which `as_state` makes a row's state, all layers together; None if states are no
        vectors."""
        if learn_initial_state and self.state_size is None:
            raise InputError(f"{type(self).__name__} has matrices as states; leave out learn_initial_state")
        start = torch.zeros(self.state_size or 0)  # a vector: exempt from weight decay
        self.start: Tensor
        if learn_initial_state:
            self.start = nn.Parameter(start)
        else:
            self.register_buffer("start", start, persistent=False)

    @abstractmethod
    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        """The cell of one layer."""

    @property
    def cells(self) -> list[Cell]:
        """The cell of each layer, from the first to the last."""
        return cast(list[Cell], list(self.layers))

    def initial_state(self, rows: int) -> State:
        """The state before the first position, for a batch of `rows` rows."""
        if isinstance(self.start, nn.Parameter):
            return self.as_state(self.start.expand(rows, -1))
        return tuple(cell.initial_state(rows, self.start) for cell in self.cells)

    def as_state(self, features: Tensor) -> State:
        """A state from a matrix (B, state_size), which has the features of each layer in turn.

        Raises:
            InputError: states are matrices.
        """
        if self.state_size is None:
            raise InputError(
                f"{type(self).__name__} has matrices as states, which no vector can stand for; choose another network"
            )
        parts = torch.split(features, [cast(int, cell.vector_size) for cell in self.cells], -1)
        return tuple(cell.from_vector(part) for cell, part in zip(self.cells, parts, strict=True))

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        """See `Backbone.forward`; a single position goes through the cell's equation, more through its kernel."""
        self._check(x, mask, memory)
        if state is None:
            state = self.initial_state(x.shape[0])
        elif self.start.requires_grad and torch.is_grad_enabled():
            x = x + 0 * self.start.sum()  # DDP expects a gradient for every parameter at every step
        return read_layers(self.cells, x, state, mask, self._between)

    def _between(self, x: Tensor) -> Tensor:
        """Outputs of a layer as inputs of the next."""
        return variational_dropout(x, self.dropout, self.training)

    def traced(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State, Trace]:
        """See `Backbone.traced`: hidden and cell states of each layer, `1.h` and `1.c`, and its gates."""
        self._check(x, mask, memory)
        trace, ends = Trace(), list[State]()
        starts = cast(tuple[CellState, ...], self.initial_state(x.shape[0]) if state is None else state)
        for number, (cell, start) in enumerate(zip(self.cells, starts, strict=True), 1):
            x, end, inside = trace_cell(cell, x if number == 1 else self._between(x), start, mask)
            trace.take(inside, f"{number}.{{}}".format)
            ends.append(end)
        return x, tuple(ends), trace


def read_layers(
    cells: Sequence[Cell],
    x: Tensor,
    states: State,
    mask: Tensor | None,
    between: Callable[[Tensor], Tensor] = lambda x: x,
) -> tuple[Tensor, State]:
    """The outputs of the last of several layers, (B, T, H), zero at padding, and the state of each at the end.

    A single position goes through a cell's equation, more through its kernel. Kernels know padding at the end only, so
    the real positions are moved to the front, in their order, and back again.

    Args:
        cells: the layers.
        x: inputs, (B, T, D).
        states: the state of each layer.
        mask: bool (B, T), False at padding; None without.
        between: applied to outputs of a layer before the next reads them.
    """
    order = lengths = None
    if mask is not None and x.shape[1] > 1:
        lengths = mask.sum(1)
        order = mask.logical_not().to(torch.uint8).argsort(dim=1, stable=True)
        x = x.gather(1, order.unsqueeze(-1).expand_as(x))
    ends: list[State] = []
    for number, (cell, start) in enumerate(zip(cells, states, strict=True)):
        if number:
            x = between(x)
        if x.shape[1] == 1:
            end = cell.step(x.squeeze(1), cast(CellState, start))
            if mask is not None:
                end = cast(CellState, where(mask.squeeze(1), end, start))
            x = end[0].unsqueeze(1)
        else:
            x, end = cell.sequence(x, cast(CellState, start), lengths)
        ends.append(end)
    if order is not None:
        x = torch.zeros_like(x).scatter(1, order.unsqueeze(-1).expand_as(x), x)
    if mask is not None:
        x = x * mask.unsqueeze(-1)
    return x, tuple(ends)


def trace_cell(cell: Cell, x: Tensor, state: CellState, mask: Tensor | None) -> tuple[Tensor, CellState, Trace]:
    """One layer by its cell's equation: outputs (B, T, H), zero at padding, the state at the end, and the trace."""
    weights, states = cell.weights(), [state]
    gates, norms = list[dict[str, Tensor]](), list[dict[str, Tensor]]()
    for t, projected in enumerate(cell.project(x).unbind(1)):
        gates.append(cell.gates(projected, states[-1], weights))
        following = cell.advance(projected, states[-1], weights)
        norms.append(cell.norms(projected, states[-1], following))
        states.append(following if mask is None else where(mask[:, t], following, states[-1]))  # type: ignore[arg-type]
    real: Tensor | int = 1 if mask is None else mask.unsqueeze(-1)
    trace = Trace()
    for name, tensors in zip(cell.state_names, zip(*states[1:], strict=True), strict=False):
        trace.units[name] = torch.stack(tensors, 1) * real
    for kind, parts in ((trace.gates, gates), (trace.norms, norms)):
        kind.update({name: torch.stack([part[name] for part in parts], 1) * real for name in parts[0]})
    if cell.highway is not None:
        trace.highways.append(cell.highway)
    return trace.units["h"], states[-1], trace
