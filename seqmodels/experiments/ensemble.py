"""Networks alike, each with weights of its own, that run as one: what is small takes no longer for several."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.recurrent import RecurrentStack
from seqmodels.nn.rnn_lstm_gru import RNNCell
from seqmodels.nn.trace import Unrolled
from seqmodels.state import State


class SideBySideCell(Cell):
    """Cells alike as one cell: the rows of a batch are divided among them in their order, as many for each.

    Args:
        cells: N of them, of the same class and sizes.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        first = cells[0]
        super().__init__(first.input_size, first.hidden_size)
        self.cells = nn.ModuleList(cells)
        self.state_tensors, self.highway = first.state_tensors, first.highway

    def read(self, x: Tensor) -> Tensor:
        parts = zip(self.cells, x.chunk(len(self.cells)), strict=True)
        return torch.cat([cast(Cell, cell).read(part) for cell, part in parts])

    def weights(self) -> tuple[Tensor, ...]:
        """Those of all cells, stacked, (N, ...) each."""
        every = zip(*(cast(Cell, cell).weights() for cell in self.cells), strict=True)
        return tuple(torch.stack(weights) for weights in every)

    def advance(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        return cast(CellState, self._each(self._first.advance, z, state, weights))

    def gates(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return cast(dict[str, Tensor], self._each(self._first.gates, z, state, weights))

    def unroll_lightly(self, x: Tensor, state: CellState) -> Unrolled:
        if isinstance(self._first, RNNCell):
            return self._first.side_by_side(x, self.read(x), state, self.weights(), self)
        return self.unroll(x, state)

    def pulled_back(self, z: Tensor, state: CellState, weights: tuple[Tensor, ...], delta: CellState) -> CellState:
        if type(self._first).pulled_back is Cell.pulled_back:
            return super().pulled_back(z, state, weights, delta)
        return cast(CellState, self._each(self._first.pulled_back, z, state, weights, delta))

    @property
    def _first(self) -> Cell:
        return cast(Cell, self.cells[0])

    def _each(self, method: Callable[..., Any], z: Tensor, state: CellState, weights: Any, *more: CellState) -> Any:
        """A method of the cells, of each on its own rows and with its own weights."""
        N = len(self.cells)
        own, *rest = (tuple(tensor.unflatten(0, (N, -1)) for tensor in part) for part in (state, *more))  # type: ignore[no-untyped-call]
        found = torch.vmap(method)(z.unflatten(0, (N, -1)), own, weights, *rest)  # type: ignore[no-untyped-call]
        if isinstance(found, dict):
            return {name: tensor.flatten(0, 1) for name, tensor in found.items()}
        return tuple(tensor.flatten(0, 1) for tensor in found)


class SideBySide(RecurrentStack):
    """Recurrent networks alike, each with weights and rows of its own, that run as one.

    A step of a small network costs what it takes to ask for it, not what there is to compute; so several of them, such
    as the same experiment with other seeds, take hardly longer than one. Each computes what it would compute alone.

    Args:
        networks: N of them, of the same class and sizes. The rows of a batch are divided among them in their order, as
            many for each.

    Raises:
        InputError: they are not alike.
    """

    def __init__(self, networks: Sequence[RecurrentStack]) -> None:
        super(RecurrentStack, self).__init__()  # there is nothing to build
        if not networks or any(net.constructor_call != networks[0].constructor_call for net in networks):
            raise InputError("networks side by side are expected to be of the same class and sizes, one at least")
        first = networks[0]
        self.networks = nn.ModuleList(networks)
        self.input_size, self.output_size, self.state_size = first.input_size, first.output_size, first.state_size
        self.dropout = first.dropout
        self.layers = [SideBySideCell(cells) for cells in zip(*(net.layers for net in networks), strict=True)]  # type: ignore[assignment]

    @property
    def start(self) -> Tensor:  # type: ignore[override]
        """Of all networks, (N, state_size)."""
        return torch.stack([cast(RecurrentStack, network).start for network in self.networks])

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        raise AssertionError("the networks have theirs already")

    def initial_state(self, rows: int) -> State:
        """See `RecurrentStack.initial_state`; of each network as many rows."""
        return self.as_state(self.start.repeat_interleave(rows // len(self.networks), 0))

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        """See `Backbone.forward`; by the cells' equations at any length.

        Raises:
            InputError: the rows cannot be divided.
        """
        if len(x) % len(self.networks):
            raise InputError(f"{len(self.networks)} networks side by side cannot divide {len(x)} rows among them")
        y, layers = self.unrolled(x, state, mask)
        return y, tuple(layer.states[-1] for layer in layers)
