"""The recipe of a sweep: what all trials have, what is searched, and how much time there is."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from seqmodels.config import read_settings
from seqmodels.errors import InputError

OWN = ("runs", "resume", "seed", "logger")
"""Settings of trials that the sweep decides about."""
UPWARDS = ("bleu", "chrf", "exact_match")
"""Figures of which more is better."""


@dataclass(frozen=True)
class Recipe:
    """What a sweep does.

    Attributes:
        settings: options of `seqmodels fit` that all trials have, by name.
        search: options that differ: a list of values, or `low` and `high`, with `log: true` or a `step`.
        minutes: core-minutes of all trials together: minutes of training times threads.
        seeds: random seeds with which the best settings are trained in the end.
        finalists: number of these settings.
        trials: most trials before that; None for no limit.
        monitor: the figure of `result.json` that is compared.
        halving: at 1, 3, 9, ... validations, a trial goes on only if it is in the best third so far; 2 for the best
            half at 1, 2, 4, ...

    Raises:
        InputError: a value makes no sense.
    """

    settings: dict[str, Any]
    search: dict[str, Any]
    minutes: float
    seeds: int = 3
    finalists: int = 2
    trials: int | None = None
    monitor: str = "val/bits_per_byte"
    halving: int = 3

    def __post_init__(self) -> None:
        for name in ("settings", "search"):
            if not isinstance(value := getattr(self, name), dict) or not all(type(key) is str for key in value):
                raise InputError(f"{name} was given {value!r:.100}; expected options of seqmodels fit by name")
        for name, least in (("minutes", 0), ("seeds", 1), ("finalists", 1), ("trials", 1), ("halving", 2)):
            value = getattr(self, name)
            kinds = (int, float) if name == "minutes" else (int,)
            if (value is not None or name != "trials") and (type(value) not in kinds or not least <= value < math.inf):
                raise InputError(f"{name} was given {value!r:.100}; expected a number of at least {least}")
        names = {name.replace("-", "_") for name in (*self.settings, *self.search)}
        if taken := [name for name in OWN if name in names]:
            raise InputError(f"{taken[0]} is among the settings, and the sweep decides about it; leave it out")
        if twice := [name for name in self.search if name in self.settings]:
            raise InputError(f"{twice[0]} is among the settings and is searched; leave out one of the two")
        if not self.search:
            raise InputError("nothing is searched; expected a section such as 'search: {lr: [0.001, 0.003]}'")
        for name, space in self.search.items():
            _check_space(name, space)

    @property
    def validations(self) -> int:
        """Validations of a trial."""
        return int(self.settings.get("validations", self.halving**2))

    @property
    def upwards(self) -> bool:
        """Whether more is better."""
        return any(name in self.monitor for name in UPWARDS)


def _check_space(name: str, space: Any) -> None:
    if isinstance(space, list) and space and all(type(v) in (bool, int, float, str) for v in space):
        return
    bounds: list[Any] = [space.get("low"), space.get("high")] if isinstance(space, dict) else []
    numbers = len(bounds) == 2 and all(type(bound) in (int, float) and math.isfinite(bound) for bound in bounds)
    if not numbers or bounds[0] >= bounds[1] or space.keys() - {"low", "high", "log", "step"}:
        expected = "expected a list of values, or low and high, with log or step"
        raise InputError(f"{name} was given {space!r:.100}; {expected}")
    if space.get("log") and (bounds[0] <= 0 or "step" in space):
        raise InputError(f"{name} is searched on a logarithmic scale; expected a low above 0, and no step")


def read_recipe(path: str | Path) -> Recipe:
    """A recipe from a file of YAML.

    Raises:
        InputError: it is none; or see `Recipe`.
    """
    found = read_settings(path)
    known = [field.name for field in fields(Recipe)]
    if others := [name for name in found if name not in known]:
        raise InputError(f"{str(path)!r} has {others[0]!r:.60}; expected some of {', '.join(known)}")
    if missing := [name for name in ("search", "minutes") if name not in found]:
        raise InputError(f"{str(path)!r} has no {missing[0]}; a sweep needs search and minutes")
    try:
        return Recipe(**{"settings": {}, **found})
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from error
