"""A run becomes a page: its sections one after the other."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from seqmodels.environment import is_other_rank
from seqmodels.errors import InputError
from seqmodels.files import write_text
from seqmodels.report.attention import attention
from seqmodels.report.curves import curves
from seqmodels.report.embeddings import embeddings
from seqmodels.report.gates import gates
from seqmodels.report.horizon import horizon
from seqmodels.report.neurons import neurons
from seqmodels.report.overview import ending, network, origin, tiles
from seqmodels.report.page import page
from seqmodels.report.samples import samples
from seqmodels.report.section import Section
from seqmodels.report.setting import configuration, environment
from seqmodels.report.spectra import spectra
from seqmodels.report.subject import Subject, open_run

Part = tuple[str, str, Callable[[Subject], Section]]
"""Key, title, and what makes the section, or raises an InputError that says why there is none."""

PARTS: tuple[Part, ...] = (
    ("curves", "Learning curves", curves),
    ("samples", "Samples over time", samples),
    ("horizon", "Gradient horizon", horizon),
    ("spectra", "Spectra", spectra),
    ("gates", "Gates", gates),
    ("neurons", "Neurons", neurons),
    ("attention", "Attention", attention),
    ("embeddings", "Embeddings", embeddings),
    ("configuration", "Configuration", configuration),
    ("environment", "Environment", environment),
)

Say = Callable[[str], None]


def quietly(line: str) -> None:
    """Say nothing."""


def aloud(line: str) -> None:
    """Say it on standard error, since it is no result."""
    print(line, file=sys.stderr)


def report(
    run: str | Path, data: Sequence[str] | None = None, to: str | Path | None = None, say: Say = quietly
) -> Path:
    """Write a page about a run: how it learned, what it wrote, and what can be seen inside its model.

    It is one file, without scripts, that opens without a network. Where something is missing, its section says why.

    Args:
        run: a run folder.
        data: where its text lies now, if not where it did: one name, or those of two files.
        to: the file to write; `report.html` in the run folder where not given.
        say: what is told of each section and the seconds that it took.

    Returns:
        The file.

    Raises:
        InputError: there is no such run, or the file cannot be written.
    """
    subject = open_run(run, data)
    sections = []
    for key, title, make in PARTS:
        began = time.perf_counter()
        sections.append(section_of(subject, key, title, make))
        missing = f"  ({sections[-1].missing})" if sections[-1].missing else ""
        say(f"  {title:<24}{time.perf_counter() - began:5.1f} s{missing}")
    name = network(subject)
    article = page(
        f"{name} on {origin(subject)}",
        str(subject.folder),
        tiles(subject),
        sections,
        kind="Report of a run",
        notes=[sentence for sentence in [ending(subject)] if sentence],
    )
    return written(article, subject.folder / "report.html" if to is None else Path(to).expanduser())


def end_with_report(run: Path) -> None:
    """Write the page of a run that has just ended, and say where it is: the last line of a recipe.

    Where several processes share the work, the first one does so.
    """
    if not is_other_rank():
        print(f"report   {report(run)}")


def section_of(subject: Subject, key: str, title: str, make: Callable[[Subject], Section]) -> Section:
    """A section, or why there is nothing to show."""
    try:
        return make(subject)
    except InputError as error:
        return Section(key, title, "", missing=str(error))


def written(article: str, path: Path) -> Path:
    """Write a page.

    Raises:
        InputError: it cannot be written there.
    """
    try:
        write_text(path, article)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror or error}; give another file") from error
    return path
