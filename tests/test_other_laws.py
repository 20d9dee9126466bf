"""The script that asks the networks of other libraries for the laws: ours keep them, and a broken one is seen."""

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.laws import KEPT, Subject, laws, of_seqmodels


@pytest.mark.parametrize("subject", list(of_seqmodels()), ids=lambda subject: subject.name)
def test_ours_keep_them(subject: Subject) -> None:
    with torch.no_grad():
        assert all(float(cell) <= KEPT for cell in laws(subject))


def test_broken_laws_are_seen() -> None:
    """A mean over all rows and positions so far, which forgets what came before a piece, and reads padding."""

    def read(ids: Tensor, mask: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        x = ids.float()[..., None]
        return x.cumsum(1) + x.mean(), ()

    assert all(cell.startswith("**") for cell in laws(Subject("none", "broken", read)))
    assert laws(Subject("none", "without a mask", read, masked=False))[2] == "not offered"
