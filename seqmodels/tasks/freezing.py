"""Parameters that stay as they are in training, chosen by patterns of their names."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from seqmodels.errors import InputError

SHOWN = 24
"""Names that a message lists."""


def frozen(module: nn.Module, patterns: Sequence[str] | None) -> list[str]:
    """Freeze the parameters that a pattern matches: `embedding`, `backbone.layers.0`, `*.bias`, `backbone.*.kernel.*`.

    A pattern with `*`, `?` or `[]`, as of file names, matches the whole name of a parameter, or that of a part, of
    which all parameters are meant. Parameters that share a matrix are frozen together.

    Args:
        module: with parameters.
        patterns: of names; None for no frozen parameters.

    Returns:
        Names of the frozen parameters.

    Raises:
        InputError: a pattern matches nothing, or nothing is left to train.
    """
    if not patterns:
        return []
    if isinstance(patterns, str):
        raise InputError(f"freeze={patterns!r} was given; expected a list of patterns, such as [{patterns!r}]")
    named = dict(module.named_parameters(remove_duplicate=False))
    stay = dict[str, None]()
    for pattern in patterns:
        found = [name for name in named if any(fnmatchcase(part, pattern) for part in _parts(name))]
        if not found:
            names = list(named)
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise InputError(
                f"freeze={pattern!r} matches no parameter; expected a pattern of {', '.join(names[:SHOWN])}{more}"
            )
        stay |= dict.fromkeys(found)
    for name in stay:
        named[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise InputError(f"freeze={list(patterns)} leaves no parameter to train; freeze fewer")
    return list(stay)


def _parts(name: str) -> list[str]:
    """A name, and those of the modules around it: `a.b.weight`, `a.b`, `a`."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
