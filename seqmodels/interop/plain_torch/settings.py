"""The settings of plain modules, a tree of plain values, from networks of this package; see `templates`."""

from collections.abc import Callable
from typing import Any

from torch import nn

from seqmodels.errors import InputError
from seqmodels.nn import (
    Attentive,
    Backbone,
    Bidirectional,
    Cell,
    RecurrentStack,
    Sequential,
    associative,
    gated_delta_net,
    kimi_delta,
    linear_attention,
    mamba2,
    min_gru,
    multiplicative,
    rg_lru,
    rnn_lstm_gru,
    rwkv7,
    xlstm,
)
from seqmodels.nn.attention import CrossAttention, SelfAttention
from seqmodels.nn.block import GATED, PLAIN, FeedForward
from seqmodels.nn.capped_linear import CappedLinear
from seqmodels.nn.hybrid import RecurrentMixer
from seqmodels.nn.mixer_stack import CellMixer
from seqmodels.nn.norms import LayerNorm, RMSNorm, RMSNormPlusOne
from seqmodels.nn.positions import Learned, Positions, Relative, Rotary, Sinusoidal
from seqmodels.nn.transformer import ResidualStack

Settings = dict[str, Any]


def network_settings(network: Backbone) -> Settings:
    """The settings of a network.

    Raises:
        InputError: there is no plain form of it.
    """
    if not type(network).__module__.startswith("seqmodels.nn."):
        raise InputError(
            f"{type(network).__name__} is a class of your own, and plain modules are written of those of this package; "
            "take your class along"
        )
    for kind, described in NETWORKS:
        if isinstance(network, kind):
            return described(network)
    raise InputError(f"there is no plain form of {type(network).__name__}; expected a network that learns by gradients")


def head_settings(head: nn.Module) -> Settings:
    """The settings of a softmax layer."""
    assert isinstance(head, nn.Linear)
    sizes = {"in_features": head.in_features, "out_features": head.out_features}
    return (
        {"kind": "Capped", **sizes, "cap": head.cap} if isinstance(head, CappedLinear) else {"kind": "Linear"} | sizes
    )


def _cell(cell: Cell) -> Settings:
    if type(cell) not in CELLS:
        raise InputError(
            f"there is no plain form of {type(cell).__name__}; export it to onnx, or take your class along"
        )
    kind, more = CELLS[type(cell)]
    return {"kind": kind, **more(cell)}


def _sizes(cell: Any) -> Settings:
    return {"input_size": cell.input_size, "hidden_size": cell.hidden_size}


def _memory(cell: associative.AssociativeCell) -> Settings:
    """The frame of all cells with an associative memory."""
    convolution = 0 if cell.convolution is None else cell.convolution.width
    return _sizes(cell) | {
        "heads": cell.heads, "groups": cell.groups, "key_size": cell.key_size, "value_size": cell.value_size,
        "rest": cell.parts[1:], "convolution": convolution,
    }  # fmt: skip


def _normed(cell: Any) -> Settings:
    return _memory(cell) | {"eps": cell.norm.eps}


def _time_mixing(cell: Any) -> Settings:
    return {
        "input_size": cell.width, "hidden_size": cell.out.out_features, "heads": cell.heads, "size": cell.size,
        "ranks": cell.ranks, "eps": cell.eps, "gives": cell.gives, "takes": cell.takes,
    }  # fmt: skip


CELLS: dict[type[Cell], tuple[str, Callable[[Any], Settings]]] = {
    rnn_lstm_gru.RNNCell: ("RNN", lambda c: _sizes(c) | {"nonlinearity": c.kernel.nonlinearity}),
    rnn_lstm_gru.LSTMCell: ("LSTM", _sizes),
    rnn_lstm_gru.GRUCell: ("GRU", _sizes),
    min_gru.MinGRUCell: ("MinGRU", _sizes),
    min_gru.MinLSTMCell: ("MinLSTM", _sizes),
    multiplicative.MultiplicativeRNNCell: ("MultiplicativeRNN", _sizes),
    multiplicative.MultiplicativeLSTMCell: ("MultiplicativeLSTM", _sizes),
    xlstm.SLSTMCell: ("SLSTM", lambda c: _sizes(c) | {"heads": c.heads}),
    gated_delta_net.GatedDeltaCell: ("GatedDelta", lambda c: _normed(c) | {"strongest": c.strongest}),
    kimi_delta.KimiDeltaCell: ("KimiDelta", lambda c: _normed(c) | {"rank": c.parts[1]}),
    linear_attention.LinearAttentionCell: ("LinearAttention", _normed),
    linear_attention.GatedLinearAttentionCell: (
        "GatedLinearAttention", lambda c: _normed(c) | {"rank": c.decay_map.in_features},
    ),
    linear_attention.RetentionCell: ("Retention", lambda c: _normed(c) | {"decays": c.decays, "turned": c.turned}),
    linear_attention.HGRN2Cell: ("HGRN2", lambda c: _normed(c) | {"lowest": c.lowest}),
    mamba2.Mamba2Cell: ("Mamba2", lambda c: _memory(c) | {"eps": c.eps}),
    xlstm.MLSTMCell: ("MLSTM", lambda c: _memory(c) | {"eps": c.eps, "bound": c.bound}),
    rg_lru.RGLRUCell: (
        "RGLRU",
        lambda c: _sizes(c)
        | {
            "width": c.width, "heads": c.heads, "convolution": c.convolution.width, "scale_first": c.scale_first,
        },
    ),
    rwkv7.RWKV7Cell: ("RWKV7", _time_mixing),
    rwkv7.ChannelMixingCell: (
        "ChannelMixing", lambda c: {"size": c.key.in_features, "width": c.key.out_features},
    ),
}  # fmt: skip
"""By class, the name of the plain one, and its settings."""


def _recurrent(network: RecurrentStack) -> Settings:
    learned = isinstance(network.start, nn.Parameter)
    return {"kind": "Recurrent", "layers": [_cell(cell) for cell in network.cells], "learned_start": learned}


def _residual(network: ResidualStack) -> Settings:
    first: Any = network.blocks[0]
    return {
        "kind": "Residual", "size": network.input_size, "blocks": [_block(block) for block in network.blocks],
        "norm": {"name": NORMS[type(first.norm_mixer)], "size": network.input_size, "eps": first.norm_mixer.eps},
        "residual": network.constructor_call["init_args"].get("residual", "pre-norm"),
        "positions": _positions(network), "window": network.window, "causal": network.causal,
        "input_scale": network.input_scale, "norm_inputs": getattr(network, "norm_first", False),
    }  # fmt: skip


NORMS: dict[type[nn.Module], str] = {LayerNorm: "layer", RMSNorm: "rms", RMSNormPlusOne: "rms-plus-one"}


def _positions(network: ResidualStack) -> Settings:
    position = network.position
    if not any(block.mixer.attends for block in network.blocks):  # type: ignore[union-attr]
        return {"how": "nothing to see"}
    if type(position) is Positions:
        return {"how": "none"}
    if isinstance(position, Rotary):
        scaling = None if position.scaling is None else dict(position.scaling)
        return {"how": "rotary", "turned": position.size, "base": position.base, "scaling": scaling}
    if isinstance(position, Sinusoidal):
        return {"how": "sinusoidal", "offset": position.offset}
    assert isinstance(position, Learned | Relative)
    table = {"table": list(position.weight.shape)}
    if isinstance(position, Learned):
        return {"how": "learned", "offset": position.offset} | table
    return {"how": "relative", "one_way": position.one_way, "farthest": position.farthest} | table


def _block(block: Any) -> Settings:
    feed_forward = block.feed_forward
    return {
        "mixer": _mixer(block.mixer),
        "cross": None if block.cross is None else _cross(block.cross),
        "feed_forward": None if feed_forward is None else _feed_forward(feed_forward),
    }


def _mixer(mixer: Any) -> Settings:
    if isinstance(mixer, SelfAttention):
        norm: Any = mixer.norm_query
        queries, keys, _ = mixer.heads
        return {
            "kind": "Attention", "size": mixer.out.out_features, "heads": queries, "kv_heads": keys,
            "head_size": mixer.head_size, "scale": mixer.scale, "qkv_bias": mixer.project.bias is not None,
            "out_bias": mixer.out.bias is not None, "norm": None if norm is None else NORMS[type(norm)],
            "eps": None if norm is None else norm.eps, "gate": bool(mixer.gates),
        }  # fmt: skip
    if isinstance(mixer, RecurrentMixer):
        size, bias = mixer.out.out_features, mixer.out.bias is not None
        return {"kind": "RecurrentMixer", "network": network_settings(mixer.network), "size": size, "bias": bias}
    assert isinstance(mixer, CellMixer)
    return {"kind": "TimeMixer" if isinstance(mixer, rwkv7.TimeMixer) else "CellMixer", "cell": _cell(mixer.cell)}


def _cross(cross: CrossAttention) -> Settings:
    return {
        "kind": "CrossAttention", "size": cross.out.out_features, "memory_size": cross.project.in_features,
        "heads": cross.heads, "head_size": cross.out.in_features // cross.heads, "scale": cross.scale,
        "qkv_bias": cross.query.bias is not None, "out_bias": cross.out.bias is not None,
    }  # fmt: skip


def _feed_forward(layers: FeedForward) -> Settings:
    name = {function: name for name, function in (GATED if layers.gated else PLAIN).items()}[layers.activation]
    return {
        "kind": "FeedForward", "size": layers.out.out_features, "width": layers.out.in_features, "activation": name,
        "bias": layers.out.bias is not None,
    }  # fmt: skip


def _sequence(network: Sequential) -> Settings:
    parts = [network_settings(part) for part in network.parts]
    return {"kind": "Sequence", "networks": parts, "causal": network.causal}


def _both_ways(network: Bidirectional) -> Settings:
    return {"kind": "BothWays", "networks": [network_settings(way) for way in network.directions]}


def _decoder(network: Attentive) -> Settings:
    return {
        "kind": "Decoder", "network": network_settings(network.network), "input_size": network.input_size,
        "output_size": network.output_size, "memory_size": network.memory_size, "attention": network.attention,
        "fed": None if network.feed is None else network.feed.in_features,
        "start": None if network.start is None else network.start.out_features, "bridge": network.bridge,
    }  # fmt: skip


NETWORKS: list[tuple[type, Callable[[Any], Settings]]] = [
    (RecurrentStack, _recurrent), (ResidualStack, _residual), (Sequential, _sequence), (Bidirectional, _both_ways),
    (Attentive, _decoder),
]  # fmt: skip
