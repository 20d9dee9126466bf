"""The command line: one file per command, over all of the package."""

from seqmodels.cli.program import command, recipe

__all__ = ["command", "recipe"]
