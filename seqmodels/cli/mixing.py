"""Options of several commands that mix a language model with counts and a cache."""

from typing import Any

from seqmodels.checkpoints.saved import load_model
from seqmodels.cli.parser import flag, given_of
from seqmodels.errors import InputError
from seqmodels.tasks.mixing import Mix


def mix_of(counts: str | None, cache: int | None, **further: float | None) -> Mix | None:
    """What the options `--counts` and `--cache` ask for, with `counts_weight` and so on; None without them.

    Raises:
        InputError: a setting was given without what it is of; or see `load`.
    """
    given: dict[str, Any] = given_of(further)
    parts = {"counts": counts is not None, "cache": bool(cache)}
    if wrong := [name for name in given if not parts[name.partition("_")[0]]]:
        part = wrong[0].partition("_")[0]
        raise InputError(f"{flag(wrong[0])} was given without {flag(part)}; give that, too")
    if not any(parts.values()):
        return None
    return Mix(None if counts is None else load_model(counts).task, cache=cache or 0, **given)
