"""The section of the learning curves."""

from collections.abc import Sequence

from seqmodels.errors import InputError
from seqmodels.report.figures import inline, new_figure
from seqmodels.report.section import Section, folded, number, table
from seqmodels.report.subject import Subject

MOST = 600
"""Points of a line; with more, several neighbours become their mean."""
OTHERS = (
    ("train/gradient_norm", "gradient norm, before clipping", "log"),
    ("train/lr", "learning rate", "linear"),
    ("train/tokens_per_second", "tokens per second", "linear"),
    ("val/bleu", "BLEU on validation text", "linear"),
)
"""What else is drawn where it was logged: the figure, its name, the scale."""
ROWS = 40
"""Most validations in the table."""
LEAD = (
    "How well the model predicts the next token, over the tokens it was trained on; the lower the better. Where the "
    "line of validation turns up while that of training goes on falling, the model learns its text by heart."
)


def points(metrics: list[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    """A figure over millions of tokens trained on, thinned to `MOST` points."""
    found = [(row["train/tokens"] / 1e6, row[name]) for row in metrics if name in row and "train/tokens" in row]
    group = -(-len(found) // MOST) or 1
    groups = [found[first : first + group] for first in range(0, len(found), group)]
    return [_mean([x for x, _ in part]) for part in groups], [_mean([y for _, y in part]) for part in groups]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def curves(subject: Subject) -> Section:
    """Loss in training and validation, and what else was logged.

    Raises:
        InputError: nothing was logged.
    """
    drawn = [name for name in ("train/nats_per_token", "val/nats_per_token") if points(subject.metrics, name)[0]]
    if not drawn:
        raise InputError(subject.absent.get("metrics.csv", "nothing was logged, so there is no curve to draw"))
    body = _loss(subject)
    others = [_other(subject, *one) for one in OTHERS if len(points(subject.metrics, one[0])[0]) > 1]
    body += f'<div class="small-multiples">{"".join(others)}</div>' if others else ""
    rows = [row for row in subject.metrics if "val/nats_per_token" in row]
    if rows:
        names = [name for name in dict.fromkeys(name for row in rows for name in row) if name.startswith("val/")]
        head = ["million tokens", *(name.removeprefix("val/").replace("_", " ") for name in names)]
        shown = rows[:: -(-len(rows) // ROWS)] if len(rows) > ROWS else rows
        cells = [
            [number(row.get("train/tokens", 0) / 1e6), *(number(row[n]) if n in row else "" for n in names)]
            for row in shown
        ]
        body += folded(f"The figures of {len(shown)} validations", table(head, cells, numeric=True))
    return Section("curves", "Learning curves", LEAD, body)


def _loss(subject: Subject) -> str:
    figure = new_figure(6.6, 3.3)
    axes = figure.subplots()
    spoken = []
    for name, label, color, marker in (
        ("train/nats_per_token", "training", "C7", ""),
        ("val/nats_per_token", "validation", "C1", "o"),
    ):
        across, up = points(subject.metrics, name)
        if across:
            axes.plot(across, up, label=label, color=color, marker=marker, markersize=4, linewidth=1.6)
            spoken.append(f"{label} from {up[0]:.3f} to {up[-1]:.3f}")
    axes.set(xlabel="million tokens", ylabel="nats per token")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return inline(figure, f"Nats per token over tokens trained on: {', '.join(spoken)}", "curves-loss")


def _other(subject: Subject, name: str, label: str, scale: str) -> str:
    across, up = points(subject.metrics, name)
    figure = new_figure(3.8, 2.3)
    axes = figure.subplots()
    axes.plot(across, up, color="C0", linewidth=1.4, marker="o" if name.startswith("val/") else "", markersize=3.5)
    axes.set(xlabel="million tokens", title=label)
    if scale == "log" and min(up) > 0:
        axes.set_yscale("log")
    axes.grid(alpha=0.25)
    return inline(figure, f"{label} over tokens trained on, at last {up[-1]:.4g}", f"curves-{name.split('/')[1]}")
