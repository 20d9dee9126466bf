"""A run folder as it was at a checkpoint: what was logged after it is logged again by the resumed run."""

import csv
import io
import re
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
    metrics = folder / "metrics.csv"
    if metrics.exists():
        with metrics.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            # Lines of a log are numbered by the steps before theirs.
            kept = [row for row in table if _is_line(row) and int(row["step"]) < step]
        if due:
            kept = [row for row in kept if int(row["step"]) < step - 1 or not row.get("val/nats_per_token")]
        written = io.StringIO(newline="")
        writer = csv.DictWriter(written, table.fieldnames or ())
        writer.writeheader()
        writer.writerows(kept)
        write_beside(metrics, written.getvalue())
    _rewind_text(folder / "samples.md", step)
    _rewind_text(folder / "translations.md", step - due)


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
