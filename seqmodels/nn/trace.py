"""What a network has inside while it reads."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Trace:
    """Tensors at every position, by the layer they belong to, counted from 1, and by their textbook name.

    Where a network is made of others, their names stand behind its own: `2.h` is the hidden state of the recurrent
    layer in the second block. Tensors are part of the gradient's graph where one is recorded.
    """

    units: dict[str, Tensor] = field(default_factory=dict)
    """Values of units after each position was read, (B, T, D): the states `1.h` and `1.c` of recurrent layers, or `1`
    for what the residual stream carries after a block. Zero at padding."""
    gates: dict[str, Tensor] = field(default_factory=dict)
    """Values of gates while it was read, (B, T, D), between 0 and 1: `1.i`, `1.f` and so on."""
    highways: list[str] = field(default_factory=list)
    """Those of the gates that scale the state from step to step, so that a unit whose gate is 1 keeps its value."""
    attention: dict[str, Tensor] = field(default_factory=dict)
    """How much each position attended to itself and others, (B, H, T, S), the earliest first; each row sums to one."""
    cross: dict[str, Tensor] = field(default_factory=dict)
    """How much each position attended to each of the memory, (B, H, T, S)."""

    def take(self, other: "Trace", rename: Callable[[str], str] = str) -> None:
        """Add what a part has inside, under names that say which part it is."""
        for mine, theirs in zip(self._all(), other._all(), strict=True):
            mine.update({rename(name): tensor for name, tensor in theirs.items()})
        self.highways += [rename(name) for name in other.highways]

    def _all(self) -> tuple[dict[str, Tensor], ...]:
        return self.units, self.gates, self.attention, self.cross


def in_turn(parts: list[Trace]) -> Trace:
    """One trace of what was read piece by piece; maps of attention to the past, which grow, are left out.

    Args:
        parts: of each piece, in their order.
    """
    whole = Trace(highways=parts[0].highways)
    for name in ("units", "gates", "cross"):
        pieces = [getattr(part, name) for part in parts]
        dim = 2 if name == "cross" else 1
        setattr(whole, name, {key: torch.cat([piece[key] for piece in pieces], dim) for key in pieces[0]})
    return whole


@dataclass
class Unrolled:
    """What happened in one layer while it read T positions."""

    cell: Any
    """The cell."""
    inputs: Tensor
    """What it read, (B, T, D)."""
    states: list[tuple[Tensor, ...]]
    """The state after each position, on the way of the gradient from later outputs to earlier inputs. Its tensors are
    independent of each other, so that a gradient with respect to `c` does not go by way of `h` at the same position."""
    gates: list[dict[str, Tensor]]
    """Its gates at each position, by name; empty where there are none."""
    computed: list[tuple[Tensor, ...]]
    """The states as they were computed: a gradient with respect to `c` is the whole one, by way of `h`, too. Those at
    padding are nobody's."""

    def over_time(self) -> tuple[Tensor, ...]:
        """The states of all positions, (B, T, H) for each of their tensors."""
        return tuple(torch.stack(tensors, 1) for tensors in zip(*self.states, strict=True))

    def deltas(self, error: Tensor) -> tuple[Tensor, ...]:
        """`dL/dh_t`, and `dL/dc_t` where there is one, of an error L, at all positions: (B, T, H) each."""
        flat = [tensor for state in self.states for tensor in state]
        found = torch.autograd.grad(error, flat, retain_graph=True, allow_unused=True, materialize_grads=True)
        kinds = len(self.states[0])
        return tuple(torch.stack(found[kind::kinds], 1) for kind in range(kinds))
