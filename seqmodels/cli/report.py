"""The command `seqmodels report`."""

import sys
from functools import partial
from pathlib import Path

import seqmodels.report as pages
from seqmodels.cli.text_io import check_output


def report(runs: list[str], data: tuple[str, ...] | None = None, to: str | None = None) -> Path:
    """Write a page about a run: learning curves, samples, gradient horizon, spectra, gates, neurons, attention,
    embeddings, settings. Of several runs, a page that compares them. Runs that differ in their random seed
    alone are grouped. The page is one file that opens without a network; where there is nothing to show, it says why.

    Args:
        runs: a run folder, or several, separated by spaces.
        data: where the text of the runs is now, if it was moved; of a translator, two files.
        to: the file to write; by default report.html in the run folder, or comparison.html beside the first.
    """
    if to is not None:
        check_output("--to", to)
    log = partial(print, file=sys.stderr)  # standard output has the path alone
    path = pages.report(runs[0], data, to, log) if len(runs) == 1 else pages.compare(runs, data, to, log)
    print(path)
    return path
