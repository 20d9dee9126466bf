"""How far back gradients reach: the norm of `dL_t/dx_{t-k}` by distance `k`, for any network.

Norms of gradients by distance, kept in a file and drawn.
"""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from seqmodels.analysis.csv_table import Row, append_rows, read_table
from seqmodels.batch import IGNORE, Batch
from seqmodels.errors import InputError
from seqmodels.metrics import summed_nats
from seqmodels.nn import RecurrentStack
from seqmodels.nn.dropout import evaluating
from seqmodels.nn.unrolling import unroll
from seqmodels.tasks import LanguageModel, SequenceTask, Translator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

EMBEDDINGS = {"embedding": "x", "source_embedding": "source"}
"""What tasks call the parts whose outputs their networks read, and what gradients of these outputs are called."""

FRACTION = 0.01
"""Of the norm at distance 0; the gradient's horizon is where it becomes smaller than that."""


def gradient_norms(
    task: SequenceTask,
    batch: Batch,
    *,
    passes: int | None = None,
    generator: torch.Generator | None = None,
    states: bool = False,
) -> dict[str, Tensor]:
    """How much the loss at a position depends on what was read so many positions before it.

    `||dL_t/dx_{t-k}||`, where `L_t` is the cross-entropy of the target at position t in nats and `x` are the embedded
    inputs, averaged over rows and positions t. All networks have such inputs, so that an LSTM and a Transformer are
    measured alike. The batch is read from no state and without dropout; padding is neither measured nor counted. Rows
    know nothing of each other, so that one backward pass serves a position in each of them. Gradients of parameters
    and the global random state stay as they are.

    Args:
        task: any; it is in evaluation mode meanwhile.
        batch: B rows of T positions; its targets say which positions have a loss.
        passes: how many positions of each row are looked at; the row is cut into so many parts of one size, and one
            is drawn from each. None for all of them.
        generator: what draws them, on the CPU; None for a new one with seed 0.
        states: also by the states of recurrent layers; the network is then unrolled by the equations of its cells.
            The gradient by a cell state is the whole one, by way of the hidden state at the same position, too.

    Returns:
        Norms by what the gradient is taken of: `x` for the inputs; `source` for those of a translator's encoder, at
        the distance that they would have if the source stood before the target in one row; `1.h`, `1.c` and so on for
        the states of layer 1. Each (K,), in double precision and on the CPU, with the norm at distance k at place k;
        NaN where no two positions are so far apart.

    Raises:
        InputError: no position has a loss, or there are no states to look at.
    """
    batch = batch._replace(continues=False, goes_on=False)
    real = _real(batch.mask, batch.inputs)
    scored = (batch.targets != IGNORE) & real
    if not scored.any() or (passes is not None and passes < 1):
        raise InputError(
            f"a batch with {int(scored.sum())} targets and passes={passes} were given; gradients are measured from "
            "targets, so give a batch that has some, and at least one pass"
        )
    with evaluating(task), torch.enable_grad():
        logits, leaves = _unrolled(task, batch, real) if states else _embedded(task, batch)
        found = {name: _Found() for name in leaves}
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
                found[name].add(norms, distances, leaf.real & there.unsqueeze(1) & (distances >= 0))
    return {name: of_name.mean_by_distance() for name, of_name in found.items()}


def gradient_horizon(norms: Tensor, fraction: float = FRACTION) -> int:
    """The distance from which on the norm of the gradient is below a share of that at distance 0.

    It is a whole number, without interpolation.

    Args:
        norms: by distance, (K,), as of `gradient_norms`; NaN is passed over.
        fraction: see there.

    Returns:
        From 1 to K; K stands for "further than was measured".

    Raises:
        InputError: there is no gradient at distance 0 to compare with.
    """
    if not (len(norms) and norms[0] > 0 and torch.isfinite(norms[0])):
        raise InputError(
            f"the norm of the gradient at distance 0 is {float(norms[0]) if len(norms) else 'not there'}; a horizon "
            "is seen from one that is above zero and finite, so give a batch and a model that have such"
        )
    return int(torch.nonzero(norms >= fraction * norms[0])[-1]) + 1


class _Leaf(NamedTuple):
    """What gradients are taken of: tensors (B, D) for each of S places in turn, or one of (B, S, D)."""

    tensors: list[Tensor]
    places: Tensor
    """Int64 (B, S): which of its row's real positions it stands at; less than zero before the first."""
    real: Tensor
    """Bool (B, S), False at padding."""


class _Found:
    """Norms and their distances, over several backward passes."""

    def __init__(self) -> None:
        self.norms: list[Tensor] = []
        self.distances: list[Tensor] = []

    def add(self, norms: Tensor, distances: Tensor, counted: Tensor) -> None:
        """Those (B, S) of one pass, where they are counted."""
        self.norms.append(norms[counted].double().cpu())
        self.distances.append(distances[counted].cpu())

    def mean_by_distance(self) -> Tensor:
        """The mean norm at every distance from 0 on; NaN where there is none."""
        distances, norms = torch.cat(self.distances), torch.cat(self.norms)
        return distances.bincount(norms) / distances.bincount()


def _real(mask: Tensor | None, like: Tensor) -> Tensor:
    """Where positions are no padding, (B, T), in a batch that begins with the shape of another tensor."""
    return torch.ones(like.shape[:2], dtype=torch.bool, device=like.device) if mask is None else mask


def _positions(scored: Tensor, passes: int | None, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """For each pass, a position (B,) of each row that has a loss, and whether there is one (B,)."""
    counts = scored.sum(1)
    order = scored.logical_not().to(torch.uint8).argsort(dim=1, stable=True)  # those with a loss in front
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
    """Logits, and the embedded inputs that they were computed from."""
    leaves: dict[str, Tensor] = {}
    with contextlib.ExitStack() as stack:
        for part, module in task.named_children():

            def cut(module: nn.Module, inputs: Any, output: Tensor, name: str = EMBEDDINGS.get(part, "")) -> Tensor:
                leaves[name] = output.detach().requires_grad_()
                return leaves[name]

            if part in EMBEDDINGS:
                stack.callback(module.register_forward_hook(cut).remove)
        logits, _ = task(batch)
    found = {}
    for name in [name for name in EMBEDDINGS.values() if name in leaves]:
        real = _real(batch.mask if name == "x" else batch.source_mask, leaves[name])
        places = real.cumsum(1) - 1
        if name == "source":  # its last position stands before the first of the target
            places = places - real.sum(1, keepdim=True)
            if isinstance(task, Translator) and task.reverse:  # it is read from its end
                real, places = real.flip(1), places.flip(1)
        found[name] = _Leaf([leaves[name]], places, real)
    return logits, found


def has_states(task: SequenceTask) -> TypeGuard[LanguageModel]:
    """Whether there are states that follow from one another at every step, of which gradients can be measured."""
    return isinstance(task, LanguageModel) and isinstance(task.backbone, RecurrentStack)


def _unrolled(task: SequenceTask, batch: Batch, real: Tensor) -> tuple[Tensor, dict[str, _Leaf]]:
    """Logits, the embedded inputs, and the states of recurrent layers that they were computed through."""
    if not has_states(task):
        raise InputError(
            f"{task.name} in a {type(task).__name__} has no states that follow from one another at every step; "
            "measure its inputs, with states=False, or a LanguageModel of a recurrent network"
        )
    x = task.embedding(batch.inputs).detach().requires_grad_()
    y, layers = unroll(task.backbone, x, mask=batch.mask)
    places = real.cumsum(1) - 1
    found = {"x": _Leaf([x], places, real)}
    for number, layer in enumerate(layers, start=1):
        for name, tensors in zip("hc", zip(*layer.computed, strict=True), strict=False):
            found[f"{number}.{name}"] = _Leaf(list(tensors), places, real)
    return task.head(y), found


COLUMNS = {"step": int, "kind": str, "distance": int, "norm": float}


class Curve(NamedTuple):
    """Norms at some distances, both (K,)."""

    distances: Tensor
    norms: Tensor


def thinned(norms: Tensor) -> Curve:
    """Norms at all distances up to 16, then at about eight to each doubling; those that are NaN are left out.

    Args:
        norms: by distance, (K,), as of `gradient_norms`.
    """
    grown = [round(16 * 2 ** (place / 8)) for place in range(8 * 40)]
    distances = torch.tensor(sorted({*range(16), *grown}))
    distances = distances[distances < len(norms)]
    distances = distances[norms[distances].isfinite()]
    return Curve(distances, norms[distances])


def append_horizon(path: Path, step: int, norms: Mapping[str, Tensor]) -> None:
    """Add what was measured at a step to a CSV file with columns step, kind, distance and norm, thinned.

    Args:
        path: of the file.
        step: how many steps there were before.
        norms: what `gradient_norms` returned.
    """
    rows: Iterable[Row] = (
        {"step": step, "kind": kind, "distance": int(distance), "norm": float(norm)}
        for kind, values in norms.items()
        for distance, norm in zip(*thinned(values), strict=True)
    )
    append_rows(path, rows)


def read_horizon(path: Path) -> dict[int, dict[str, Curve]]:
    """What `append_horizon` wrote: curves by step, then by what the gradient is taken of.

    Raises:
        InputError: the file is not there, or is damaged.
    """
    points: dict[int, dict[str, list[tuple[int, float]]]] = {}
    for step, kind, distance, norm in read_table(path, COLUMNS):
        points.setdefault(int(step), {}).setdefault(str(kind), []).append((int(distance), float(norm)))
    return {
        step: {kind: Curve(*(torch.tensor(part) for part in zip(*pairs, strict=True))) for kind, pairs in kinds.items()}
        for step, kinds in points.items()
    }


def draw_horizon(steps: Mapping[int, Mapping[str, Curve]]) -> "Figure":
    """How gradients reached back while a model learned: norm by distance, from early steps, dark, to late ones.

    A panel for what the gradient is taken of: `x` inputs, `source` those of an encoder, `1.h` and `1.c` states.

    Args:
        steps: curves by step and by what the gradient is taken of.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure  # half a second, only where a picture is made

    kinds = list(dict.fromkeys(kind for curves in steps.values() for kind in curves))
    wide = min(len(kinds), 3)
    high = -(-len(kinds) // wide)
    figure = Figure(figsize=(1.4 + 2.8 * max(wide, 2), 0.8 + 2.6 * high), layout="constrained")
    grid = figure.subplots(high, wide, sharey=True, squeeze=False).ravel()
    ends = sorted({max(1, step) for step in steps})
    colors = ScalarMappable(LogNorm(ends[0], ends[-1] + 1), _between())
    tones = dict(zip(ends, colors.to_rgba(np.array(ends)), strict=True))
    for axes, kind in zip(grid, kinds, strict=False):
        for step, curves in sorted(steps.items()):
            if kind in curves:
                _line(axes, curves[kind], color=tones[max(1, step)])
        axes.set_title(_title(kind), fontsize="medium")
        axes.grid(alpha=0.3)
    for axes in grid[len(kinds) :]:
        axes.set_visible(False)
    figure.supxlabel("distance in positions", fontsize="medium")
    figure.supylabel("norm of the gradient", fontsize="medium")
    bar = figure.colorbar(colors, ax=figure.axes, label="step")
    shown = ends[:: -(-len(ends) // 8)]
    bar.set_ticks(shown, labels=[f"{step:,}" for step in shown])
    bar.minorticks_off()
    return figure


def draw_horizons(curves: Mapping[str, Curve], fraction: float = FRACTION) -> "Figure":
    """Horizons of several models side by side: norms relative to that at distance 0, and the share that ends them.

    Args:
        curves: by the names of the models, at most twenty.
        fraction: where the line is drawn below which a gradient counts as vanished.
    """
    from matplotlib.figure import Figure  # half a second, only where a picture is made

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        relative = Curve(curve.distances, curve.norms / curve.norms[0])
        _line(axes, relative, color=f"C{number % 10}", linestyle="--" if number >= 10 else "-", label=name)
    axes.axhline(fraction, color="#808080", linewidth=0.8, linestyle=":")
    axes.set(xlabel="distance in positions", ylabel="norm of the gradient, by that at distance 0")
    axes.grid(alpha=0.3)
    for words in axes.legend().get_texts():
        words.set_parse_math(False)  # names are anything
    return figure


def _title(kind: str) -> str:
    """What the gradient is taken of, in words."""
    layer, dot, state = kind.partition(".")
    return f"{state} of layer {layer}" if dot else {"x": "inputs"}.get(kind, kind)


def _line(axes: "Axes", curve: Curve, **style: Any) -> None:
    """One curve over a linear distance and a logarithmic norm, where what decays evenly is straight."""
    axes.set_yscale("log", nonpositive="mask")
    axes.minorticks_off()  # norms span many powers of ten; ticks between them take half of the time and show nothing
    axes.plot(curve.distances.numpy(), curve.norms.numpy(), **style)


def _between() -> "Colormap":
    """Colours of viridis that are seen on light paper and on dark."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"]([0.3 + 0.55 * place / 255 for place in range(256)]))
