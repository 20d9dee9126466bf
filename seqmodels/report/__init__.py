"""One page about a run, or about several."""

from seqmodels.report.comparison import compare
from seqmodels.report.single_run import end_with_report, report

__all__ = ["compare", "end_with_report", "report"]
