"""OPT (Zhang et al. 2022).

Its 350M is post-norm, and its embeddings are narrower than the network: here they are multiplied out, so that embedding
and softmax layer are two matrices of the network's width, and no longer one.
"""

from collections.abc import Container, Mapping
from typing import Any, ClassVar

from seqmodels.config import Call
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.interop.families.family import Decoder, Projected, Rows, Weight, stacked
from seqmodels.interop.families.settings import PLAIN, THEIRS, Settings

OFFSET = 2
"""Number of its first position; the rows before stand for padding."""


class OPT(Decoder):
    """Layer norm, learned positions, ReLU, biases."""

    model_type = "opt"
    architecture = "OPTForCausalLM"
    prefix = "model.decoder."
    tied = True
    weights: ClassVar[Mapping[str, Weight]] = {
        "embedding.weight": Rows("embed_tokens.weight"),
        "backbone.position.weight": Weight("embed_positions.weight"),
        **{
            f"backbone.blocks.{{}}.{ours}.{kind}": stacked(*(f"layers.{{}}.{name}.{kind}" for name in theirs))
            for ours, theirs in (
                ("norm_mixer", ["self_attn_layer_norm"]),
                ("mixer.project", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
                ("mixer.out", ["self_attn.out_proj"]),
                ("norm_feed_forward", ["final_layer_norm"]),
                ("feed_forward.up", ["fc1"]),
                ("feed_forward.out", ["fc2"]),
            )
            for kind in ("weight", "bias")
        },
        "backbone.norm.weight": Weight("final_layer_norm.weight"),
        "backbone.norm.bias": Weight("final_layer_norm.bias"),
        "head.weight": Rows("lm_head.weight"),
    }

    def variant(self, settings: Settings, names: Container[str]) -> "OPT":
        size = settings.size("hidden_size")
        return self if settings.get("word_embed_proj_dim", size) == size else Narrow()

    def network(self, settings: Settings) -> dict[str, Any]:
        size = settings.size("hidden_size")
        settings.refuse(enable_bias=True, layer_norm_elementwise_affine=True, _remove_final_layer_norm=False)
        return {
            "input_size": size,
            "num_layers": settings.size("num_hidden_layers"),
            "num_heads": settings.size("num_attention_heads"),
            "context": settings.size("max_position_embeddings"),
            "positions": "learned",
            "position_offset": OFFSET,
            "norm": "layer",
            "activation": settings.choice("activation_function", PLAIN, "relu"),
            "dropout": settings.get("dropout", 0.1),
            "bias": "all",
            "residual": "pre-norm" if settings.get("do_layer_norm_before", True) else "post-norm",
            "feed_forward_size": settings.size("ffn_dim"),
        }

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "hidden_size": arguments["input_size"],
            "word_embed_proj_dim": arguments["input_size"],
            "num_hidden_layers": arguments["num_layers"],
            "num_attention_heads": arguments["num_heads"],
            "max_position_embeddings": arguments["context"],
            "activation_function": THEIRS[arguments["activation"]],
            "dropout": arguments["dropout"],
            "ffn_dim": arguments["feed_forward_size"],
            "do_layer_norm_before": arguments["residual"] == "pre-norm",
        }


class Narrow(OPT):
    """With embeddings of another size than the network."""

    weights: ClassVar[Mapping[str, Weight]] = OPT.weights | {  # type: ignore[operator]
        "embedding.weight": Projected("embed_tokens.weight", ("project_in.weight",), transposed=True),
        "head.weight": Projected("embed_tokens.weight", ("project_out.weight",)),
    }

    def task(self, settings: Settings, tokenizer: Tokenizer, **others: Tokenizer) -> Call:
        settings.refuse(tie_word_embeddings=True)
        untied = Settings(settings.fields | {"tie_word_embeddings": False}, settings.where, settings.folder)
        return super().task(untied, tokenizer, **others)


FAMILY = OPT()
