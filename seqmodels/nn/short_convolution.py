"""A short causal convolution of each feature over time, whose last inputs are state."""

from typing import Any, cast

import torch
from torch import Tensor, nn


class ShortConvolution(nn.Module):
    """`y_t = w_1 x_{t-W+1} + ... + w_W x_t + b`, feature by feature, as in Mamba (Gu and Dao 2023).

    Args:
        size: features D.
        width: inputs W that an output sees.
        bias: add a bias.
    """

    def __init__(self, size: int, width: int = 4, bias: bool = False) -> None:
        super().__init__()
        self.width = width
        bound = width**-0.5
        # Three dimensions: these are no matrices to orthogonalise.
        self.weight = nn.Parameter(torch.empty(size, 1, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def forward(self, x: Tensor, before: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Outputs (B, T, D) for inputs (B, T, D) that follow `before`, (B, W - 1, D), and the last W - 1 inputs.

        Only as many leading positions of each row as `lengths`, int64 (B,), are not padding.
        """
        T, weight = x.shape[1], self.weight.squeeze(1)
        inputs = torch.cat((before.to(x.dtype), x), 1)
        y = (inputs * weight.mT).sum(1, keepdim=True) if T == 1 else _convolved(inputs, weight)
        y = y if self.bias is None else y + self.bias
        if lengths is None:
            return y, inputs[:, T:]
        last = lengths[:, None] + torch.arange(self.width - 1, device=x.device)
        return y, inputs.gather(1, last.unsqueeze(-1).expand(-1, -1, x.shape[2]))


def _convolved(inputs: Tensor, weight: Tensor) -> Tensor:
    return cast(Tensor, _Convolution.apply(inputs, weight))  # type: ignore[no-untyped-call]


class _Convolution(torch.autograd.Function):
    """Inputs (B, T + W - 1, D) and weights (D, W) to outputs (B, T, D), in one pass over memory for each weight."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        T = inputs.shape[1] - weight.shape[1] + 1
        y = inputs[:, :T] * weight[:, 0]
        for w in range(1, weight.shape[1]):
            y.addcmul_(inputs[:, w : w + T], weight[:, w])
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,), (inputs, weight) = gradients, ctx.saved_tensors
        T, W = gradient.shape[1], weight.shape[1]
        padded = torch.nn.functional.pad(gradient, (0, 0, W - 1, W - 1))
        of_inputs = _convolved(padded, weight.flip(1))
        of_weight = torch.stack([(inputs[:, w : w + T] * gradient).sum((0, 1)) for w in range(W)], 1)
        return of_inputs, of_weight
