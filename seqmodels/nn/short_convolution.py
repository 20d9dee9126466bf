"""A short causal convolution of each feature over time, whose last inputs are state."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
        T = x.shape[1]
        inputs = torch.cat((before.to(x.dtype), x), 1)
        if T == 1:
            y = (inputs * self.weight.squeeze(1).mT).sum(1, keepdim=True)
            y = y if self.bias is None else y + self.bias
        else:  # in two dimensions, of which one has one row: features stay side by side in memory
            image = inputs.mT.unsqueeze(2).contiguous(memory_format=torch.channels_last)
            y = F.conv2d(image, self.weight.unsqueeze(2), self.bias, groups=x.shape[2]).squeeze(2).mT
        if lengths is None:
            return y, inputs[:, T:]
        last = lengths[:, None] + torch.arange(self.width - 1, device=x.device)
        return y, inputs.gather(1, last.unsqueeze(-1).expand(-1, -1, x.shape[2]))
