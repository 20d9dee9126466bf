"""Several runs on one page."""

import time
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from torch import Tensor

from seqmodels.analysis.figures import draw_lines
from seqmodels.errors import InputError
from seqmodels.report import training
from seqmodels.report.figures import inline
from seqmodels.report.page import NONE, Log, Part, Section, duration, macro, number, short, silent, write_page
from seqmodels.report.recurrence import HORIZON, held_out_norms, horizon_body
from seqmodels.report.run import DataCache, Run, open_run

MAX_RUNS = 20
"""Lines of more runs could not be told apart."""
SAMPLE_SIZE = 600
"""Most characters of a sample."""
COMPARED = {
    "val/bleu": "BLEU", "val/nats_per_token": "nats per token", "val/perplexity": "perplexity",
    "val/bits_per_byte": "bits per byte",
}  # fmt: skip
"""Figures of the best validation that are compared."""
LAST_CHOICE = ("seed", "runs", "max_minutes", "max_steps", "max_tokens")
"""Settings that name a run only where no other setting differs."""

Runs = Sequence[Run]


def compare(
    runs: Sequence[str | Path], data: Sequence[str] | None = None, to: str | Path | None = None, log: Log = silent
) -> Path:
    """Write a page that compares runs.

    Args:
        runs: run folders, from 2 to 20.
        data: where their text is now, if it was moved.
        to: the file to write, which is returned; by default `comparison.html` beside the first run.
        log: takes the title of each section and the seconds that it took.

    Raises:
        InputError: a run is missing, or there are too many or too few.
    """
    if not 2 <= len(runs) <= MAX_RUNS:
        raise InputError(f"{len(runs)} runs were given to be compared; expected 2 to {MAX_RUNS}")
    opened, cache = list[Run](), DataCache()
    for path in runs:
        began = time.perf_counter()
        opened.append(open_run(path, data, cache))
        log(f"  {'opened ' + opened[-1].name:<49}{time.perf_counter() - began:5.1f} s")
    for run, name in zip(opened, distinct_names(opened), strict=True):
        run.name = name
    return write_page(
        to or opened[0].pages.parent / "comparison.html", COMPARISON_PARTS, opened, log,
        kind=f"{len(opened)} runs compared", title=", ".join(dict.fromkeys(map(training.network, opened))),
        about="; ".join(dict.fromkeys(map(training.origin, opened))), tiles=(), notes=(),
    )  # fmt: skip


def distinct_names(runs: Runs) -> list[str]:
    """A name for each run: its network, and up to two settings in which runs of the same network differ."""
    networks = [training.network(run) for run in runs]
    settings = [training.flat_settings(run.settings) for run in runs]
    names = []
    for mine, name in zip(settings, networks, strict=True):
        rivals = [other for other, other_name in zip(settings, networks, strict=True) if other_name == name]
        differ = [key for key in mine if any(other.get(key) != mine[key] for other in rivals)]
        differ = [key for key in differ if key not in LAST_CHOICE] or differ
        words = [f"{key.rpartition('.')[2].replace('_', ' ')} {training.setting(mine[key])}" for key in differ[:2]]
        names.append(", ".join([name, *words]))
    return [f"{name} ({place})" if names.count(name) > 1 else name for place, name in enumerate(names, 1)]


def compared_results(runs: Runs) -> Section:
    """A table of the best validation, the size and the cost of each run."""
    found = [training.best(run) for run in runs]
    columns = {key: title for key, title in COMPARED.items() if any(key in figures for figures in found)}
    rows = []
    for run, figures in zip(runs, found, strict=True):
        scores = [number(figures[key]) if key in figures else NONE for key in columns]
        parameters, tokens, seconds = (training.figure(run.result, key) for key in ("parameters", "tokens", "seconds"))
        sizes = [NONE if value is None else short(value) for value in (parameters, tokens)]
        rows.append([run.name, *scores, *sizes, NONE if seconds is None else duration(seconds)])
    head = ["run", *columns.values(), "parameters", "training tokens", "time"]
    lead = (
        "The best validation of each run. Nats per token and perplexity compare runs with the same tokens; bits per "
        "byte compare all runs on the same text."
    )
    return Section(lead, macro("table", head, rows, numeric=True))


def compared_curves(runs: Runs) -> Section:
    """Validation over training tokens, a line for each run."""
    tokens = {str((run.settings.get("data"), run.settings.get("tokenizer"))) for run in runs}
    name = "val/nats_per_token" if len(tokens) == 1 else "val/bits_per_byte"
    curves = {run.name: training.curve(run.metrics, name) for run in runs}
    if not any(x for x, _ in curves.values()):
        raise InputError("none of these runs was validated")
    label = f"{name[4:].replace('_', ' ')}, validation"
    drawing = draw_lines(curves, markers=curves, xlabel="million tokens", ylabel=label)
    ends = "; ".join(f"{label}, finally {y[-1]:.3f}" for label, (_, y) in curves.items() if y)
    lead = "Validation over the tokens trained on; lower is better."
    return Section(lead, inline(drawing, f"Validation of {ends}", "compared-curves"))


def compared_horizons(runs: Runs) -> Section:
    """The gradient horizons of all runs in one figure."""
    norms, missing = dict[str, Tensor](), dict[str, str]()
    for run in runs:
        try:
            measured = held_out_norms(run, states=False)
            if "x" not in measured:
                raise InputError("the gradient at distance 0 is zero")
            norms[run.name] = measured["x"]
        except InputError as error:
            missing[run.name] = str(error)
    if not norms:
        raise InputError("; ".join(f"{name}: {why}" for name, why in missing.items()))
    body = horizon_body("run", norms, "compared-horizon")
    for name, why in missing.items():
        body += macro("note", f"{name} is missing: {why}")
    return Section(HORIZON, body)


def compared_samples(runs: Runs) -> Section:
    """The last sample of each run."""
    blocks = [macro("heading", run.name) + _last_sample(run) for run in runs]
    return Section("The last sample of each run.", macro("grid", "side-by-side", blocks))


def _last_sample(run: Run) -> Markup:
    try:
        if (run.folder / "translations.md").exists():
            entries = training.read_translations(run.file("translations.md"))
            text = "\n".join(f"{source}\n→ {output}\n" for source, output, _ in entries[-1][1]) if entries else ""
        else:
            samples = training.read_samples(run.file("samples.md"))
            text = samples[-1][1] if samples else ""
    except InputError as error:
        return macro("missing", error)
    return macro("sample", text, SAMPLE_SIZE) if text else macro("missing", "there are no samples")


def compared_settings(runs: Runs) -> Section:
    """The settings in which the runs differ."""
    settings = [training.flat_settings(run.settings) for run in runs]
    names = list(dict.fromkeys(name for one in settings for name in one))
    differ = [name for name in names if len({training.setting(one.get(name)) for one in settings}) > 1]
    if not differ:
        raise InputError("these runs have the same settings")
    rows = [["folder", *(run.folder.resolve().name for run in runs)]]
    rows += [[name, *(training.setting(one[name]) if name in one else "" for one in settings)] for name in differ]
    lead = f"The settings that differ; {len(names) - len(differ)} others are equal in all runs."
    table = macro("table", ["setting", *(run.name for run in runs)], rows)
    return Section(lead, table)


COMPARISON_PARTS: tuple[Part[Runs], ...] = (
    ("results", "Results", compared_results),
    ("curves", "Learning curves", compared_curves),
    ("horizon", "Gradient horizon", compared_horizons),
    ("samples", "Samples", compared_samples),
    ("settings", "Settings", compared_settings),
)
