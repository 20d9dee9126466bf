"""Networks of one kind of recurrent layer in the place of a Transformer's attention."""

from abc import abstractmethod
from typing import cast

from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.nn.attention import Span
from seqmodels.nn.block import Activation
from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.norms import Norm
from seqmodels.nn.recurrent import read_layers, trace_cell
from seqmodels.nn.trace import Trace
from seqmodels.nn.transformer import ResidualStack
from seqmodels.state import State


class CellMixer(nn.Module):
    """A cell with a projection of its own in the place of a block's attention.

    Args:
        cell: with outputs of the size of its inputs.
    """

    attends = False

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def initial_state(self, rows: int) -> State:
        return self.cell.initial_state(rows, next(self.cell.parameters()).detach())

    def forward(self, x: Tensor, state: State, span: Span, trace: Trace | None = None) -> tuple[Tensor, State]:
        if trace is not None:
            y, state, inside = trace_cell(self.cell, x, cast(CellState, state), span.mask)
            trace.take(inside)
            return y, state
        y, (state,) = read_layers([self.cell], x, (state,), span.mask)
        return y, state


class MixerStack(ResidualStack):
    """Pre-norm residual blocks of a recurrent layer and a feed-forward layer.

    The state is that of a `ResidualStack`, with that of each layer's cell in the place of keys and values. Its size
    does not depend on the number of positions.

    Args:
        input_size: features D of inputs, outputs and all layers.
        num_layers: number of blocks.
        num_heads: heads of a layer.
        norm: layer (Ba et al. 2016), rms (Zhang and Sennrich 2019), or rms-plus-one, whose scales are stored less one.
        activation: of the feed-forward layers; geglu, geglu-tanh, reglu and swiglu are gated (Shazeer 2020).
        dropout: dropout probability of the inputs and of each residual branch.
        memory_size: features of a memory that each block attends to, such as an encoded source.
        feed_forward_size: features between the feed-forward layers; default: 4 D, or 8 D / 3 if gated; 0 for blocks
            without such layers.
        eps: added to the variance in all norms; by default that of torch in norms of the stack, and 1e-6, or in Mamba-2
            and RWKV-7 1e-5, in norms of cells.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        feed_forward_size: int | None = None,
        eps: float | None = None,
    ) -> None:
        super().__init__(
            input_size, num_layers, num_heads, norm=norm, activation=activation, dropout=dropout,
            memory_size=memory_size, feed_forward_size=feed_forward_size, eps=eps,
        )  # fmt: skip

    in_place = True
    """Whether a layer reads nothing but the residual stream, so that steps can be in place."""

    @abstractmethod
    def _cell(self) -> Cell:
        """The cell of a layer, with `input_size` features at both ends."""

    def _mixer(self, number: int) -> nn.Module:
        return CellMixer(self._cell())

    @property
    def cells(self) -> list[Cell]:
        """The cell of each layer, from the first to the last."""
        return [block.mixer.cell for block in self.blocks]  # type: ignore[union-attr,misc]


def head_size(network: ResidualStack, given: int | None) -> int:
    """Features of a head: as given, or those of the network by the number of heads.

    Raises:
        InputError: they are not divisible, or there are none.
    """
    size, heads = network.input_size, network.heads[0]
    if given is None and size % heads:
        name = type(network).__name__
        raise InputError(f"{name} expects input_size divisible by num_heads, got {size} and {heads}; or give head_size")
    if given is not None and given < 1:
        raise InputError(f"{type(network).__name__}(head_size={given}) was given; expected at least 1")
    return size // heads if given is None else given


def own_eps(network: ResidualStack, usual: float = 1e-6) -> float:
    """What is added to the variance in norms of cells: that of the network's other norms if one was given."""
    return usual if network.eps is None else network.eps
