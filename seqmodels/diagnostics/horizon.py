"""How far back gradients reach: the norm of `dL_t/dx_{t-k}` by distance `k`, for any network."""

import contextlib
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from seqmodels.batch import IGNORE, Batch
from seqmodels.errors import InputError
from seqmodels.metrics import summed_nats
from seqmodels.nn.evaluating import evaluating
from seqmodels.tasks import LanguageModel, SequenceTask, Translator

EMBEDDINGS = {"embedding": "x", "source_embedding": "source"}
"""What tasks call the parts whose outputs their networks read, and what gradients of these outputs are called."""

SHARE = 0.01
"""Of the norm at distance 0; the gradient's horizon is where it becomes smaller than that."""


def gradient_norms(
    task: SequenceTask,
    batch: Batch,
    *,
    passes: int | None = None,
    generator: torch.Generator | None = None,
    states: bool = False,
) -> dict[str, Tensor]:
    """How much the loss at a position depends on what was read so many positions before it.

    `||dL_t/dx_{t-k}||`, where `L_t` is the cross-entropy of the target at position t in nats and `x` are the embedded
    inputs, averaged over rows and positions t. All networks have such inputs, so that an LSTM and a Transformer are
    measured alike. The batch is read from no state and without dropout; padding is neither measured nor counted. Rows
    know nothing of each other, so that one backward pass serves a position in each of them. Gradients of parameters
    and the global random state stay as they are.

    Args:
        task: any; it is in evaluation mode meanwhile.
        batch: B rows of T positions; its targets say which positions have a loss.
        passes: how many positions of each row are looked at; the row is cut into so many parts of one size, and one
            is drawn from each. None for all of them.
        generator: what draws them, on the CPU; None for a new one with seed 0.
        states: also by the states of recurrent layers; the network is then unrolled by the equations of its cells.
            The gradient by a cell state is the whole one, by way of the hidden state at the same position, too.

    Returns:
        Norms by what the gradient is taken of: `x` for the inputs; `source` for those of a translator's encoder, at
        the distance that they would have if the source stood before the target in one row; `1.h`, `1.c` and so on for
        the states of layer 1. Each (K,), in double precision and on the CPU, with the norm at distance k at place k;
        NaN where no two positions are so far apart.

    Raises:
        InputError: no position has a loss, or there are no states to look at.
    """
    batch = batch._replace(continues=False, goes_on=False)
    real = _real(batch.mask, batch.inputs)
    scored = (batch.targets != IGNORE) & real
    if not scored.any() or (passes is not None and passes < 1):
        raise InputError(
            f"a batch with {int(scored.sum())} targets and passes={passes} were given; gradients are measured from "
            "targets, so give a batch that has some, and at least one pass"
        )
    with evaluating(task), torch.enable_grad():
        logits, leaves = _unrolled(task, batch, real) if states else _embedded(task, batch)
        found = {name: _Found() for name in leaves}
        tensors = [tensor for leaf in leaves.values() for tensor in leaf.tensors]
        places, rows = real.cumsum(1) - 1, torch.arange(len(real), device=real.device)
        positions = _positions(scored, passes, generator or torch.Generator().manual_seed(0))
        for number, (t, there) in enumerate(positions, start=1):
            targets = batch.targets[rows, t].where(there, IGNORE)
            nats, _ = summed_nats(logits[rows, t].unsqueeze(1), targets.unsqueeze(1))
            options: dict[str, Any] = {"allow_unused": True, "materialize_grads": True}
            gradients = iter(torch.autograd.grad(nats, tensors, retain_graph=number < len(positions), **options))
            for name, leaf in leaves.items():
                parts = [next(gradients) for _ in leaf.tensors]
                norms = torch.cat([part.view(len(rows), -1, part.shape[-1]) for part in parts], 1).norm(dim=-1)
                distances = places[rows, t].unsqueeze(1) - leaf.places
                found[name].add(norms, distances, leaf.real & there.unsqueeze(1) & (distances >= 0))
    return {name: of_name.mean_by_distance() for name, of_name in found.items()}


def gradient_horizon(norms: Tensor, share: float = SHARE) -> int:
    """The distance from which on the norm of the gradient is below a share of that at distance 0.

    It is a whole number, without interpolation.

    Args:
        norms: by distance, (K,), as of `gradient_norms`; NaN is passed over.
        share: see there.

    Returns:
        From 1 to K; K stands for "further than was measured".

    Raises:
        InputError: there is no gradient at distance 0 to compare with.
    """
    if not (len(norms) and norms[0] > 0 and torch.isfinite(norms[0])):
        raise InputError(
            f"the norm of the gradient at distance 0 is {float(norms[0]) if len(norms) else 'not there'}; a horizon "
            "is seen from one that is above zero and finite, so give a batch and a model that have such"
        )
    return int(torch.nonzero(norms >= share * norms[0])[-1]) + 1


class _Leaf(NamedTuple):
    """What gradients are taken of: tensors (B, D) for each of S places in turn, or one of (B, S, D)."""

    tensors: list[Tensor]
    places: Tensor
    """Int64 (B, S): which of its row's real positions it stands at; less than zero before the first."""
    real: Tensor
    """Bool (B, S), False at padding."""


class _Found:
    """Norms and their distances, over several backward passes."""

    def __init__(self) -> None:
        self.norms: list[Tensor] = []
        self.distances: list[Tensor] = []

    def add(self, norms: Tensor, distances: Tensor, counted: Tensor) -> None:
        """Those (B, S) of one pass, where they are counted."""
        self.norms.append(norms[counted].double().cpu())
        self.distances.append(distances[counted].cpu())

    def mean_by_distance(self) -> Tensor:
        """The mean norm at every distance from 0 on; NaN where there is none."""
        distances, norms = torch.cat(self.distances), torch.cat(self.norms)
        return distances.bincount(norms) / distances.bincount()


def _real(mask: Tensor | None, like: Tensor) -> Tensor:
    """Where positions are no padding, (B, T), in a batch that begins with the shape of another tensor."""
    return torch.ones(like.shape[:2], dtype=torch.bool, device=like.device) if mask is None else mask


def _positions(scored: Tensor, passes: int | None, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """For each pass, a position (B,) of each row that has a loss, and whether there is one (B,)."""
    counts = scored.sum(1)
    order = scored.logical_not().to(torch.uint8).argsort(dim=1, stable=True)  # those with a loss in front
    chosen = []
    for number in range(int(counts.max()) if passes is None else passes):
        if passes is None:
            index = torch.full_like(counts, number)
        else:
            drawn = torch.rand(len(counts), generator=generator, dtype=torch.float64).to(counts.device)
            index = ((number + drawn) * counts / passes).long()
        there = index < counts
        chosen.append((order.gather(1, index.where(there, 0).unsqueeze(1)).squeeze(1), there))
    return chosen


def _embedded(task: SequenceTask, batch: Batch) -> tuple[Tensor, dict[str, _Leaf]]:
    """Logits, and the embedded inputs that they were computed from."""
    leaves: dict[str, Tensor] = {}
    with contextlib.ExitStack() as stack:
        for part, module in task.named_children():

            def cut(module: nn.Module, inputs: Any, output: Tensor, name: str = EMBEDDINGS.get(part, "")) -> Tensor:
                leaves[name] = output.detach().requires_grad_()
                return leaves[name]

            if part in EMBEDDINGS:
                stack.callback(module.register_forward_hook(cut).remove)
        logits, _ = task(batch)
    found = {}
    for name in [name for name in EMBEDDINGS.values() if name in leaves]:
        real = _real(batch.mask if name == "x" else batch.source_mask, leaves[name])
        places = real.cumsum(1) - 1
        if name == "source":  # its last position stands before the first of the target
            places = places - real.sum(1, keepdim=True)
            if isinstance(task, Translator) and task.reverse:  # it is read from its end
                real, places = real.flip(1), places.flip(1)
        found[name] = _Leaf([leaves[name]], places, real)
    return logits, found


def has_states(task: SequenceTask) -> TypeGuard[LanguageModel]:
    """Whether there are states that follow from one another at every step, of which gradients can be measured."""
    return isinstance(task, LanguageModel) and task.backbone.unrolls


def _unrolled(task: SequenceTask, batch: Batch, real: Tensor) -> tuple[Tensor, dict[str, _Leaf]]:
    """Logits, the embedded inputs, and the states of recurrent layers that they were computed through."""
    if not has_states(task):
        raise InputError(
            f"{task.name} in a {type(task).__name__} has no states that follow from one another at every step; "
            "measure its inputs, with states=False, or a LanguageModel of a recurrent network"
        )
    x = task.embedding(batch.inputs).detach().requires_grad_()
    y, layers = task.backbone.unrolled(x, mask=batch.mask)
    places = real.cumsum(1) - 1
    found = {"x": _Leaf([x], places, real)}
    for number, layer in enumerate(layers, start=1):
        for name, tensors in zip("hc", zip(*layer.computed, strict=True), strict=False):
            found[f"{number}.{name}"] = _Leaf(list(tensors), places, real)
    return task.head(y), found
