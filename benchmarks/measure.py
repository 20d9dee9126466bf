"""Two programs take turns; the median of their ratios is reported, with the range over the rounds."""

import contextlib
import gc
import os
import random
import statistics
import string
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import datasets

from benchmarks.ceiling import Ceiling, Cost
from benchmarks.pace import PACE

Side = Callable[[], float]
"""One program: does its work once and returns its figure."""

Measured = tuple[float, float | None]
"""A figure and, if measured, the peak memory in MiB."""

Run = Callable[[bool], AbstractContextManager[Callable[[Side], Measured]]]
"""Prepares a place where a program runs, one of ours if so told, returns what runs it there once, and ends it."""


@contextlib.contextmanager
def plainly(ours: bool = True) -> Iterator[Callable[[Side], Measured]]:
    """In this process, without measuring memory."""
    yield lambda side: (side(), None)


KINDS = {"flops": "fp32", "flops_bf16": "bf16", "bytes": "the bandwidth"}
"""Names of the limits of a machine."""


@dataclass(frozen=True)
class Comparison:
    """The figures of two programs, round by round.

    Attributes:
        what: the work.
        unit: of both figures.
        target: the aim.
        ours_by_round: figures of this package.
        rival_by_round: figures of the other program in the same rounds; empty if there is none.
        cost: minimal cost of one unit, if known, to tell how close ours is to the limit of the machine.
        memory: peak memory of both in MiB, if measured.
    """

    what: str
    unit: str
    target: str
    ours_by_round: tuple[float, ...]
    rival_by_round: tuple[float, ...] = ()
    cost: Cost | None = None
    memory: tuple[float, ...] = ()

    @property
    def ours(self) -> float:
        """Our median figure."""
        return statistics.median(self.ours_by_round)

    @property
    def rival(self) -> float | None:
        """The rival's median figure."""
        return statistics.median(self.rival_by_round) if self.rival_by_round else None

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours by the rival's, in each round."""
        return tuple(ours / rival for ours, rival in zip(self.ours_by_round, self.rival_by_round, strict=False))

    @property
    def ratio(self) -> float | None:
        """The median of the ratios."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def difference(self) -> float | None:
        """The median over the rounds of ours less the rival's."""
        pairs = zip(self.ours_by_round, self.rival_by_round, strict=False)
        return statistics.median(ours - rival for ours, rival in pairs) if self.rival_by_round else None

    @property
    def is_settled(self) -> bool:
        """Whether the ratios of several rounds are so close that another one would change nothing."""
        return len(self.ratios) >= 3 and max(self.ratios) <= 1.03 * min(self.ratios)

    def line(self, most: Ceiling | None = None) -> str:
        """One line of text; the limits of the machine tell the fraction reached."""
        text = f"{self.what:<58} ours {_short(self.ours)}"
        if self.rival is not None:
            text += f"  rival {_short(self.rival)} {self.unit:<10} ratio {self.ratio:6.2f}"
            text += f" ({min(self.ratios):.2f}..{max(self.ratios):.2f})"
        else:
            text += f" {self.unit}"
        if self.rival is not None and self.unit.startswith("ms/"):
            text += f"  {self.difference:+.2f} ms"
        if most is not None and self.cost is not None:
            text += f"  {100 * most.fraction(self.ours, self.cost):.0f} % of {KINDS[self.cost.of]}"
        if self.memory:
            text += f"  {' and '.join(f'{one:,.0f}' for one in self.memory)} MiB"
        return text + (f"  target {self.target}" if self.target else "")

    def record(self, most: Ceiling | None = None) -> dict[str, Any]:
        """The same as plain data; argument as of `line`."""
        return {
            "what": self.what,
            "unit": self.unit,
            "target": self.target,
            "ours": self.ours,
            "rival": self.rival,
            "ratio": self.ratio,
            "spread": [min(self.ratios), max(self.ratios)] if self.ratios else None,
            "difference": self.difference,
            "fraction": None if most is None or self.cost is None else most.fraction(self.ours, self.cost),
            "limit": None if self.cost is None else KINDS[self.cost.of],
            "memory": list(self.memory),
            "ours_by_round": list(self.ours_by_round),
            "rival_by_round": list(self.rival_by_round),
        }


Topic = Callable[..., Iterator[Comparison]]
"""A topic of the command, the function `run` of its module, with these keyword arguments:

rounds: number of runs of each program (default: 5).
small: tiny sizes and few steps, which show that it works and measure nothing.
"""


@dataclass(frozen=True)
class Entry:
    """A line of the table: two of the programs that take turns; see `Comparison` for `what`, `target` and `cost`.

    Attributes:
        ours: this package.
        rival: the other program, if there is one.
        weighed: both can run in another process for their memory.
    """

    what: str
    ours: Side
    rival: Side | None = None
    target: str = ""
    cost: Cost | None = None
    weighed: bool = True

    @property
    def sides(self) -> tuple[Side, ...]:
        """The programs that run here."""
        return (self.ours,) if self.rival is None or PACE.alone else (self.ours, self.rival)


def compare(
    what: str,
    ours: Side,
    rival: Side | None = None,
    *,
    unit: str,
    rounds: int = 5,
    warm_up: bool = True,
    target: str = "",
    cost: Cost | None = None,
    run: Run = plainly,
) -> Comparison:
    """Let two programs take turns; arguments as of `Entry` and `compare_all`."""
    entry = Entry(what, ours, rival, target, cost)
    return compare_all([entry], unit=unit, rounds=rounds, warm_up=warm_up, run=run)[0]


def compare_all(
    entries: Sequence[Entry],
    *,
    unit: str,
    rounds: int = 5,
    warm_up: bool = True,
    run: Run = plainly,
    weigh: Run | None = None,
) -> list[Comparison]:
    """Let the programs of some lines take turns; one that several lines have runs once a round for all of them.

    The order alternates from round to round, so that a machine that becomes slower or faster favours none. There are
    at least two rounds, and more as long as `PACE` has time for them and the ratios differ.

    Args:
        entries: the lines.
        unit: of all figures.
        rounds: number of runs of each program, at most.
        warm_up: run each once before the first round; False if they do so themselves.
        run: runs a program: `plainly`, or a function of `benchmarks.peak`, which measures memory, too.
        weigh: a function of `benchmarks.peak`, by which all of ours run once more for their memory, one after the
            other, and all rivals likewise. A peak is that of all lines so far, so those of less memory come first.
    """
    sides = list(dict.fromkeys(side for entry in entries for side in entry.sides))
    figures: dict[Side, list[float]] = {side: [] for side in sides}
    peaks: dict[Side, float] = {}

    def comparison(entry: Entry) -> Comparison:
        rival = tuple(figures[side] for side in entry.sides[1:])
        memory = tuple(peaks[side] for side in entry.sides if side in peaks)
        return Comparison(
            entry.what, unit, entry.target, tuple(figures[entry.ours]), *map(tuple, rival or ([],)), entry.cost,
            memory if len(memory) == len(entry.sides) else (),
        )  # fmt: skip

    def run_once(side: Side, place: Callable[[Side], Measured]) -> float:
        figure, peak = place(side)
        if peak is not None:
            peaks.setdefault(side, peak)
        return figure

    with contextlib.ExitStack() as stack:
        mine = {entry.ours for entry in entries}
        places = {side: stack.enter_context(run(side in mine)) for side in sides}
        for side in sides if warm_up else ():
            side()
        gc.collect()
        gc.freeze()  # a collection takes half a second where all libraries are looked through
        stack.callback(gc.unfreeze)
        settled = lambda: all(comparison(entry).is_settled for entry in entries)  # noqa: E731
        for number in PACE.rounds(rounds, len(entries), settled):
            for side in sides if number % 2 == 0 else reversed(sides):
                gc.collect()  # none pays for garbage of another
                figures[side].append(run_once(side, places[side]))
    for number in (0, 1) if weigh is not None and not PACE.alone else ():
        with weigh(number == 0) as place:
            for side in dict.fromkeys(side for entry in entries if entry.weighed for side in entry.sides[number:][:1]):
                run_once(side, place)
    return [comparison(entry) for entry in entries]


def per_second(work: Callable[[int], object], count: int) -> Side:
    """A program whose figure is its rate, in pieces of work per second, over `count` of them."""

    def side() -> float:
        began = time.perf_counter()
        work(count)
        return count / (time.perf_counter() - began)

    return side


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary directory, which is the cache of `datasets` meanwhile."""
    already = datasets.config.HF_DATASETS_CACHE
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder) / "cache"
        with mock.patch.dict(os.environ, HF_DATASETS_CACHE=f"{folder}/cache"):
            try:
                yield Path(folder)
            finally:
                datasets.config.HF_DATASETS_CACHE = already


@contextlib.contextmanager
def written(**splits: Iterable[str]) -> Iterator[Path]:
    """A temporary directory of lines, a text file for each split."""
    with scratch() as folder:
        text = folder / "text"
        text.mkdir()
        for name, lines in splits.items():
            (text / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
        yield text


def made_up_text(characters: int) -> contextlib.AbstractContextManager[Path]:
    """A temporary directory of random text of 65 characters, as many as Tiny Shakespeare has."""
    letters, source = string.ascii_letters + " ,.;:!?'-&3$", random.Random(1)
    train, validation = (
        ["".join(source.choices(letters, k=63)) for _ in range(-(-size // 64))] for size in (characters, 2_000)
    )
    return written(train=train, validation=validation)


def made_up_words(words: int, count: int) -> contextlib.AbstractContextManager[Path]:
    """A temporary directory of random words: all of a vocabulary of this size once, and so many more."""
    vocabulary, source = [f"w{number}" for number in range(words)], random.Random(1)
    train, validation = vocabulary + source.choices(vocabulary, k=count), source.choices(vocabulary, k=1_000)
    lines = ((" ".join(text[first : first + 20]) for first in range(0, len(text), 20)) for text in (train, validation))
    return written(**dict(zip(("train", "validation"), lines, strict=True)))


def _short(figure: float) -> str:
    return f"{figure:>10,.0f}" if figure >= 100 else f"{figure:>10.2f}"
