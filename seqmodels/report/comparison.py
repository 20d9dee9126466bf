"""Several runs on one page."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from markupsafe import Markup
from torch import Tensor

from seqmodels.analysis.figures import draw_lines
from seqmodels.analysis.notebook import Page
from seqmodels.errors import InputError, one_line
from seqmodels.report import training
from seqmodels.report.figures import inline
from seqmodels.report.page import NONE, Log, Part, Section, duration, macro, number, short, silent, write_page
from seqmodels.report.recurrence import HORIZON, held_out_norms, horizon_body, nearest
from seqmodels.report.run import DataCache, Run, open_run
from seqmodels.report.seeds import Group, Points, Spread, group_by_seed, mean_line, spread, spread_of

MAX_RUNS = 20
"""Lines of more runs could not be told apart."""
SAMPLE_SIZE = 600
"""Most characters of a sample."""
COMPARED = {
    "val/bleu": "BLEU", "val/nats_per_token": "nats per token", "val/perplexity": "perplexity",
    "val/bits_per_byte": "bits per byte", "val/ppmd_bits_per_byte": "PPMd, bits per byte",
}  # fmt: skip
"""Figures of the best validation that are compared."""
LAST_CHOICE = ("seed", "runs", "max_minutes", "max_steps", "max_tokens")
"""Settings that name a run only where no other setting differs."""

Groups = Sequence[Group]


def compare(
    runs: Sequence[str | Path], data: Sequence[str] | None = None, to: str | Path | None = None, log: Log = silent
) -> Page:
    """Write a page that compares runs.

    Args:
        runs: run folders, from 2 to 20.
        data: where their text is now, if it was moved.
        to: the file to write, which is returned; by default `comparison.html` beside the first run.
        log: takes the title of each section and the seconds that it took.

    Raises:
        InputError: a run is missing, or there are too many or too few.
    """
    if not isinstance(runs, Sequence) or isinstance(runs, str):
        raise InputError(f"{one_line(repr(runs)):.80} was given; expected a list of run folders")
    if not 2 <= len(runs) <= MAX_RUNS:
        raise InputError(f"{len(runs)} runs were given to be compared; expected 2 to {MAX_RUNS}")
    opened, cache = list[Run](), DataCache()
    for path in runs:
        began = time.perf_counter()
        opened.append(open_run(path, data, cache))
        log(f"  {'opened ' + opened[-1].name:<49}{time.perf_counter() - began:5.1f} s")
    groups = group_by_seed(opened)
    for group, name in zip(groups, distinct_names([group.first for group in groups]), strict=True):
        group.name = name
        for run, seed in zip(group.runs, group.seeds, strict=True):
            run.name = f"{name}, seed {seed}" if len(group.runs) > 1 else name
    return Page(write_page(
        to or opened[0].pages.parent / "comparison.html", COMPARISON_PARTS, groups, log,
        kind=f"{len(opened)} runs compared", title=", ".join(dict.fromkeys(map(training.network, opened))),
        about="; ".join(dict.fromkeys(map(training.origin, opened))), tiles=(), notes=(),
    ))  # fmt: skip


def distinct_names(runs: Sequence[Run]) -> list[str]:
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


def compared_results(groups: Groups) -> Section:
    """A table of the best validation, the size and the cost of each run, and of the runs that differ in their seed."""
    runs = [run for group in groups for run in group.runs]
    found = {run.name: training.best(run) for run in runs}
    columns = {key: title for key, title in COMPARED.items() if any(key in figures for figures in found.values())}
    head = [*columns.values(), "parameters", "training tokens", "time"]
    rows = [[group.name, str(len(group.runs)), *_results(group.runs, found, columns)] for group in groups]
    lead = (
        "The best validation of each run. Nats per token and perplexity compare runs with the same tokens; bits per "
        "byte compare all runs on the same text."
    )
    if len(groups) == len(runs):
        return Section(lead, macro("table", ["run", *head], [[row[0], *row[2:]] for row in rows], numeric=True))
    lead += (
        " Runs that differ in their random seed alone are one row: the mean over the seeds ± the standard deviation "
        "(with n - 1); sizes and times are means."
    )
    body = macro("table", ["runs", "seeds", *head], rows, numeric=True)
    each = [
        [run.name, *_results([run], found, columns)] for group in groups if len(group.runs) > 1 for run in group.runs
    ]
    body += macro(
        "details", f"Each of the {len(each)} runs with several seeds", macro("table", ["run", *head], each, True)
    )
    ranges = [
        [group.name, *(f"{number(one.low)} to {number(one.high)}" if (one := _spread(group.runs, found, key)) else NONE
                       for key in columns)]
        for group in groups if len(group.runs) > 1
    ]  # fmt: skip
    body += macro(
        "details", "From the lowest to the highest seed", macro("table", ["runs", *columns.values()], ranges, True)
    )
    return Section(lead, body)


def _spread(runs: Sequence[Run], found: Mapping[str, Mapping[str, float]], key: str) -> Spread | None:
    return spread_of([found[run.name] for run in runs], key)


def _results(runs: Sequence[Run], found: Mapping[str, Mapping[str, float]], columns: Iterable[str]) -> list[str]:
    """The cells of a row: scores, parameters, tokens, time."""
    scores = [str(one) if (one := _spread(runs, found, key)) else NONE for key in columns]
    sizes = []
    for key, text in (("parameters", short), ("tokens", short), ("seconds", duration)):
        values = [value for run in runs if (value := training.figure(run.result, key)) is not None]
        sizes.append(text(spread(values).mean) if values else NONE)
    return [*scores, *sizes]


def compared_curves(groups: Groups) -> Section:
    """Validation over training tokens: a line for each run, or for the mean over seeds, with a band."""
    runs = [run for group in groups for run in group.runs]
    tokens = {str((run.settings.get("data"), run.settings.get("tokenizer"))) for run in runs}
    name = "val/nats_per_token" if len(tokens) == 1 else "val/bits_per_byte"
    curves, bands = dict[str, Points](), dict[str, Points]()
    for group in groups:
        x, mean, low, high = mean_line([training.curve(run.metrics, name) for run in group.runs])
        curves[group.name] = x, mean
        if len(group.runs) > 1:
            bands[group.name] = low, high
    if not any(x for x, _ in curves.values()):
        raise InputError("none of these runs was validated")
    label = f"{name[4:].replace('_', ' ')}, validation"
    drawing = draw_lines(curves, markers=curves, bands=bands, xlabel="million tokens", ylabel=label)
    ends = "; ".join(f"{label}, finally {y[-1]:.3f}" for label, (_, y) in curves.items() if y)
    lead = "Validation over the tokens trained on; lower is better."
    if bands:
        lead += " Of several seeds, the line is the mean, and the band goes from the lowest to the highest."
    return Section(lead, inline(drawing, f"Validation of {ends}", "compared-curves"))


def compared_horizons(groups: Groups) -> Section:
    """The gradient horizons of all runs in one figure; of several seeds, the mean of the relative norms."""
    norms, missing = dict[str, Tensor](), dict[str, str]()
    for group in groups:
        relative = []
        for run in group.runs:
            try:
                measured = held_out_norms(run, states=False)
                if "x" not in measured:
                    raise InputError("the gradient at distance 0 is zero")
                relative.append(measured["x"] / nearest(measured["x"]))
            except InputError as error:
                missing[run.name] = str(error)
        if relative:
            shortest = min(map(len, relative))
            norms[group.name] = torch.stack([one[:shortest] for one in relative]).mean(0)
    if not norms:
        raise InputError("; ".join(f"{name}: {why}" for name, why in missing.items()))
    body = horizon_body("run", norms, "compared-horizon")
    for name, why in missing.items():
        body += macro("note", f"{name} is missing: {why}")
    several = any(len(group.runs) > 1 for group in groups)
    return Section(HORIZON + " Of several seeds, the mean is shown." * several, body)


def compared_samples(groups: Groups) -> Section:
    """The last sample of each run."""
    runs = [run for group in groups for run in group.runs]
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


def compared_settings(groups: Groups) -> Section:
    """The settings in which the runs differ."""
    runs = [run for group in groups for run in group.runs]
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


COMPARISON_PARTS: tuple[Part[Groups], ...] = (
    ("results", "Results", compared_results),
    ("curves", "Learning curves", compared_curves),
    ("horizon", "Gradient horizon", compared_horizons),
    ("samples", "Samples", compared_samples),
    ("settings", "Settings", compared_settings),
)
