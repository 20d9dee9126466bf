"""Ablation of a single unit: what a language model predicts and writes while the unit is held at a value.

A unit of a recurrent layer is held between steps: each step computes its state, in which the unit is then replaced, for
the step after it and, if it is a hidden unit, for everything that reads the output. So a cell state still has what one
step writes into it when the output of that step is computed. A feature of a residual stream is replaced behind its
block, for all blocks and the norm that read it.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from seqmodels.analysis.activations import CONTEXT, SPAN, Piece, in_pieces
from seqmodels.analysis.character_labels import Labels
from seqmodels.batch import IGNORE, PAD, Batch
from seqmodels.decoding import RowGenerators, Sampling
from seqmodels.errors import InputError
from seqmodels.nn import Backbone, Cell, RecurrentStack, Sequential
from seqmodels.nn.adapted import Adapted
from seqmodels.nn.cell import CellState
from seqmodels.nn.dropout import evaluating
from seqmodels.nn.hybrid import RecurrentMixer
from seqmodels.nn.mixer_stack import CellMixer
from seqmodels.nn.steppers import Stepper
from seqmodels.nn.transformer import ResidualStack
from seqmodels.state import State
from seqmodels.tasks import LanguageModel
from seqmodels.tasks.generation import Drawing
from seqmodels.tasks.stepping import Predictor

MAX_LOGITS = 2**24
"""Logits that are computed at a time, which bounds the memory."""

Replace = Callable[[Tensor], Tensor]
"""From the values of a unit, of any shape, to those that stand in their place."""


def constant(value: float) -> Replace:
    """Hold a unit at a value."""
    return lambda own: torch.full_like(own, value)


@contextlib.contextmanager
def replaced(network: Backbone, unit: str, by: Replace) -> Iterator[None]:
    """Replace the values of a unit in all that the network computes meanwhile by its `forward`.

    A recurrent layer with such a unit goes step by step through its cell's equation. Steppers, by which text is
    generated fast, do not know of it: see `continuation`.

    Args:
        network: a causal network.
        unit: its name, see `Trace`.
        by: such as `constant(0)`.

    Raises:
        InputError: the network has no place where such a unit can be replaced.
    """
    group, _, number = unit.rpartition(".")
    module, letter = _place(network, group, unit)
    index = int(number)

    def edit(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor[..., index] = by(tensor[..., index])
        return tensor

    if not isinstance(module, Cell):
        handle = module.register_forward_hook(lambda _module, _inputs, made: (edit(made[0]), made[1]))
        try:
            yield
        finally:
            handle.remove()
        return
    cell, part, inside = module, module.state_names.index(letter), False
    advance, sequence = cell.advance, cell.sequence

    def held(projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        nonlocal inside
        inside = True
        following = advance(projected, state, weights)
        inside = False
        return tuple(edit(tensor) if place == part else tensor for place, tensor in enumerate(following))

    def by_steps(x: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        # Some equations are those of a sequence of one step.
        return sequence(x, state, lengths) if inside else Cell.sequence(cell, x, state, lengths)

    vars(cell).update(advance=held, sequence=by_steps)
    try:
        yield
    finally:
        for name in ("advance", "sequence"):
            vars(cell).pop(name)


def _place(network: Backbone, group: str, unit: str) -> tuple[nn.Module, str]:
    """The cell whose state has the group of a unit, and its letter; or the module whose outputs are the group."""
    number, _, rest = group.partition(".")
    if isinstance(network, Sequential):
        return _place(network.parts[int(number) - 1], rest, unit)
    if isinstance(network, RecurrentStack):
        return network.cells[int(number) - 1], rest
    if isinstance(network, ResidualStack):
        block = network.blocks[int(number) - 1]
        if not rest:
            return block, ""
        mixer = block.mixer
        if isinstance(mixer, RecurrentMixer):
            return mixer.network.cells[0], rest
        if isinstance(mixer, CellMixer):
            return mixer.cell, rest
    elif type(network).traced is Backbone.traced or (
        isinstance(network, Adapted) and not hasattr(network.module, "traced")
    ):
        return network, ""
    raise InputError(
        f"the unit {unit!r} of {type(network).__name__} cannot be held, since nothing says where it is computed; "
        "expected a unit of a recurrent layer or of a residual stream"
    )


@torch.inference_mode()
def nats(
    task: LanguageModel,
    texts: Sequence[str],
    progress: Callable[[list[list[Piece]]], Iterable[list[Piece]]] = iter,
) -> Tensor:
    """Negative log-probabilities of all tokens of texts in nats, float32 (N,), each text read from its start.

    Texts are read as by `activations`, long ones in pieces with some tokens before each.

    Args:
        task: the model; in evaluation mode meanwhile.
        texts: documents.
        progress: wraps the batches that are read, such as by a progress bar.
    """
    device = task.embedding.weight.device
    encoded = [task.tokenizer.encode(text) for text in texts]
    found = torch.full((sum(map(len, encoded)),), torch.nan)
    with evaluating(task):
        for batch in progress(in_pieces(encoded, task.backbone.max_length, SPAN, CONTEXT)):
            inputs, numbers = (
                pad_sequence([piece[part] for piece in batch], True, fill) for part, fill in ((0, PAD), (1, -1))
            )
            chunk = max(1, MAX_LOGITS // (len(batch) * task.tokenizer.vocab_size))
            state: State | None = None
            for first in range(0, inputs.shape[1] - 1, chunk):
                tokens = inputs[:, first : first + chunk]
                wanted, own = (t[:, first + 1 : first + 1 + chunk] for t in (inputs, numbers))
                tokens = tokens[:, : wanted.shape[1]].to(device)
                logits, state = task(Batch(tokens, torch.full_like(tokens, IGNORE)), state)
                lost = F.cross_entropy(logits.transpose(1, 2).float(), wanted.to(device), reduction="none")
                found[own[own >= 0]] = lost[(own >= 0).to(device)].float().cpu()
    return found


def situations(task: LanguageModel, texts: Sequence[str], label: Labels) -> dict[str, Tensor]:
    """Tokens by what a label does between the character before the token and its last one, bool (N,) by name.

    A binary label is inside, outside, begins or ends (the closing mark of a string is where it ends); a number stays,
    rises or falls. The first token of a text, and those where the label is undefined, are in none.
    """
    after, before = list[Tensor](), list[Tensor]()
    for text, values in zip(texts, label.values, strict=True):
        ends = torch.tensor([max(behind, 1) - 1 for _, behind in task.tokenizer.spans(text)], dtype=torch.int64)
        own = values[ends] if len(ends) else values[:0]
        after.append(own)
        before.append(torch.cat([own.new_full((1,), torch.nan), own[:-1]])[: len(own)])
    new, old = torch.cat(after), torch.cat(before)
    if not label.binary:
        return {"stays": new == old, "rises": new > old, "falls": new < old}
    return {
        "inside": (old == 1) & (new == 1), "outside": (old == 0) & (new == 0),
        "begins": (old == 0) & (new == 1), "ends": (old == 1) & (new == 0),
    }  # fmt: skip


class Loss(NamedTuple):
    """Mean nats per token of some tokens, with the network as it is and with a unit held."""

    where: str
    tokens: int
    untouched: float
    ablated: float


def compare(untouched: Tensor, ablated: Tensor, where: Mapping[str, Tensor]) -> list[Loss]:
    """Means over all tokens, and over those of each situation that occurs."""
    found = list[Loss]()
    for name, here in {"everywhere": torch.ones(len(untouched), dtype=torch.bool), **where}.items():
        here = here & ~untouched.isnan()
        if bool(here.any()):
            means = (float(values[here].double().mean()) for values in (untouched, ablated))
            found.append(Loss(name, int(here.sum()), *means))
    return found


class _ByContract:
    """An engine that goes through `forward` of the network, one token after the other."""

    def __init__(self, task: LanguageModel) -> None:
        self._task = task

    def drawing(
        self, ids: list[list[int]], samples: int, sampling: Sampling, max_tokens: int, rng: RowGenerators
    ) -> Drawing:
        return self._task.drawing(ids, samples, sampling, max_tokens, rng, self._steps)

    def _steps(self, state: State | None, rows: int) -> Predictor:
        task = self._task
        return Predictor(Stepper(task.backbone, task.embedding.weight, state), task.head)


def continuation(task: LanguageModel, prompt: str, max_tokens: int, sampling: Sampling, seed: int) -> str:
    """The text that `generate` writes, with what is `replaced` in the network replaced.

    Args:
        task: the model.
        prompt: text to continue.
        max_tokens: at most; fewer if the text ends, or the positions of the network do.
        sampling: temperature and so on.
        seed: random seed.
    """
    ids = task.prompt_ids([prompt])
    if (limit := task.backbone.max_length) is not None:
        max_tokens = min(max_tokens, max(1, limit // 2))
        ids = [ids[0][-(limit - max_tokens) :]]
    rng = RowGenerators(seed, [(0, 0)], task.embedding.weight.device)
    pieces = task.pieces(ids, 1, max_tokens, sampling, rng, (), _ByContract(task))
    return "".join(piece.text for piece in pieces)
