"""Networks: functions of inputs and state."""

from seqmodels.nn.backbone import Backbone
from seqmodels.nn.cells import Cell, FusedCell, GRUCell, LSTMCell, RNNCell
from seqmodels.nn.recurrent import GRU, LSTM, RNN, RecurrentStack
from seqmodels.nn.transformer import Transformer

__all__ = [
    # The contract
    "Backbone",
    # Networks
    "GRU",
    "LSTM",
    "RNN",
    "RecurrentStack",
    "Transformer",
    # One step of each recurrent network
    "Cell",
    "FusedCell",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
]
