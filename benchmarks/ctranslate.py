"""A Translator of two Transformers as a model of CTranslate2, with the same weights."""

from pathlib import Path
from typing import Any

import ctranslate2
from ctranslate2.specs import common_spec, transformer_spec
from torch import nn

from seqmodels.batch import BOS, EOS, PAD, UNK
from seqmodels.nn import Transformer
from seqmodels.tasks import Translator


def converted(model: Translator, folder: Path) -> None:
    """Write a translator of two Transformers with rotary positions, layer norm and GELU into a new folder.

    Tokens are named by their ids.
    """
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(encoder, Transformer)
    assert isinstance(decoder, Transformer)
    heads = encoder.heads[0]
    like: dict[str, Any] = {
        "activation": common_spec.Activation.GELU,
        "rotary_dim": encoder.input_size // heads,
        "rotary_interleave": False,
    }
    spec = transformer_spec.TransformerSpec(
        transformer_spec.TransformerEncoderSpec(len(encoder.blocks), heads, **like),
        transformer_spec.TransformerDecoderSpec(len(decoder.blocks), heads, **like),
    )
    spec.encoder.embeddings[0].weight = _array(model.source_embedding.weight)
    spec.decoder.embeddings.weight = _array(model.embedding.weight)
    spec.encoder.scale_embeddings = spec.decoder.scale_embeddings = False
    _linear(spec.decoder.projection, model.head)
    for stack, network in ((spec.encoder, encoder), (spec.decoder, decoder)):
        _norm(stack.layer_norm, network.norm)
        for layer, block in zip(stack.layer, network.blocks, strict=True):
            _block(layer, block)
    names = [str(number) for number in range(model.tokenizer.vocab_size)]
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.add_source_bos, spec.config.add_source_eos = False, True
    spec.config.decoder_start_token = spec.config.bos_token = str(BOS)
    spec.config.eos_token, spec.config.unk_token = str(EOS), str(UNK)
    spec.validate()
    folder.mkdir(parents=True)
    spec.save(str(folder))


def _block(layer: Any, block: Any) -> None:
    _norm(layer.self_attention.layer_norm, block.norm_mixer)
    _linear(layer.self_attention.linear[0], block.mixer.project)
    _linear(layer.self_attention.linear[1], block.mixer.out)
    if block.cross is not None:
        _norm(layer.attention.layer_norm, block.norm_cross)
        parts = block.cross.query, block.cross.project, block.cross.out
        for spec, linear in zip(layer.attention.linear, parts, strict=True):
            _linear(spec, linear)
    _norm(layer.ffn.layer_norm, block.norm_feed_forward)
    _linear(layer.ffn.linear_0, block.feed_forward.up)
    _linear(layer.ffn.linear_1, block.feed_forward.out)


def _linear(spec: Any, linear: nn.Linear) -> None:
    spec.weight = _array(linear.weight)
    if linear.bias is not None:
        spec.bias = _array(linear.bias)


def _norm(spec: Any, norm: Any) -> None:
    spec.gamma, spec.beta = _array(norm.weight), _array(norm.bias)


def _array(weight: Any) -> Any:
    return weight.detach().float().numpy()


def translated(
    translator: ctranslate2.Translator, sources: list[list[int]], size: int, max_length: int = 200
) -> list[list[int]]:
    """The best hypotheses of beam search by a model that `converted` wrote, as token ids without BOS and EOS."""
    found = translator.translate_batch(
        [[str(number) for number in ids] for ids in sources],
        beam_size=size,
        max_batch_size=32,
        max_decoding_length=max_length,
        disable_unk=True,
        suppress_sequences=[[str(PAD)], [str(BOS)]],
    )
    return [[int(token) for token in one.hypotheses[0]] for one in found]
