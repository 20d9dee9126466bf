"""What a run was and came to, in a few figures: the head of a page."""

import math
from typing import Any

from seqmodels.analysis.learning_curves import best_of
from seqmodels.report.section import number
from seqmodels.report.subject import Subject

Tile = tuple[str, str, str]
"""A name, a figure, and a line of smaller print."""


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def short(count: float) -> str:
    """A large number in thousands or millions."""
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= power:
            return f"{count / power:.3g} {letter}"
    return f"{count:,.0f}"


def figure(values: dict[str, Any], name: str) -> float | None:
    """A finite figure of a file that anyone may have written."""
    value = values.get(name)
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if fine else None  # type: ignore[arg-type]


def network(subject: Subject) -> str:
    """The network, with its sizes where they are known."""
    if subject.has_task():
        return subject.task.name
    backbone = subject.settings.get("backbone")
    path = backbone.get("class_path") if isinstance(backbone, dict) else None
    return path.rpartition(".")[2] if isinstance(path, str) else "a network"


def origin(subject: Subject) -> str:
    """What it was trained on."""
    corpus = subject.environment.get("corpus")
    if isinstance(corpus, dict) and isinstance(corpus.get("origin"), str):
        return str(corpus["origin"])
    return str(subject.settings.get("data", "unknown text"))


def best(subject: Subject) -> dict[str, float]:
    """The figures of the best validation, of `result.json`, or of `metrics.csv` where the run has not ended."""
    figures = ((name, figure(subject.result, name)) for name in subject.result if name.startswith("val/"))
    return {name: value for name, value in figures if value is not None} or best_of(subject.metrics)


def tiles(subject: Subject) -> list[Tile]:
    """The figures that people look for."""
    result, found = subject.result, best(subject)
    made: list[Tile] = []
    parameters = figure(result, "parameters")
    if subject.has_task():
        parameters = float(sum(parameter.numel() for parameter in subject.task.parameters()))
    if "val/bleu" in found:
        exact = found.get("val/exact_match")
        made.append(("BLEU", f"{found['val/bleu']:.1f}", "" if exact is None else f"{exact:.1%} to the letter"))
    if "val/nats_per_token" in found:
        made.append(("Best validation", f"{found['val/nats_per_token']:.3f}", "nats per token"))
        with_it = found.get("val/perplexity", math.exp(min(found["val/nats_per_token"], 700)))
        made.append(("Perplexity", number(with_it, 3), "likely tokens at each step"))
    if "val/bits_per_byte" in found and "val/bleu" not in found:
        made.append(("Bits per byte", f"{found['val/bits_per_byte']:.3f}", "whatever the tokens"))
    if parameters:
        made.append(("Parameters", short(parameters), network(subject)))
    last = subject.metrics[-1] if subject.metrics else {}
    tokens = figure(result, "tokens") or last.get("train/tokens")
    steps = figure(result, "steps") or last.get("step")
    if tokens:
        made.append(("Tokens trained on", short(tokens), f"{steps:,.0f} steps" if steps else ""))
    seconds = figure(result, "seconds")
    if seconds:
        speed = f"{short(tokens / seconds)} tokens/s" if tokens else ""
        made.append(("Training time", duration(seconds), speed))
    commit = subject.environment.get("commit")
    if isinstance(commit, str):
        made.append(("Commit", commit[:8], str(subject.environment.get("began", ""))[:10]))
    return made


def ending(subject: Subject) -> str | None:
    """A sentence where the run did not come to its end."""
    ended = subject.result.get("ended")
    if not subject.result:
        return "The run has not ended: there is no result.json. What is shown is what there was so far."
    if ended in ("budget", None):
        return None
    if ended == "diverged":
        return "The run diverged: its loss or gradient was not finite for too long."
    return f"The run was stopped by {str(ended)[:20]} before its end."
