"""The settings of a model of another program, `config.json`, read with one sentence where they cannot be used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from seqmodels.errors import InputError

Value = TypeVar("Value", int, float, str, bool)


class Settings:
    """Fields of `config.json`.

    Args:
        fields: by name; null counts as missing.
        where: the file, for messages.
        folder: where other files of the model are.
    """

    def __init__(self, fields: Mapping[str, Any], where: str, folder: Path | None = None) -> None:
        self.folder = folder
        self.fields, self.where = {name: value for name, value in fields.items() if value is not None}, where

    def get(self, name: str, default: Value) -> Value:
        """A field of the type of its default, which it has if it is missing.

        Raises:
            InputError: it is of another type.
        """
        value = self.fields.get(name, default)
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            raise InputError(f"{name} is {value!r:.60} in {self.where}; expected {type(default).__name__}")
        return value

    def size(self, name: str) -> int:
        """A number of at least 1 that must be there."""
        value = self.fields.get(name)
        if type(value) is not int or value < 1:
            given = "is missing" if value is None else f"is {value!r:.60}"
            raise InputError(f"{name} {given} in {self.where}; expected a size of at least 1")
        return value

    def size_or_none(self, name: str) -> int | None:
        """The same, which may be missing."""
        return self.size(name) if name in self.fields else None

    def part(self, name: str) -> "Settings":
        """The fields of a field; none where it is missing."""
        found = self.fields.get(name, {})
        if not isinstance(found, dict):
            raise InputError(f"{name} is {found!r:.60} in {self.where}; expected an object")
        return Settings(found, self.where)

    def refuse(self, **usual: Any) -> None:
        """Refuse (InputError) fields that are there with another value than the usual one: networks here lack them."""
        for name, value in usual.items():
            if (given := self.fields.get(name, value)) != value:
                raise InputError(f"{name}={given!r:.60} in {self.where} is not known here; expected {value!r}")

    def choice(self, name: str, known: Mapping[str, str], default: str) -> str:
        """A field as a name of ours."""
        if (given := self.get(name, default)) not in known:
            raise InputError(f"{name}={given!r:.60} in {self.where} is not known here; expected {', '.join(known)}")
        return known[given]


PLAIN = {
    "gelu_new": "gelu-tanh", "gelu_pytorch_tanh": "gelu-tanh", "gelu_fast": "gelu-tanh", "gelu": "gelu",
    "relu": "relu", "silu": "silu", "swish": "silu",
}  # fmt: skip
"""Activations by their names in transformers; here they are called otherwise where they are gated."""
GATED = {
    theirs: {"gelu-tanh": "geglu-tanh", "gelu": "geglu", "relu": "reglu", "silu": "swiglu"}[ours]
    for theirs, ours in PLAIN.items()
}
THEIRS = {ours: theirs for known in (PLAIN, GATED) for theirs, ours in reversed(known.items())}
"""The name in transformers for an activation here."""


def rotary(settings: Settings, share: tuple[str, float] = ("partial_rotary_factor", 1.0)) -> dict[str, Any]:
    """Arguments for rotary positions, from `rope_parameters`, or from older fields of several names; `share` is the
    older name for that of a head's features that turn, and its default.
    """
    new = settings.part("rope_parameters")
    old = settings.part("rope_scaling")
    base = new.get("rope_theta", settings.get("rope_theta", settings.get("rotary_emb_base", 10_000.0)))
    scaling = Settings(old.fields | new.fields, settings.where)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    arguments = {"rotary_base": base, "rotary_share": new.get("partial_rotary_factor", settings.get(*share))}
    if kind == "default":
        return arguments
    found = {"factor": scaling.get("factor", 1.0)}
    if kind == "llama3":
        found |= {"low": scaling.get("low_freq_factor", 1.0), "high": scaling.get("high_freq_factor", 4.0)}
        found |= {"context": float(scaling.get("original_max_position_embeddings", 8192))}
    elif kind != "linear":
        raise InputError(
            f"rope_type={kind!r} in {settings.where} is not known here; expected default, linear or llama3"
        )
    return arguments | {"rotary_scaling": found}


def rope_parameters(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `rotary`."""
    found: dict[str, Any] = {"rope_type": "default", "rope_theta": arguments["rotary_base"]}
    if arguments["rotary_share"] != 1:
        found["partial_rotary_factor"] = arguments["rotary_share"]
    if scaling := arguments["rotary_scaling"]:
        found |= {"rope_type": "linear", "factor": scaling["factor"]}
        if "low" in scaling:
            found |= {"rope_type": "llama3", "low_freq_factor": scaling["low"], "high_freq_factor": scaling["high"]}
            found["original_max_position_embeddings"] = int(scaling["context"])
    return found
