"""T5 (Raffel et al. 2020), version 1.0 and 1.1, and what was trained from them, such as FLAN-T5."""

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from seqmodels.data import Tokenizer
from seqmodels.interop.families.encoder_decoder import EncoderDecoder
from seqmodels.interop.families.family import Heads, Rows, Weight, stacked
from seqmodels.interop.families.settings import GATED, PLAIN, THEIRS, Settings
from seqmodels.interop.families.vocabulary import TOKENIZER, read_tokenizer
from seqmodels.interop.sentencepiece import as_tokenizer, read_pieces

START, END, UNKNOWN = "<pad>", "</s>", "<unk>"
"""A decoder begins with the padding."""
ENDLESS = 1 << 30
"""Relative positions have no end."""


class Scaled(Weight):
    """The last norm of a decoder whose outputs are divided by the square root of their size."""

    def joined(self, parts: Sequence[Tensor], heads: Heads) -> Tensor:
        return parts[0] * float(len(parts[0]) ** -0.5)


def _block(side: str, gated: bool) -> dict[str, Weight]:
    """Norms, attention and feed-forward layers of the encoder or the decoder."""
    ours, theirs, last = f"{side}.blocks.{{}}.", f"{side}.block.{{}}.layer.", 2 if side == "decoder" else 1
    dense = f"{theirs}{last}.DenseReluDense."
    up = stacked(f"{dense}wi_0.weight", f"{dense}wi_1.weight") if gated else Weight(f"{dense}wi.weight")
    found = {
        "norm_mixer.weight": Weight(f"{theirs}0.layer_norm.weight"),
        "mixer.project.weight": stacked(*(f"{theirs}0.SelfAttention.{one}.weight" for one in "qkv")),
        "mixer.out.weight": Weight(f"{theirs}0.SelfAttention.o.weight"),
        "norm_feed_forward.weight": Weight(f"{theirs}{last}.layer_norm.weight"),
        "feed_forward.up.weight": up,
        "feed_forward.out.weight": Weight(f"{dense}wo.weight"),
    }
    if side == "decoder":
        found |= {
            "norm_cross.weight": Weight(f"{theirs}1.layer_norm.weight"),
            "cross.query.weight": Weight(f"{theirs}1.EncDecAttention.q.weight"),
            "cross.project.weight": stacked(*(f"{theirs}1.EncDecAttention.{one}.weight" for one in "kv")),
            "cross.out.weight": Weight(f"{theirs}1.EncDecAttention.o.weight"),
        }
    return {ours + name: weight for name, weight in found.items()}


def _weights(gated: bool, scaled: bool) -> dict[str, Weight]:
    found: dict[str, Weight] = {name: Rows("shared.weight") for name in ("source_embedding.weight", "embedding.weight")}
    found["head.weight"] = Rows("lm_head.weight")
    for side in ("encoder", "decoder"):
        found |= _block(side, gated)
        found[f"{side}.position.weight"] = Weight(
            f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        )
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
            return {"tokenizer": Tokenizer(found.json, START, END) if found.shift else found}
        model = read_pieces(folder / "spiece.model")
        extra = [f"<extra_id_{number}>" for number in reversed(range(100))]
        ids = {name: number for number, name in enumerate([*model.names, *extra])}
        json, size = as_tokenizer(model, ids, model.unknown, keep=(START, END, UNKNOWN, *extra))
        return {"tokenizer": Tokenizer(json, START, END, size)}

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
        layers = settings.size("num_layers")
        return both | {"num_layers": layers}, both | {
            "num_layers": settings.size_or_none("num_decoder_layers") or layers
        }

    def config(self, encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "d_model": encoder["input_size"], "num_heads": encoder["num_heads"], "d_kv": encoder["head_size"],
            "d_ff": encoder["feed_forward_size"], "num_layers": encoder["num_layers"],
            "num_decoder_layers": decoder["num_layers"], "dropout_rate": encoder["dropout"],
            "relative_attention_num_buckets": encoder["position_buckets"],
            "relative_attention_max_distance": encoder["farthest_bucket"],
            "layer_norm_epsilon": encoder["eps"], "feed_forward_proj": PROJECTIONS[encoder["activation"]],
            "tie_word_embeddings": False, "scale_decoder_outputs": False,
        }  # fmt: skip


ACTIVATIONS = PLAIN | {f"gated-{theirs}": ours for theirs, ours in GATED.items()} | {"gated-gelu": "geglu-tanh"}
"""In `feed_forward_proj`, `gated-gelu` is the tanh GELU."""
PROJECTIONS = {ours: f"gated-{THEIRS[ours]}" if ours in GATED.values() else THEIRS[ours] for ours in THEIRS}
FAMILY = T5()
