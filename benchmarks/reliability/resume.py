"""Runs killed and resumed beside runs left alone: every network, layout, precision, and place to be killed at."""

import csv
import itertools
import json
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.reliability.forks import forked, side_by_side
from benchmarks.reliability.promise import Promise, all_of
from benchmarks.reliability.runs import LAYOUTS, NAMES, NETWORKS, POINTS, PRECISIONS, Ends, Kind, train, write_data


def kinds() -> Iterator[Kind]:
    """All networks on all layouts in all precisions, and what else a checkpoint has to hold."""
    for network, layout, precision, workers in itertools.product(NETWORKS, LAYOUTS, PRECISIONS, (0, 2)):
        yield Kind(network, layout, precision, workers)
    yield Kind(average="ema")
    yield Kind(average="ema", accumulate=3)
    yield Kind(optimizer="muon")
    yield Kind(network="Transformer", layout="windows", average="ema", optimizer="muon")


def run(folder: Path, small: bool, processes: int = 2) -> Iterator[Promise]:
    """All cells, each a line of `resume.jsonl` in the folder; those that have one are not done again."""
    path = folder / "resume.jsonl"
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    finished = {json.dumps(one["kind"]) for one in done}
    wanted_kinds = [Kind("GRU", "lanes", "32-true", 2), Kind("LSTM", "pairs", "32-true")] if small else list(kinds())
    chosen = [kind for kind in wanted_kinds if json.dumps(asdict(kind)) not in finished]
    side_by_side((partial(_cells, kind, path) for kind in chosen), processes, folder / "resume.log")
    found = {}
    for line in path.read_text().splitlines():
        one = json.loads(line)
        found[_name(one["kind"], one["point"], one["signal"])] = "" if one["equal"] else one["why"]
    wanted = [_name(asdict(k), point, name) for k in wanted_kinds for point in POINTS for name in NAMES.values()]
    results = {name: found.get(name, "no result: its process died") for name in wanted}
    yield all_of("Killed and resumed: weights, moments, random states, figures and samples equal to the bit", results)


def _name(kind: dict[str, Any], point: str, name: str) -> str:
    return f"{' '.join(map(str, kind.values()))}, {name} at {point}"


def _cells(kind: Kind, path: Path) -> None:
    """All places to be killed at, for one kind."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_data(folder)
        lines = []
        for point in POINTS:
            this = replace(kind, accumulate=3) if point == "accumulation" else kind
            whole = folder / f"whole-{this.accumulate}"
            if not whole.exists():
                code = forked(partial(train, this, folder, whole), folder / "log")
                assert code == 0, (folder / "log").read_text()
            for number, name in NAMES.items():
                part = folder / f"{point}-{name}"
                lines.append(
                    {"kind": asdict(kind), "point": point, "signal": name}
                    | cell(this, folder, whole, part, number, point)
                )
        with path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


def cell(kind: Kind, folder: Path, whole: Path, part: Path, number: int, point: str) -> dict[str, Any]:
    """Kill a run, resume it, and compare it with the one that was left alone."""
    log = part.with_suffix(".log")
    code = forked(partial(train, kind, folder, part, callbacks=(Ends(point, number),)), log)
    expected = -signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM
    begun = list(part.glob("*/*"))
    if code != expected or len(begun) != 1:
        return {"equal": False, "why": f"ended with {code}, not {expected}: {_tail(log)}"}
    if (code := forked(partial(train, kind, folder, part, resume=begun[0]), log)) != 0:
        return {"equal": False, "why": f"resuming ended with {code}: {_tail(log)}"}
    why = difference(next(whole.glob("*/*")), begun[0])
    return {"equal": not why, "why": why}


def _tail(path: Path) -> str:
    return path.read_text()[-400:]


def difference(one: Path, other: Path) -> str:
    """What differs between two runs: weights, moments, random states, figures or samples; empty where nothing does."""
    for name in ("last", "best"):
        a, b = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for run in (one, other))
        for key in (
            "state_dict",
            "optimizer_states",
            "lr_schedulers",
            "seqmodels",
            "current_model_state",
            "global_step",
        ):
            if found := _unequal(a.get(key), b.get(key)):
                return f"{name}.ckpt: {key}{found}"
    if _figures(one) != _figures(other):
        return "metrics.csv"
    texts = [name for name in ("samples.md", "translations.md") if (one / name).exists()]
    for text in texts:
        if (one / text).read_text() != (other / text).read_text():
            return text
    return ""


def _unequal(a: Any, b: Any) -> str:
    """Where two nested values differ, as a path; empty where they do not."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
        return "" if same else " (tensor)"
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return f": {sorted(map(str, a.keys() ^ b.keys()))}"
        return next((f".{key}{found}" for key in a if (found := _unequal(a[key], b[key]))), "")
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return " (length)"
        return next(
            (f"[{i}]{found}" for i, (x, y) in enumerate(zip(a, b, strict=True)) if (found := _unequal(x, y))), ""
        )
    return "" if a == b else f": {a!r} and {b!r}"


def _figures(run: Path) -> list[dict[str, str]]:
    """The lines of the log; a validation at the end of an epoch that is done again counts to the next one."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k != "train/tokens_per_second"} for row in csv.DictReader(file)]
    return [{k: v for k, v in row.items() if k != "epoch" or not row["val/nats_per_token"]} for row in rows]
