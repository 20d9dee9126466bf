"""Several runs on one page."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seqmodels.errors import InputError
from seqmodels.report import horizon
from seqmodels.report.curves import points
from seqmodels.report.figures import inline, new_figure
from seqmodels.report.making import Say, quietly, written
from seqmodels.report.overview import best, duration, figure, network, origin, short
from seqmodels.report.page import page
from seqmodels.report.samples import read_samples, read_translations
from seqmodels.report.section import Section, number, table, text
from seqmodels.report.setting import NONE, flat, shown
from seqmodels.report.subject import Shared, Subject, open_run

MOST = 20
"""Runs on one page, beyond which no line can be told from the others."""
CHARACTERS = 600
"""Of a sample."""
COLUMNS = {
    "val/bleu": "BLEU", "val/nats_per_token": "nats per token", "val/perplexity": "perplexity",
    "val/bits_per_byte": "bits per byte",
}  # fmt: skip
"""Figures of the best validation that are compared, where all runs have them."""
NAMELESS = ("seed", "runs", "max_minutes", "max_steps", "max_tokens")
"""Settings that tell runs apart only where nothing else does."""
STYLES = ("-", "--", ":")

Compared = Sequence[Subject]


def compare(
    runs: Sequence[str | Path], data: Sequence[str] | None = None, to: str | Path | None = None, say: Say = quietly
) -> Path:
    """Write a page that puts runs side by side.

    Args:
        runs: run folders, at least two.
        data: where their text lies now, if not where it did.
        to: the file to write; `comparison.html` beside the first run where not given.
        say: what is told of each section and the seconds that it took.

    Returns:
        The file.

    Raises:
        InputError: a run is not there, or there are too many.
    """
    if not 2 <= len(runs) <= MOST:
        raise InputError(f"{len(runs)} runs were given to be compared; expected 2 to {MOST}")
    subjects, shared = list[Subject](), Shared()
    for run in runs:
        began = time.perf_counter()
        subjects.append(open_run(run, data, shared))
        say(f"  opened {subjects[-1].name:<42}{time.perf_counter() - began:5.1f} s")
    for subject, name in zip(subjects, labels(subjects), strict=True):
        subject.name = name
    sections = []
    for key, title, make in PARTS:
        began = time.perf_counter()
        try:
            sections.append(make(subjects))
        except InputError as error:
            sections.append(Section(key, title, "", missing=str(error)))
        say(f"  {title:<49}{time.perf_counter() - began:5.1f} s")
    texts = dict.fromkeys(origin(subject) for subject in subjects)
    article = page(
        ", ".join(dict.fromkeys(network(subject) for subject in subjects)), "; ".join(texts), (), sections,
        kind=f"{len(subjects)} runs compared",
    )  # fmt: skip
    first = subjects[0].folder
    return written(article, first.parent / "comparison.html" if to is None else Path(to).expanduser())


def labels(subjects: Compared) -> list[str]:
    """What to call each run: its network, and, where several have the same, what tells them apart."""
    names = [network(subject) for subject in subjects]
    settings = [flat(subject.settings) for subject in subjects]
    made = []
    for mine, name in zip(settings, names, strict=True):
        alike = [other for other, called in zip(settings, names, strict=True) if called == name]
        differ = [key for key in mine if any(other.get(key) != mine[key] for other in alike)]
        telling = [key for key in differ if key not in NAMELESS] or differ
        words = [f"{key.rpartition('.')[2].replace('_', ' ')} {shown(mine[key])}" for key in telling[:2]]
        made.append(", ".join([name, *words]))
    return [f"{name} ({place})" if made.count(name) > 1 else name for place, name in enumerate(made, 1)]


def results(subjects: Compared) -> Section:
    """Sizes and figures, a row for each run."""
    found = [best(subject) for subject in subjects]
    columns = {key: title for key, title in COLUMNS.items() if any(key in figures for figures in found)}
    rows = []
    for subject, figures in zip(subjects, found, strict=True):
        parameters, tokens, seconds = (figure(subject.result, key) for key in ("parameters", "tokens", "seconds"))
        sizes = [NONE if value is None else short(value) for value in (parameters, tokens)]
        time_spent = NONE if seconds is None else duration(seconds)
        shown_figures = [number(figures[key]) if key in figures else NONE for key in columns]
        rows.append([subject.name, *shown_figures, *sizes, time_spent])
    head = ["run", *columns.values(), "parameters", "tokens", "time"]
    lead = (
        "The best validation of each run. Nats per token and perplexity compare runs whose tokens are the same; bits "
        "per byte compare any on the same text."
    )
    return Section("results", "Results", lead, table(head, rows, numeric=True))


def curves(subjects: Compared) -> Section:
    """Validation over tokens, a line for each run.

    Raises:
        InputError: no run was validated.
    """
    kinds = {str((subject.settings.get("data"), subject.settings.get("tokenizer"))) for subject in subjects}
    name = "val/nats_per_token" if len(kinds) == 1 else "val/bits_per_byte"
    lines = [(subject.name, *points(subject.metrics, name)) for subject in subjects]
    if not any(across for _, across, _ in lines):
        raise InputError("none of these runs was validated")
    drawing = draw_lines(lines, "million tokens", f"{name[4:].replace('_', ' ')}, validation", marker="o")
    spoken = "; ".join(f"{label} {up[-1]:.3f} at last" for label, _, up in lines if up)
    lead = "Validation over the tokens trained on; the lower the better."
    return Section(
        "curves", "Learning curves", lead, inline(drawing, f"Validation of each run: {spoken}", "compared-curves")
    )


def draw_lines(
    lines: Sequence[tuple[str, Sequence[float], Sequence[float]]], xlabel: str, ylabel: str, marker: str = ""
) -> Any:
    """A figure with a line for each run, which has the same colour in every figure of the page."""
    drawing = new_figure(6.6, 3.6)
    axes = drawing.subplots()
    for place, (label, across, up) in enumerate(lines):
        if len(across):
            style = STYLES[place // 10 % len(STYLES)]
            axes.plot(
                across, up, style, color=f"C{place % 10}", label=label, marker=marker, markersize=3.5, linewidth=1.6
            )
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.25)
    for words in axes.legend(frameon=False, fontsize="small").get_texts():
        words.set_parse_math(False)  # names are anything
    return drawing


def samples(subjects: Compared) -> Section:
    """The last sample of each run."""
    blocks = "".join(f"<div><h3>{text(subject.name)}</h3>{_last(subject)}</div>" for subject in subjects)
    lead = "What each of them wrote last."
    return Section("samples", "Samples", lead, f'<div class="side-by-side">{blocks}</div>')


def _last(subject: Subject) -> str:
    try:
        if (subject.folder / "translations.md").exists():
            entries = read_translations(subject.file("translations.md"))
            said = "\n".join(f"{source}\n→ {made}\n" for source, made, _ in entries[-1][1]) if entries else ""
        else:
            found = read_samples(subject.file("samples.md"))
            said = found[-1].text if found else ""
    except InputError as error:
        return f'<p class="missing">{text(error)}</p>'
    return f'<pre tabindex="0">{text(said, CHARACTERS)}</pre>' if said else '<p class="missing">none was left</p>'


def differences(subjects: Compared) -> Section:
    """Settings that are not the same in all runs.

    Raises:
        InputError: there are none.
    """
    settings = [flat(subject.settings) for subject in subjects]
    names = list(dict.fromkeys(name for one in settings for name in one))
    differ = [name for name in names if len({shown(one.get(name)) for one in settings}) > 1]
    if not differ:
        raise InputError("these runs have the same settings")
    rows = [["folder", *(subject.folder.resolve().name for subject in subjects)]]
    rows += [[name, *(shown(one[name]) if name in one else "" for one in settings)] for name in differ]
    lead = f"The settings that differ; {len(names) - len(differ)} others are the same in all runs."
    return Section("settings", "Settings", lead, table(["setting", *(s.name for s in subjects)], rows))


PARTS: tuple[tuple[str, str, Callable[[Compared], Section]], ...] = (
    ("results", "Results", results),
    ("curves", "Learning curves", curves),
    ("horizon", "Gradient horizon", horizon.compared),
    ("samples", "Samples", samples),
    ("settings", "Settings", differences),
)
"""Key, title, and what makes the section."""
