"""A run folder as it was at a checkpoint: what was logged after it is logged again by the resumed run."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

from seqmodels.folder import write_beside


def rewind(folder: Path, step: int, due: bool) -> None:
    """Leave out what a run wrote after a checkpoint.

    Args:
        folder: of the run.
        step: how many steps the checkpoint had seen.
        due: whether the validation after that step is to be done again.
    """
    for half in folder.glob("checkpoints/.*.ckpt.*"):  # of a process that died while it wrote
        half.unlink()
    # Lines of a log are numbered by the steps before theirs, and the last of them may be those of a validation.
    _rewind_table(
        folder / "metrics.csv",
        lambda row: int(row["step"]) < step - (due and bool(row.get("val/nats_per_token"))),
    )
    for name in ("gradient_horizon.csv", "spectra.csv"):
        _rewind_table(folder / name, lambda row: int(row["step"]) <= step)
    _rewind_text(folder / "samples.md", step)
    _rewind_text(folder / "translations.md", step - due)


def _rewind_table(path: Path, keeps: Callable[[dict[str, str]], bool]) -> None:
    """Leave out lines that are not to be kept, and those that were not written to their end."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        kept = [row for row in table if _is_line(row) and keeps(row)]
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, table.fieldnames or ())
    writer.writeheader()
    writer.writerows(kept)
    write_beside(path, written.getvalue())


def _is_line(row: dict[str, str]) -> bool:
    """Whether a line was written to its end."""
    return (row.get("step") or "").isdecimal() and None not in row.values()


def _rewind_text(path: Path, step: int) -> None:
    """Leave out what stands under the heading of a later step."""
    if not path.exists():
        return
    parts = re.split(r"^(?=## step [\d,]+)", path.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)
    kept = [part for part in parts if not (found := re.match(r"## step ([\d,]+)", part)) or _number(found[1]) <= step]
    write_beside(path, "".join(kept))


def _number(text: str) -> int:
    return int(text.replace(",", ""))
