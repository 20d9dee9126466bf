"""The batch that the data hands to a task, and the token ids that mean the same everywhere."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqmodels.errors import InputError

PAD, BOS, EOS, UNK = range(4)
"""Ids of padding, start, end and unknown in every vocabulary of this package."""

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")
"""Their names, in the order of their ids."""

NEVER = (PAD, BOS, UNK)
"""Ids that are never generated."""

IGNORE = -100
"""The target of a position that is not scored; torch's own default."""


class Batch(NamedTuple):
    """A batch of token ids. Shapes: B rows, T positions, S positions of a source.

    The data decides everything that differs between ways of training: which targets count (`IGNORE` elsewhere),
    which positions are real (`mask`), and whether the state is carried from the previous batch and to the next.
    """

    inputs: Tensor
    """Input tokens, int64 (B, T)."""
    targets: Tensor
    """Tokens to predict, int64 (B, T): the inputs one step later, or IGNORE."""
    mask: Tensor | None = None
    """True at real positions, bool (B, T); None where all are real."""
    continues: bool = False
    """Every row begins where the same row of the previous batch ended, so that batch's state is carried over."""
    continued: bool = False
    """The next batch continues this one, so the state after it will be needed."""
    source: Tensor | None = None
    """Tokens of the source to translate, int64 (B, S); None without a source."""
    source_mask: Tensor | None = None
    """True at real positions of the source, bool (B, S); None where all are real."""
    references: tuple[str, ...] | None = None
    """Reference translations of the rows, as the corpus has them; None where none is scored."""

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with `function` applied to each of its tensors."""
        tensors = {name: function(part) for name, part in self._asdict().items() if isinstance(part, Tensor)}
        return self._replace(**tensors)  # type: ignore[arg-type]

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device. Lightning calls this at each step; without it, it would search all fields."""
        if self.inputs.device == device:
            return self
        return self.mapped(lambda part: part.to(device, non_blocking=device.type == "cuda"))


def check_batch(batch: Any) -> None:
    """Refuse what a user's own loader gives, if it is no batch."""
    if not isinstance(batch, Batch):
        given = f"a {type(batch).__name__}"
        raise InputError(f"a loader gave {given}; expected a seqmodels.Batch(inputs, targets) of token ids (B, T)")


def padded(rows: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Rows padded on the right, (B, T), and the mask of real positions, or None if all are real."""
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    real = tokens != PAD
    return tokens, None if real.all() else real
