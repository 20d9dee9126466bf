"""How a run was trained: its main figures, and the sections on curves, samples, configuration and environment."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from torch import Tensor

from seqmodels.analysis.figures import draw_lines, new_figure
from seqmodels.analysis.learning_curves import best_of
from seqmodels.errors import InputError
from seqmodels.metrics import perplexity
from seqmodels.report.figures import inline
from seqmodels.report.page import NONE, Section, duration, evenly_spaced, macro, number, short
from seqmodels.report.run import Run

POINTS = 600
"""Most points of a curve; with more, neighbours are averaged."""
MAX_ROWS, MAX_SAMPLES, MAX_SETTINGS = 40, 8, 500
"""Most validations, samples and settings that are shown."""
OTHER_CURVES = (
    ("train/gradient_norm", "gradient norm before clipping", "log"),
    ("train/lr", "learning rate", "linear"),
    ("train/tokens_per_second", "tokens per second", "linear"),
    ("val/bleu", "BLEU on validation text", "linear"),
)
"""Further figures that are drawn if they were logged: name, label, scale."""

SavedTranslation = tuple[str, str, str]
"""Source, output of the model, reference."""


def figure(values: Mapping[str, Any], name: str) -> float | None:
    """A finite number of a file that anybody may have written; None for anything else."""
    value = values.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def network(run: Run) -> str:
    """The name of the network."""
    if run.model is not None:
        return run.model.name
    backbone = run.settings.get("backbone")
    path = backbone.get("class_path") if isinstance(backbone, dict) else None
    return path.rpartition(".")[2] if isinstance(path, str) else "a network"


def origin(run: Run) -> str:
    """The name of the text."""
    corpus = run.environment.get("corpus")
    if isinstance(corpus, dict) and isinstance(corpus.get("origin"), str):
        return str(corpus["origin"])
    return str(run.settings.get("data", "unknown text"))


def best(run: Run) -> dict[str, float]:
    """The figures of the best validation, from `result.json`, or from `metrics.csv` where the run has not ended."""
    figures = ((name, figure(run.result, name)) for name in run.result if name.startswith("val/"))
    return {name: value for name, value in figures if value is not None} or best_of(run.metrics)


def tiles(run: Run) -> list[tuple[str, str, str]]:
    """The main figures: a label, a number and a remark."""
    last = run.metrics[-1] if run.metrics else {}
    found = {name.removeprefix("val/"): value for name, value in best(run).items()}
    tokens = figure(run.result, "tokens") or last.get("train/tokens")
    steps = figure(run.result, "steps") or last.get("step")
    parameters = sum(map(Tensor.numel, run.task.parameters())) if run.model else figure(run.result, "parameters")
    tiles: list[tuple[str, str, str]] = []
    if "bleu" in found:
        exact = f"{found['exact_match']:.1%} exact matches" if "exact_match" in found else ""
        tiles.append(("BLEU", f"{found['bleu']:.1f}", exact))
    if "nats_per_token" in found:
        nats = found["nats_per_token"]
        tiles.append(("Best validation", f"{nats:.3f}", "nats per token"))
        tiles.append(("Perplexity", number(found.get("perplexity", perplexity(nats)), 3), "exp of nats per token"))
    if "bits_per_byte" in found and "bleu" not in found:
        tiles.append(("Bits per byte", f"{found['bits_per_byte']:.3f}", "compares all tokenizers"))
    if "ppmd_bits_per_byte" in found:
        tiles.append(("PPMd", f"{found['ppmd_bits_per_byte']:.3f}", "bits per byte, having read the training text"))
    if parameters:
        tiles.append(("Parameters", short(parameters), network(run)))
    if tokens:
        tiles.append(("Training tokens", short(tokens), f"{steps:,.0f} steps" if steps else ""))
    if seconds := figure(run.result, "seconds"):
        speed = f"{short(tokens / seconds)} tokens/s" if tokens else ""
        tiles.append(("Training time", duration(seconds), speed))
    if isinstance(commit := run.environment.get("commit"), str):
        tiles.append(("Commit", commit[:8], str(run.environment.get("began", ""))[:10]))
    return tiles


def ending_note(run: Run) -> str | None:
    """A sentence where the run has not reached the end of its budget."""
    if not run.result:
        return "The run has not ended: there is no result.json. The page shows its files so far."
    ended = run.result.get("ended")
    if ended in ("budget", None):
        return None
    if ended == "diverged":
        return "The run diverged: its loss or gradient was not finite for too many steps."
    return f"The run was stopped by {str(ended)[:20]} before its end."


def curve(metrics: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Millions of training tokens and a figure, both averaged to at most `POINTS` points."""
    points = [(row["train/tokens"] / 1e6, row[name]) for row in metrics if name in row and "train/tokens" in row]
    size = -(-len(points) // POINTS) or 1
    groups = [points[first : first + size] for first in range(0, len(points), size)]
    means = [[sum(values) / len(values) for values in zip(*group, strict=True)] for group in groups]
    return [x for x, _ in means], [y for _, y in means]


def curves_section(run: Run) -> Section:
    """Training and validation loss, and further figures."""
    names = {"training": "train/nats_per_token", "validation": "val/nats_per_token"}
    curves = {label: points for label, name in names.items() if (points := curve(run.metrics, name))[0]}
    if not curves:
        raise InputError(run.missing.get("metrics.csv", "nothing was logged, so there is no curve to draw"))
    colors = {"training": "C7", "validation": "C1"}
    drawing = draw_lines(curves, ["validation"], colors, xlabel="million tokens", ylabel="nats per token")
    ends = ", ".join(f"{label} from {y[0]:.3f} to {y[-1]:.3f}" for label, (_, y) in curves.items())
    body = inline(drawing, f"Nats per token over training tokens: {ends}", "curves-loss")
    others = [_small_curve(run, *other) for other in OTHER_CURVES if len(curve(run.metrics, other[0])[0]) > 1]
    body += macro("grid", "small-multiples", others) if others else ""
    if rows := [row for row in run.metrics if "val/nats_per_token" in row]:
        rows = rows[:: -(-len(rows) // MAX_ROWS)]
        columns = [name for name in dict.fromkeys(name for row in rows for name in row) if name.startswith("val/")]
        head = ["million tokens", *(name.removeprefix("val/").replace("_", " ") for name in columns)]
        cells = [
            [number(row.get("train/tokens", 0) / 1e6), *(number(row[name]) if name in row else "" for name in columns)]
            for row in rows
        ]
        body += macro("details", f"The figures of {len(rows)} validations", macro("table", head, cells, True))
    lead = (
        "The loss of the next token, in nats, over the tokens trained on; lower is better. If validation rises while "
        "training falls, the model overfits."
    )
    return Section(lead, body)


def _small_curve(run: Run, name: str, label: str, scale: str) -> Markup:
    x, y = curve(run.metrics, name)
    drawing = new_figure(3.8, 2.3)
    axes = drawing.subplots()
    axes.plot(x, y, color="C0", linewidth=1.4, marker="o" if name.startswith("val/") else "", markersize=3.5)
    axes.set(xlabel="million tokens", title=label)
    if scale == "log" and min(y) > 0:
        axes.set_yscale("log")
    axes.grid(alpha=0.25)
    return inline(drawing, f"{label} over training tokens, finally {y[-1]:.4g}", f"curves-{name.split('/')[1]}")


def read_samples(page: str) -> list[tuple[str, str]]:
    """The entries of a `samples.md`: a heading and a text each."""
    fenced = re.compile(r"^## (step [^\n]*)\n+(`{3,}|~{3,})text\n(.*?)\n\2$", re.MULTILINE | re.DOTALL)
    return [(found[1], found[3]) for found in fenced.finditer(page)]


def read_translations(page: str) -> list[tuple[str, list[SavedTranslation]]]:
    """The entries of a `translations.md`: a heading and translations each."""
    entries: list[tuple[str, list[SavedTranslation]]] = []
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        entries.append((heading, re.findall(r"^- (.*)\n  - \*\*(.*)\*\*\n  - (.*)$", body, re.MULTILINE)))
    return entries


def samples_section(run: Run) -> Section:
    """Samples of a language model, or translations of a translator."""
    if (run.folder / "translations.md").exists():
        entries = read_translations(run.file("translations.md"))
        blocks = [(head, macro("translations", rows[:20])) for head, rows in entries]
        lead = "Held-out sentences during training, the latest first: source, translation of the model, reference."
    else:
        blocks = [(head, macro("sample", text, 1_500)) for head, text in read_samples(run.file("samples.md"))]
        lead = (
            "Text that the model generated during training, the latest first: early samples have about the right "
            "letters, later ones words, then syntax and longer dependencies."
        )
    if not blocks:
        raise InputError("there are no samples yet")
    chosen = [blocks[place] for place in evenly_spaced(len(blocks), MAX_SAMPLES)][::-1]
    body = Markup().join(macro("details", head, block, place == 0) for place, (head, block) in enumerate(chosen))
    return Section(lead, body)


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names; an object is named by its class, as `backbone`."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and isinstance(value.get("class_path"), str):
            found[f"{prefix}{name}"] = value["class_path"].rpartition(".")[2]
            inner = value.get("init_args")
            found |= flat_settings(inner if isinstance(inner, dict) else {}, f"{prefix}{name}.")
        elif isinstance(value, dict) and value:
            found |= flat_settings(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def setting(value: Any) -> str:
    """A setting as text."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return str(value)[:120]


def configuration_section(run: Run) -> Section:
    """All settings, those that are empty or off folded away."""
    if not run.settings:
        raise InputError(run.missing.get("config.yaml", "config.yaml is empty"))
    settings = dict(list(flat_settings(run.settings).items())[:MAX_SETTINGS])
    given = {name: setting(value) for name, value in settings.items() if value not in (None, "", False)}
    empty = {name: setting(value) for name, value in settings.items() if name not in given}
    command = run.environment.get("command")
    again = command if isinstance(command, str) else f"seqmodels fit --config {run.folder}/config.yaml"
    body = macro("command", again) + macro("facts", given)
    if empty:
        body += macro("details", f"{len(empty)} settings that are empty or off", macro("facts", empty))
    return Section("The command of the run and all settings.", body)


def environment_section(run: Run) -> Section:
    """Versions, commit, command and device."""
    if not run.environment:
        raise InputError(run.missing.get("env.json", "env.json is empty"))
    facts = flat_settings({name: value for name, value in run.environment.items() if name != "resumed"})
    facts = {name.replace("versions.", ""): setting(value) for name, value in list(facts.items())[:MAX_SETTINGS]}
    body = macro("facts", facts)
    resumed = run.environment.get("resumed")
    if isinstance(resumed, list) and resumed:
        names = ("step", "began", "device", "commit")
        rows = [[setting(one.get(name)) for name in names] for one in resumed[:MAX_SETTINGS] if isinstance(one, dict)]
        table = macro("table", ("at step", "began", "device", "commit"), rows)
        body += macro("details", f"Resumed {len(resumed)} times", table, True)
    lead = "Software, hardware and time of the run: the place to search when two equal runs differ."
    return Section(lead, body)
