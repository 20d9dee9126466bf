"""The form of a network: all that makes a difference, so that networks of different origins can be compared."""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from seqmodels.interop.families.settings import GATED
from seqmodels.nn import RWKV7, Hybrid, Transformer
from seqmodels.nn.hybrid import ATTENTION, OF_THE_WHOLE, layer_networks

BIASES = ("none", "qkv", "attention", "all")
"""Each has those of the one before; a bias that a network lacks is written as zeros."""
USUAL: dict[str, Callable[[dict[str, Any]], Any]] = {
    "head_size": lambda found: found["input_size"] // found["num_heads"],
    "num_kv_heads": lambda found: found["num_heads"],
    "groups": lambda found: found["num_heads"],
    "key_size": lambda found: max(1, found["head_size"] // 2),
    "value_size": lambda found: found["head_size"],
    "width": lambda found: found["input_size"],
    "feed_forward_size": lambda found: (8 if found["activation"] in GATED.values() else 12) * found["input_size"] // 3,
    "attention_scale": lambda found: found["head_size"] ** -0.5,
    "window": lambda found: found["context"],
}
"""What a missing argument means."""


def complete(arguments: Mapping[str, Any], network: type = Transformer) -> dict[str, Any]:
    """All arguments of a network, each with a value; the usual one where it is not used."""
    usual = {name: one.default for name, one in inspect.signature(network).parameters.items()}
    found = usual | dict(arguments)
    if network is RWKV7:
        if found["eps"] is None and found["norm"] == "layer":
            found["eps"] = 1e-5
        if found["channel_mixing"]:
            found["activation"] = usual["activation"]
    for name, value in USUAL.items():
        if name in found and found[name] is None:
            found[name] = value(found)
    if network is Transformer:
        single = 1e-5 if found["norm"] == "layer" else torch.finfo(torch.float32).eps
        found["eps"] = single if found["eps"] is None else found["eps"]
        found["window"] = min(found["window"], found["context"])
        used = {"rotary": "rotary_", "relative": "_bucket"}
        for name in found:
            if any(part in name and found["positions"] != kind for kind, part in used.items()):
                found[name] = usual[name]
    if network is Hybrid:
        layers = [name for name in re.split(r"[\s,]+", found["layers"]) if name]
        kinds = {name: _of_layer(name, found) for name in layers if name != ATTENTION}
        found |= {"layers": ",".join(layers), "layer_settings": kinds}
    return found


def _of_layer(name: str, whole: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a kind of layer."""
    network = layer_networks()[name]
    known = inspect.signature(network).parameters
    shared = {one: whole[one] for one in ("input_size", "num_heads", "eps") if one in known}
    given = (whole["layer_settings"] or {}).get(name, {})
    full = complete(shared | given, network)
    return {one: value for one, value in full.items() if one not in OF_THE_WHOLE}
