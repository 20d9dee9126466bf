"""Marian as transformers has it: the translators of OPUS-MT (Tiedemann and Thottingal 2020)."""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, ClassVar

from seqmodels.data.tokenizers import Tokenizer
from seqmodels.interop.families.encoder_decoder import EncoderDecoder, exported_tokenizers, with_ids_of
from seqmodels.interop.families.family import Rows, Weight, stacked
from seqmodels.interop.families.settings import PLAIN, THEIRS, Settings
from seqmodels.interop.families.vocabulary import TOKENIZER
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel


def _block(side: str) -> dict[str, Weight]:
    """Layer norms, attention and feed-forward layers of the encoder or the decoder."""
    parts: dict[str, tuple[str, ...]] = {
        "norm_mixer": ("self_attn_layer_norm",),
        "mixer.project": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "mixer.out": ("self_attn.out_proj",),
        "norm_cross": ("encoder_attn_layer_norm",),
        "cross.query": ("encoder_attn.q_proj",),
        "cross.project": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
        "cross.out": ("encoder_attn.out_proj",),
        "norm_feed_forward": ("final_layer_norm",),
        "feed_forward.up": ("fc1",),
        "feed_forward.out": ("fc2",),
    }
    return {
        f"{side}.blocks.{{}}.{ours}.{kind}": stacked(*(f"{side}.layers.{{}}.{one}.{kind}" for one in theirs))
        for ours, theirs in parts.items()
        for kind in ("weight", "bias")
    }


class Marian(EncoderDecoder):
    """Post-norm, sinusoidal positions, scaled embeddings; sources and targets have one vocabulary, or two."""

    model_type = "marian"
    architecture = "MarianMTModel"
    prefix = "model."
    outside = ("lm_head.weight", "final_logits_bias")
    unused = (r"(en|de)coder\.embed_positions\.weight",)
    weights: ClassVar[Mapping[str, Weight]] = {
        "source_embedding.weight": Rows("shared.weight"),
        "embedding.weight": Rows("shared.weight"),
        "head.weight": Rows("lm_head.weight"),
        "head.bias": Rows("final_logits_bias"),
        **_block("encoder"),
        **_block("decoder"),
    }

    def variant(self, settings: Settings, names: Container[str]) -> "Marian":
        return self if settings.get("share_encoder_decoder_embeddings", True) else Separate()

    def tokenizers(self, folder: Path, settings: Settings) -> dict[str, Tokenizer]:
        if (folder / TOKENIZER).is_file() and not (folder / "source.spm").is_file():  # of a model that was trained here
            return exported_tokenizers(folder, settings)
        names = {"tokenizer": ("target.spm", "target_vocab.json"), "source_tokenizer": ("source.spm", "vocab.json")}
        return {
            argument: with_ids_of(folder / model, folder / (own if (folder / own).is_file() else "vocab.json"))
            for argument, (model, own) in names.items()
        }

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

    def tying(self, task: EncoderDecoderModel) -> dict[str, Any]:
        return {"share_encoder_decoder_embeddings": task.source_embedding.weight is task.embedding.weight}

    def lacks(self, task: EncoderDecoderModel) -> list[str]:
        own = task.head.weight is not task.embedding.weight
        return ["a softmax layer apart from the target embedding"] * own

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
