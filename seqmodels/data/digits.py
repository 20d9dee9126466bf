"""Pictures of handwritten digits, as rows of points."""

import functools

import torch
from torch import Tensor

from seqmodels.data.corpora import from_hub
from seqmodels.errors import InputError

DIGITS = 64
"""Points of a picture that scikit-learn brings along, eight by eight."""

HELD_OUT = 297
"""Of its 1,797 pictures, those at the end, by which a network is scored."""


@functools.lru_cache(maxsize=4)
def digits(mnist: bool, training: bool) -> tuple[Tensor, Tensor]:
    """Points between 0 and 1, (N, points), and which digit each picture is, int64 (N,).

    Args:
        mnist: those of MNIST, from the hub, rather than those that scikit-learn brings along.
        training: those to learn from, rather than those to be scored by.

    Raises:
        InputError: scikit-learn is not installed, or the hub cannot be reached.
    """
    if not mnist:
        try:
            from sklearn.datasets import load_digits  # type: ignore[import-untyped]
        except ImportError as error:
            raise InputError(
                'these digits come with scikit-learn, which is not installed; pip install "seqmodels[digits]"'
            ) from error
        found = load_digits()
        part = slice(None, -HELD_OUT) if training else slice(-HELD_OUT, None)
        return torch.from_numpy(found.data[part]).float() / 16, torch.from_numpy(found.target[part]).long()
    rows = from_hub("ylecun/mnist", None, built_in="sequential-digits")["train" if training else "test"]
    found = rows.with_format("numpy")[:]
    return torch.from_numpy(found["image"]).float().flatten(1) / 255, torch.from_numpy(found["label"]).long()
