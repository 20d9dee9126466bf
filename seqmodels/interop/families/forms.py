"""The form of a Transformer: all that makes a difference, so that networks of different origins can be compared."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from seqmodels.interop.families.settings import GATED
from seqmodels.nn import Transformer

BIASES = ("none", "qkv", "attention", "all")
"""Each has those of the one before; a bias that a network lacks is written as zeros."""


def complete(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a Transformer, each with a value; the usual one where it is not used."""
    usual = {name: one.default for name, one in inspect.signature(Transformer).parameters.items()}
    found = usual | dict(arguments)
    size, heads, gated = found["input_size"], found["num_heads"], found["activation"] in GATED.values()
    found["head_size"] = found["head_size"] or size // heads
    single = 1e-5 if found["norm"] == "layer" else torch.finfo(torch.float32).eps
    filled = {
        "num_kv_heads": heads,
        "feed_forward_size": 8 * size // 3 if gated else 4 * size,
        "eps": single,
        "attention_scale": found["head_size"] ** -0.5,
        "window": found["context"],
    }
    found |= {name: value for name, value in filled.items() if found[name] is None}
    found["window"] = min(found["window"], found["context"])
    used = {"rotary": "rotary_", "relative": "_bucket"}
    for name in found:
        if any(part in name and found["positions"] != kind for kind, part in used.items()):
            found[name] = usual[name]
    return found
