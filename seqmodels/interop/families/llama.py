"""Llama (Touvron et al. 2023), and what has its settings and names: SmolLM2, TinyLlama."""

from collections.abc import Mapping
from typing import Any, ClassVar

from seqmodels.errors import InputError
from seqmodels.interop.families.family import Decoder, Rows, Weight, stacked
from seqmodels.interop.families.settings import GATED, THEIRS, Settings, rope_parameters, rotary

BIASES = {(False, False): "none", (True, False): "attention", (True, True): "all"}
"""By whether layers of attention and feed-forward layers have them."""


class Llama(Decoder):
    """RMS norm, rotary positions, gated feed-forward layers, grouped keys."""

    model_type = "llama"
    architecture = "LlamaForCausalLM"
    prefix = "model."
    unused = (r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)
    weights: ClassVar[Mapping[str, Weight]] = {
        "embedding.weight": Rows("embed_tokens.weight"),
        "backbone.blocks.{}.norm_mixer.weight": Weight("layers.{}.input_layernorm.weight"),
        **{
            f"backbone.blocks.{{}}.mixer.project.{kind}": stacked(
                *(f"layers.{{}}.self_attn.{part}_proj.{kind}" for part in "qkv")
            )
            for kind in ("weight", "bias")
        },
        "backbone.blocks.{}.mixer.norm_query.weight": Weight("layers.{}.self_attn.q_norm.weight"),
        "backbone.blocks.{}.mixer.norm_key.weight": Weight("layers.{}.self_attn.k_norm.weight"),
        "backbone.blocks.{}.mixer.out.weight": Weight("layers.{}.self_attn.o_proj.weight"),
        "backbone.blocks.{}.mixer.out.bias": Weight("layers.{}.self_attn.o_proj.bias"),
        "backbone.blocks.{}.norm_feed_forward.weight": Weight("layers.{}.post_attention_layernorm.weight"),
        **{
            f"backbone.blocks.{{}}.feed_forward.up.{kind}": stacked(
                *(f"layers.{{}}.mlp.{part}_proj.{kind}" for part in ("gate", "up"))
            )
            for kind in ("weight", "bias")
        },
        "backbone.blocks.{}.feed_forward.out.weight": Weight("layers.{}.mlp.down_proj.weight"),
        "backbone.blocks.{}.feed_forward.out.bias": Weight("layers.{}.mlp.down_proj.bias"),
        "backbone.norm.weight": Weight("norm.weight"),
        "head.weight": Rows("lm_head.weight"),
    }

    def network(self, settings: Settings) -> dict[str, Any]:
        return {
            "input_size": settings.size("hidden_size"),
            "num_layers": settings.size("num_hidden_layers"),
            "num_heads": settings.size("num_attention_heads"),
            "num_kv_heads": settings.size_or_none("num_key_value_heads"),
            "head_size": settings.size_or_none("head_dim"),
            "context": settings.size("max_position_embeddings"),
            "window": self.window(settings),
            "positions": "rotary",
            "norm": "rms",
            "activation": settings.choice("hidden_act", GATED, "silu"),
            "bias": self.bias(settings),
            "feed_forward_size": settings.size("intermediate_size"),
            "eps": settings.get("rms_norm_eps", 1e-6),
            **rotary(settings),
        }

    def bias(self, settings: Settings) -> str:
        """Which layers have biases."""
        found = settings.get("attention_bias", False), settings.get("mlp_bias", False)
        if found not in BIASES:
            raise InputError(f"mlp_bias without attention_bias, in {settings.where}, is not known here")
        return BIASES[found]

    def window(self, settings: Settings) -> int | None:
        """Positions that a position attends to, if it is not all."""
        return None

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "hidden_size": arguments["input_size"],
            "num_hidden_layers": arguments["num_layers"],
            "num_attention_heads": arguments["num_heads"],
            "num_key_value_heads": arguments["num_kv_heads"],
            "head_dim": arguments["head_size"],
            "max_position_embeddings": arguments["context"],
            "hidden_act": THEIRS[arguments["activation"]],
            "attention_bias": arguments["bias"] != "none",
            "mlp_bias": arguments["bias"] == "all",
            "intermediate_size": arguments["feed_forward_size"],
            "rms_norm_eps": arguments["eps"],
            "rope_parameters": rope_parameters(arguments),
        }


FAMILY = Llama()
