"""Inner values of a network while it reads."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Trace:
    """Tensors at every position, named by layer, counted from 1, and textbook letter.

    In a network that contains other networks, their names follow its own: `2.h` is the hidden state of the recurrent
    layer in the second block. Tensors keep their gradient graph.
    """

    units: dict[str, Tensor] = field(default_factory=dict)
    """Values of units after each position, (B, T, D): the states `1.h` and `1.c` of recurrent layers, or `1` for the
    residual stream after a block. Zero at padding."""
    gates: dict[str, Tensor] = field(default_factory=dict)
    """Values of gates at each position, (B, T, D), between 0 and 1: `1.i`, `1.f` and so on."""
    norms: dict[str, Tensor] = field(default_factory=dict)
    """Sizes at each position, (B, T, N), of keys and of states that are matrices, one for each head."""
    highways: list[str] = field(default_factory=list)
    """Names of the gates that scale the state from step to step: a unit whose gate is 1 keeps its value."""
    attention: dict[str, Tensor] = field(default_factory=dict)
    """Weights of self-attention, (B, H, T, S), keys in order of position; each row sums to one."""
    cross: dict[str, Tensor] = field(default_factory=dict)
    """Weights of attention to the memory, (B, H, T, S)."""

    def take(self, other: "Trace", rename: Callable[[str], str] = str) -> None:
        """Add the trace of a part of the network, with its names changed by `rename`."""
        for kind in ("units", "gates", "norms", "attention", "cross"):
            getattr(self, kind).update({rename(name): tensor for name, tensor in getattr(other, kind).items()})
        self.highways += [rename(name) for name in other.highways]


def concatenate(parts: list[Trace]) -> Trace:
    """One trace of consecutive pieces of a sequence, without self-attention, whose maps grow from piece to piece."""
    whole = Trace(highways=parts[0].highways)
    for name in ("units", "gates", "norms", "cross"):
        pieces = [getattr(part, name) for part in parts]
        dim = 2 if name == "cross" else 1
        setattr(whole, name, {key: torch.cat([piece[key] for piece in pieces], dim) for key in pieces[0]})
    return whole
