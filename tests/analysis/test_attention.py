"""The picture of an alignment."""

from pathlib import Path

import torch

from seqmodels.analysis import AlignmentMap, draw_alignment


def test_letters_that_no_font_has_are_no_warning_and_none_is_a_formula(tmp_path: Path) -> None:
    draw_alignment(
        AlignmentMap(["71", r"$\foo$", "⏎"], ["71", "秒", "\U0001f9ff", "⏎"], torch.eye(4)[:, :3]), tmp_path / "a.png"
    )
    assert (tmp_path / "a.png").stat().st_size > 0
