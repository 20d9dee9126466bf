"""Qwen2 and Qwen2.5 (Qwen team 2024): a Llama with biases on queries, keys and values."""

from collections.abc import Mapping
from typing import Any

from seqmodels.errors import InputError
from seqmodels.interop.families.llama import Llama
from seqmodels.interop.families.settings import Settings


def window_of_all(settings: Settings) -> int | None:
    """Positions that a position attends to, if it is not all: a window is known here for all layers or none.

    Raises:
        InputError: some layers have a window, others do not.
    """
    layers = settings.size("num_hidden_layers")
    full = min(layers, settings.get("max_window_layers", 0))
    if settings.get("use_sliding_window", False) and full < layers:
        if full:
            raise InputError(f"a window in layers from {full} on only, in {settings.where}, is not known here")
        return settings.size("sliding_window")
    return None


def window(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `window_of_all`."""
    if arguments["window"] >= arguments["context"]:
        return {"use_sliding_window": False}
    return {"use_sliding_window": True, "sliding_window": arguments["window"], "max_window_layers": 0}


class Qwen2(Llama):
    """As Llama, but for biases."""

    model_type = "qwen2"
    architecture = "Qwen2ForCausalLM"
    any_tokenizer = False

    def bias(self, settings: Settings) -> str:
        return "qkv"

    def window(self, settings: Settings) -> int | None:
        return window_of_all(settings)

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        found = super().config(arguments)
        return {name: found[name] for name in found if "bias" not in name and name != "head_dim"} | window(arguments)


FAMILY = Qwen2()
