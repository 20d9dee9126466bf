"""The size of a network that gives a language model a wanted number of parameters."""

import functools
import inspect
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from seqmodels.config import Call, class_path, construct, subclasses
from seqmodels.errors import InputError
from seqmodels.nn import Backbone

UNITS = {"": 1, "K": 1_000, "M": 1_000_000, "B": 1_000_000_000}
LARGEST = 1 << 17
"""No larger width is tried."""


class UnreachableError(InputError):
    """There is no such network of about so many parameters."""


class Size(NamedTuple):
    """A network, and the number of parameters of a language model with it."""

    backbone: str
    """Name of its class."""
    arguments: dict[str, Any]
    """Of its constructor, where they were given or found."""
    parameters: int

    @property
    def flags(self) -> str:
        """Its flags for `seqmodels fit`."""
        words = [f"--backbone.{name.replace('_', '-')} {_word(value)}" for name, value in self.arguments.items()]
        return " ".join([f"--backbone {self.backbone}", *words])


def _word(value: Any) -> str:
    return f"'{value}'" if re.search(r"[^\w.-]", str(value)) else str(value)


def number(text: int | str) -> int:
    """A number of parameters, also as text such as 1M, 2.5M or 300k.

    Raises:
        InputError: it is none.
    """
    match = re.fullmatch(r"([\d_,]*\.?\d+)([KMB]?)", str(text).strip().upper())
    found = round(float(match[1].replace("_", "").replace(",", "")) * UNITS[match[2]]) if match else 0
    if found < 1:
        raise InputError(f"parameters={text!r} was given; expected a number such as 1M, 2.5M or 300k")
    return found


def find_size(
    parameters: int | str,
    backbone: str | Backbone = "LSTM",
    *,
    vocab_size: int = 260,
    layers: int | None = None,
    tie_embeddings: bool = False,
    **arguments: Any,
) -> Size:
    """The width of a network with which a language model has about so many parameters, as close as there is one.

    The width is `hidden_size` where a network has one, else `input_size`; a multiple of twice the heads where there is
    attention. Embedding and softmax layer count, too.

    Args:
        parameters: the wanted number, such as 1_000_000 or 1M.
        backbone: name of a network, or one whose other settings are kept.
        vocab_size: tokens V of the vocabulary; 260 are those of bytes.
        layers: layers of the network; by default its own.
        tie_embeddings: embedding and softmax layer share a matrix; then inputs are as wide as outputs.
        arguments: of the network's constructor.

    Raises:
        InputError: an argument is unknown, or the smallest such network is larger.
    """
    wanted, call = number(parameters), _call(backbone)
    if vocab_size < 5:
        raise InputError(f"vocab_size={vocab_size} was given; expected at least 5: four special tokens, and one more")
    cls = next(cls for cls in subclasses(Backbone) if class_path(cls) == call["class_path"])
    name, known = cls.__name__, inspect.signature(cls).parameters
    given = call["init_args"] | arguments | ({} if layers is None else {"num_layers": layers})
    if unknown := [argument for argument in given if argument not in known]:
        which = "layers" if unknown[0] == "num_layers" and layers is not None else unknown[0]
        raise UnreachableError(f"{name} has no {unknown[0]}; leave out {which}; its arguments are {', '.join(known)}")
    width = next((one for one in ("hidden_size", "input_size") if one in known), None)
    if width is None:
        raise InputError(f"{name} has neither hidden_size nor input_size, so there is nothing to vary")
    heads = given.get("num_heads", known["num_heads"].default) if "num_heads" in known else None
    step = 1 if heads is None else 2 * heads
    tied = tie_embeddings and width == "hidden_size" and "input_size" in known

    @functools.cache
    def sized(times: int) -> Size:
        own = given | {width: times * step} | ({"input_size": times * step} if tied else {})
        return Size(name, own, count(cls, own, vocab_size, tie_embeddings))

    low = high = 1
    while sized(high).parameters < wanted:
        low, high = high, 2 * high
        if high * step > LARGEST:
            raise UnreachableError(
                f"{name} reaches {wanted:,} parameters with no width up to {LARGEST:,}; give more layers"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sized(middle).parameters < wanted else (low, middle)
    best = min(sized(low), sized(high), key=lambda size: abs(size.parameters - wanted))
    if low == high and best.parameters > 1.5 * wanted:
        least = f"{name} has at least {best.parameters:,} parameters with a vocabulary of {vocab_size:,}"
        raise UnreachableError(f"{least}, and {wanted:,} are wanted; give fewer layers, or a smaller vocab_size")
    shown = {argument: best.arguments[argument] for argument in known if argument in best.arguments}
    return best._replace(arguments=shown)


def _call(backbone: str | Backbone) -> Call:
    """The class and the arguments of a network; of one that was made, those that are not its defaults."""
    if isinstance(backbone, Backbone):
        call, usual = backbone.constructor_call, inspect.signature(type(backbone)).parameters
        own = {name: value for name, value in call["init_args"].items() if value != usual[name].default}
        return {**call, "init_args": own}
    known = networks()
    alike = [path for name, path in known.items() if name.lower() == str(backbone).lower()]
    if not alike:
        raise InputError(f"the network {backbone!r:.60} is not known; choose one of {', '.join(known)}")
    return {"class_path": alike[0], "init_args": {}}


def networks() -> Mapping[str, str]:
    """Networks that a language model can have and that are made without arguments: class paths by name."""
    empty = inspect.Parameter.empty
    found = {}
    for cls in subclasses(Backbone):
        required = [p for p in inspect.signature(cls).parameters.values() if p.default is empty]
        if not inspect.isabstract(cls) and not required and cls.causal and cls.learns:
            found[cls.__name__] = class_path(cls)
    return found


def count(network: type[Backbone], arguments: Mapping[str, Any], vocab_size: int, tie_embeddings: bool) -> int:
    """The number of parameters of a language model, without the memory for them.

    Raises:
        InputError: the network cannot be made with these arguments.
    """
    with torch.device("meta"):
        backbone: Backbone = construct({"class_path": class_path(network), "init_args": dict(arguments)}, Backbone)
    inside = sum(parameter.numel() for parameter in backbone.parameters())
    if tie_embeddings and backbone.input_size != backbone.output_size:
        raise InputError(
            f"{network.__name__} is {backbone.input_size} wide at its input and {backbone.output_size} at its output; "
            "tie_embeddings needs the same"
        )
    embedding = 0 if tie_embeddings else vocab_size * backbone.input_size
    return inside + embedding + vocab_size * (backbone.output_size + 1)
