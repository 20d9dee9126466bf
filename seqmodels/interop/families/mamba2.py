"""Mamba-2 (Dao and Gu 2024)."""

from collections.abc import Container, Mapping
from typing import Any, ClassVar

from seqmodels.interop.families.family import Decoder, Rows, Weight, arranged
from seqmodels.interop.families.settings import Settings
from seqmodels.nn import Mamba2 as Network

UNLIMITED = (None, [0.0, float("inf")], [0.0, {"__float__": "Infinity"}])
"""Ways to say that steps have no bounds."""
BLOCK = "backbone.blocks.{}."
CELL = BLOCK + "mixer.cell."


class Mamba2(Decoder):
    """RMS norm, no feed-forward layers; the parts of a layer's projection are in another order."""

    model_type = "mamba2"
    architecture = "Mamba2ForCausalLM"
    prefix = "backbone."
    backbone = Network
    weights: ClassVar[Mapping[str, Weight]] = {
        "embedding.weight": Rows("embeddings.weight"),
        BLOCK + "norm_mixer.weight": Weight("layers.{}.norm.weight"),
        CELL + "rate": Weight("layers.{}.mixer.A_log"),
        CELL + "bias": Weight("layers.{}.mixer.dt_bias"),
        CELL + "skip": Weight("layers.{}.mixer.D"),
        CELL + "norm": Weight("layers.{}.mixer.norm.weight"),
        CELL + "out.weight": Weight("layers.{}.mixer.out_proj.weight"),
        "backbone.norm.weight": Weight("norm_f.weight"),
        "head.weight": Rows("lm_head.weight"),
    }

    def variant(self, settings: Settings, names: Container[str]) -> "Mamba2":
        """With the sizes of the parts: gate, value, key, query, step."""
        found, network = Mamba2(), self.network(settings)
        inner, keys = network["expand"] * network["input_size"], network["groups"] * network["state_size"]
        parts = inner, inner, keys, keys, network["num_heads"]
        convolved = "layers.{}.mixer.conv1d."
        found.weights = {  # type: ignore[misc]
            **self.weights,
            CELL + "projection.weight": arranged(["layers.{}.mixer.in_proj.weight"], [parts], (3, 2, 1, 0, 4)),
            CELL + "convolution.weight": arranged([convolved + "weight"], [parts[1:4]], (2, 1, 0)),
            CELL + "convolution.bias": arranged([convolved + "bias"], [parts[1:4]], (2, 1, 0)),
        }
        return found

    def network(self, settings: Settings) -> dict[str, Any]:
        settings.refuse(use_bias=False, use_conv_bias=True, hidden_act="silu")
        if settings.fields.get("time_step_limit") not in UNLIMITED:
            settings.refuse(time_step_limit=[0.0, float("inf")])
        return {
            "input_size": settings.size("hidden_size"),
            "num_layers": settings.size("num_hidden_layers"),
            "num_heads": settings.size("num_heads"),
            "state_size": settings.size("state_size"),
            "expand": settings.get("expand", 2),
            "groups": settings.get("n_groups", 8),
            "convolution": settings.get("conv_kernel", 4),
            "norm": "rms",
            "feed_forward_size": 0,
            "eps": settings.get("layer_norm_epsilon", 1e-5),
        }

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "hidden_size": arguments["input_size"],
            "num_hidden_layers": arguments["num_layers"],
            "num_heads": arguments["num_heads"],
            "head_dim": arguments["expand"] * arguments["input_size"] // arguments["num_heads"],
            "state_size": arguments["state_size"],
            "expand": arguments["expand"],
            "n_groups": arguments["groups"],
            "conv_kernel": arguments["convolution"],
            "layer_norm_epsilon": arguments["eps"],
        }


FAMILY = Mamba2()
