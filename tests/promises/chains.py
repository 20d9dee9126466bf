"""Chains: a run is ended at random calls of functions, and resumed, until it is complete; beside one left alone."""

import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from promises.forks import forked, tail
from promises.runs import LAYOUTS, NETWORKS, Kind, difference, only, train, write_data

import seqmodels
from seqmodels.errors import InputError
from seqmodels.training.resume import Origin, find_origin

STEPS = 110
"""With samples and diagnostics after step 100 and at the end, four validations, and rows of the log."""
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
CODES = (*(-number for number in SIGNALS), 128 + signal.SIGTERM, 128 + signal.SIGINT, 1)  # 1: KeyboardInterrupt
PRECISIONS = ("32-true", "bf16-mixed", "64-true")


Place = tuple[signal.Signals, str, int]
"""A signal, the function in whose call it comes, and the number of the call, counted from the start of its process."""


def drawn(folder: Path, number: int) -> str:
    """`resumed`, with everything drawn with a number as random seed.

    A function of this package is drawn, then one of its calls: so the end of a run, of which there is one, is a place
    as likely as a step of training.
    """
    draw = random.Random(number)
    kind = Kind(
        network=draw.choice(list(NETWORKS)),
        layout=draw.choice(LAYOUTS),
        precision=draw.choice(PRECISIONS),
        workers=draw.choice((0, 0, 2)),
        accumulate=draw.choice((1, 1, 3)),
        average=draw.choice(("none", "none", "ema")),
        optimizer=draw.choice(("adamw", "adamw", "muon")),
    )

    def places(calls: dict[str, int]) -> Iterator[Place]:
        for _ in range(draw.randint(1, 6)):
            sent, name = draw.choice(SIGNALS), draw.choice(sorted(calls))
            yield sent, name, draw.randint(1, calls[name])

    return resumed(folder, kind, places)


def resumed(folder: Path, kind: Kind, places: Callable[[dict[str, int]], Iterable[Place]]) -> str:
    """One chain.

    Args:
        folder: for its data and runs.
        kind: what is trained.
        places: where it is ended, given how often the run that is left alone calls each function.

    Returns:
        The chain, and what differs from the run that was left alone; empty if nothing does.
    """
    write_data(folder)
    work = partial(train, kind, folder, steps=STEPS, diagnostics=True, prompt="a")
    log, whole, part, told = folder / "log", folder / "whole", folder / "part", [str(kind)]
    if code := forked(partial(_count, partial(work, whole), folder / "calls.json"), log):
        return f"{kind}: the run left alone ended with {code}: {tail(log)}"
    ends = iter(places(json.loads((folder / "calls.json").read_text())))
    while (origin := _newest(part)) is None or not origin.ended:
        this = partial(work, part, resume=None if origin is None else origin.folder)
        if (place := next(ends, None)) is None:
            if code := forked(this, log):
                return f"{', '.join(told)}: resuming ended with {code}: {tail(log)}"
            break
        sent, name, call = place
        told.append(f"{sent.name} at call {call} of {name}")
        if (code := forked(partial(_end, this, name, call, sent), log)) not in (0, *CODES):
            return f"{', '.join(told)}: ended with {code}: {tail(log)}"
    found = difference(only(whole), only(part))
    return f"{', '.join(told)}: {found}" if found else ""


def _newest(runs: Path) -> Origin | None:
    """The checkpoint to resume from; None, and no run is left, where there was no time to save one."""
    for run in runs.glob("*/*"):
        try:
            return find_origin(run, quietly=True)
        except InputError:
            shutil.rmtree(run)
    return None


def _count(work: Callable[[], object], path: Path) -> None:
    """Do some work, and write down how often it calls each function of the package in this thread."""
    counts = Counter[str]()
    _profiled(work, lambda name: counts.update((name,)))
    path.write_text(json.dumps(counts))


def _end(work: Callable[[], object], name: str, call: int, number: int) -> None:
    """Do some work, and send this process a signal at some call of a function."""
    left = call

    def called(function: str) -> None:
        nonlocal left
        if function == name:
            left -= 1
            if not left:
                os.kill(os.getpid(), number)

    _profiled(work, called)


def _profiled(work: Callable[[], object], called: Callable[[str], None]) -> None:
    root = str(Path(seqmodels.__file__).parent)

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(root):
            called(f"{frame.f_globals['__name__'].removeprefix('seqmodels.')}.{frame.f_code.co_qualname}")

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
