"""Flags of subcommands that were given, and what they say together."""

from typing import Any

from seqmodels.decoding import Beam, Draws, Sampling
from seqmodels.errors import InputError


def given_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """Those that were given; the others are left to the defaults of what takes them."""
    return {name: value for name, value in arguments.items() if value is not None}


def search_or_draws(
    search: dict[str, Any],
    samples: int | None,
    sampling: dict[str, Any],
    seed: dict[str, int],
    max_length: int | None,
) -> Beam | Draws:
    """How to translate, of which the user gave the one kind of settings or the other."""
    if samples is not None and search:
        flag = next(iter(search)).replace("size", "beam").replace("_", "-")
        raise InputError(f"--{flag} is for a search, and --samples draws at random; give one of them")
    if samples is not None:
        return Draws(samples, Sampling(**sampling), **seed, max_length=max_length)
    if unused := [*sampling, *seed]:
        raise InputError(f"--{unused[0].replace('_', '-')} is for translations that are drawn; give --samples, too")
    return Beam(**search, max_length=max_length)
