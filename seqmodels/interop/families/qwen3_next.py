"""Qwen3-Next (Qwen team 2025), where its feed-forward layers are dense: as Qwen3.5, with fewer tensors."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqmodels.errors import InputError
from seqmodels.interop.families.family import Heads, Stacked
from seqmodels.interop.families.qwen3_5_text import CELL, LINEAR, Qwen35
from seqmodels.interop.families.settings import Settings


@dataclass(frozen=True)
class ByKeyHead(Stacked):
    """The parts of a layer's projection of the first head of keys, then of the second, and so on.

    Args:
        groups: heads of keys.
        sizes: rows of each part for one of them, tensor by tensor.
    """

    groups: int = 1
    sizes: tuple[tuple[int, ...], ...] = ()

    def joined(self, parts: list[Tensor], heads: Heads) -> Tensor:  # type: ignore[override]
        by_head = [part.reshape(self.groups, -1, part.shape[-1]) for part in parts]
        if any(part.shape[1] != sum(sizes) for part, sizes in zip(by_head, self.sizes, strict=True)):
            return torch.cat(parts)[:0]  # of another shape, which is said
        split = [torch.split(part, list(sizes), 1) for part, sizes in zip(by_head, self.sizes, strict=True)]
        return torch.cat([part.flatten(0, 1) for one in split for part in one])

    def split(self, ours: Tensor, heads: Heads) -> list[Tensor]:
        sizes = [size for one in self.sizes for size in one]
        parts = [
            part.view(self.groups, -1, ours.shape[-1])
            for part in torch.split(ours, [self.groups * size for size in sizes])
        ]
        count = len(self.sizes[0])
        return [torch.cat(one, 1).flatten(0, 1) for one in (parts[:count], parts[count:])]


class Qwen3Next(Qwen35):
    """Of its mixtures of experts there is no form here."""

    model_type = "qwen3_next"
    architecture = "Qwen3NextForCausalLM"

    def variant(self, settings: Settings, names: Container[str]) -> "Qwen3Next":
        found = Qwen3Next()
        delta = (self.network(settings)["layer_settings"] or {}).get("GatedDeltaNet")
        if delta:
            groups, key = delta["groups"], delta["head_size"]
            shared = delta["num_heads"] // max(1, groups)
            values = shared * delta["value_size"]
            of_both = LINEAR + "in_proj_qkvz.weight", (LINEAR + "in_proj_ba.weight",)
            projection = ByKeyHead(*of_both, groups, ((key, key, values, values), (shared, shared)))
            found.weights = {**self.weights, CELL + "projection.weight": projection}  # type: ignore[misc]
        return found

    def network(self, settings: Settings) -> dict[str, Any]:
        count, experts = settings.size("num_hidden_layers"), settings.get("num_experts", 512)
        step, dense = settings.get("decoder_sparse_step", 1), settings.fields.get("mlp_only_layers", [])
        mixed = [number for number in range(count) if number not in dense and (number + 1) % max(1, step) == 0]
        if experts and mixed:
            raise InputError(
                f"layer {mixed[0]} in {settings.where} is a mixture of {experts} experts, which no network has here; "
                "expected dense feed-forward layers"
            )
        return super().network(settings)

    def config(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return super().config(arguments) | {"num_experts": 0}


FAMILY = Qwen3Next()
