"""Recurrent layers that read one token after another, each weight laid out for the product of a step."""

from typing import TYPE_CHECKING, cast

from torch import Tensor

from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.stepper import Stepper
from seqmodels.state import State, select

if TYPE_CHECKING:
    from seqmodels.nn.recurrent import RecurrentStack

TABLE = 2**21
"""Most numbers of a table of what the first layer reads of each token."""


class RecurrentStepper(Stepper):
    """A stack of recurrent layers.

    What the first layer reads of a token needs no state: with few tokens, it is computed for all of them at once.

    Args:
        stack: in evaluation mode.
        inputs: what each token is embedded as, (V, D).
        state: before the first step.
    """

    def __init__(self, stack: "RecurrentStack", inputs: Tensor, state: State) -> None:
        self._cells = cast(list[Cell], list(stack.layers))
        self.recordable = inputs.is_cuda
        self._states = list(cast(tuple[CellState, ...], state))
        if self.recordable:
            self._states = [tuple(tensor.clone() for tensor in layer) for layer in self._states]
        self._weights = [tuple(laid_out(weight) for weight in cell.weights()) for cell in self._cells]
        few = len(inputs) * 4 * stack.output_size <= TABLE
        self._inputs, self._are_read = (self._cells[0].read(inputs), True) if few else (inputs, False)

    def step(self, tokens: Tensor) -> Tensor:
        """See `Stepper`."""
        x = self._inputs[tokens]
        for number, (cell, weights) in enumerate(zip(self._cells, self._weights, strict=True)):
            z = x if number == 0 and self._are_read else cell.read(x)
            following = cell.advance(z, self._states[number], weights)
            if self.recordable:
                for kept, tensor in zip(self._states[number], following, strict=True):
                    kept.copy_(tensor)
            else:
                self._states[number] = following
            x = following[0]
        return x

    def select(self, rows: Tensor) -> None:
        """See `Stepper`."""
        self._states = [cast(CellState, select(state, rows)) for state in self._states]


def laid_out(weight: Tensor) -> Tensor:
    """The same matrix with its columns side by side in memory, by which a few rows are multiplied faster."""
    return weight.mT.contiguous().mT if weight.ndim == 2 else weight
