"""How recurrent maps begin: what their eigenvalues are decides how far a new network remembers."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError

Initialization = Literal["orthogonal", "identity", "np-rnn", "sparse", "glorot", "uniform"]


def np_rnn_(weight: Tensor) -> None:
    """Symmetric and positive definite, the largest eigenvalue exactly 1 and all others below (Talathi and Vartak 2016).

    One direction of the state is kept, all others fade. Filled in place, (H, H).
    """
    H = weight.shape[0]
    r = torch.randn(H, H, dtype=torch.float64)
    a = r.T @ r / H + torch.eye(H, dtype=torch.float64)
    weight.copy_(a / torch.linalg.eigvalsh(a)[-1])


def sparse_(weight: Tensor) -> None:
    """Fifteen normal weights to each unit, the largest eigenvalue of size 0.95 (Pascanu, Mikolov and Bengio 2013; after
    Sutskever et al. 2013): what is read fades slowly, and in many directions. Filled in place, (H, H).
    """
    H = weight.shape[0]
    a = torch.randn(H, H, dtype=torch.float64)
    a *= torch.rand(H, H).argsort(1) < 15
    weight.copy_(a * (0.95 / torch.linalg.eigvals(a).abs().max()))


def uniform_(weight: Tensor) -> None:
    """Between -1 and 1 over the square root of the width, torch's own default. Filled in place, (H, H)."""
    nn.init.uniform_(weight, -(weight.shape[0] ** -0.5), weight.shape[0] ** -0.5)


_HOW: dict[str, Callable[[Tensor], object]] = {
    "orthogonal": nn.init.orthogonal_,
    "identity": nn.init.eye_,
    "np-rnn": np_rnn_,
    "sparse": sparse_,
    "glorot": nn.init.xavier_uniform_,
    "uniform": uniform_,
}


@torch.no_grad()
def initialize_map(weight: Tensor, how: Initialization) -> None:
    """Fill a square map with new weights, in place.

    - `orthogonal`: all singular values are 1 (Saxe et al. 2014).
    - `identity`: every unit keeps its value; with ReLU and zero biases this is the IRNN (Le, Jaitly and Hinton 2015).
    - `np-rnn`: see `np_rnn_`.
    - `sparse`: see `sparse_`.
    - `glorot`: uniform, with the variance that keeps signals as large as they are (Glorot and Bengio 2010).
    - `uniform`: see `uniform_`.

    Args:
        weight: (H, H).
        how: one of the names above.

    Raises:
        InputError: there is no such initialisation.
    """
    if how not in _HOW:
        raise InputError(f"the initialisation {how!r} is not known; choose one of {', '.join(_HOW)}")
    _HOW[how](weight)
