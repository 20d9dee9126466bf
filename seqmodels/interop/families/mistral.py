"""Mistral (Jiang et al. 2023): a Llama whose layers attend to a window."""

from collections.abc import Mapping
from typing import Any

from seqmodels.interop.families.llama import Llama
from seqmodels.interop.families.settings import Settings


class Mistral(Llama):
    """No biases; the context is the window, if there is one."""

    model_type = "mistral"
    architecture = "MistralForCausalLM"

    def bias(self, settings: Settings) -> str:
        return "none"

    def context(self, settings: Settings) -> int:
        longest = super().context(settings)
        return min(longest, settings.size_or_none("sliding_window") or longest)

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        found = super().config(arguments)
        return {name: found[name] for name in found if "bias" not in name} | {"sliding_window": arguments["context"]}


FAMILY = Mistral()
