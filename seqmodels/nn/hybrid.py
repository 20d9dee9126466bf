"""Recurrent and attention layers in one residual stack."""

import re

from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.nn.attention import Reading
from seqmodels.nn.block import Activation, Norm
from seqmodels.nn.cell import Cell
from seqmodels.nn.min_gru import MinGRU, MinLSTM
from seqmodels.nn.multiplicative import MultiplicativeLSTM, MultiplicativeRNN
from seqmodels.nn.recurrent import RecurrentStack
from seqmodels.nn.rnn_lstm_gru import GRU, LSTM, RNN
from seqmodels.nn.trace import Trace
from seqmodels.nn.transformer import PreNormStack
from seqmodels.state import State

ATTENTION = "attention"
CELLS: dict[str, type[RecurrentStack]] = {
    cls.__name__: cls for cls in (RNN, LSTM, GRU, MultiplicativeRNN, MultiplicativeLSTM, MinGRU, MinLSTM)
}


class RecurrentMixer(nn.Module):
    """A recurrent layer as a part of a block, in the place of attention.

    Args:
        network: any recurrent network, as wide at its input as at its output.
    """

    attends = False

    def __init__(self, network: RecurrentStack) -> None:
        super().__init__()
        self.network = network
        self.out = nn.Linear(network.output_size, network.output_size, bias=False)

    def initial_state(self, rows: int) -> State:
        """The state of the recurrent layer before the first position."""
        return self.network.initial_state(rows)

    def forward(self, x: Tensor, state: State, reading: Reading, trace: Trace | None = None) -> tuple[Tensor, State]:
        if trace is None:
            y, state = self.network(x, state, mask=reading.mask)
        else:
            y, state, inside = self.network.traced(x, state, mask=reading.mask)
            trace.take(inside, lambda name: name.removeprefix("1."))  # it has one layer
        return self.out(y), state


class Hybrid(PreNormStack):
    """Residual layers with a norm before each, recurrent ones and attention in any order, feed-forward layers between.

    Griffin (De et al. 2024) mixes two recurrent layers with one of attention to the nearest past: the state of the
    recurrent layers reaches far, attention copies exactly. Without any attention it is a deep recurrent network.

    Args:
        input_size: features D of inputs and outputs, and of every layer.
        layers: names from the first layer to the last, separated by commas: attention, RNN, LSTM, GRU,
            MultiplicativeRNN, MultiplicativeLSTM, MinGRU, MinLSTM.
        num_heads: attention heads; D is divisible by it.
        num_kv_heads: heads of keys and values, shared by groups of queries; as many as heads where not given.
        context: how far attention sees, the position itself included.
        norm: layer (Ba et al. 2016) or rms (Zhang and Sennrich 2019).
        activation: gelu or swiglu.
        dropout: share dropped of the inputs and of what each half block adds, while training.
        memory_size: features of a memory that each block attends to, between its layer and the feed-forward one; None
            for none.
    """

    def __init__(
        self,
        input_size: int = 128,
        layers: str = "MinGRU,MinGRU,attention",
        num_heads: int = 4,
        num_kv_heads: int | None = None,
        context: int = 256,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
    ) -> None:
        self.layers = [name for name in re.split(r"[\s,]+", layers) if name]
        for name in self.layers:
            if name != ATTENTION and name not in CELLS:
                raise InputError(
                    f"Hybrid(layers={layers!r}) has a layer {name!r}; expected names of {ATTENTION}, {', '.join(CELLS)}"
                )
        super().__init__(
            input_size, len(self.layers), num_heads, num_kv_heads, context, "rotary", norm, activation, dropout, True,
            memory_size,
        )  # fmt: skip

    def _mixer(self, number: int) -> nn.Module:
        if self.layers[number] == ATTENTION:
            return self._attention()
        return RecurrentMixer(CELLS[self.layers[number]](self.input_size, self.input_size, 1))

    def cells(self) -> dict[str, Cell]:
        """See `Backbone.cells`: one for each layer that is no attention."""
        blocks = enumerate(zip(self.layers, self.blocks, strict=True), start=1)
        mixers = {str(number): block.mixer for number, (name, block) in blocks if name != ATTENTION}
        return {number: mixer.network.layers[0] for number, mixer in mixers.items()}  # type: ignore[union-attr,index,misc]
