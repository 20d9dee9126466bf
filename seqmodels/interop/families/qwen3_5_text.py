"""Qwen3.5 (Qwen team 2026), its dense language models: Gated DeltaNet with gated attention between."""

from collections.abc import Container, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from seqmodels.errors import InputError
from seqmodels.interop.families.family import Decoder, Heads, Rows, Stacked, Weight, arranged, stacked
from seqmodels.interop.families.settings import Settings, rope_parameters, rotary
from seqmodels.nn import Hybrid

LAYERS = {"linear_attention": "GatedDeltaNet", "full_attention": "attention"}
BLOCK = "backbone.blocks.{}."
CELL = BLOCK + "mixer.cell."
LAYER, LINEAR, FULL = "layers.{}.", "layers.{}.linear_attn.", "layers.{}.self_attn."


class Gated(Stacked):
    """Queries of each head, each with the gates of its outputs behind it, then keys and values; here gates are last."""

    def joined(self, parts: list[Tensor], heads: Heads) -> Tensor:  # type: ignore[override]
        both = parts[0].view(heads[0], 2, -1, *parts[0].shape[1:])
        return torch.cat((both[:, 0].flatten(0, 1), *parts[1:], both[:, 1].flatten(0, 1)))

    def split(self, ours: Tensor, heads: Heads) -> list[Tensor]:
        size = len(ours) // (2 * sum(heads))
        query, key, value, gate = torch.split(ours, [size * heads[n] for n in (0, 1, 1, 0)])
        both = [part.view(heads[0], size, *ours.shape[1:]) for part in (query, gate)]
        return [torch.stack(both, 1).flatten(0, 2), key, value]


class Qwen35(Decoder):
    """RMS norm, whose scales are stored less one; rotary positions on a quarter of each head."""

    model_type = "qwen3_5_text"
    architecture = "Qwen3_5ForCausalLM"
    prefix = "model."
    unused = (r"mtp\..*",)
    backbone = Hybrid
    weights: ClassVar[Mapping[str, Weight]] = {
        "embedding.weight": Rows("embed_tokens.weight"),
        BLOCK + "norm_mixer.weight": Weight(LAYER + "input_layernorm.weight"),
        **{
            f"{BLOCK}mixer.project.{kind}": Gated(f"{FULL}q_proj.{kind}", tuple(f"{FULL}{p}_proj.{kind}" for p in "kv"))
            for kind in ("weight", "bias")
        },
        BLOCK + "mixer.norm_query.weight": Weight(FULL + "q_norm.weight"),
        BLOCK + "mixer.norm_key.weight": Weight(FULL + "k_norm.weight"),
        BLOCK + "mixer.out.weight": Weight(FULL + "o_proj.weight"),
        BLOCK + "mixer.out.bias": Weight(FULL + "o_proj.bias"),
        CELL + "convolution.weight": Weight(LINEAR + "conv1d.weight"),
        CELL + "rate": Weight(LINEAR + "A_log"),
        CELL + "bias": Weight(LINEAR + "dt_bias"),
        CELL + "norm.weight": Weight(LINEAR + "norm.weight"),
        CELL + "out.weight": Weight(LINEAR + "out_proj.weight"),
        BLOCK + "norm_feed_forward.weight": Weight(LAYER + "post_attention_layernorm.weight"),
        BLOCK + "feed_forward.up.weight": stacked(LAYER + "mlp.gate_proj.weight", LAYER + "mlp.up_proj.weight"),
        BLOCK + "feed_forward.out.weight": Weight(LAYER + "mlp.down_proj.weight"),
        "backbone.norm.weight": Weight("norm.weight"),
        "head.weight": Rows("lm_head.weight"),
    }

    def variant(self, settings: Settings, names: Container[str]) -> "Qwen35":
        found = type(self)()
        delta = (self.network(settings)["layer_settings"] or {}).get("GatedDeltaNet")
        if delta:
            values = delta["num_heads"] * delta["value_size"]
            sizes = (2 * delta["groups"] * delta["head_size"] + values, values, delta["num_heads"], delta["num_heads"])
            names_of = [f"{LINEAR}in_proj_{part}.weight" for part in ("qkv", "z", "b", "a")]
            projection = arranged(names_of, [(size,) for size in sizes])
            found.weights = {**self.weights, CELL + "projection.weight": projection}  # type: ignore[misc]
        return found

    def network(self, settings: Settings) -> dict[str, Any]:
        settings.refuse(hidden_act="silu")
        count, every = settings.size("num_hidden_layers"), settings.size_or_none("full_attention_interval") or 4
        usual = ["full_attention" if (number + 1) % every == 0 else "linear_attention" for number in range(count)]
        kinds = settings.fields.get("layer_types", usual)
        if not isinstance(kinds, list) or len(kinds) != count or any(one not in LAYERS for one in kinds):
            raise InputError(
                f"layer_types={kinds!r:.60} in {settings.where} is not known; expected {', '.join(LAYERS)}"
            )
        delta = {
            "num_heads": settings.get("linear_num_value_heads", 32),
            "groups": settings.get("linear_num_key_heads", 16),
            "head_size": settings.get("linear_key_head_dim", 128),
            "value_size": settings.get("linear_value_head_dim", 128),
            "convolution": settings.get("linear_conv_kernel_dim", 4),
        }
        return {
            "input_size": settings.size("hidden_size"),
            "layers": ",".join(LAYERS[one] for one in kinds),
            "num_heads": settings.size("num_attention_heads"),
            "num_kv_heads": settings.size_or_none("num_key_value_heads"),
            "head_size": settings.get("head_dim", 256),
            "context": settings.size("max_position_embeddings"),
            "norm": "rms-plus-one",
            "activation": "swiglu",
            "bias": "attention" if settings.get("attention_bias", False) else "none",
            "feed_forward_size": settings.size("intermediate_size"),
            "eps": settings.get("rms_norm_eps", 1e-6),
            "qk_norm": True,
            "attention_gate": True,
            "layer_settings": {"GatedDeltaNet": delta} if "linear_attention" in kinds else None,
            **rotary(settings, ("partial_rotary_factor", 0.25)),
        }

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        layers, back = arguments["layers"].split(","), {ours: one for one, ours in LAYERS.items()}
        delta = arguments["layer_settings"].get("GatedDeltaNet", {})
        return {
            "hidden_size": arguments["input_size"],
            "num_hidden_layers": len(layers),
            "layer_types": [back.get(one) for one in layers],
            "num_attention_heads": arguments["num_heads"],
            "num_key_value_heads": arguments["num_kv_heads"],
            "head_dim": arguments["head_size"],
            "max_position_embeddings": arguments["context"],
            "attention_bias": arguments["bias"] != "none",
            "intermediate_size": arguments["feed_forward_size"],
            "rms_norm_eps": arguments["eps"],
            "linear_num_value_heads": delta.get("num_heads"),
            "linear_num_key_heads": delta.get("groups"),
            "linear_key_head_dim": delta.get("head_size"),
            "linear_value_head_dim": delta.get("value_size"),
            "linear_conv_kernel_dim": delta.get("convolution"),
            "rope_parameters": {"partial_rotary_factor": 1.0} | rope_parameters(arguments),
        }


FAMILY = Qwen35()
