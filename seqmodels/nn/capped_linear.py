"""A softmax layer with bounded logits."""

from torch import Tensor, nn
from torch.nn import functional as F


class CappedLinear(nn.Linear):
    """A softmax layer whose logits are softly bounded, `c tanh(W y / c) + b`, as in Gemma 2 and xLSTM 7B.

    Args:
        in_features: features of its inputs.
        out_features: number of tokens.
        cap: the bound c.
    """

    def __init__(self, in_features: int, out_features: int, cap: float) -> None:
        super().__init__(in_features, out_features)
        self.cap = cap

    def forward(self, x: Tensor) -> Tensor:
        return self.cap * (F.linear(x, self.weight) / self.cap).tanh() + self.bias
