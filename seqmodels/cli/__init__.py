"""The command line: one file per command, over all of the package."""

from seqmodels.cli.program import command, recipe
from seqmodels.imports import short_waits

short_waits()  # programs import this package first, before torch

__all__ = ["command", "recipe"]
