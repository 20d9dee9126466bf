"""Initialisation of recurrent matrices, whose eigenvalues decide how far a new network remembers."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError

Initialization = Literal["orthogonal", "identity", "np-rnn", "sparse", "glorot", "uniform"]


def np_rnn_(weight: Tensor) -> None:
    """Symmetric positive definite with largest eigenvalue 1 (Talathi and Vartak 2016), in place, (H, H).

    One direction of the state is kept, all others decay.
    """
    H = weight.shape[0]
    r = torch.randn(H, H, dtype=torch.float64)
    a = r.T @ r / H + torch.eye(H, dtype=torch.float64)
    weight.copy_(a / torch.linalg.eigvalsh(a)[-1])


def sparse_(weight: Tensor) -> None:
    """Fifteen normal weights per unit and spectral radius 0.95 (Pascanu, Mikolov and Bengio 2013), in place, (H, H).

    Inputs decay slowly, and in many directions. The sparsity is that of Sutskever et al. (2013).
    """
    H = weight.shape[0]
    a = torch.randn(H, H, dtype=torch.float64)
    a *= torch.rand(H, H).argsort(1) < 15
    weight.copy_(a * (0.95 / torch.linalg.eigvals(a).abs().max()))


def uniform_(weight: Tensor) -> None:
    """Uniform within 1 / sqrt(H), torch's default, in place, (H, H)."""
    nn.init.uniform_(weight, -(weight.shape[0] ** -0.5), weight.shape[0] ** -0.5)


_METHODS: dict[str, Callable[[Tensor], object]] = {
    "orthogonal": nn.init.orthogonal_,
    "identity": nn.init.eye_,
    "np-rnn": np_rnn_,
    "sparse": sparse_,
    "glorot": nn.init.xavier_uniform_,
    "uniform": uniform_,
}


@torch.no_grad()
def initialize_map(weight: Tensor, method: Initialization) -> None:
    """Fill a square matrix, or each of several that are stacked, in place.

    - `orthogonal`: all singular values are 1 (Saxe et al. 2014).
    - `identity`: every unit keeps its value; with ReLU and zero biases this is the IRNN (Le, Jaitly and Hinton 2015).
    - `np-rnn`: see `np_rnn_`.
    - `sparse`: see `sparse_`.
    - `glorot`: uniform, with the variance that preserves the scale of signals (Glorot and Bengio 2010).
    - `uniform`: see `uniform_`.

    Args:
        weight: (H, H), or (maps * H, H).
        method: one of the names above.

    Raises:
        InputError: the name is not known.
    """
    if method not in _METHODS:
        raise InputError(f"the initialisation {method!r} is not known; choose one of {', '.join(_METHODS)}")
    for block in weight.chunk(len(weight) // weight.shape[1]):
        _METHODS[method](block)
