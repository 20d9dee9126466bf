"""Optimizers over parameter groups, and learning rate schedules."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adafactor, AdamW, Optimizer

from seqmodels.environment import multiplies_bf16

OptimizerName = Literal["adamw", "muon", "adafactor", "sgd"]
Schedule = Literal["cosine", "linear", "constant", "inverse-sqrt"]


def make_optimizer(
    module: nn.Module,
    network: nn.Module,
    *,
    name: OptimizerName,
    lr: float,
    weight_decay: float,
    beta2: float,
    fused: bool,
) -> Optimizer:
    """AdamW for all parameters, Muon for the matrices of the network and AdamW for the rest, Adafactor, or plain SGD.

    AdamW decays matrices and leaves vectors (biases, norms, initial states) as they are (Loshchilov and Hutter 2019).
    Muon is for the weight matrices between layers, not for embeddings and softmax layers. Adafactor (Shazeer and Stern
    2018) keeps of second moments their means over rows and columns, and no first moments: next to no memory.

    The `network` is the part of the module that holds the matrices for Muon; see `SequenceTask` for the settings.
    `fused` is one kernel for all of AdamW, which cannot be combined with gradient scaling.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    inner = list(_stacked_maps(network)) if name == "muon" else []
    taken = {p for group in inner for p in group["params"]}
    rest = [
        {"params": [p for p in parameters if p.ndim > 1 and p not in taken], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rest = [group for group in rest if group["params"]]
    if name == "sgd":
        return SGD(rest, lr=lr)
    if name == "adafactor":
        return Adafactor(rest, lr=lr)
    adamw = AdamW(rest, lr=lr, betas=(0.9, beta2), fused=fused)
    return Together(Muon(inner, lr=lr, weight_decay=weight_decay), adamw) if inner else adamw


def _stacked_maps(network: nn.Module) -> Iterator[dict[str, Any]]:
    """Matrices of a network, grouped by the number of weight matrices stacked in each (`stacked_maps`)."""
    groups: dict[int, list[nn.Parameter]] = {}
    for module in network.modules():
        if isinstance(module, nn.Embedding):  # a table of vectors
            continue
        for p in module.parameters(recurse=False):
            if p.ndim == 2 and p.requires_grad:
                groups.setdefault(getattr(module, "stacked_maps", 1), []).append(p)
    for maps, matrices in groups.items():
        yield {"params": matrices, "maps": maps}


def orthogonalized(matrices: Tensor, steps: int = 3) -> Tensor:
    """The nearest matrices whose singular values are all about 1, by a quintic Newton-Schulz iteration.

    From and to (N, rows, columns), in bfloat16 where the hardware multiplies in it, with the coefficients of Jordan et
    al. 2024, which grow small singular values fast. Five steps bring all that were above 0.003 of the norm to between
    0.65 and 1.2, three steps those above 0.02; three train about as well and cost less.
    """
    x = matrices.bfloat16() if multiplies_bf16(matrices.device.type) else matrices.float()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.mT if tall else x


class Muon(Optimizer):
    """Orthogonalised momentum (Jordan et al. 2024).

    Unlike `torch.optim.Muon`, it orthogonalises each of the matrices stacked in one, such as the gates of an LSTM, by
    itself. Updates are scaled to the size of AdamW's (Liu et al. 2025), so that it takes the same learning rate.

    Args:
        params: matrices, or groups of them with `maps`, the number of matrices stacked in each.
        lr: learning rate.
        weight_decay: decoupled, as in AdamW.
        momentum: of the running mean of gradients, with Nesterov's look ahead.
    """

    def __init__(
        self, params: list[dict[str, Any]], lr: float = 3e-3, weight_decay: float = 0.01, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "maps": 1})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step; `Together` calls the closure."""
        for group in self.param_groups:
            lr, maps = group["lr"], group["maps"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                if "mean" not in self.state[p]:
                    self.state[p]["mean"] = torch.zeros_like(p)
                mean = self.state[p]["mean"]
                mean.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalized(p.grad.lerp(mean, group["momentum"]).view(maps, -1, p.shape[1]))
                scale = 0.2 * math.sqrt(max(update.shape[1:]))
                p.mul_(1 - lr * group["weight_decay"])
                p.add_(update.reshape(p.shape), alpha=-lr * scale)


class Together(Optimizer):
    """Several optimizers with parameters of their own as one; a schedule sees the parameter groups of all."""

    def __init__(self, *parts: Optimizer) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = parts

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every part, after the closure has computed the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def with_gradients(optimizer: Optimizer) -> list[Tensor]:
    """The parameters that have gradients."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def learning_rate_factor(fraction: float, warmup: float, schedule: Schedule = "cosine") -> float:
    """Factor of the peak learning rate, by the fraction of the run that is over: a linear warmup, then the schedule.

    Cosine to zero (Loshchilov and Hutter 2017); linear to zero; constant; inverse-sqrt (Vaswani et al. 2017), which
    needs a warmup. A run that has just begun has at least a hundredth of the peak.
    """
    if fraction < warmup:
        return max(fraction / warmup, 0.01)
    if schedule == "constant":
        return 1.0
    if schedule == "inverse-sqrt":
        return math.sqrt(warmup / fraction)
    fallen = min(1.0, (fraction - warmup) / (1 - warmup))
    return 1 - fallen if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * fallen))
