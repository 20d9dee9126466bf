"""The report of a run: one page with a section for each of its aspects."""

from collections.abc import Sequence
from pathlib import Path

from seqmodels.analysis.notebook import Page
from seqmodels.environment import is_other_rank
from seqmodels.report import recurrence, tokens, training, units
from seqmodels.report.page import Log, Part, silent, write_page
from seqmodels.report.run import Run, open_run

RUN_PARTS: tuple[Part[Run], ...] = (
    ("curves", "Learning curves", training.curves_section),
    ("samples", "Samples over time", training.samples_section),
    ("horizon", "Gradient horizon", recurrence.horizon_section),
    ("spectra", "Spectra", recurrence.spectra_section),
    ("gates", "Gates", recurrence.gates_section),
    ("neurons", "Neurons", units.units_section),
    ("attention", "Attention", tokens.attention_section),
    ("embeddings", "Embeddings", tokens.embeddings_section),
    ("configuration", "Configuration", training.configuration_section),
    ("environment", "Environment", training.environment_section),
)


def report(run: str | Path, data: Sequence[str] | None = None, to: str | Path | None = None, log: Log = silent) -> Page:
    """Write a page about a run: its training, its samples, and the inside of its model.

    The page is one file without scripts that opens without a network. Where something is missing, its section says why.

    Args:
        run: a run folder, or a checkpoint in it that is used instead of the best one.
        data: where the text is now, if it was moved: one path, or two of a translator.
        to: the file to write, which is returned as a path that a notebook shows; by default `report.html` in the run
            folder, or in the current one of a model on the hub.
        log: takes the title of each section and the seconds that it took.

    Raises:
        InputError: there is no such run, or the file cannot be written.
    """
    opened = open_run(run, data)
    note = training.ending_note(opened)
    return Page(write_page(
        to or opened.pages / "report.html", RUN_PARTS, opened, log, kind="Report of a run", about=opened.folder,
        title=f"{training.network(opened)} on {training.origin(opened)}", tiles=training.tiles(opened),
        notes=[note] if note else [],
    ))  # fmt: skip


def end_with_report(run: Path) -> None:
    """Write the report of a run that has just ended, and print its path: the last line of a recipe.

    Of several processes, only the first does so.
    """
    if not is_other_rank():
        print(f"report   {report(run)}")
