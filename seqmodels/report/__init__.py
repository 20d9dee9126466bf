"""A run as one page that explains it."""

from seqmodels.report.making import end_with_report, report

__all__ = ["end_with_report", "report"]
