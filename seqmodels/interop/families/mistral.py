"""Mistral (Jiang et al. 2023): a Llama whose layers attend to a window."""

from collections.abc import Mapping
from typing import Any

from seqmodels.interop.families.llama import Llama
from seqmodels.interop.families.settings import Settings


class Mistral(Llama):
    """No biases."""

    model_type = "mistral"
    architecture = "MistralForCausalLM"

    def bias(self, settings: Settings) -> str:
        return "none"

    def window(self, settings: Settings) -> int | None:
        return settings.size_or_none("sliding_window")

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        found = super().config(arguments)
        return {name: found[name] for name in found if "bias" not in name} | {"sliding_window": arguments["window"]}


FAMILY = Mistral()
