"""The loss on chosen targets only: all others become IGNORE."""

import re

import torch
from torch import Tensor

from seqmodels.batch import IGNORE, Batch
from seqmodels.data.sampler import Batches
from seqmodels.errors import InputError


def rule(targets: str) -> tuple[str, int]:
    """Name and number of a choice: "all", "last", "last:K" or "every:K".

    Raises:
        InputError: it is none of these.
    """
    found = re.fullmatch(r"(all|last)|(last|every):([1-9]\d*)", targets)
    if not found:
        raise InputError(f"targets={targets!r} was given; expected all, last, last:K or every:K with K of at least 1")
    return found[1] or found[2], int(found[3] or 1)


def choose_targets(targets: Tensor, choice: str) -> Tensor:
    """Targets, int64 (B, T), with IGNORE at those that are not chosen; those that are IGNORE already are not counted.

    The choice is "all" of them; the "last" of each row, or its last K with "last:K"; or the K-th of each row, the 2K-th
    and so on with "every:K".
    """
    name, number = rule(choice)
    if name == "all":
        return targets
    counts = targets != IGNORE
    from_the_end, from_the_start = counts.flip(1).cumsum(1).flip(1), counts.cumsum(1)
    keep = from_the_end <= number if name == "last" else from_the_start % number == 0
    return torch.where(keep & counts, targets, IGNORE)


class ChosenTargets(Batches):
    """Batches with the loss on chosen targets, as in `choose_targets`; inputs, mask and state are unchanged."""

    def __init__(self, batches: Batches, targets: str) -> None:
        rule(targets)
        self.batches, self.targets = batches, targets

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        batch = self.batches[place]
        return batch._replace(targets=choose_targets(batch.targets, self.targets))

    def position(self, step: int) -> list[int]:
        return self.batches.position(step)

    def seek(self, position: list[int]) -> None:
        self.batches.seek(position)


def check_targets(batches: Batches, targets: str) -> None:
    """Raise an InputError if a choice leaves an epoch without targets; usually reads a single batch."""
    chosen = ChosenTargets(batches, targets)
    if not any((chosen[0, k].targets != IGNORE).any() for k in range(len(chosen))):
        why = "nothing to predict in this text: no row has as many targets"
        raise InputError(f"targets={targets!r} leaves {why}; give a smaller number or a greater length")
