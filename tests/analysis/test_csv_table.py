"""Tables of a run: written and read to the bit, whatever was cut off, and read within limits."""

import math
from pathlib import Path

import pytest
from refusals import assert_refused

from seqmodels.analysis import csv_table
from seqmodels.analysis.csv_table import append_rows, filter_rows, read_rows, read_table
from seqmodels.analysis.learning_curves import read_metrics
from seqmodels.errors import InputError

COLUMNS = {"step": int, "name": str, "norm": float}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def test_what_is_appended_is_read_to_the_bit(path: Path) -> None:
    rows = [(1, "a,\nb", 0.1 + 0.2), (2, '"', 5e-324), (3, "ä", math.inf)]
    for row in rows:
        append_rows(path, [dict(zip(COLUMNS, row, strict=True))])
    assert read_table(path, COLUMNS) == rows
    append_rows(path, [])
    assert read_table(path, COLUMNS) == rows


def test_columns_are_added(path: Path) -> None:
    append_rows(path, [{"step": 1, "a": 0.5}])
    append_rows(path, [{"step": 2, "b": 0.25}])
    append_rows(path, [{"a": 1.5, "step": 3}])
    assert read_rows(path) == [
        {"step": "1", "a": "0.5", "b": ""}, {"step": "2", "a": "", "b": "0.25"}, {"step": "3", "a": "1.5", "b": ""},
    ]  # fmt: skip
    assert read_metrics(path) == [{"step": 1, "a": 0.5}, {"step": 2, "b": 0.25}, {"step": 3, "a": 1.5}]


def test_an_incomplete_last_line_is_left_out(path: Path) -> None:
    path.write_text("step,name,norm\n1,x,0.5\n2,x,0.2")
    assert read_table(path, COLUMNS) == [(1, "x", 0.5)]
    filter_rows(path, lambda step, row: True)
    assert path.read_text().split() == ["step,name,norm", "1,x,0.5"]


def test_rows_are_filtered(path: Path) -> None:
    filter_rows(path, lambda step, row: True)
    assert not path.exists()
    path.write_bytes(b"step,a\n1,2\n2\n,3\n\xff,4\n3,5,6\n4,7\n5,8\n")
    filter_rows(path, lambda step, row: step != 4 and row["a"] != "2")
    assert path.read_text().split() == ["step,a", "5,8"]


@pytest.mark.parametrize(
    "content",
    [
        "step,name\n1,x\n", "step,name,norm\nx,x,0.5\n", "step,name,norm\n1,x\n", "step,name,norm\n1,x,y\n",
        f"step,name,norm\n{10**16},x,1\n", "step,name,norm\n" + "9" * 5000 + ",x,1\n",
        "step,name,norm\n1," + "x" * 200_000 + ",1\n",
    ],
)  # fmt: skip
def test_a_damaged_table_is_refused(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(InputError, match="is damaged") as refused:
        read_table(path, COLUMNS)
    assert "\n" not in str(refused.value)


def test_metrics_are_finite_numbers_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,a,b\n1,nan,2\n2,inf,\n")
    assert read_metrics(path) == [{"step": 1, "b": 2}, {"step": 2}]
    path.write_text("step,a\n1,x\n")
    assert_refused("is damaged", read_metrics, path)
    monkeypatch.setattr(csv_table, "MAX_BYTES", 10)
    assert_refused("expected at most 10", read_metrics, path)
    assert_refused("cannot read", read_rows, tmp_path / "none.csv")
