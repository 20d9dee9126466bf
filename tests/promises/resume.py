"""Runs killed and resumed beside runs left alone: every network, layout, precision, and place to be killed at."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from promises.forks import forked, tail
from promises.runs import EXIT_CODES, LAYOUTS, NETWORKS, PRECISIONS, Ends, Kind, difference, only, train, write_data

KINDS = (
    *itertools.starmap(Kind, itertools.product(NETWORKS, LAYOUTS, PRECISIONS, (0, 2))),
    Kind(average="ema"),
    Kind(average="ema", accumulate=3),
    Kind(optimizer="muon"),
    Kind(network="Transformer", layout="windows", average="ema", optimizer="muon"),
    Kind(precision="64-true"),
    Kind(precision="64-true", average="ema", optimizer="muon", accumulate=3),
    Kind(network="Transformer", layout="pairs", precision="64-true"),
)
"""All networks on all layouts in all precisions, with batches gathered by two processes; averages, Muon, and double."""


def killed(folder: Path, kind: Kind, points: Sequence[str]) -> dict[str, str]:
    """Killed with SIGKILL and with SIGTERM at each point, and resumed."""
    write_data(folder)
    results = {}
    for point in points:
        this = replace(kind, accumulate=3) if point == "accumulation" else kind
        whole = folder / f"whole-{this.accumulate}"
        if not whole.exists():
            code = forked(partial(train, this, folder, whole), folder / "log")
            assert code == 0, tail(folder / "log")
        for number in EXIT_CODES:
            part = folder / f"{point}-{number.name}"
            results[f"{kind}, {number.name} at {point}"] = _resumed(this, folder, whole, part, number, point)
    return results


def _resumed(kind: Kind, folder: Path, whole: Path, part: Path, number: int, point: str) -> str:
    """Kill a run, resume it, and compare it with the one that was left alone."""
    log = part.with_suffix(".log")
    code = forked(partial(train, kind, folder, part, callbacks=(Ends(point, number),)), log)
    if code != EXIT_CODES[number]:
        return f"ended with {code}, not {EXIT_CODES[number]}: {tail(log)}"
    if code := forked(partial(train, kind, folder, part, resume=only(part)), log):
        return f"resuming ended with {code}: {tail(log)}"
    return difference(only(whole), only(part))
