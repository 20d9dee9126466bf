"""Recomputation: of a long window, only the states between its pieces are kept, and activations are computed twice.

The backward pass goes through the pieces from the last to the first and reads each once more (Chen et al. 2016, through
time: Gruslys et al. 2016). The network is a function of inputs and state, so a piece needs no more than the state
before it, the random state, and the dropout masks that hold for all positions.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seqmodels.batch import Batch
from seqmodels.environment import threads
from seqmodels.nn.dropout import LastingMasks
from seqmodels.state import State, map_state, tensors_of
from seqmodels.tasks.losses import Losses

Read = Callable[[Batch, State | None], Losses]
"""The losses of a piece, which are summed, from the state after the piece before; None for the first."""


def pieces(batch: Batch, length: int | None) -> list[Batch]:
    """A batch as batches of at most `length` positions, each of which continues the one before; None for one."""
    T = batch.inputs.shape[1]
    if length is None or length >= T:
        return [batch]
    found = []
    for first in range(0, T, length):
        part = batch._replace(
            inputs=batch.inputs[:, first : first + length],
            targets=batch.targets[:, first : first + length],
            mask=None if batch.mask is None else batch.mask[:, first : first + length],
            continues=batch.continues or first > 0,
            continued=batch.continued or first + length < T,
        )
        found.append(part)
    return found


def is_narrow(model: nn.Module, batch: Batch) -> bool:
    """Whether a batch is a single row for torch's recurrent kernels on a CPU, which do most of the work.

    Each position is then a product of one row, and threads share it: where they need not wait they are up to a tenth
    faster than one alone, and where another program has a core they are three to fifteen times slower.
    """
    kernels = sum(w.numel() for part in model.modules() if isinstance(part, nn.RNNBase) for w in part.parameters())
    return (
        len(batch.inputs) == 1
        and batch.inputs.device.type == "cpu"
        and 2 * kernels > sum(weight.numel() for weight in model.parameters())
    )


def read_in_pieces(
    read: Read, parts: Sequence[Batch], parameters: Sequence[nn.Parameter], narrow: bool = False
) -> Losses:
    """The sum of the losses of pieces, of which the last one alone is kept for the backward pass.

    Gradients are those of one graph through all pieces, to rounding, if `read` depends on nothing but these parameters,
    random numbers and its arguments. There are no second derivatives. The state after the last piece is detached.

    Args:
        read: the losses of a piece; all random numbers come from torch's own generators.
        parts: the pieces, in their order.
        parameters: that may get a gradient.
        narrow: see `is_narrow`.
    """
    work = _Work(read, parts, [one for one in parameters if one.requires_grad], narrow)
    objective, nats, penalty = _InPieces.apply(work, *work.parameters)  # type: ignore[no-untyped-call]
    assert work.end is not None
    return Losses(objective, nats, penalty, work.end)


class _Work:
    """The pieces of a window with all that reading one of them again takes."""

    def __init__(self, read: Read, parts: Sequence[Batch], parameters: Sequence[nn.Parameter], narrow: bool) -> None:
        self.read, self.parts, self.parameters, self.narrow = read, parts, parameters, narrow
        self.end: State | None = None
        self._starts: list[State | None] = []
        self._random: list[tuple[Tensor, Tensor | None]] = []
        self._masks = LastingMasks()
        self._device = parts[0].inputs.device
        kinds = dict.fromkeys(("cpu", self._device.type))
        self._autocast = [(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)) for kind in kinds]
        self._last: _Piece | None = None

    def forward(self) -> list[Tensor]:
        """Objective, nats and penalty of all pieces."""
        state: State | None = None
        sums: list[Tensor] = []
        for number, part in enumerate(self.parts):
            self._starts.append(state)
            on_gpu = torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None
            self._random.append((torch.get_rng_state(), on_gpu))
            if number == len(self.parts) - 1:
                self._last = self._graph(number)
                losses = self._last.losses
            else:
                with torch.no_grad(), self._masks.of(first=number == 0):
                    losses = self.read(part, state)
            state = map_state(_alone, losses.state)
            own = [torch.as_tensor(one).detach() for one in losses[:3]]
            sums = [a + b for a, b in zip(sums, own, strict=True)] if sums else own
        self.end = state
        return sums

    def backward(self, objective: Tensor, penalty: Tensor | None) -> list[Tensor | None]:
        """Gradients of the parameters from those of objective and penalty; None of a parameter without a part in it."""
        total = [torch.zeros_like(parameter) for parameter in self.parameters]
        used = [False] * len(total)
        of_end: list[Tensor | None] = []
        for number in reversed(range(len(self.parts))):
            piece, self._last = self._last or self._again(number), None
            roots = [piece.losses.objective, piece.losses.penalty, *tensors_of(piece.losses.state)]
            given = [objective, penalty, *(of_end or [None] * (len(roots) - 2))]
            pairs = [
                (root, one)
                for root, one in zip(roots, given, strict=True)
                if isinstance(root, Tensor) and root.requires_grad and one is not None
            ]
            if not pairs:  # no position is scored here or later
                of_end = [None] * len(piece.leaves)
                continue
            wanted = [leaf for leaf in piece.leaves if leaf.requires_grad]
            of_leaves, of_parameters = _gradients(pairs, wanted, self.parameters)
            following = iter(of_leaves)
            of_end = [next(following) if leaf.requires_grad else None for leaf in piece.leaves]
            for place, one in enumerate(of_parameters):
                if one is not None:
                    total[place] += one
                    used[place] = True
            del piece, roots, pairs, wanted  # before the next one is read
        return [one if is_used else None for one, is_used in zip(total, used, strict=True)]

    def _again(self, number: int) -> "_Piece":
        """A piece with its graph, read with the same random numbers and in the same precision as before."""
        numbers, on_gpu = self._random[number]
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng([] if on_gpu is None else [self._device]))
            torch.set_rng_state(numbers)
            if on_gpu is not None:
                torch.cuda.set_rng_state(on_gpu, self._device)
            for kind, dtype, enabled in self._autocast:
                stack.enter_context(torch.autocast(kind, dtype, enabled))
            return self._graph(number)

    def _graph(self, number: int) -> "_Piece":
        start = self._starts[number]
        with _fresh_casts(), torch.enable_grad(), self._masks.of(first=number == 0):
            if start is not None:
                start = map_state(lambda one: one.detach().requires_grad_(one.is_floating_point()), start)
            return _Piece(self.read(self.parts[number], start), [] if start is None else tensors_of(start))


class _Piece:
    """The losses of a piece, and the tensors of the state before it."""

    def __init__(self, losses: Losses, leaves: list[Tensor]) -> None:
        self.losses, self.leaves = losses, leaves


class _InPieces(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, work: _Work, *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.work = work
        ctx.set_materialize_grads(False)
        with threads(1 if work.narrow else None):
            objective, nats, penalty = work.forward()
        ctx.mark_non_differentiable(nats)
        return objective, nats, penalty

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, objective: Tensor, _: Tensor | None, penalty: Tensor | None) -> Any:
        with threads(1 if ctx.work.narrow else None):
            return None, *ctx.work.backward(objective, penalty)


def _gradients(
    pairs: Sequence[tuple[Tensor, Tensor]], leaves: Sequence[Tensor], parameters: Sequence[Tensor]
) -> tuple[Sequence[Tensor | None], Sequence[Tensor | None]]:
    """Gradients of leaves and parameters, None where a tensor has no part in the roots."""
    roots, given = zip(*pairs, strict=True)
    found = torch.autograd.grad(roots, [*leaves, *parameters], given, allow_unused=True)
    return found[: len(leaves)], found[len(leaves) :]


def _alone(tensor: Tensor) -> Tensor:
    """A tensor without its graph, and without the larger one that it is a part of."""
    part = tensor.untyped_storage().nbytes() > tensor.nbytes
    return tensor.detach().clone() if part else tensor.detach()


@contextlib.contextmanager
def _fresh_casts() -> Iterator[None]:
    """Forget the copies of weights that autocast keeps: those made without gradients would be used with them."""
    torch.clear_autocast_cache()
    try:
        yield
    finally:
        torch.clear_autocast_cache()
