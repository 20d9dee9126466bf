"""RecurrentGemma (Botev et al. 2024): RG-LRU layers with attention to a window between them, as in Griffin."""

from collections.abc import Container, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from seqmodels.errors import InputError
from seqmodels.interop.families.family import Decoder, Heads, Rows, Stacked, Weight, Zeros, stacked
from seqmodels.interop.families.settings import Settings, rope_parameters, rotary
from seqmodels.nn import Hybrid

LAYERS = {"recurrent": "RGLRU", "attention": "attention"}
BLOCK = "backbone.blocks.{}."
CELL = BLOCK + "mixer.cell."
LAYER, MIXER, FEED = "layers.{}.", "layers.{}.temporal_block.", "layers.{}.mlp_block."
QKV = tuple(f"{MIXER}{part}_proj." for part in "qkv")


class Beside(Stacked):
    """Maps of heads, the columns of which are side by side here."""

    def joined(self, parts: list[Tensor], heads: Heads) -> Tensor:  # type: ignore[override]
        return torch.cat(parts, -1)

    def split(self, ours: Tensor, heads: Heads) -> list[Tensor]:
        return list(ours.chunk(len(self.names), -1))


class Flat(Stacked):
    """Biases of heads, in one row here."""

    def joined(self, parts: list[Tensor], heads: Heads) -> Tensor:  # type: ignore[override]
        return torch.cat([part.flatten() for part in parts])

    def split(self, ours: Tensor, heads: Heads) -> list[Tensor]:
        return [part.view(heads[0], -1) for part in ours.chunk(len(self.names))]


class RecurrentGemma(Decoder):
    """RMS norm, whose scales are stored less one; biases; scaled inputs; softly bounded logits."""

    model_type = "recurrent_gemma"
    architecture = "RecurrentGemmaForCausalLM"
    prefix = "model."
    backbone = Hybrid
    tied = True
    cap = "logits_soft_cap"
    weights: ClassVar[Mapping[str, Weight]] = {
        "embedding.weight": Rows("embed_tokens.weight"),
        BLOCK + "norm_mixer.weight": Weight(LAYER + "temporal_pre_norm.weight"),
        BLOCK + "mixer.project.weight": stacked(*(name + "weight" for name in QKV)),
        BLOCK + "mixer.project.bias": stacked(*(name + "bias" for name in QKV)),
        **{
            f"{BLOCK}{ours}.{kind}": stacked(*(f"{name}.{kind}" for name in theirs))
            for ours, theirs in {
                "mixer.out": (MIXER + "o_proj",),
                "mixer.cell.projection": (MIXER + "linear_x", MIXER + "linear_y"),
                "mixer.cell.convolution": (MIXER + "conv_1d",),
                "mixer.cell.out": (MIXER + "linear_out",),
                "feed_forward.up": (FEED + "gate_proj", FEED + "up_proj"),
                "feed_forward.out": (FEED + "down_proj",),
            }.items()
            for kind in ("weight", "bias")
        },
        CELL + "gate_maps": Beside(MIXER + "rg_lru.input_gate_weight", (MIXER + "rg_lru.recurrent_gate_weight",)),
        CELL + "gate_biases": Flat(MIXER + "rg_lru.input_gate_bias", (MIXER + "rg_lru.recurrent_gate_bias",)),
        CELL + "base": Weight(MIXER + "rg_lru.recurrent_param"),
        BLOCK + "norm_feed_forward.weight": Weight(LAYER + "channel_pre_norm.weight"),
        "backbone.norm.weight": Weight("final_norm.weight"),
        "head.weight": Rows("lm_head.weight"),
    }

    def variant(self, settings: Settings, names: Container[str]) -> "RecurrentGemma":
        found = RecurrentGemma()
        if not settings.get("attention_bias", False):
            found.weights = {**self.weights, BLOCK + "mixer.project.bias": Zeros("")}  # type: ignore[misc]
        return found

    def network(self, settings: Settings) -> dict[str, Any]:
        settings.refuse(hidden_activation="gelu_pytorch_tanh")
        size, count = settings.size("hidden_size"), settings.size("num_hidden_layers")
        kinds = settings.fields.get("block_types", ["recurrent", "recurrent", "attention"])
        if not isinstance(kinds, list) or not kinds or any(one not in LAYERS for one in kinds):
            raise InputError(
                f"block_types={kinds!r:.60} in {settings.where} is not known; expected {', '.join(LAYERS)}"
            )
        layers = [LAYERS[kinds[number % len(kinds)]] for number in range(count)]
        width = settings.size_or_none("lru_width") or size
        lru = {"width": width, "convolution": settings.get("conv1d_width", 4), "scale_first": False}
        return {
            "input_size": size,
            "layers": ",".join(layers),
            "num_heads": settings.size("num_attention_heads"),
            "num_kv_heads": settings.size_or_none("num_key_value_heads"),
            "context": settings.get("attention_window_size", 2048),
            "norm": "rms-plus-one",
            "activation": "geglu-tanh",
            "bias": "all",
            "feed_forward_size": settings.size("intermediate_size") // 2,
            "eps": settings.get("rms_norm_eps", 1e-6),
            "input_scale": float(torch.tensor(size**0.5, dtype=torch.bfloat16, device="cpu")),  # as it was trained
            "layer_settings": {"RGLRU": lru} if "RGLRU" in layers else None,
            **rotary(settings, ("partial_rotary_factor", 0.5)),
        }

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        layers = arguments["layers"].split(",")
        lru, back = arguments["layer_settings"].get("RGLRU", {}), {ours: one for one, ours in LAYERS.items()}
        return {
            "hidden_size": arguments["input_size"],
            "num_hidden_layers": len(layers),
            "block_types": [back.get(one) for one in layers],
            "num_attention_heads": arguments["num_heads"],
            "num_key_value_heads": arguments["num_kv_heads"],
            "attention_window_size": arguments["context"],
            "attention_bias": True,
            "intermediate_size": 2 * arguments["feed_forward_size"],
            "rms_norm_eps": arguments["eps"],
            "lru_width": lru.get("width"),
            "conv1d_width": lru.get("convolution", 4),
            "rope_parameters": {"partial_rotary_factor": 1.0} | rope_parameters(arguments),
        }


FAMILY = RecurrentGemma()
