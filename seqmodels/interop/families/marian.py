"""Marian as transformers has it: the translators of OPUS-MT (Tiedemann and Thottingal 2020)."""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, ClassVar

from seqmodels.data import Tokenizer
from seqmodels.data.vocabularies import TOKENIZER_CHARACTERS
from seqmodels.errors import InputError
from seqmodels.files import parse_json, read_small
from seqmodels.interop.families.encoder_decoder import EncoderDecoder
from seqmodels.interop.families.family import Rows, Weight, stacked
from seqmodels.interop.families.settings import PLAIN, THEIRS, Settings
from seqmodels.interop.sentencepiece import as_tokenizer, read_pieces

START, END, UNKNOWN = "<pad>", "</s>", "<unk>"
"""A decoder begins with the padding."""


def _block(ours: str, side: str) -> dict[str, Weight]:
    """Layer norms, attention and feed-forward layers of the encoder or the decoder."""
    theirs = f"{side}.layers.{{}}."
    parts = {
        "norm_mixer": Weight(theirs + "self_attn_layer_norm"),
        "mixer.project": stacked(*(f"{theirs}self_attn.{one}_proj" for one in "qkv")),
        "mixer.out": Weight(theirs + "self_attn.out_proj"),
        "norm_cross": Weight(theirs + "encoder_attn_layer_norm"),
        "cross.query": Weight(theirs + "encoder_attn.q_proj"),
        "cross.project": stacked(*(f"{theirs}encoder_attn.{one}_proj" for one in "kv")),
        "cross.out": Weight(theirs + "encoder_attn.out_proj"),
        "norm_feed_forward": Weight(theirs + "final_layer_norm"),
        "feed_forward.up": Weight(theirs + "fc1"),
        "feed_forward.out": Weight(theirs + "fc2"),
    }
    return {
        f"{ours}.blocks.{{}}.{name}.{kind}": type(weight)(weight.names[0] + f".{kind}", *(
            [tuple(f"{one}.{kind}" for one in weight.names[1:])] if len(weight.names) > 1 else []
        ))
        for name, weight in parts.items()
        for kind in ("weight", "bias")
    }  # fmt: skip


class Marian(EncoderDecoder):
    """Post-norm, sinusoidal positions, scaled embeddings; sources and targets have one vocabulary, or two."""

    model_type = "marian"
    architecture = "MarianMTModel"
    prefix = "model."
    unused = (r"(en|de)coder\.embed_positions\.weight",)
    weights: ClassVar[Mapping[str, Weight]] = {
        "source_embedding.weight": Rows("shared.weight"),
        "embedding.weight": Rows("shared.weight"),
        "head.weight": Rows("lm_head.weight"),
        "head.bias": Rows("final_logits_bias"),
        **_block("encoder", "encoder"),
        **_block("decoder", "decoder"),
    }

    def variant(self, settings: Settings, names: Container[str]) -> "Marian":
        return self if settings.get("share_encoder_decoder_embeddings", True) else Separate()

    def tokenizers(self, folder: Path, settings: Settings) -> dict[str, Tokenizer]:
        names = {"tokenizer": ("target.spm", "target_vocab.json"), "source_tokenizer": ("source.spm", "vocab.json")}
        return {
            argument: self._tokenizer(folder / model, folder / (own if (folder / own).is_file() else "vocab.json"))
            for argument, (model, own) in names.items()
        }

    def _tokenizer(self, model: Path, vocabulary: Path) -> Tokenizer:
        """The pieces of a model with the ids of a vocabulary."""
        ids = parse_json(read_small(vocabulary, TOKENIZER_CHARACTERS), repr(str(vocabulary)))
        known = isinstance(ids, dict) and all(type(number) is int for number in ids.values())
        if not known or not {START, END, UNKNOWN} <= ids.keys():
            raise InputError(f"{str(vocabulary)!r} has no ids of {START}, {END} and {UNKNOWN}; expected tokens and ids")
        json, size = as_tokenizer(read_pieces(model), ids, ids[UNKNOWN], keep=(START, END, UNKNOWN))
        return Tokenizer(json, START, END, size)

    def networks(self, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
        settings.refuse(tie_word_embeddings=True, normalize_embedding=False, normalize_before=False)
        size = settings.size("d_model")
        both = {
            "input_size": size,
            "context": settings.size("max_position_embeddings"),
            "positions": "sinusoidal",
            "norm": "layer",
            "eps": 1e-5,
            "activation": settings.choice("activation_function", PLAIN, "gelu"),
            "dropout": settings.get("dropout", 0.1),
            "residual": "post-norm",
            "bias": "all",
            "input_scale": size**0.5 if settings.get("scale_embedding", False) else 1.0,
        }
        sides = [
            both
            | {
                "num_layers": settings.size(f"{side}_layers"),
                "num_heads": settings.size(f"{side}_attention_heads"),
                "feed_forward_size": settings.size(f"{side}_ffn_dim"),
            }
            for side in ("encoder", "decoder")
        ]
        return sides[0], sides[1]

    def config(self, encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {
            "d_model": encoder["input_size"], "max_position_embeddings": encoder["context"],
            "activation_function": THEIRS[encoder["activation"]], "dropout": encoder["dropout"],
            "scale_embedding": encoder["input_scale"] != 1,
        }  # fmt: skip
        for side, arguments in (("encoder", encoder), ("decoder", decoder)):
            found |= {f"{side}_layers": arguments["num_layers"], f"{side}_attention_heads": arguments["num_heads"]}
            found[f"{side}_ffn_dim"] = arguments["feed_forward_size"]
        return found


class Separate(Marian):
    """Marian with a vocabulary for each side."""

    tied = "target"
    weights: ClassVar[Mapping[str, Weight]] = Marian.weights | {  # type: ignore[operator]
        "source_embedding.weight": Rows("encoder.embed_tokens.weight"),
        "embedding.weight": Rows("decoder.embed_tokens.weight"),
    }


FAMILY = Marian()
