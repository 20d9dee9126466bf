"""Every network that the laws hold for. A new one is a line here."""

from seqmodels.nn import GRU, LSTM, RNN, Hybrid, MinGRU, MinLSTM, MultiplicativeLSTM, MultiplicativeRNN, Transformer

NETWORKS = {
    "RNN-tanh": lambda: RNN(6, 8),
    "RNN-relu": lambda: RNN(6, 8, nonlinearity="relu"),
    "LSTM": lambda: LSTM(6, 8),
    "LSTM-2-learned-start": lambda: LSTM(6, 8, num_layers=2, learn_initial_state=True),
    "GRU": lambda: GRU(6, 8),
    "GRU-2": lambda: GRU(6, 8, num_layers=2),
    "MultiplicativeRNN": lambda: MultiplicativeRNN(6, 8),
    "MultiplicativeLSTM-2": lambda: MultiplicativeLSTM(6, 8, num_layers=2),
    "MinGRU-2": lambda: MinGRU(6, 8),
    "MinLSTM-3-learned-start": lambda: MinLSTM(6, 8, num_layers=3, learn_initial_state=True),
    "Transformer": lambda: Transformer(8, num_layers=2, num_heads=2, context=64),
    "Transformer-narrow-context": lambda: Transformer(8, num_layers=2, num_heads=2, context=4),
    "Transformer-learned": lambda: Transformer(8, num_layers=2, num_heads=2, context=64, positions="learned"),
    "Transformer-grouped-rms-swiglu": lambda: Transformer(
        8, num_layers=2, num_heads=4, num_kv_heads=2, context=64, norm="rms", activation="swiglu"
    ),
    "Hybrid": lambda: Hybrid(8, "MinGRU,LSTM,attention,GRU", num_heads=2, context=64),
    "Hybrid-narrow-context": lambda: Hybrid(8, "attention,MultiplicativeLSTM", num_heads=2, context=4),
    "Hybrid-without-attention": lambda: Hybrid(8, "MinLSTM,MultiplicativeRNN,RNN", num_heads=2),
}
