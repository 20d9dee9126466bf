"""Norms of gradients by distance, kept in a file and drawn."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqmodels.diagnostics.horizon import SHARE
from seqmodels.diagnostics.measurements import append_measurements, read_measurements

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

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
    curves = {kind: thinned(values) for kind, values in norms.items()}
    rows = [
        (step, kind, int(distance), float(norm))
        for kind, curve in curves.items()
        for distance, norm in zip(*curve, strict=True)
    ]
    append_measurements(path, tuple(COLUMNS), rows)


def read_horizon(path: Path) -> dict[int, dict[str, Curve]]:
    """What `append_horizon` wrote: curves by step, then by what the gradient is taken of.

    Raises:
        InputError: the file is not there, or is damaged.
    """
    points: dict[int, dict[str, list[tuple[int, float]]]] = {}
    for step, kind, distance, norm in read_measurements(path, COLUMNS):
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


def draw_horizons(curves: Mapping[str, Curve], share: float = SHARE) -> "Figure":
    """Horizons of several models side by side: norms relative to that at distance 0, and the share that ends them.

    Args:
        curves: by the names of the models, at most twenty.
        share: where the line is drawn below which a gradient counts as vanished.
    """
    from matplotlib.figure import Figure  # half a second, only where a picture is made

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        relative = Curve(curve.distances, curve.norms / curve.norms[0])
        _line(axes, relative, color=f"C{number % 10}", linestyle="--" if number >= 10 else "-", label=name)
    axes.axhline(share, color="#808080", linewidth=0.8, linestyle=":")
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
