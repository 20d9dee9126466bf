"""Random numbers for sampling: a generator of its own for every row."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seqmodels.errors import InputError

AHEAD = 256
"""Numbers generated at a time for each row."""


class RowGenerators:
    """Uniform random numbers in [0, 1), one for each row at a time.

    The numbers of a row follow from the random seed and the row's key alone, whatever the other rows and the device.

    Args:
        seed: random seed; None for an unpredictable one.
        keys: B distinct tuples of non-negative integers.
        device: device of the returned numbers.

    Raises:
        InputError: the seed is negative.
    """

    def __init__(self, seed: int | None, keys: Sequence[tuple[int, ...]], device: torch.device | str = "cpu") -> None:
        if seed is not None and seed < 0:
            raise InputError(f"seed={seed} was given; expected a whole number from 0")
        entropy = np.random.SeedSequence(seed).entropy
        self._rows = [
            np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy, spawn_key=key))) for key in keys
        ]
        self._device, self._place = device, AHEAD

    def __len__(self) -> int:
        return len(self._rows)

    def next(self) -> Tensor:
        """The next number of every row, float64 (B,)."""
        if self._place == AHEAD:
            numbers = np.array([row.random(AHEAD) for row in self._rows])
            self._block, self._place = torch.from_numpy(numbers).to(self._device), 0
        self._place += 1
        return self._block[:, self._place - 1]

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in the order given, each at most once."""
        self._rows = [self._rows[row] for row in rows]
        if self._place < AHEAD:
            self._block = self._block[list(rows)]
