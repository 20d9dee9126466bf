"""Initialisation of recurrent matrices, whose eigenvalues decide how far a new network remembers."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError

Initialization = Literal["orthogonal", "identity", "np-rnn", "sparse", "glorot", "uniform"]


def np_rnn_(weight: Tensor) -> None:
    """Symmetric positive definite with largest eigenvalue 1, in place, (H, H).

    One direction of the state is kept, all others decay.
    """
    H = weight.shape[0]
    r = torch.randn(H, H, dtype=torch.float64)
    a = r.T @ r / H + torch.eye(H, dtype=torch.float64)
    weight.copy_(a / torch.linalg.eigvalsh(a)[-1])


def sparse_(weight: Tensor) -> None:
    """Fifteen normal weights per unit, as Sutskever et al. (2013), and spectral radius 0.95, in place, (H, H)."""
    H = weight.shape[0]
    a = torch.randn(H, H, dtype=torch.float64)
    a *= torch.rand(H, H).argsort(1) < 15
    weight.copy_(a * (0.95 / torch.linalg.eigvals(a).abs().max()))


_METHODS: dict[str, Callable[[Tensor], object]] = {
    "orthogonal": nn.init.orthogonal_,
    "identity": nn.init.eye_,
    "np-rnn": np_rnn_,
    "sparse": sparse_,
    "glorot": nn.init.xavier_uniform_,
    "uniform": lambda weight: nn.init.uniform_(weight, -(len(weight) ** -0.5), len(weight) ** -0.5),
}


@torch.no_grad()
def initialize_map(weight: Tensor, method: Initialization) -> None:
    """Fill a square matrix (H, H), or each of several that are stacked, (maps * H, H), in place.

    - `orthogonal`: all singular values are 1 (Saxe et al. 2014).
    - `identity`: every unit keeps its value; with ReLU and zero biases this is the IRNN (Le, Jaitly and Hinton 2015).
    - `np-rnn`: see `np_rnn_` (Talathi and Vartak 2016).
    - `sparse`: see `sparse_` (Pascanu, Mikolov and Bengio 2013).
    - `glorot`: uniform, with the variance that preserves the scale of signals (Glorot and Bengio 2010).
    - `uniform`: within 1 / sqrt(H), torch's default.

    Raises:
        InputError: the name of the method is not known.
    """
    if method not in _METHODS:
        raise InputError(f"the initialisation {method!r} is not known; choose one of {', '.join(_METHODS)}")
    for block in weight.chunk(len(weight) // weight.shape[1]):
        _METHODS[method](block)


@torch.no_grad()
def initialize_bias(bias: Tensor, maps: Sequence[str], forget: float = 1.0) -> None:
    """Zero the biases of stacked maps, (maps * H,), and set that of a forget gate `f` (Jozefowicz et al. 2015)."""
    nn.init.zeros_(bias)
    if "f" in maps:
        bias.view(len(maps), -1)[maps.index("f")] = forget
