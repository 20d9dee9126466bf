"""The command `sweep`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from seqmodels.cli.fit import fit
from seqmodels.cli.parser import flag
from seqmodels.files import local
from seqmodels.training.search import search
from seqmodels.training.search_recipe import read_recipe


def sweep(file: str, to: str | None = None) -> None:
    """Search settings of `seqmodels fit`, within a budget of core-minutes. Trials that are not among the best are
    stopped early; the best settings are trained with several seeds. The same command goes on with a sweep that was
    stopped. Each trial has a run folder; the results are a table and a picture.

    Args:
        file: a recipe in YAML, such as `{settings: {data: book.txt, max-steps: 1000}, search: {lr: [0.001, 0.003],
            dropout: {low: 0.0, high: 0.5}}, minutes: 60}`: settings of all trials, lists of values or low and high,
            minutes of cores; also `seeds`, `finalists`, `trials`, `monitor`, `halving`.
        to: folder of the sweep; by default runs/sweeps/NAME, by the name of the file.
    """
    recipe = read_recipe(file)
    folder = local(to) if to else Path("runs", "sweeps", local(file).stem)

    def train(settings: dict[str, Any], callbacks: Sequence[pl.Callback], resume: Path | None) -> Path:
        if resume is not None:
            return fit(["--resume", str(resume)], callbacks=callbacks)
        return fit([*_words(settings), "--runs", str(folder / "trials")], callbacks=callbacks)

    table = search(recipe, folder, train)
    print(f"\n{table.read_text(encoding='utf-8')}\nresults  {table}")


def _words(settings: dict[str, Any]) -> list[str]:
    """Settings as they stand on a command line."""
    words = list[str]()
    for name, value in settings.items():
        if value is not None:
            values = value if isinstance(value, list) else [value]
            words += [flag(name), *(str(one).lower() if isinstance(one, bool) else str(one) for one in values)]
    return words
