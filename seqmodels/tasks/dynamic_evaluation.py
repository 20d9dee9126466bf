"""Dynamic evaluation: a model that learns from the text after each piece was scored (Krause et al. 2018)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from seqmodels.batch import Batch
from seqmodels.errors import InputError
from seqmodels.metrics import TextMetrics, summed_nats
from seqmodels.nn.dropout import evaluating
from seqmodels.state import State, detach
from seqmodels.tasks.base import SequenceTask
from seqmodels.tasks.mixing import unmixed


@dataclass(frozen=True)
class Dynamic:
    """Settings of dynamic evaluation.

    Attributes:
        lr: learning rate; the gradient of each weight is divided by the root mean square (RMS) of those in training.
        decay: fraction of the way back to the trained weights at each step, more for weights with larger gradients.
        epsilon: added to the RMS.

    Raises:
        InputError: a value makes no sense.
    """

    lr: float = 1e-4
    decay: float = 2e-3
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        if self.lr < 0 or not 0 <= self.decay <= 1 or self.epsilon <= 0:
            raise InputError(
                f"expected a dynamic lr of at least 0, a decay in [0, 1] and epsilon above 0, got lr={self.lr}, "
                f"decay={self.decay}, epsilon={self.epsilon}"
            )


Learn = Callable[[Batch, State | None], tuple[Tensor, State]]
"""Scores a batch that begins with a state, and learns from it; returns its nats and the state behind it."""


@contextmanager
def learning(task: SequenceTask, statistics: Iterable[Batch], how: Dynamic) -> Iterator[Learn]:
    """Meanwhile, a model can learn from what it reads; its weights are restored at the end.

    `w += decay * s * (w_trained - w) - lr * g / (r + epsilon)`, with `g` the gradient of the batch just scored, `r` the
    root mean square of the gradients of `statistics`, and `s` that root relative to its mean over all weights (eqs. 6
    to 8, called RMS with RMS decay to the trained weights there). Those of a mixture are of its network alone: counts
    have seen the training text, and a memory of each of its lanes would take long.

    Args:
        task: the model; without dropout, as in evaluation.
        statistics: batches of the training text.
        how: how fast.

    Raises:
        InputError: the model does not learn by gradients, or there are no statistics.
    """
    if not task.learns:
        raise InputError(f"dynamic evaluation learns by gradients, and {task.name} counts; leave it out")
    parameters = [p for p in task.parameters() if p.requires_grad]
    trained = [p.detach().clone() for p in parameters]
    with evaluating(task):
        try:
            roots = _root_mean_squares(unmixed(task), parameters, statistics)
            mean = sum(float(root.sum()) for root in roots) / sum(root.numel() for root in roots)
            pulls = [(how.decay * root / mean).clamp(max=1.0) for root in roots]
            rates = [how.lr / (root + how.epsilon) for root in roots]

            def learn(batch: Batch, state: State | None) -> tuple[Tensor, State]:
                gradients, nats, end = _gradient(task, parameters, batch, state)
                for p, start, pull, rate, gradient in zip(parameters, trained, pulls, rates, gradients, strict=True):
                    p.data.lerp_(start, pull).addcmul_(rate, gradient, value=-1)
                return nats, end

            yield learn
        finally:
            with torch.no_grad():
                for p, start in zip(parameters, trained, strict=True):
                    p.copy_(start)


def dynamic_evaluation(
    task: SequenceTask, batches: Iterable[Batch], statistics: Iterable[Batch], how: Dynamic
) -> Iterator[TextMetrics]:
    """Score batches in their order, each before the model learns from it.

    Args:
        task: see `learning`.
        batches: the text in its order; short batches follow it more closely.
        statistics: see `learning`.
        how: how fast.

    Yields:
        The sums so far, after each batch.
    """
    with learning(task, statistics, how) as learn:
        scores, state = TextMetrics(task.tokenizer.sizes).to(task.device), None
        for batch in batches:
            batch = batch.to(task.device)
            nats, end = learn(batch, state if batch.continues else None)
            state = end if batch.continued else None
            scores.update(nats, batch.targets)
            yield scores


def _root_mean_squares(task: SequenceTask, parameters: Sequence[Tensor], batches: Iterable[Batch]) -> list[Tensor]:
    squares, count, state = [torch.zeros_like(p) for p in parameters], 0, None
    for batch in batches:
        batch = batch.to(task.device)
        gradients, _, end = _gradient(task, parameters, batch, state if batch.continues else None)
        state = end if batch.continued else None
        count += 1
        for square, gradient in zip(squares, gradients, strict=True):
            square.addcmul_(gradient, gradient)
    if not count:
        raise InputError("dynamic evaluation needs training text to know how large gradients are; none was given")
    return [square.div_(count).sqrt_() for square in squares]


def _gradient(
    task: SequenceTask, parameters: Sequence[Tensor], batch: Batch, state: State | None
) -> tuple[list[Tensor], Tensor, State]:
    """Gradients of the mean loss of a batch, its nats, and the state behind it."""
    with torch.enable_grad():
        logits, end = task(batch, state)
        nats, count = summed_nats(logits, batch.targets)
        found = torch.autograd.grad(nats / count.clamp(min=1), parameters, allow_unused=True)
    gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
    return gradients, nats.detach(), detach(end)
