"""Writes Transformers as models of CTranslate2: a decoder-only language model, or an encoder and a decoder.

Tokens are named by their ids. Tokens that are never generated have a bias of the softmax layer far below all others.
"""

import inspect
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from seqmodels.batch import BOS, EOS, NEVER, UNK
from seqmodels.errors import InputError
from seqmodels.interop.optional import optional
from seqmodels.nn import Transformer
from seqmodels.nn.block import Block
from seqmodels.nn.positions import LLAMA3, Learned, Positions, Relative, Rotary, Sinusoidal
from seqmodels.tasks.autoregressive_model import AutoregressiveModel
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel

FAR_BELOW = -1e9
"""Bias of tokens that are never generated: finite, so that no sum is undefined."""
ACTIVATIONS = {
    "gelu": ("GELU", False), "gelu-tanh": ("GELUTanh", False), "relu": ("RELU", False), "silu": ("SWISH", False),
    "geglu": ("GELU", True), "geglu-tanh": ("GELUTanh", True), "reglu": ("RELU", True), "swiglu": ("SWISH", True),
}  # fmt: skip
"""Names of CTranslate2, and whether the layer is gated."""


def check_form(model: AutoregressiveModel | EncoderDecoderModel) -> None:
    """Refuse (InputError) a model that CTranslate2 has no form for."""
    networks = [model.backbone] if isinstance(model, AutoregressiveModel) else [model.encoder, model.decoder]
    for network in networks:
        if type(network) is not Transformer:
            raise InputError(
                f"{type(network).__name__} was given, and CTranslate2 has Transformers only; export it to onnx or torch"
            )
        why = _why_not(network)
        if why:
            raise InputError(f"CTranslate2 has no Transformer with {why}; export it to onnx or torch")
    if type(model.head) is not nn.Linear:
        raise InputError("CTranslate2 has no softmax layer with a logit_cap; export it to onnx")
    if isinstance(model, EncoderDecoderModel) and model.reverse:
        raise InputError(
            "CTranslate2 has no reversed source, with which this translator was trained; export it to onnx"
        )


def _why_not(network: Transformer) -> str | None:
    if not isinstance(network.position, Learned | Relative | Rotary | Sinusoidal):
        kind = type(network.position)
        return "no positions" if kind is Positions else f"positions of {kind.__name__}"
    if not network.plain:
        return "a gate of attention or norms of scales plus one, or without feed-forward layers"
    if _argument(network, "residual") == "parallel" and (network.memory_size is not None or not network.causal):
        return "branches side by side in an encoder, or beside attention to one"
    return None


def _argument(network: Transformer, name: str) -> Any:
    """What a network was made with."""
    return network.constructor_call["init_args"].get(name, inspect.signature(Transformer).parameters[name].default)


def positions(network: Transformer) -> int:
    """Most positions that the converted network reads as ours does: its window, after which it would differ."""
    return network.window


def write(model: AutoregressiveModel | EncoderDecoderModel, folder: Path) -> None:
    """Write a model into a folder that is there already.

    Raises:
        InputError: CTranslate2 is not installed, or has no form for this model.
    """
    check_form(model)
    specs = optional("ctranslate2.specs.transformer_spec", "ctranslate2", "a model of CTranslate2")
    names = [str(number) for number in range(model.tokenizer.vocab_size)]
    if isinstance(model, AutoregressiveModel):
        network = cast(Transformer, model.backbone)
        decoder = specs.TransformerDecoderSpec(len(network.blocks), network.heads[0], **_shape(network, decoder=True))
        spec = specs.TransformerDecoderModelSpec(decoder)
        _decoder(spec.decoder, network, model.embedding.weight, model.head)
        spec.register_vocabulary(names)
        networks = [network]
    else:
        encoder, network = cast(Transformer, model.encoder), cast(Transformer, model.decoder)
        spec = specs.TransformerSpec(
            specs.TransformerEncoderSpec(len(encoder.blocks), encoder.heads[0], **_shape(encoder, decoder=False)),
            specs.TransformerDecoderSpec(len(network.blocks), network.heads[0], **_shape(network, decoder=True)),
        )
        spec.encoder.embeddings[0].weight = _array(model.source_embedding.weight * encoder.input_scale)
        spec.encoder.scale_embeddings = False
        _stack(spec.encoder, encoder)
        _decoder(spec.decoder, network, model.embedding.weight, model.head)
        spec.register_source_vocabulary([str(number) for number in range(model.source_tokenizer.vocab_size)])
        spec.register_target_vocabulary(names)
        spec.config.add_source_bos, spec.config.add_source_eos = False, True
        spec.config.decoder_start_token = str(BOS)
        networks = [encoder, network]
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = str(BOS), str(EOS), str(UNK)
    epsilons = {_eps(norm) for network in networks for norm in network.modules() if isinstance(norm, NORMS)}
    if len(epsilons) > 1:
        raise InputError(f"CTranslate2 has one eps for all norms, and this model has {sorted(epsilons)}")
    if epsilons:
        spec.config.layer_norm_epsilon = epsilons.pop()
    spec.validate()
    spec.save(str(folder))


NORMS = (nn.LayerNorm, nn.RMSNorm)


def _eps(norm: Any) -> float:
    return torch.finfo(torch.float32).eps if norm.eps is None else float(norm.eps)


def _shape(network: Transformer, *, decoder: bool) -> dict[str, Any]:
    """Arguments of the specification of a stack."""
    common = optional("ctranslate2.specs.common_spec", "ctranslate2", "a model of CTranslate2")
    attention = optional("ctranslate2.specs.attention_spec", "ctranslate2", "a model of CTranslate2")
    block = cast(Block, network.blocks[0])
    name, gated = ACTIVATIONS[_argument(network, "activation")]
    given: dict[str, Any] = {
        "pre_norm": _argument(network, "residual") != "post-norm",
        "activation": getattr(common.Activation, name), "ffn_glu": gated,
        "rms_norm": isinstance(block.norm_mixer, nn.RMSNorm), "num_heads_kv": network.heads[1],
        "head_dim": network.head_size, "qk_norm": block.mixer.norm_query is not None,
    }  # fmt: skip
    if decoder:
        given["with_encoder_attention"] = network.memory_size is not None
        given["parallel_residual"] = _argument(network, "residual") == "parallel"
    if isinstance(network.position, Relative):
        given["relative_attention_bias"] = True
    if isinstance(network.position, Rotary):
        rotary = network.position
        given |= {"rotary_dim": rotary.size, "rotary_interleave": False, "rotary_base": rotary.base}
        if rotary.scaling is not None:
            kinds = attention.RotaryScalingType
            llama = set(rotary.scaling) == LLAMA3
            given["rotary_scaling_type"] = kinds.Llama3 if llama else kinds.Linear
            given["rotary_scaling_factor"] = rotary.scaling["factor"]
            if llama and decoder:
                given["original_max_position_embeddings"] = int(rotary.scaling["context"])
    return given


def _decoder(spec: Any, network: Transformer, embedding: Tensor, head: nn.Linear) -> None:
    spec.embeddings.weight = _array(embedding * network.input_scale)
    spec.scale_embeddings = False
    spec.projection.weight = _array(head.weight)
    bias = head.bias.detach().clamp(min=FAR_BELOW)  # that of tokens that a foreign vocabulary has twice is infinite
    spec.projection.bias = _array(bias.index_fill(0, torch.tensor(NEVER), FAR_BELOW))
    _stack(spec, network)


def _stack(spec: Any, network: Transformer) -> None:
    if isinstance(network.position, Learned | Sinusoidal):
        vectors = network.position.vectors(torch.arange(positions(network)))
        spec.position_encodings.encodings = _array(vectors)
    if isinstance(network.norm, NORMS):
        _norm(spec.layer_norm, network.norm)
    for layer, block in zip(spec.layer, list(network.blocks), strict=True):
        _block(layer, block, network)


def _block(layer: Any, block: Any, network: Transformer) -> None:
    rotary = network.position
    attention = layer.self_attention
    if _argument(network, "residual") == "parallel":
        _norm(layer.input_layer_norm, block.norm_mixer)
        _norm(layer.post_attention_layer_norm, block.norm_feed_forward)
    else:
        _norm(attention.layer_norm, block.norm_mixer)
        _norm(layer.ffn.layer_norm, block.norm_feed_forward)
    _linear(attention.linear[0], block.mixer.project)
    _linear(attention.linear[1], block.mixer.out)
    if block.mixer.scale is not None:
        attention.queries_scale = _array(torch.tensor(block.mixer.scale))
    if isinstance(rotary, Relative):
        attention.relative_attention_bias = _array(rotary.weight)
        attention.relative_attention_max_distance = np.dtype("int32").type(rotary.farthest)
    if block.mixer.norm_query is not None:
        attention.q_norm.gamma = _array(block.mixer.norm_query.weight)
        attention.k_norm.gamma = _array(block.mixer.norm_key.weight)
    if isinstance(rotary, Rotary) and rotary.scaling is not None and set(rotary.scaling) == LLAMA3:
        attention.rotary_low_freq_factor = _array(torch.tensor(rotary.scaling["low"]))
        attention.rotary_high_freq_factor = _array(torch.tensor(rotary.scaling["high"]))
    if block.cross is not None:
        _norm(layer.attention.layer_norm, block.norm_cross)
        parts = block.cross.query, block.cross.project, block.cross.out
        for spec, linear in zip(layer.attention.linear, parts, strict=True):
            _linear(spec, linear)
        layer.attention.num_heads_kv = layer.attention.num_heads_kv.dtype.type(block.cross.heads)
        if block.cross.scale is not None:
            layer.attention.queries_scale = _array(torch.tensor(block.cross.scale))
    up = block.feed_forward.up
    if block.feed_forward.gated:
        halves = [None, None] if up.bias is None else up.bias.chunk(2)
        for spec, weight, bias in zip(
            (layer.ffn.linear_0, layer.ffn.linear_0_noact), up.weight.chunk(2), halves, strict=True
        ):
            spec.weight = _array(weight)
            if bias is not None:
                spec.bias = _array(bias)
    else:
        _linear(layer.ffn.linear_0, up)
    _linear(layer.ffn.linear_1, block.feed_forward.out)


def _linear(spec: Any, linear: nn.Linear) -> None:
    spec.weight = _array(linear.weight)
    if linear.bias is not None:
        spec.bias = _array(linear.bias)


def _norm(spec: Any, norm: Any) -> None:
    spec.gamma = _array(norm.weight)
    if isinstance(norm, nn.LayerNorm):
        spec.beta = _array(norm.bias)


def _array(weight: Tensor) -> Any:
    return weight.detach().float().contiguous().numpy()
