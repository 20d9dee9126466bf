"""A LightningModule that trains one network per seed on a long-memory problem, all in one batch."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from seqmodels.batch import IGNORE, Batch
from seqmodels.errors import InputError
from seqmodels.experiments.ensemble import Ensemble
from seqmodels.nn import Backbone, RecurrentStack, RNNCell
from seqmodels.nn.unrolling import Unrolled, unroll
from seqmodels.tasks.regularizers import gradient_change


def small_start(network: Backbone, std: float) -> Backbone:
    """Draw small input weights, so that a vanilla network starts in the linear range of its nonlinearity.

    As in Pascanu et al. (2013) and Le, Jaitly and Hinton (2015). Others are left unchanged.
    """
    for cell in network.cells if isinstance(network, RecurrentStack) else ():
        if isinstance(cell, RNNCell):
            nn.init.normal_(cell.kernel.get_parameter("weight_ih_l0"), std=std)
    return network


class FromLast(nn.Module):
    """Answers at every position of T from the output at the last one alone, by a vector for each position.

    As in MAD's compression task (Poli et al. 2024): how much of a sequence is in one vector?
    """

    def __init__(self, features: int, outputs: int, positions: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(positions, features))
        self.hidden, self.out = nn.Linear(features, 2 * features), nn.Linear(2 * features, outputs)

    def forward(self, y: Tensor) -> Tensor:
        """(B, T, features) to (B, T, outputs)."""
        return cast(Tensor, self.out(F.gelu(self.hidden(y[:, -1:] + self.places))))


class MemoryModel(pl.LightningModule):
    """One network per seed, each with a linear output layer: logits of classes, or a number.

    They run as an ensemble where that is faster, and one after the other elsewhere. Each is trained as if alone: its
    loss, its penalty and the norm for gradient clipping are its own.

    Args:
        networks: one for each seed, of the same class and sizes.
        outputs: number of classes, or 0 for a number.
        optimizer: sgd, as in the experiments of Pascanu et al. (2013), or adam.
        lr: learning rate, constant.
        clip: maximum norm of a network's gradient; 0 for no clipping.
        omega: weight of Pascanu's regulariser; the 2 of the published program, which squares norms, is about 8 here.
        seeds: random seeds of the output layers; default: 1, 2, ...
        symbols: number of symbols, of which the inputs are ids, each embedded by a layer of its own; default: the
            inputs are features.
        features: of the inputs, where they are not as many as the networks read: each has a linear layer before it.
        from_last: length of the examples whose answers all come from the last output; see `FromLast`.
        steps: of training, over which the learning rate falls to a tenth by a cosine; default: it is constant.
        weight_decay: of AdamW.
    """

    def __init__(
        self,
        networks: list[Backbone],
        outputs: int,
        optimizer: Literal["sgd", "adam"] = "adam",
        lr: float = 1e-3,
        clip: float = 1.0,
        omega: float = 0.0,
        seeds: Sequence[int] | None = None,
        symbols: int | None = None,
        features: int | None = None,
        from_last: int | None = None,
        steps: int | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        stacks = [network for network in networks if isinstance(network, RecurrentStack)]
        if omega and len(stacks) < len(networks):
            raise InputError(f"omega={omega} was given with {type(networks[0]).__name__}; it is for recurrent networks")
        if min(lr, clip, omega) < 0 or lr == 0:
            raise InputError(
                f"expected lr above 0, clip and omega of at least 0, got lr={lr}, clip={clip}, omega={omega}"
            )
        if omega and any(cell.weight_dropout for network in stacks for cell in network.cells):
            raise InputError("omega goes through the recurrent weights as they are; leave out weight_dropout or omega")
        self.networks, self.heads, self.embeddings = nn.ModuleList(networks), nn.ModuleList(), nn.ModuleList()
        for network, seed in zip(networks, seeds or range(1, len(networks) + 1), strict=True):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                if from_last is None:
                    self.heads.append(nn.Linear(network.output_size, outputs or 1))
                else:
                    self.heads.append(FromLast(network.output_size, outputs, from_last))
                if symbols is not None:
                    self.embeddings.append(nn.Embedding(symbols, network.input_size))
                elif features not in (None, network.input_size):
                    self.embeddings.append(nn.Linear(features, network.input_size))
        self.sparse = symbols is not None and from_last is None
        """Whether answers are computed only where they are asked for: symbols may be many."""
        self.steps, self.weight_decay = steps, weight_decay
        self.outputs, self.optimizer, self.lr, self.clip, self.omega = outputs, optimizer, lr, clip, omega
        # Without Omega, torch's kernels of gated cells are faster than the steps of an ensemble.
        faster = len(stacks) == len(networks) and (omega > 0 or isinstance(stacks[0].cells[0], RNNCell))
        # In a tuple and a dictionary (by length), so that they are no submodules.
        self._ensemble = (Ensemble(stacks),) if faster else ()
        self._graphed: dict[int, Any] = {}
        self.errors = [float("nan")] * len(networks)
        """Error of each network in the last validation: fraction of wrong answers, or mean squared error."""
        self._sums = torch.zeros(len(networks) + 1, dtype=torch.float64)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, T, outputs), or numbers (B, T, 1); the rows of all networks one after the other."""
        return self._answers(self._read(batch.inputs)[0])

    def _read(self, x: Tensor) -> tuple[Tensor, list[Unrolled]]:
        if self.embeddings:
            parts = zip(self.embeddings, x.chunk(len(self.embeddings)), strict=True)
            x = torch.cat([embedding(part) for embedding, part in parts])
        for ensemble in self._ensemble:
            return unroll(ensemble, x, fused=True)
        parts = zip(self.networks, x.chunk(len(self.networks)), strict=True)
        return torch.cat([network(part)[0] for network, part in parts]), []

    def _answers(self, y: Tensor) -> Tensor:
        return torch.cat([head(part) for head, part in zip(self.heads, y.chunk(len(self.heads)), strict=True)])

    def losses(self, batch: Batch) -> Tensor:
        """The loss of each network, (N,): the mean over its targets, plus the penalty."""
        y, layers = self._read(batch.inputs)
        per_target, asked = self._costs(y, batch.targets, F.cross_entropy)
        own = _by_network(per_target, self.networks) / _by_network(asked, self.networks)
        if self.omega:
            own = own + self.omega * gradient_change(own.sum(), layers, groups=len(self.networks))
        return own

    def _costs(self, y: Tensor, targets: Tensor, cost: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        """Costs (B, T) of classes, or squared errors, zero without a target; the mask of targets."""
        if not self.sparse or y.is_cuda:  # a CUDA graph has no shapes that depend on values
            return _per_target(self._answers(y), targets, cost)
        asked, costs = targets != IGNORE, y.new_zeros(targets.shape)
        parts = zip(self.heads, *(tensor.chunk(len(self.heads)) for tensor in (y, targets, asked)), strict=True)
        found = [cost(head(part[mask]), target[mask], reduction="none") for head, part, target, mask in parts]
        return costs.masked_scatter(asked, torch.cat(found).to(costs.dtype)), asked

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The sum over networks, whose gradients are independent."""
        length = batch.inputs.shape[1]
        if self.device.type == "cuda" and length not in self._graphed:
            # The thousands of small kernels of a step, forward and backward, are recorded as one CUDA graph.
            sample = batch.inputs.clone(), batch.targets.clone()
            self._graphed.clear()  # graphs of shorter examples are not needed again
            self._graphed[length] = torch.cuda.make_graphed_callables(_Losses(self), sample)
        losses = self._graphed[length](batch.inputs, batch.targets) if self._graphed else self.losses(batch)
        return cast(Tensor, losses).sum()

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *settings: Any, **more: Any) -> None:
        """Clip the gradient of each network by its own norm; gradients that are not finite are set to zero."""
        embeddings = self.embeddings or [nn.Identity()] * len(self.networks)
        for parts in zip(self.networks, self.heads, embeddings, strict=True):
            parameters = [parameter for part in parts for parameter in part.parameters()]
            gradients = [p.grad for p in parameters if p.grad is not None]
            norm = get_total_norm(gradients)
            if self.clip:
                clip_grads_with_norm_(parameters, self.clip, norm)
            for gradient in gradients:
                gradient.copy_(gradient.where(torch.isfinite(norm), 0.0))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer for all networks."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(self.parameters(), lr=self.lr)
        if self.weight_decay:
            return torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate, after a warm-up of a twentieth of all steps."""
        if self.steps is not None:
            done = min(1.0, (self.global_step + 1) / self.steps)
            share = min(1.0, 20 * done) * (0.55 + 0.45 * math.cos(math.pi * done))
            for part in cast(torch.optim.Optimizer, self.optimizers()).param_groups:
                part["lr"] = self.lr * share

    def on_validation_epoch_start(self) -> None:
        """Reset the counts."""
        self._sums = torch.zeros(len(self.networks) + 1, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count the errors of each network."""
        wrong, asked = self._costs(self._read(batch.inputs)[0], batch.targets, _wrong)
        self._sums += torch.cat((_by_network(wrong.double(), self.networks), asked.sum().view(1) / len(self.networks)))

    def on_validation_epoch_end(self) -> None:
        """Divide the counts."""
        self.errors = (self._sums[:-1] / self._sums[-1]).tolist()


class _Losses(nn.Module):
    """The losses of a model as a module, as CUDA graphs require."""

    def __init__(self, model: MemoryModel) -> None:
        super().__init__()
        self.networks, self.heads, self._losses = model.networks, model.heads, model.losses

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self._losses(Batch(inputs, targets))


def _wrong(answers: Tensor, targets: Tensor, reduction: str) -> Tensor:
    """1 where the most probable class is not the target."""
    return (answers.argmax(1) != targets).to(answers.dtype)


def _per_target(answers: Tensor, targets: Tensor, cost: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """Costs of classes or squared errors at every position (B, T), zero without a target; the mask of targets."""
    if targets.is_floating_point():
        asked = ~targets.isnan()
        return (answers.squeeze(-1) - torch.where(asked, targets, answers.squeeze(-1))).square(), asked
    asked = targets != IGNORE
    costs = cost(answers.transpose(1, 2), targets.where(asked, 0), reduction="none")
    return costs.where(asked, 0.0), asked


def _by_network(values: Tensor, networks: nn.ModuleList) -> Tensor:
    """Sums over the rows of each network, (N,)."""
    return values.view(len(networks), -1).sum(1)
