"""The command line: one file a command, over all of the package."""

from seqmodels.cli.main import command

__all__ = ["command"]
