"""The command line: one file per command, over all of the package."""

from typing import TYPE_CHECKING, Any

from seqmodels.imports import bound_threads, short_waits

if TYPE_CHECKING:
    from seqmodels.cli.program import command as command
    from seqmodels.cli.program import recipe as recipe

__all__ = ["command", "recipe"]


def __getattr__(name: str) -> Any:
    """`command` and `recipe`, which a script asks for, first of all, to be a program of its own."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    bound_threads()
    short_waits()
    from seqmodels.cli import program

    return getattr(program, name)
