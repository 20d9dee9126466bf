"""The gradient horizon: norms of `dL_t/dx_{t-k}` by distance `k` for any network, as tensors, files and figures."""

import contextlib
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from seqmodels.analysis.csv_table import append_rows, read_table
from seqmodels.analysis.figures import draw_lines, new_panels, ticks
from seqmodels.batch import IGNORE, Batch
from seqmodels.errors import InputError
from seqmodels.metrics import summed_nats
from seqmodels.nn import RecurrentStack
from seqmodels.nn.dropout import evaluating
from seqmodels.nn.unrolling import unroll
from seqmodels.tasks import LanguageModel, SequenceTask, Translator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EMBEDDINGS = {"embedding": "x", "source_embedding": "source"}
"""Submodules of tasks whose outputs are the inputs of networks, and the names of gradients with respect to them."""

FRACTION = 0.01
"""The horizon is the distance at which the norm falls below this fraction of the norm at distance 0."""


def gradient_norms(
    task: SequenceTask,
    batch: Batch,
    *,
    passes: int | None = None,
    generator: torch.Generator | None = None,
    states: bool = False,
) -> dict[str, Tensor]:
    """Mean norms of the gradient of the loss at a position with respect to earlier inputs, by distance.

    `||dL_t/dx_{t-k}||`, where `L_t` is the cross-entropy of the target at position t in nats and `x` are the embedded
    inputs, averaged over rows and positions t. All networks have such inputs, so an LSTM and a Transformer are
    measured alike. The batch is read from the initial state, without dropout; padding does not count. Rows are
    independent, so one backward pass serves a position in each of them. Gradients of parameters and the global random
    state are not changed.

    Args:
        task: any; in evaluation mode meanwhile.
        batch: B rows of T positions, with targets where there is a loss.
        passes: number of positions t in each row, one drawn from each of so many equal parts; None for all positions.
        generator: that draws them, on the CPU; None for a new one with seed 0.
        states: also with respect to the states of recurrent layers, which are unrolled by the equations of their cells;
            the gradient of a cell state includes the path through the hidden state of the same position.

    Returns:
        Norms by name: `x` for the inputs; `source` for those of a translator's encoder, at the distance that they would
        have if the source preceded the target in one row; `1.h`, `1.c` and so on for the states of layer 1. Each (K,),
        float64 on the CPU, indexed by distance; NaN where no two positions are that far apart.

    Raises:
        InputError: no position has a loss, or `states` is set and the network has none.
    """
    if not task.learns:
        raise InputError(f"{task.name} counts, and learns nothing by gradients, so there are none to measure")
    batch = batch._replace(continues=False, continued=False)
    real = _real(batch.mask, batch.inputs)
    scored = (batch.targets != IGNORE) & real
    if not scored.any() or (passes is not None and passes < 1):
        raise InputError(
            f"a batch with {int(scored.sum())} targets and passes={passes} were given; gradients are measured from "
            "targets, so give a batch that has some, and at least one pass"
        )
    with evaluating(task), torch.enable_grad():
        logits, leaves = _unrolled(task, batch, real) if states else _embedded(task, batch)
        found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in leaves}  # distances and norms
        tensors = [tensor for leaf in leaves.values() for tensor in leaf.tensors]
        places, rows = real.cumsum(1) - 1, torch.arange(len(real), device=real.device)
        positions = _positions(scored, passes, generator or torch.Generator().manual_seed(0))
        for number, (t, there) in enumerate(positions, start=1):
            targets = batch.targets[rows, t].where(there, IGNORE)
            nats, _ = summed_nats(logits[rows, t].unsqueeze(1), targets.unsqueeze(1))
            options: dict[str, Any] = {"allow_unused": True, "materialize_grads": True}
            gradients = iter(torch.autograd.grad(nats, tensors, retain_graph=number < len(positions), **options))
            for name, leaf in leaves.items():
                parts = [next(gradients) for _ in leaf.tensors]
                norms = torch.cat([part.view(len(rows), -1, part.shape[-1]) for part in parts], 1).norm(dim=-1)
                distances = places[rows, t].unsqueeze(1) - leaf.places
                counted = leaf.real & there.unsqueeze(1) & (distances >= 0)
                found[name].append((distances[counted].cpu(), norms[counted].double().cpu()))
    joined = {name: [torch.cat(part) for part in zip(*of_name, strict=True)] for name, of_name in found.items()}
    return {name: distances.bincount(norms) / distances.bincount() for name, (distances, norms) in joined.items()}


def gradient_horizon(norms: Tensor, fraction: float = FRACTION) -> int:
    """The distance beyond which the norm of the gradient stays below a fraction of that at distance 0.

    Takes norms by distance, (K,), of `gradient_norms`, in which NaN is ignored; returns an integer from 1 to K, which
    means "beyond the measured distances".

    Raises:
        InputError: the norm at distance 0 is zero or not finite.
    """
    if not (len(norms) and norms[0] > 0 and torch.isfinite(norms[0])):
        raise InputError(
            f"the norm of the gradient at distance 0 is {float(norms[0]) if len(norms) else 'not there'}; a horizon "
            "is seen from one that is above zero and finite, so give a batch and a model that have such"
        )
    return int(torch.nonzero(norms >= fraction * norms[0])[-1]) + 1


class _Leaf(NamedTuple):
    """Tensors that gradients are taken with respect to: (B, D) for each of S places, or one of (B, S, D)."""

    tensors: list[Tensor]
    places: Tensor
    """Int64 (B, S): number among the positions of the row that are not padding; negative before the first."""
    real: Tensor
    """Bool (B, S), False at padding."""


def _real(mask: Tensor | None, like: Tensor) -> Tensor:
    """The mask of a batch, or all True, (B, T)."""
    return torch.ones(like.shape[:2], dtype=torch.bool, device=like.device) if mask is None else mask


def _positions(scored: Tensor, passes: int | None, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """For each pass, a position with a loss in each row (B,), and whether the row has one (B,)."""
    counts = scored.sum(1)
    order = scored.logical_not().to(torch.uint8).argsort(dim=1, stable=True)  # positions with a loss first
    chosen = []
    for number in range(int(counts.max()) if passes is None else passes):
        if passes is None:
            index = torch.full_like(counts, number)
        else:
            drawn = torch.rand(len(counts), generator=generator, dtype=torch.float64).to(counts.device)
            index = ((number + drawn) * counts / passes).long()
        there = index < counts
        chosen.append((order.gather(1, index.where(there, 0).unsqueeze(1)).squeeze(1), there))
    return chosen


def _embedded(task: SequenceTask, batch: Batch) -> tuple[Tensor, dict[str, _Leaf]]:
    """Logits and the embedded inputs."""
    leaves: dict[str, Tensor] = {}

    def detach(name: str, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        leaves[name] = output.detach().requires_grad_()
        return leaves[name]

    with contextlib.ExitStack() as stack:
        for part, name in EMBEDDINGS.items():
            if isinstance(module := getattr(task, part, None), nn.Module):
                stack.callback(module.register_forward_hook(functools.partial(detach, name)).remove)
        logits, _ = task(batch)
    found = {}
    for name in [name for name in EMBEDDINGS.values() if name in leaves]:
        real = _real(batch.mask if name == "x" else batch.source_mask, leaves[name])
        places = real.cumsum(1) - 1
        if name == "source":  # its last position precedes the first of the target
            places = places - real.sum(1, keepdim=True)
            if isinstance(task, Translator) and task.reverse:  # read from its end
                real, places = real.flip(1), places.flip(1)
        found[name] = _Leaf([leaves[name]], places, real)
    return logits, found


def has_states(task: SequenceTask) -> TypeGuard[LanguageModel]:
    """Whether the network is recurrent, so that gradients with respect to its states can be measured."""
    return isinstance(task, LanguageModel) and isinstance(task.backbone, RecurrentStack)


def _unrolled(task: SequenceTask, batch: Batch, real: Tensor) -> tuple[Tensor, dict[str, _Leaf]]:
    """Logits, the embedded inputs, and the states of recurrent layers."""
    if not has_states(task):
        raise InputError(
            f"{task.name} in a {type(task).__name__} has no recurrent states; give states=False, or a "
            "LanguageModel of a recurrent network"
        )
    x = task.embedding(batch.inputs).detach().requires_grad_()
    y, layers = unroll(task.backbone, x, mask=batch.mask)
    places = real.cumsum(1) - 1
    found = {"x": _Leaf([x], places, real)}
    for number, layer in enumerate(layers, start=1):
        for name, tensors in zip("hc", zip(*layer.computed, strict=True), strict=False):
            found[f"{number}.{name}"] = _Leaf(list(tensors), places, real)
    return task.head(y), found


HORIZON_COLUMNS = {"step": int, "kind": str, "distance": int, "norm": float}


class Curve(NamedTuple):
    """Norms at some distances, both (K,)."""

    distances: Tensor
    norms: Tensor


def thinned(norms: Tensor) -> Curve:
    """Norms by distance (K,), without NaN: at all distances up to 16, then at about eight for each doubling."""
    wanted = sorted({*range(16), *(round(16 * 2 ** (place / 8)) for place in range(8 * 40))})
    distances = torch.tensor([at for at in wanted if at < len(norms) and norms[at].isfinite()])
    return Curve(distances, norms[distances])


def append_horizon(path: Path, step: int, norms: Mapping[str, Tensor]) -> None:
    """Append thinned norms of `gradient_norms` at a step to a CSV table with columns step, kind, distance and norm."""
    for kind, values in norms.items():
        points = zip(*map(Tensor.tolist, thinned(values)), strict=True)
        append_rows(path, [dict(zip(HORIZON_COLUMNS, (step, kind, *point), strict=True)) for point in points])


def read_horizon(path: Path) -> dict[int, dict[str, Curve]]:
    """Curves of such a table, by step and kind.

    Raises:
        InputError: the file is missing or damaged.
    """
    points: dict[int, dict[str, list[tuple[int, float]]]] = {}
    for step, kind, distance, norm in read_table(path, HORIZON_COLUMNS):
        points.setdefault(step, {}).setdefault(kind, []).append((distance, norm))
    return {
        step: {kind: Curve(*(torch.tensor(part) for part in zip(*pairs, strict=True))) for kind, pairs in kinds.items()}
        for step, kinds in points.items()
    }


def draw_horizon(steps: Mapping[int, Mapping[str, Curve]]) -> "Figure":
    """Norms by distance of a training, by step, from dark (early) to bright (late), and kind, a panel for each."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm

    kinds = list(dict.fromkeys(kind for curves in steps.values() for kind in curves))
    figure, grid = new_panels(len(kinds), 3, (3.3, 3), sharey=True)
    ends = sorted({max(1, step) for step in steps})
    visible = ListedColormap(colormaps["viridis"](np.linspace(0.3, 0.85, 256)))  # on white and on black
    colors = ScalarMappable(LogNorm(ends[0], ends[-1] + 1), visible)
    tones = dict(zip(ends, colors.to_rgba(np.array(ends)), strict=True))
    for axes, kind in zip(grid, kinds, strict=True):
        for step, curves in sorted(steps.items()):
            if kind in curves:
                axes.plot(*map(Tensor.numpy, curves[kind]), color=tones[max(1, step)])
        _decay(axes)
        layer, dot, state = kind.partition(".")
        axes.set_title(f"{state} of layer {layer}" if dot else {"x": "inputs"}.get(kind, kind), fontsize="medium")
        axes.grid(alpha=0.3)
    figure.supxlabel("distance in positions", fontsize="medium")
    figure.supylabel("norm of the gradient", fontsize="medium")
    bar = figure.colorbar(colors, ax=figure.axes, label="step")
    shown, labels = ticks(steps)
    bar.set_ticks(shown, labels=labels)
    bar.minorticks_off()
    return figure


def draw_horizons(curves: Mapping[str, Curve], fraction: float = FRACTION) -> "Figure":
    """Norms by distance of several models, relative to distance 0, and the fraction that defines the horizon."""
    lines = {name: (at.tolist(), (norms / norms[0]).tolist()) for name, (at, norms) in curves.items()}
    figure = draw_lines(lines, xlabel="distance in positions", ylabel="norm of the gradient, relative to distance 0")
    figure.axes[0].axhline(fraction, color="#808080", linewidth=0.8, linestyle=":")
    _decay(figure.axes[0])
    return figure


def _decay(axes: "Axes") -> None:
    """Make norms logarithmic, so that an exponential decay is a straight line."""
    axes.set_yscale("log", nonpositive="mask")
    axes.minorticks_off()  # they take half of the time and show nothing
