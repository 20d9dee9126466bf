"""Qwen3 (Qwen team 2025): a Llama with norms on queries and keys, and heads of a size of their own."""

from collections.abc import Mapping
from typing import Any

from seqmodels.interop.families.llama import Llama
from seqmodels.interop.families.qwen2 import window, window_of_all
from seqmodels.interop.families.settings import Settings


class Qwen3(Llama):
    """As Llama, but for these norms."""

    model_type = "qwen3"
    architecture = "Qwen3ForCausalLM"

    def network(self, settings: Settings) -> dict[str, Any]:
        size = settings.size_or_none("head_dim") or 128  # what a missing one means in transformers
        return super().network(settings) | {"qk_norm": True, "head_size": size}

    def window(self, settings: Settings) -> int | None:
        return window_of_all(settings)

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        found = super().config(arguments)
        return {name: found[name] for name in found if name != "mlp_bias"} | window(arguments)


FAMILY = Qwen3()
