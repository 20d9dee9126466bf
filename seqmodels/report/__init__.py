"""A run as one page that explains it."""

from seqmodels.report.making import report

__all__ = ["report"]
