"""Spectra of recurrent matrices, which multiply the gradient at each step back in time.

In a linear network, a gradient k steps back is multiplied by the k-th power of the matrix: with a spectral radius of
1.1, by 13,780 after a hundred steps, and with 0.9 by 0.0000265.
"""

from collections.abc import Mapping
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from seqmodels.analysis.csv_table import append_rows, read_table
from seqmodels.analysis.figures import draw_lines, new_panels, ticks
from seqmodels.errors import InputError
from seqmodels.nn import (
    Adapted,
    Attentive,
    Backbone,
    Bidirectional,
    Cell,
    FusedCell,
    Hybrid,
    RecurrentStack,
    Sequential,
    SLSTMCell,
)
from seqmodels.nn.hybrid import RecurrentMixer
from seqmodels.nn.mixer_stack import CellMixer, MixerStack
from seqmodels.nn.multiplicative import MultiplicativeCell
from seqmodels.tasks import SequenceTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RADIUS_COLUMNS = {"step": int, "map": str, "radius": float, "norm": float}


class Spectrum(NamedTuple):
    """Of a square matrix (D, D), on the CPU."""

    eigenvalues: Tensor
    """Complex (D,), the largest first."""
    singular_values: Tensor
    """Real (D,), the largest first."""

    @property
    def radius(self) -> float:
        """The spectral radius: the largest absolute eigenvalue, the asymptotic growth per step."""
        return float(self.eigenvalues[0].abs())

    @property
    def norm(self) -> float:
        """The spectral norm: the largest singular value, the largest growth in one step."""
        return float(self.singular_values[0])


class Radius(NamedTuple):
    """Spectral radius and spectral norm of a matrix at a step."""

    step: int
    radius: float
    norm: float


def recurrent_maps(task: SequenceTask | Backbone) -> dict[str, Tensor]:
    """The matrices that multiply hidden states, each (D, D).

    Args:
        task: a model, or a network by itself.

    Returns:
        Matrices by layer and gate: `1.h` of an RNN, `2.f` for the forget gate of an LSTM's second layer, `1.m`
        for the factors of a multiplicative network. Where a model has several networks, `encoder 1.h` and so on. Empty
        for Transformers, and for networks whose gates do not depend on the state.
    """
    parts = {"": task} if isinstance(task, Backbone) else dict(task.named_children())
    networks = {name: part for name, part in parts.items() if isinstance(part, Backbone)}
    return {
        (f"{part} " if len(networks) > 1 else "") + name: matrix.detach()
        for part, network in networks.items()
        for name, matrix in network_maps(network).items()
    }


@singledispatch
def network_maps(network: Backbone) -> dict[str, Tensor]:
    """The matrices of one network; see `recurrent_maps`."""
    return {
        f"{layer}.{name}": map_ for layer, cell in layers(network).items() for name, map_ in cell_maps(cell).items()
    }


@network_maps.register
def _(network: Adapted) -> dict[str, Tensor]:
    own = getattr(network.module, "recurrent_maps", None)
    return {} if own is None else own()


@singledispatch
def layers(network: Backbone) -> dict[str, Cell]:
    """The recurrent cells of a network, by the layer that `Trace` names their states after: `1` for `1.h`."""
    return {}


@layers.register
def _(network: RecurrentStack) -> dict[str, Cell]:
    return {str(number): cell for number, cell in enumerate(network.cells, 1)}


@layers.register
def _(network: Hybrid) -> dict[str, Cell]:
    mixers = {str(number): block.mixer for number, block in enumerate(network.blocks, 1)}
    found = {name: mixer.network.cells[0] for name, mixer in mixers.items() if isinstance(mixer, RecurrentMixer)}
    return found | {name: mixer.cell for name, mixer in mixers.items() if isinstance(mixer, CellMixer)}


@layers.register
def _(network: MixerStack) -> dict[str, Cell]:
    return {str(number): cell for number, cell in enumerate(network.cells, 1)}


@layers.register
def _(network: Bidirectional) -> dict[str, Cell]:
    forwards, backwards = (layers(way) for way in network.directions)
    return forwards | {f"backward {name}": cell for name, cell in backwards.items()}


@layers.register
def _(network: Sequential) -> dict[str, Cell]:
    parts = enumerate(network.parts, 1)
    return {f"{number}.{name}": cell for number, part in parts for name, cell in layers(part).items()}


@layers.register
def _(network: Attentive) -> dict[str, Cell]:
    return layers(network.network)


@singledispatch
def cell_maps(cell: Cell) -> dict[str, Tensor]:
    """The recurrent matrices of a cell, (H, H) each, by the letter of the gate or candidate that they help to compute.

    A cell of your own is added by `@cell_maps.register`.
    """
    return {}


@cell_maps.register
def _(cell: FusedCell) -> dict[str, Tensor]:
    return dict(zip(cell.maps, cell.kernel.get_parameter("weight_hh_l0").chunk(len(cell.maps)), strict=True))


@cell_maps.register
def _(cell: SLSTMCell) -> dict[str, Tensor]:
    size = cell.hidden_size // cell.heads
    maps = cell.from_state.weight.view(cell.heads, len(cell.maps), size, size)
    return {name: torch.block_diag(*maps[:, number]) for number, name in enumerate(cell.maps)}  # type: ignore[no-untyped-call]


@cell_maps.register
def _(cell: MultiplicativeCell) -> dict[str, Tensor]:
    from_factors = zip(cell.maps, cell.from_factors.weight.chunk(len(cell.maps)), strict=True)
    return {"m": cell.factors_of_state.weight, **dict(from_factors)}


def spectrum(matrix: Tensor) -> Spectrum:
    """Eigenvalues and singular values, in single or double precision.

    Args:
        matrix: real, (D, D).

    Raises:
        InputError: it is not square or not finite.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not torch.isfinite(matrix).all():
        raise InputError(f"a matrix of shape {tuple(matrix.shape)} was given; expected (D, D), all finite")
    matrix = matrix.detach().cpu()
    matrix = matrix if matrix.dtype == torch.float64 else matrix.float()
    eigenvalues = torch.linalg.eigvals(matrix)
    order = eigenvalues.abs().argsort(descending=True, stable=True)
    return Spectrum(eigenvalues[order], torch.linalg.svdvals(matrix))


def spectra(task: SequenceTask | Backbone) -> dict[str, Spectrum]:
    """The spectrum of each recurrent matrix, by the names of `recurrent_maps`.

    Raises:
        InputError: there is none, or one is not finite.
    """
    maps = recurrent_maps(task)
    if not maps:
        name = task.name if isinstance(task, SequenceTask) else type(task).__name__
        raise InputError(f"{name} has no recurrent matrix; take an RNN, an LSTM or a GRU")
    return {name: spectrum(matrix) for name, matrix in maps.items()}


def append_radii(path: Path, step: int, found: Mapping[str, Spectrum]) -> None:
    """Append spectral radii and norms at a step to a CSV table with columns step, map, radius and norm."""
    radii = [(name, of_map.radius, of_map.norm) for name, of_map in found.items()]
    append_rows(path, [dict(zip(RADIUS_COLUMNS, (step, *row), strict=True)) for row in radii])


def read_radii(path: Path) -> dict[str, list[Radius]]:
    """Radii of such a table, by matrix.

    Raises:
        InputError: the file is missing or damaged.
    """
    found: dict[str, list[Radius]] = {}
    for step, name, radius, norm in read_table(path, RADIUS_COLUMNS):
        found.setdefault(name, []).append(Radius(step, radius, norm))
    return found


def draw_spectra(found: Mapping[str, Spectrum]) -> "Figure":
    """Eigenvalues in the complex plane around the unit circle, a panel for each matrix."""
    from matplotlib.patches import Circle

    every = torch.cat([of_map.eigenvalues for of_map in found.values()] + [torch.tensor([1 + 1j, -1 - 1j])])
    across, upwards = (float(part.max() - part.min()) for part in (every.real, every.imag))
    figure, grid = new_panels(len(found), 4, (2.5, 0.5 + 2.2 * upwards / across), sharex=True, sharey=True)
    for axes, (name, of_map) in zip(grid, found.items(), strict=True):
        axes.add_patch(Circle((0, 0), 1, fill=False, color="#808080", linewidth=0.8, linestyle=":"))
        axes.scatter(of_map.eigenvalues.real.numpy(), of_map.eigenvalues.imag.numpy(), s=4, linewidths=0, alpha=0.7)
        axes.set_title(f"{name}, radius {of_map.radius:.3g}", fontsize="medium")
        axes.set_aspect("equal")
        axes.grid(alpha=0.3)
    return figure


def draw_radii(found: Mapping[str, list[Radius]]) -> "Figure":
    """Spectral radius of each matrix over the steps of training."""
    lines = {name: ([at.step for at in radii], [at.radius for at in radii]) for name, radii in found.items()}
    figure = draw_lines(lines, markers=lines, xlabel="step", ylabel="spectral radius", xscale="log")
    axes = figure.axes[0]
    axes.axhline(1, color="#808080", linewidth=0.8, linestyle=":")
    axes.set_xticks(*ticks([at.step for radii in found.values() for at in radii]))
    axes.minorticks_off()
    return figure
