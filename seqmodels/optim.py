"""Optimisers over parameter groups, and the learning rate over a run."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

OptimizerName = Literal["adamw", "muon"]


def make_optimizer(
    module: nn.Module,
    inner: nn.Module,
    *,
    name: OptimizerName,
    lr: float,
    weight_decay: float,
    beta2: float,
    fused: bool,
) -> Optimizer:
    """AdamW for all parameters, or Muon for the matrices of the network and AdamW for the rest.

    AdamW decays matrices and leaves vectors (biases, norms, initial states) as they are (Loshchilov and Hutter 2019).
    Muon (Jordan et al. 2024) makes every update of a matrix orthogonal; scaled to the size of AdamW's updates (Liu et
    al. 2025), it takes the same learning rate. It is made for the matrices between layers, not for embeddings and
    softmax layers.

    Args:
        module: whose parameters.
        inner: the part of it that holds the matrices for Muon.
        name: adamw or muon.
        lr: highest learning rate.
        weight_decay: of the matrices.
        beta2: how slowly AdamW forgets squared gradients; beta1 is 0.9.
        fused: one kernel for all of AdamW; not to be had together with gradient scaling.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    hidden = set(_hidden_matrices(inner)) if name == "muon" else set()
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1 and p not in hidden], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    adamw = AdamW([group for group in groups if group["params"]], lr=lr, betas=(0.9, beta2), fused=fused)
    if not hidden:
        return adamw
    matrices = [p for p in parameters if p in hidden]
    return Together(Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"), adamw)


def _hidden_matrices(network: nn.Module) -> list[nn.Parameter]:
    tables = {module.weight for module in network.modules() if isinstance(module, nn.Embedding)}
    return [p for p in network.parameters() if p.ndim == 2 and p.requires_grad and p not in tables]


class Together(Optimizer):
    """Several optimisers, each with its own parameters, as one.

    Args:
        parts: the optimisers; a schedule sees the parameter groups of all.
    """

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
        """The states of the parts, in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Hand each part its own state."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def warmup_cosine(share: float, warmup: float) -> float:
    """Factor of the learning rate after a share of the run: a linear rise, then half a cosine down to zero.

    Args:
        share: how much of the run is over, from 0 to 1.
        warmup: the share at which the rate is highest.
    """
    if share < warmup:
        return share / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (share - warmup) / (1 - warmup))))
