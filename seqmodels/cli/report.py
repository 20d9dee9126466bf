"""The command `seqmodels report`."""

from pathlib import Path

from seqmodels.errors import InputError
from seqmodels.report import making
from seqmodels.report.comparing import compare
from seqmodels.report.making import aloud


def report(runs: list[str], data: tuple[str, ...] | None = None, to: str | None = None) -> Path:
    """Write a page about a run: how it learned and what it wrote, how far back its gradients reach, its spectra and
    gates, its most telling neurons, what it attends to, its settings. Of several runs, a page that compares them. It
    is one file that runs no script and opens without a network; where there is nothing to show, it says why.

    Args:
        runs: a run folder, or several, with spaces between them.
        data: where the text of the runs lies now, if it has moved; of a translator, two files.
        to: the file to write; where not given, report.html in the run folder, or comparison.html beside the first.
    """
    if to is not None and not Path(to).expanduser().absolute().parent.is_dir():
        raise InputError(f"--to was given {to!r}, and there is no such folder; make it first")
    path = making.report(runs[0], data, to, aloud) if len(runs) == 1 else compare(runs, data, to, aloud)
    print(path)
    return path
