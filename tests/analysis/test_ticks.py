"""Labels of steps at a logarithmic axis."""

import pytest

from seqmodels.analysis.figures import ticks


@pytest.mark.parametrize(
    ("steps", "shown"),
    [
        ([100, 200, 400, 800, 1600, 1752], ["100", "200", "400", "800", "1,752"]),
        ([0, 1, 2, 4], ["1", "2", "4"]),
        ([7, 7], ["7"]),
    ],
)
def test_no_label_covers_another(steps: list[int], shown: list[str]) -> None:
    assert ticks(steps)[1] == shown
