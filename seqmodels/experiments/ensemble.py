"""An ensemble: networks of the same class and sizes, each with weights of its own, that run as one."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.recurrent import RecurrentStack
from seqmodels.nn.rnn_lstm_gru import RNNCell
from seqmodels.nn.unrolling import Unrolled, step_vjp, unroll, unroll_cell, unroll_elman, unroll_fused
from seqmodels.state import State


class EnsembleCell(Cell):
    """N cells of the same class and sizes as one: rows of a batch are divided among them in order, in equal parts."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        super().__init__(cells[0].input_size, cells[0].hidden_size)
        self.cells = nn.ModuleList(cells)
        self.state_tensors, self.state_names = cells[0].state_tensors, cells[0].state_names

    @property
    def first(self) -> Cell:
        """The first of the cells."""
        return cast(Cell, self.cells[0])

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.first.state_shapes

    def initial_state(self, rows: int, like: Tensor) -> CellState:
        return self.first.initial_state(rows, like)

    @property
    def vector_size(self) -> int | None:
        return self.first.vector_size

    def from_vector(self, features: Tensor) -> CellState:
        return self.first.from_vector(features)

    def project(self, x: Tensor) -> Tensor:
        parts = zip(self.cells, x.chunk(len(self.cells)), strict=True)
        return torch.cat([cast(Cell, cell).project(part) for cell, part in parts])

    def weights(self) -> tuple[Tensor, ...]:
        """The weights of all cells, stacked, (N, ...) each."""
        every = zip(*(cast(Cell, cell).weights() for cell in self.cells), strict=True)
        return tuple(torch.stack(weights) for weights in every)

    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        return self.each(self.first.advance, projected, state, weights)

    def each(
        self, step: Callable[..., CellState], projected: Tensor, state: CellState, weights: Any, *more: Any
    ) -> CellState:
        """A function of one step, for each cell on its own rows and with its own weights."""
        N = len(self.cells)
        own, *rest = (tuple(tensor.view(N, -1, *tensor.shape[1:]) for tensor in part) for part in (state, *more))
        found = torch.vmap(step)(projected.view(N, -1, *projected.shape[1:]), own, weights, *rest)
        return tuple(tensor.flatten(0, 1) for tensor in found)


@unroll_fused.register
def _(cell: EnsembleCell, x: Tensor, state: CellState) -> Unrolled:
    if isinstance(cell.first, RNNCell):
        relu = cell.first.nonlinearity is torch.relu
        return unroll_elman(cell, x, cell.project(x), state, cell.weights(), relu)
    return unroll_cell(cell, x, state)


@step_vjp.register
def _(
    cell: EnsembleCell, projected: Tensor, state: CellState, weights: tuple[Tensor, ...], delta: CellState
) -> CellState:
    if isinstance(cell.first, RNNCell):
        return cell.each(lambda *step: step_vjp(cell.first, *step), projected, state, weights, delta)
    return step_vjp.dispatch(Cell)(cell, projected, state, weights, delta)


class Ensemble(RecurrentStack):
    """N recurrent networks that run as one, each with weights and rows of its own.

    The time of a step of a small network is the overhead of its kernel launches; so several networks, such as the same
    experiment with several seeds, take hardly longer than one. Each computes what it would compute alone.

    Args:
        networks: of the same class and sizes. The rows of a batch are divided among them in order, in equal parts.

    Raises:
        InputError: they differ in class or sizes.
    """

    def __init__(self, networks: Sequence[RecurrentStack]) -> None:
        super(RecurrentStack, self).__init__()  # there is nothing to build
        if not networks or any(net.constructor_call != networks[0].constructor_call for net in networks):
            raise InputError("an ensemble is expected to have at least one network, all of the same class and sizes")
        first = networks[0]
        self.networks = nn.ModuleList(networks)
        self.input_size, self.output_size, self.state_size = first.input_size, first.output_size, first.state_size
        self.dropout = first.dropout
        self.layers = [EnsembleCell(cells) for cells in zip(*(net.cells for net in networks), strict=True)]  # type: ignore[assignment]

    @property
    def start(self) -> Tensor:  # type: ignore[override]
        """The initial states of all networks, (N, state_size)."""
        return torch.stack([cast(RecurrentStack, network).start for network in self.networks])

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        raise AssertionError("the cells are those of the networks")

    def initial_state(self, rows: int) -> State:
        """See `RecurrentStack.initial_state`."""
        if not isinstance(cast(RecurrentStack, self.networks[0]).start, nn.Parameter):
            return tuple(cell.initial_state(rows, self.start) for cell in self.cells)
        return self.as_state(self.start.repeat_interleave(rows // len(self.networks), 0))

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        """See `Backbone.forward`; by the cells' equations at any length.

        Raises:
            InputError: the number of rows is no multiple of the number of networks.
        """
        if len(x) % len(self.networks):
            raise InputError(f"an ensemble of {len(self.networks)} networks cannot divide {len(x)} rows among them")
        y, layers = unroll(self, x, state, mask)
        return y, tuple(layer.states[-1] for layer in layers)
