"""What the data hands to a task, and the token ids that mean the same everywhere."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

PAD, BOS, EOS, UNK = range(4)
"""Ids of padding, start, end and unknown in every vocabulary of this package."""

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")
"""Their names, in the order of their ids."""

NEVER = (PAD, BOS, UNK)
"""What is never written."""

IGNORE = -100
"""The target of a position that is not scored; torch's own default."""


class Batch(NamedTuple):
    """A batch of token ids. Shapes: B rows, T positions, S positions of a source.

    The data decides everything that differs between ways of training: which targets count (`IGNORE` elsewhere),
    which positions are real (`mask`), and whether rows come from the batch before and go on in the next.
    """

    inputs: Tensor
    """Tokens going in, int64 (B, T)."""
    targets: Tensor
    """Tokens to be predicted, int64 (B, T): the inputs one step later, or IGNORE."""
    mask: Tensor | None = None
    """True at real positions, bool (B, T); None where all are real."""
    continues: bool = False
    """Every row begins where the same row of the batch before ended, so that batch's state is carried over."""
    goes_on: bool = False
    """The next batch continues this one, so the state after it will be needed."""
    source: Tensor | None = None
    """Tokens of what is to be translated, int64 (B, S); None where nothing is."""
    source_mask: Tensor | None = None
    """True at real positions of the source, bool (B, S); None where all are real."""

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """What a function makes of each tensor, with all else as it is."""
        tensors = {name: function(part) for name, part in self._asdict().items() if isinstance(part, Tensor)}
        return self._replace(**tensors)  # type: ignore[arg-type]

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device. Lightning calls it at each step, or would look through all that a batch holds."""
        if self.inputs.device == device:
            return self
        return self.mapped(lambda part: part.to(device, non_blocking=device.type == "cuda"))
