"""A sweep: the same experiment for every network and seed; what is finished stays, and the table is made of that."""

import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from seqmodels.analysis.translation_scores import LEAST, ByLength, draw_bleu_by_length
from seqmodels.errors import InputError
from seqmodels.files import read_json, write_text
from seqmodels.metrics import length_label

Results = dict[str, list[dict[str, Any]]]
"""Of each name, what its experiments returned, by seed."""


def sweep(
    experiment: Callable[[str, int], dict[str, Any]],
    names: Sequence[str],
    seeds: Iterable[int],
    folder: str | Path,
    part: str = "1/1",
    settings: dict[str, Any] | None = None,
) -> Results:
    """Do an experiment for every name and seed that has not been done.

    It can be stopped at any time: a result is a file in the folder, written when its experiment is finished, and what
    has one is not done again. The first seed comes first, so that there is soon a whole table.

    Args:
        experiment: takes a name and a seed, and returns figures that JSON can hold.
        names: of what is compared.
        seeds: for each of them.
        folder: where the results are kept.
        part: which of the experiments to do, such as 1/2 and 2/2 for two processes that share them.
        settings: of all experiments alike; kept with the results, so that those of others are not put beside them.

    Returns:
        All results there are, also those of other processes.

    Raises:
        InputError: the part is none, or the folder has results of other settings.
    """
    share, _, shares = part.partition("/")
    if not (share.isdecimal() and shares.isdecimal() and 1 <= int(share) <= int(shares)):
        raise InputError(f"part={part!r} was given; expected one such as 1/2, the first of two")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    every = [(name, seed, folder / f"{_plain(name)}-s{seed}.json") for seed, name in itertools.product(seeds, names)]
    if len({path for *_, path in every}) < len(every):
        raise InputError(f"some of the names are too much alike to name files: {', '.join(names)}")
    _same_settings(folder / "settings.json", settings or {})
    mine = every[int(share) - 1 :: int(shares)]
    for number, (name, seed, path) in enumerate(mine, 1):
        if path.exists():
            continue
        print(f"\n{number} of {len(mine)}: {name}, seed {seed}", flush=True)
        began = time.perf_counter()
        figures = experiment(name, seed)
        facts = {"name": name, "seed": seed, **figures, "seconds": round(time.perf_counter() - began, 1)}
        write_text(path, json.dumps(facts, indent=2) + "\n")
    found: Results = {name: [] for name in names}
    for name, _, path in every:
        if path.exists():
            found[name].append(read_json(path))
    return found


def _same_settings(path: Path, settings: dict[str, Any]) -> None:
    """Keep the settings, or where there are results, see that they are those which were kept."""
    if not any(path.parent.glob("*-s*.json")):
        write_text(path, json.dumps(settings, indent=2) + "\n")
        return
    kept = read_json(path) if path.exists() else {}
    if differing := [name for name in {**kept, **settings} if kept.get(name) != settings.get(name)]:
        was = ", ".join(f"{name}={kept.get(name)!r} rather than {settings.get(name)!r}" for name in differing)
        raise InputError(f"{str(path.parent)!r} has results with {was}; give the same, or another folder")


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def table(results: Results, figures: dict[str, str], digits: int = 1) -> str:
    """Mean, and in brackets the standard deviation over the seeds, as a table of Markdown.

    Args:
        results: what `sweep` returned.
        figures: which figures, and how their columns are called.
        digits: behind the decimal point.
    """
    rows = [["", *figures.values(), "runs"], ["---"] * (len(figures) + 2)]
    for name, runs in results.items():
        cells = [[run[figure] for run in runs] for figure in figures]
        rows.append([name, *(_mean(cell, digits) for cell in cells), str(len(runs))])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _mean(figures: list[float], digits: int) -> str:
    if not figures:
        return "-"
    spread = f" ({statistics.stdev(figures):.{digits}f})" if len(figures) > 1 else ""
    return f"{statistics.mean(figures):.{digits}f}{spread}"


def compare_translators(results: Results, folder: str | Path, name: str) -> str:
    """Write what a sweep over translators has found.

    Args:
        results: by name and run, scores as of `test_translations`.
        folder: where `name.md` is written, a table of means and deviations over runs, and `name.png`.
        name: of the two files.

    Returns:
        The table, in Markdown.
    """
    tables = {label: [_common(run["by_length"]) for run in runs] for label, runs in results.items() if runs}
    flat = {
        label: [run | {length_label(row): row["bleu"] for row in run["by_length"]} for run in runs]
        for label, runs in results.items()
    }
    columns = {length_label(row): f"{length_label(row)} words" for row in next(iter(tables.values()))[0]}
    page = table(flat, {"bleu": "BLEU", **columns, "chrf": "chrF", "seconds": "seconds"})
    write_text(Path(folder, f"{name}.md"), page)
    draw_bleu_by_length(tables, Path(folder, f"{name}.png"))
    return page


def _common(rows: ByLength) -> ByLength:
    """The classes with enough sentences; all of them where none has."""
    return [row for row in rows if row["sentences"] >= LEAST] or rows
