"""Ratios seen on other machines and at other commits, which the table tells beside the newest ones."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SEEN = Path(__file__).with_name("seen.json")
"""The ratios: by the work, a list of them with machine, commit and day."""


class Ratio(NamedTuple):
    """A ratio of ours by the rival's, or for milliseconds ours less the rival's.

    Attributes:
        figure: the ratio or difference.
        machine: the processor, or GPU.
        commit: of this package.
        day: such as 2026-11-27.
    """

    figure: float
    machine: str
    commit: str
    day: str

    def __str__(self) -> str:
        return f"{self.figure:.2f}, {self.machine}"


class Seen:
    """The ratios of each work."""

    def __init__(self, content: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self._ratios = {what: [Ratio(**one) for one in ratios] for what, ratios in content.items()}

    @classmethod
    def read(cls, path: Path) -> "Seen":
        """Those of a file; none where there is no file."""
        return cls(json.loads(path.read_text()) if path.exists() else {})

    def best_and_worst(self, what: str, unit: str) -> str:
        """Both with their machines, as a cell of a table; empty where the work is new."""
        ratios = sorted(self._ratios.get(what, ()), key=lambda one: one.figure, reverse=not is_less_better(unit))
        if not ratios:
            return ""
        best, worst = ratios[0], ratios[-1]
        return str(best) if best == worst else f"{best}; {worst}"


def is_less_better(unit: str) -> bool:
    """Whether a smaller figure of this unit is the better one."""
    return unit.startswith("ms/") or unit in ("s", "MiB")


def record(path: Path, results: Mapping[str, Sequence[Mapping[str, Any]]], surroundings: Mapping[str, Any]) -> None:
    """Add the ratios of a run, results of `Comparison.record` by topic, to the file."""
    content = json.loads(path.read_text()) if path.exists() else {}
    facts = {
        "machine": surroundings["device"], "commit": str(surroundings["commit"])[:7], "day": time.strftime("%F"),
    }  # fmt: skip
    for found in (one for comparisons in results.values() for one in comparisons if one["ratio"]):
        figure = found["difference"] if found["unit"].startswith("ms/") else found["ratio"]
        content.setdefault(found["what"], []).append({"figure": round(figure, 3), **facts})
    path.write_text(json.dumps(content, indent=1) + "\n")
