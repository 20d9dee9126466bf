"""Every network that the laws hold for: special configurations, and all others by the signature of the constructor."""

import inspect
from collections.abc import Callable

from seqmodels.config import subclasses
from seqmodels.nn import (
    GRU,
    HGRN2,
    LSTM,
    RGLRU,
    RNN,
    RWKV7,
    SLSTM,
    Backbone,
    GatedDeltaNet,
    Hybrid,
    Mamba2,
    MinGRU,
    MinLSTM,
    MultiplicativeLSTM,
    MultiplicativeRNN,
    Sequential,
    Transformer,
)

NETWORKS: dict[str, Callable[[], Backbone]] = {
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
    "GatedDeltaNet-2": lambda: GatedDeltaNet(6, 2, 2),
    "GatedDeltaNet-negative-without-convolution": lambda: GatedDeltaNet(8, 1, 2, 3, 2, 0, True, groups=1),
    "Mamba2-2": lambda: Mamba2(6, 2, 4, 5, expand=2, groups=2),
    "Mamba2-one-group": lambda: Mamba2(8, 2, 4, 3, feed_forward_size=0, norm="rms-plus-one", eps=0.01),
    "RGLRU-unscaled-first": lambda: RGLRU(6, 2, 2, 8, 3, scale_first=False),
    "SLSTM-2-heads": lambda: SLSTM(6, 8, num_heads=2),
    "SLSTM-2-learned-start": lambda: SLSTM(6, 8, num_layers=2, learn_initial_state=True),
    "RWKV7-feed-forward": lambda: RWKV7(8, 3, 2, channel_mixing=False, feed_forward_size=6),
    "HGRN2-bounded": lambda: HGRN2(8, 1, 2, lowest=0.5),
    "Hybrid-of-memories": lambda: Hybrid(
        8,
        "GatedDeltaNet,attention,SLSTM,RGLRU,MLSTM",
        num_heads=2,
        attention_gate=True,
        qk_norm=True,
        norm="rms-plus-one",
        layer_settings={"GatedDeltaNet": {"negative": True, "num_heads": 4, "groups": 2}},
    ),
    "Hybrid": lambda: Hybrid(8, "MinGRU,LSTM,attention,GRU", num_heads=2, context=64),
    "Hybrid-narrow-context": lambda: Hybrid(8, "attention,MultiplicativeLSTM", num_heads=2, context=4),
    "Sequential": lambda: Sequential([LSTM(6, 8), GRU(8, 4), Transformer(4, 1, 2, context=64)]),
    "Hybrid-without-attention": lambda: Hybrid(8, "MinLSTM,MultiplicativeRNN,RNN", num_heads=2),
}

SMALL = {"input_size": 6, "hidden_size": 8, "num_layers": 2, "num_heads": 2, "context": 64}
"""Sizes of networks that are made by their signature alone."""


def _small(network: type[Backbone]) -> Backbone:
    return network(**{name: SMALL[name] for name in inspect.signature(network).parameters if name in SMALL})


def _others() -> list[type[Backbone]]:
    """Concrete networks of the package that are built from sizes, and have no line above."""
    above = {name.partition("-")[0] for name in NETWORKS} - {"RGLRU", "RWKV7"}
    concrete = [cls for cls in subclasses(Backbone) if not inspect.isabstract(cls) and cls.__name__ not in above]
    # Networks that count read tokens, not vectors: the laws of theirs stand in files of their own.
    ours = [cls for cls in concrete if cls.learns and cls.__module__.startswith("seqmodels.nn.")]
    empty = inspect.Parameter.empty
    return [cls for cls in ours if all(p.default is not empty for p in inspect.signature(cls).parameters.values())]


NETWORKS |= {cls.__name__: lambda cls=cls: _small(cls) for cls in _others()}  # type: ignore[misc]

RARE = {
    "RNN-relu", "LSTM-2-learned-start", "GatedDeltaNet-negative-without-convolution", "Mamba2-one-group",
    "RGLRU-unscaled-first", "RWKV7-feed-forward",
    "SLSTM-2-learned-start", "HGRN2-bounded", "HGRN2", "Hybrid-without-attention", "Sequential", "RetNet", "SimpleGLA",
    "GLA", "KimiDeltaNet", "RWKV7", "MLSTM", "RGLRU", "DeltaNet", "MinLSTM-3-learned-start", "Transformer-learned",
}  # fmt: skip
"""Networks that have a near relative among the others: beyond laws and steps, tests of them are marked slow."""
