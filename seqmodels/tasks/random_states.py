"""The states of all generators of random numbers that a process draws from, as tensors and plain data."""

import random
from typing import Any

import numpy as np
import torch


def random_states(device: torch.device) -> dict[str, Any]:
    """States of Python's, numpy's and torch's generators, and of that of a GPU."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, torch.tensor(numbers), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Go on drawing from there."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def gathered(states: dict[str, Any], world: int) -> list[dict[str, Any]]:
    """The states of all ranks, in their order, on each of them."""
    if world == 1:
        return [states]
    every: list[Any] = [None] * world
    torch.distributed.all_gather_object(every, states)
    return every


def share_of(states: list[dict[str, Any]], rank: int, device: torch.device) -> None:
    """Restore those of a rank; where there were fewer ranks, from those of another, and apart from it."""
    restore_random_states(states[rank % len(states)], device)
    if rank >= len(states):
        torch.manual_seed(int(torch.randint(1 << 62, ())) + rank)
