"""T5 (Raffel et al. 2020), version 1.0 and 1.1, and what was trained from them, such as FLAN-T5."""

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from seqmodels.data.tokenizers import Tokenizer
from seqmodels.interop.families.encoder_decoder import END, START, EncoderDecoder, with_extra_ids
from seqmodels.interop.families.family import Rows, Scaled, Weight, stacked
from seqmodels.interop.families.settings import GATED, PLAIN, THEIRS, Settings
from seqmodels.interop.families.vocabulary import TOKENIZER, read_tokenizer
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel

ENDLESS = 1 << 30  # as relative positions are


def _block(side: str, gated: bool) -> dict[str, Weight]:
    """Norms, attention and feed-forward layers of the encoder or the decoder, by number of the part of a block."""
    last = 2 if side == "decoder" else 1
    parts: dict[str, tuple[str, ...]] = {
        "norm_mixer": ("0.layer_norm",),
        "mixer.project": ("0.SelfAttention.q", "0.SelfAttention.k", "0.SelfAttention.v"),
        "mixer.out": ("0.SelfAttention.o",),
        "norm_cross": ("1.layer_norm",),
        "cross.query": ("1.EncDecAttention.q",),
        "cross.project": ("1.EncDecAttention.k", "1.EncDecAttention.v"),
        "cross.out": ("1.EncDecAttention.o",),
        "norm_feed_forward": (f"{last}.layer_norm",),
        "feed_forward.up": tuple(f"{last}.DenseReluDense.{one}" for one in (("wi_0", "wi_1") if gated else ("wi",))),
        "feed_forward.out": (f"{last}.DenseReluDense.wo",),
    }
    return {
        f"{side}.blocks.{{}}.{ours}.weight": stacked(*(f"{side}.block.{{}}.layer.{one}.weight" for one in theirs))
        for ours, theirs in parts.items()
    }


def _weights(gated: bool, scaled: bool) -> dict[str, Weight]:
    found: dict[str, Weight] = {name: Rows("shared.weight") for name in ("source_embedding.weight", "embedding.weight")}
    found["head.weight"] = Rows("lm_head.weight")
    for side in ("encoder", "decoder"):
        found |= _block(side, gated)
        first = f"{side}.block.0.layer.0.SelfAttention"
        found[f"{side}.position.weight"] = Weight(f"{first}.relative_attention_bias.weight")
        found[f"{side}.norm.weight"] = Weight(f"{side}.final_layer_norm.weight")
    if scaled:
        found["decoder.norm.weight"] = Scaled("decoder.final_layer_norm.weight")
    return found


class T5(EncoderDecoder):
    """RMS norm, relative positions, no biases; the softmax layer is the embedding, or a matrix of its own."""

    model_type = "t5"
    architecture = "T5ForConditionalGeneration"
    unused = (
        r"(en|de)coder\.embed_tokens\.weight",
        r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
    )
    weights: ClassVar[Mapping[str, Weight]] = _weights(gated=False, scaled=False)

    def variant(self, settings: Settings, names: Container[str]) -> "T5":
        found = T5()
        scaled = settings.get("scale_decoder_outputs", settings.get("tie_word_embeddings", True))
        gated = settings.get("feed_forward_proj", "relu").startswith("gated-")
        found.weights = _weights(gated, scaled)  # type: ignore[misc]
        found.tied = "none" if "lm_head.weight" in names else "all"
        return found

    def tokenizers(self, folder: Path, settings: Settings) -> dict[str, Tokenizer]:
        if (folder / TOKENIZER).is_file() or not (folder / "spiece.model").is_file():
            found = read_tokenizer(folder, settings)
            return {"tokenizer": found.between(START, END) if found.shift else found}
        return {"tokenizer": with_extra_ids(folder / "spiece.model")}

    def networks(self, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
        both = {
            "input_size": settings.size("d_model"),
            "num_heads": settings.size("num_heads"),
            "head_size": settings.size("d_kv"),
            "feed_forward_size": settings.size("d_ff"),
            "context": ENDLESS,
            "positions": "relative",
            "position_buckets": settings.get("relative_attention_num_buckets", 32),
            "farthest_bucket": settings.get("relative_attention_max_distance", 128),
            "norm": "rms",
            "eps": settings.get("layer_norm_epsilon", 1e-6),
            "activation": settings.choice("feed_forward_proj", ACTIVATIONS, "relu"),
            "dropout": settings.get("dropout_rate", 0.1),
            "attention_scale": 1.0,
        }
        layers, more = settings.size("num_layers"), settings.size_or_none("num_decoder_layers")
        return both | {"num_layers": layers}, both | {"num_layers": more or layers}

    def tying(self, task: EncoderDecoderModel) -> dict[str, Any]:
        return {"tie_word_embeddings": task.head.weight is task.embedding.weight}

    def lacks(self, task: EncoderDecoderModel) -> list[str]:
        source, bias = task.source_embedding.weight, task.head.bias
        own = source.shape != task.embedding.weight.shape or not torch.equal(source, task.embedding.weight)
        biased = bool((bias[bias.isfinite()] != 0).any())
        return ["a source embedding of its own"] * own + ["a bias of the softmax layer"] * biased

    def config(self, encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "d_model": encoder["input_size"], "num_heads": encoder["num_heads"], "d_kv": encoder["head_size"],
            "d_ff": encoder["feed_forward_size"], "num_layers": encoder["num_layers"],
            "num_decoder_layers": decoder["num_layers"], "dropout_rate": encoder["dropout"],
            "relative_attention_num_buckets": encoder["position_buckets"],
            "relative_attention_max_distance": encoder["farthest_bucket"],
            "layer_norm_epsilon": encoder["eps"], "feed_forward_proj": PROJECTIONS[encoder["activation"]],
        }  # fmt: skip


# In `feed_forward_proj`, `gated-gelu` is the tanh GELU.
ACTIVATIONS = PLAIN | {f"gated-{theirs}": ours for theirs, ours in GATED.items()} | {"gated-gelu": "geglu-tanh"}
PROJECTIONS = {ours: f"gated-{THEIRS[ours]}" if ours in GATED.values() else THEIRS[ours] for ours in THEIRS}
FAMILY = T5()
