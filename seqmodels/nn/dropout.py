"""Dropout: element-wise, variational (one mask for all positions), of tokens and of weights; masks are cheap to draw.

`evaluating` turns it off for a while.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Drop single values of a tensor with probability `p`, and multiply the others by 1 / (1 - p), in training.

    (Srivastava et al. 2014.) On a CPU, torch draws one random number for each value, which takes a tenth of a
    Transformer's training step. Here four values share one, 16 bits each, in a quarter of the time; `p` is rounded to a
    multiple of 1 / 65536.
    """
    if not training or p == 0 or x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, p, training)
    return x * _kept(x, round(p * (1 << 16)), torch.int16).to(x.dtype).mul_(1 / (1 - p))


def _kept(x: Tensor, dropped: int, dtype: torch.dtype) -> Tensor:
    """The values of `x` that are kept, bool: a random integer of this type is among its `dropped` smallest if not."""
    parts = 8 // dtype.itemsize  # of one random number
    numbers = torch.empty(-(-x.numel() // parts), dtype=torch.int64, device=x.device).random_(-(1 << 63), None)
    return numbers.view(dtype)[: x.numel()].view(x.shape) >= dropped + torch.iinfo(dtype).min


def variational_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """`dropout` of the same features at all positions of a row of (B, T, D) (Gal and Ghahramani 2016).

    One mask for T positions is cheap; a mask for each takes a tenth of a training step on a CPU.
    """
    if not training or p == 0:
        return x
    return x * _lasting(lambda: F.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), p))


def embedding_dropout(x: Tensor, tokens: Tensor, vocab_size: int, p: float, training: bool) -> Tensor:
    """`dropout` of tokens of the vocabulary at all their positions in the batch (Gal and Ghahramani 2016).

    `x`, (B, T, D), are the embedded `tokens`, (B, T).
    """
    if not training or p == 0:
        return x
    return x * _lasting(lambda: F.dropout(x.new_ones(vocab_size, 1), p))[tokens]


def weight_dropout(weight: Tensor, p: float, training: bool) -> Tensor:
    """`dropout` of single weights, the same for all positions and rows (Wan et al. 2013; Merity et al. 2018).

    Eight weights share one random number, a byte each. On a CPU that is ten times as fast as torch's dropout, which
    would take a third of an LSTM's training step; `p` is rounded to a multiple of 1 / 256.
    """
    dropped = min(255, round(256 * p))
    if not training or dropped == 0:
        return weight
    return weight * _lasting(lambda: _kept(weight, dropped, torch.uint8)) * (256 / (256 - dropped))


class LastingMasks:
    """The masks that hold for all positions, for a text that is read in pieces: drawn with the first, kept for all."""

    def __init__(self) -> None:
        self._masks: list[Tensor] = []
        self._place: int | None = None

    @contextlib.contextmanager
    def of(self, first: bool) -> Iterator[None]:
        """Meanwhile a piece is read; the first one draws, also if it is read again, and others find its masks."""
        self._place = None if first else 0
        if first:
            self._masks = []
        token = _MASKS.set(self)
        try:
            yield
        finally:
            _MASKS.reset(token)

    def next(self, draw: Callable[[], Tensor]) -> Tensor:
        """The next mask of the piece."""
        if self._place is None:
            self._masks.append(draw().detach())
            return self._masks[-1]
        self._place += 1
        return self._masks[self._place - 1]


_MASKS: ContextVar[LastingMasks | None] = ContextVar("masks of the text that is read in pieces", default=None)


def _lasting(draw: Callable[[], Tensor]) -> Tensor:
    """A mask for all positions."""
    masks = _MASKS.get()
    return draw() if masks is None else masks.next(draw)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and each of its parts back into its own mode at the end."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
