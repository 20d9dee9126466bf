"""Figures that a command measures of a run are kept in its `result.json`, each with the command that measured it."""

import sys
from pathlib import Path
from typing import Any

from seqmodels.analysis.translation_scores import draw_bleu_by_length
from seqmodels.errors import InputError
from seqmodels.files import read_json, to_json, write_text

KINDS = ("tests", "neurons")
"""Keys of `result.json` below which figures are kept, by the text that they are of."""


def keep_scores(run: str, kind: str, name: str, scores: dict[str, Any], environment: dict[str, Any]) -> None:
    """Keep scores in a run folder, and draw BLEU by length of all of its texts, if there is some.

    Of a checkpoint or a public model nothing is kept, and of a folder that cannot be written, which is said.

    Args:
        run: what was tested.
        kind: one of `KINDS`.
        name: of the text, and how it was read where there are several ways. Scores of the same name are replaced.
        scores: as JSON can represent them.
        environment: see `describe_environment`.

    Raises:
        InputError: `result.json` holds something else there.
    """
    folder = Path(run).expanduser()
    if not (folder / "checkpoints").is_dir():
        return
    path = folder / "result.json"
    try:
        result = read_json(path) if path.exists() else {}
        if not _are_scores(kept := result.get(kind, {})):
            raise InputError(f"{str(path)!r} holds {kind} of another kind; move it away, and repeat this")
        kept |= {name: {**scores, "environment": environment}}
        write_text(path, to_json({**result, kind: kept}, 2) + "\n")
        if tables := {text: [found["by_length"]] for text, found in kept.items() if "by_length" in found}:
            draw_bleu_by_length(tables, folder / "bleu_by_length.png")
    except OSError as error:
        print(f"note: not kept in {path}: {error.strerror or error}", file=sys.stderr)


def _are_scores(kept: Any) -> bool:
    """Whether a value holds scores by text, and those with BLEU by length have it as it is drawn."""
    return isinstance(kept, dict) and all(
        isinstance(scores, dict)
        and isinstance(rows := scores.get("by_length", []), list)
        and all(isinstance(row, dict) and type(row.get("from")) is int for row in rows)
        and all(type(row.get("bleu")) in (int, float) and type(row.get("to")) in (int, type(None)) for row in rows)
        for scores in kept.values()
    )
