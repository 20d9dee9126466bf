"""Networks: functions of inputs and state."""

from seqmodels.nn.attention_decoder import Attentive
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.bidirectional import Bidirectional
from seqmodels.nn.cell import Cell
from seqmodels.nn.hybrid import Hybrid
from seqmodels.nn.min_gru import MinGRU, MinGRUCell, MinLSTM, MinLSTMCell, scan
from seqmodels.nn.multiplicative import (
    MultiplicativeLSTM,
    MultiplicativeLSTMCell,
    MultiplicativeRNN,
    MultiplicativeRNNCell,
)
from seqmodels.nn.recurrent import RecurrentStack
from seqmodels.nn.rnn_lstm_gru import GRU, LSTM, RNN, FusedCell, GRUCell, LSTMCell, RNNCell
from seqmodels.nn.trace import Trace
from seqmodels.nn.transformer import Transformer

__all__ = [
    # The contract
    "Backbone",
    "Trace",
    # Networks
    "GRU",
    "Hybrid",
    "LSTM",
    "MinGRU",
    "MinLSTM",
    "MultiplicativeLSTM",
    "MultiplicativeRNN",
    "RNN",
    "RecurrentStack",
    "Transformer",
    # Readers and writers made of any of these
    "Attentive",
    "Bidirectional",
    # One step of each recurrent network
    "Cell",
    "FusedCell",
    "GRUCell",
    "LSTMCell",
    "MinGRUCell",
    "MinLSTMCell",
    "MultiplicativeLSTMCell",
    "MultiplicativeRNNCell",
    "RNNCell",
    # Linear recurrences in parallel over time
    "scan",
]
