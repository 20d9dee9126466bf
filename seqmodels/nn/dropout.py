"""Dropout that costs next to nothing: cheap masks, masks shared by all positions, and masks of recurrent weights.

A model as it is used, in the midst of training.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Drop single numbers (Srivastava et al. 2014).

    On a CPU, where torch draws one random number for each and takes a tenth of a Transformer's training step for it,
    four share one, 16 bits of it each: a quarter of the time, and a share that is a multiple of 1 / 65536.

    Args:
        x: any shape.
        p: share dropped; the others are scaled up by 1 / (1 - p).
        training: whether to drop at all.
    """
    if not training or p == 0 or x.device.type != "cpu":
        return F.dropout(x, p, training)
    return x * _kept(x, round(p * (1 << 16)), torch.int16).to(x.dtype).mul_(1 / (1 - p))


def _kept(x: Tensor, dropped: int, dtype: torch.dtype) -> Tensor:
    """Which numbers of `x` are kept, bool, where so many of the values of an integer type mean that one is dropped."""
    share = 8 // dtype.itemsize  # of one random number
    numbers = torch.empty(-(-x.numel() // share), dtype=torch.int64, device=x.device).random_(-(1 << 63), None)
    return numbers.view(dtype)[: x.numel()].view(x.shape) >= dropped + torch.iinfo(dtype).min


def variational_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Drop the same features at all positions of a row (Gal and Ghahramani 2016).

    It also costs next to nothing: one mask for T positions, where drawing one for each takes a tenth of the time of a
    training step on a CPU.

    Args:
        x: (B, T, D).
        p: share of the features dropped; the others are scaled up by 1 / (1 - p).
        training: whether to drop at all.
    """
    if not training or p == 0:
        return x
    return x * F.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), p)


def embedding_dropout(x: Tensor, tokens: Tensor, vocab_size: int, p: float, training: bool) -> Tensor:
    """Drop whole tokens of the vocabulary, wherever in the batch they stand (Gal and Ghahramani 2016).

    Args:
        x: embedded tokens (B, T, D).
        tokens: int64 (B, T).
        vocab_size: how many tokens V there are.
        p: share of the vocabulary dropped; the others are scaled up by 1 / (1 - p).
        training: whether to drop at all.
    """
    if not training or p == 0:
        return x
    return x * F.dropout(x.new_ones(vocab_size, 1), p)[tokens]


def weight_dropout(weight: Tensor, p: float, training: bool) -> Tensor:
    """Drop single weights, for all positions and rows alike (Wan et al. 2013; Merity et al. 2018).

    Eight weights share one random number, a byte of it each. That is ten times as fast on a CPU as torch's dropout,
    which would take a third of a training step of an LSTM; the share is therefore a multiple of 1 / 256.

    Args:
        weight: any shape.
        p: share of the weights dropped; the others are scaled up by 1 / (1 - share).
        training: whether to drop at all.
    """
    dropped = min(255, round(256 * p))
    if not training or dropped == 0:
        return weight
    return weight * _kept(weight, dropped, torch.uint8) * (256 / (256 - dropped))


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """While it lasts, nothing is dropped; afterwards every part is in the mode in which it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
