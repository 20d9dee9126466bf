"""Sweeps: one experiment for several configurations and seeds, with results on disk and tables of means."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from seqmodels.analysis.translation_scores import LEAST, ByLength, draw_bleu_by_length
from seqmodels.environment import choose_accelerator, describe_environment
from seqmodels.errors import InputError
from seqmodels.files import markdown_table, read_json, to_json, write_text
from seqmodels.metrics import length_label

Results = dict[str, list[dict[str, Any]]]
"""Results of the experiments by name, one per seed."""


def sweep(
    experiment: Callable[[str, int], dict[str, Any]],
    names: Sequence[str],
    seeds: Iterable[int],
    folder: str | Path,
    part: str = "1/1",
    settings: dict[str, Any] | None = None,
    show: Callable[[Results], object] | None = None,
    accelerator: str = "cpu",
) -> Results:
    """Run an experiment for every name and seed that has no result yet.

    It can be stopped at any time: results are files in the folder, written when an experiment is finished. All names
    are run with the first seed before the second, so that the table is soon complete. Each result says by which
    command and commit it was made, and where.

    Args:
        experiment: takes a name and a seed, and returns figures that JSON can represent.
        names: of the configurations.
        seeds: for each of them.
        folder: of the results.
        part: the experiments to run, such as 1/2 and 2/2 for two processes that share them.
        settings: settings of all experiments; stored with the results, which are not mixed with those of others.
        show: called with all results in the folder, at the end and where a signal ends the sweep before.
        accelerator: of the experiments, cpu, gpu or auto.

    Returns:
        All results in the folder, those of other processes included.

    Raises:
        InputError: the part is malformed, or the folder has results with other settings.
    """
    number, _, parts = part.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise InputError(f"part={part!r} was given; expected one such as 1/2, the first of two")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    every = [(name, seed, folder / f"{_slug(name)}-s{seed}.json") for seed, name in itertools.product(seeds, names)]
    if len({path for *_, path in every}) < len(every):
        raise InputError(f"some of the names are too similar to name files: {', '.join(names)}")
    _check_settings(folder / "settings.json", settings or {})
    mine = every[int(number) - 1 :: int(parts)]
    shown = show or (lambda results: None)
    device = torch.device("cuda" if choose_accelerator(accelerator) == "gpu" else "cpu")

    def found() -> Results:
        there = [(name, path) for name, _, path in every if path.exists()]
        return {name: [read_json(path) for other, path in there if other == name] for name in names}

    try:
        for index, (name, seed, path) in enumerate(mine, 1):
            if path.exists():
                continue
            print(f"\n{index} of {len(mine)}: {name}, seed {seed}", flush=True)
            here, began = describe_environment(device), time.perf_counter()
            figures = experiment(name, seed)
            seconds = round(time.perf_counter() - began, 1)
            facts = {"name": name, "seed": seed, **figures, "seconds": seconds, "environment": here}
            write_text(path, to_json(facts, 2) + "\n")
    except (SystemExit, KeyboardInterrupt):
        print(f"\nstopped  finished experiments are in {folder}; the same command goes on with the others")
        shown(found())
        raise
    shown(results := found())
    return results


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    """Store the settings; if there are results, check that they were made with the same."""
    if not any(path.parent.glob("*-s*.json")):
        write_text(path, to_json(settings, 2) + "\n")
        return
    kept = read_json(path) if path.exists() else {}
    if differing := [name for name in {**kept, **settings} if kept.get(name) != settings.get(name)]:
        was = ", ".join(f"{name}={kept.get(name)!r} rather than {settings.get(name)!r}" for name in differing)
        raise InputError(f"{str(path.parent)!r} has results with {was}; give the same, or another folder")


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def table_of_means(results: Results, figures: dict[str, str], digits: int = 1) -> str:
    """Means of figures, given by name and header, with standard deviations over seeds, as a Markdown table."""
    rows = [["", *figures.values(), "runs"]]
    for name, runs in results.items():
        cells = [[run[figure] for run in runs] for figure in figures]
        rows.append([name, *(_mean(cell, digits) for cell in cells), str(len(runs))])
    return markdown_table(rows)


def _mean(figures: list[float], digits: int) -> str:
    if not figures:
        return "-"
    spread = f" ({statistics.stdev(figures):.{digits}f})" if len(figures) > 1 else ""
    return f"{statistics.mean(figures):.{digits}f}{spread}"


def compare_translators(results: Results, folder: str | Path, name: str) -> str:
    """Write scores of `test_translations`, by name and run, as a table of means and a plot of BLEU by sentence length.

    The files are `name.md` and `name.png` in the folder; returns the table, in Markdown.
    """
    tables = {label: [_frequent(run["by_length"]) for run in runs] for label, runs in results.items() if runs}
    flat = {
        label: [run | {length_label(row): row["bleu"] for row in run["by_length"]} for run in runs]
        for label, runs in results.items()
    }
    columns = {length_label(row): f"{length_label(row)} words" for row in next(iter(tables.values()))[0]}
    page = table_of_means(flat, {"bleu": "BLEU", **columns, "chrf": "chrF", "seconds": "seconds"})
    write_text(Path(folder, f"{name}.md"), page)
    draw_bleu_by_length(tables, Path(folder, f"{name}.png"))
    return page


def _frequent(rows: ByLength) -> ByLength:
    """The length classes with enough sentences; all of them if none has."""
    return [row for row in rows if row["sentences"] >= LEAST] or rows
