"""Public families of models, a file each: what their settings and weights are here, and back."""

from importlib import import_module

from seqmodels.interop.families.family import Family

KNOWN = (
    "gpt2",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gpt_neox",
    "opt",
    "mamba2",
    "xlstm",
    "recurrent_gemma",
    "rwkv7",
    "qwen3_5_text",
    "qwen3_next",
    "marian",
    "t5",
)
"""Values of `model_type` in `config.json`; each is the name of a module here with its `FAMILY`."""


def families() -> dict[str, Family]:
    """All families by their `model_type`."""
    return {name: import_module(f"seqmodels.interop.families.{name}").FAMILY for name in KNOWN}
