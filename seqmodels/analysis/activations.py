"""Activations of the units of a network that reads a text.

The activation of a token is the one after the network has read it. It belongs to the last character of the token; the
other characters have none.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from seqmodels.analysis.character_labels import Labels
from seqmodels.batch import BOS, EOS, IGNORE, PAD, Batch
from seqmodels.config import construct
from seqmodels.errors import InputError
from seqmodels.nn.dropout import evaluating
from seqmodels.state import State
from seqmodels.tasks import LanguageModel, Translator

SPAN, CONTEXT = 4096, 512
"""Tokens of a piece of a long text, and tokens that are read before it for its state."""
LANES, CHUNK = 32, 128
"""Pieces that are read in parallel, and tokens at a time."""
MAX_ACTIVATIONS = 2**25
"""128 MiB."""

Piece = tuple[Tensor, Tensor]
"""Tokens, and the number of each in all texts, -1 for those that are read for the state only; int64 (T,) both."""


@dataclass(frozen=True)
class Activations:
    """Activations of U units at N positions of texts, in their order.

    Attributes:
        units: names, such as "1.c.123": number 123 of the cell states of the first layer.
        values: float32 (N, U).
        texts: numbers of the texts, int64 (N,).
        characters: numbers of the last characters read, int64 (N,).
    """

    units: tuple[str, ...]
    values: Tensor
    texts: Tensor
    characters: Tensor

    def labelled(self, labels: Labels) -> Tensor:
        """A label at these positions, float32 (N,)."""
        starts = torch.tensor([0, *map(len, labels.values)]).cumsum(0)
        return torch.cat(labels.values)[starts[self.texts] + self.characters]

    def unit(self, name: str) -> Tensor:
        """Values of a unit, float32 (N,); an `InputError` if there is no such unit."""
        return self.values[:, place(name, self.units)]


def place(name: str, units: Sequence[str]) -> int:
    """The index of a unit; an `InputError` if there is no such unit."""
    if name in units:
        return units.index(name)
    groups = {unit.rpartition(".")[0]: unit.rpartition(".")[2] for unit in units}
    known = ", ".join(f"{group}.0 to {group}.{last}" for group, last in groups.items())
    raise InputError(f"there is no unit {name!r} in this network; choose one of {known}")


Task = TypeVar("Task", bound=LanguageModel | Translator)


def untrained(task: Task, seed: int = 0) -> Task:
    """An untrained model of the same constructor call, with weights drawn from a seed; no random state changes."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the generators of other devices are not touched
        fresh: Task = construct(task.constructor_call, type(task))
    return cast(Task, fresh.to(task.embedding.weight.device).train(task.training))


@torch.inference_mode()
def activations(
    task: LanguageModel | Translator,
    texts: Sequence[str],
    units: Sequence[str] | None = None,
    *,
    most: int = MAX_ACTIVATIONS,
    span: int = SPAN,
    context: int = CONTEXT,
    progress: Callable[[list[list[Piece]]], Iterable[list[Piece]]] = iter,
) -> Activations:
    """Activations of units on texts, each read from its start.

    Long texts are split into pieces that are read in parallel, each after some tokens before it, which gives nearly the
    state of reading the whole text. If there are too many positions, every second, third and so on is kept.

    Args:
        task: the model; in evaluation mode meanwhile. Of a translator, units are those of its encoder, which reads each
            text as a source, in one piece.
        texts: documents.
        units: names; None for all.
        most: activations at most.
        span: tokens of a piece; smaller pieces make a short text faster.
        context: tokens before a piece that are read for its state.
        progress: wraps the batches that are read, such as by a progress bar.

    Raises:
        InputError: there is no such unit, or no text.
    """
    device = task.embedding.weight.device
    tokenizer = task.source_tokenizer if isinstance(task, Translator) else task.tokenizer
    encoded = [tokenizer.encode(text) for text in texts]
    lengths = list(map(len, encoded))
    if not sum(lengths):
        raise InputError("there is no text to read; expected at least one token")
    numbers = torch.repeat_interleave(torch.arange(len(texts)), torch.tensor(lengths))
    characters = torch.tensor([max(behind, 1) - 1 for text in texts for _, behind in tokenizer.spans(text)])
    kept, names, values = torch.tensor([]), tuple[str, ...](), torch.tensor([])
    columns: Tensor | None = None
    with evaluating(task):
        if isinstance(task, Translator):
            batches = _sources(encoded)
        else:
            batches = in_pieces(encoded, task.backbone.max_length, span, context)
        for batch in progress(batches):
            for own, states, found in _read(task, batch, device):
                if not names:
                    names = tuple(f"{name}.{number}" for name, wide in found for number in range(wide))
                    if units is not None:
                        columns = torch.tensor([place(name, names) for name in units])
                        names = tuple(units)
                    stride = max(1, math.ceil(len(numbers) * len(names) / most))
                    kept = torch.arange(0, len(numbers), stride)
                    values = torch.empty(len(kept), len(names))
                wanted = own % stride == 0
                rows = states[wanted.to(device)]
                rows = rows if columns is None else rows[:, columns.to(device)]
                values[own[wanted] // stride] = rows.float().cpu()
    return Activations(names, values, numbers[kept], characters[kept])


def in_pieces(texts: Sequence[list[int]], max_length: int | None, span: int, context: int) -> list[list[Piece]]:
    """The pieces of all texts, in batches of similar lengths."""
    if max_length is not None:
        context = min(context, max_length // 2)
        span = min(span, max_length - context)
    pieces, before = list[Piece](), 0
    for ids in texts:
        tokens, numbers = torch.tensor([BOS, *ids]), torch.arange(before - 1, before + len(ids))
        before += len(ids)
        for first in range(1, len(tokens), span):  # BOS is token 0
            piece = slice(max(0, first - context), first + span)
            pieces.append((tokens[piece], numbers[piece].where(torch.arange(len(tokens))[piece] >= first, -1)))
    pieces.sort(key=lambda piece: -len(piece[0]))
    return [pieces[first : first + LANES] for first in range(0, len(pieces), LANES)]


def _sources(texts: Sequence[list[int]]) -> list[list[Piece]]:
    """Each text with EOS behind it, as an encoder reads it."""
    ends = list(itertools.accumulate(map(len, texts)))
    return [
        [(torch.tensor([*ids, EOS]), torch.tensor([*range(end - len(ids), end), -1]))]
        for ids, end in zip(texts, ends, strict=True)
        if ids
    ]


def _read(
    task: LanguageModel | Translator, batch: list[Piece], device: torch.device
) -> Iterable[tuple[Tensor, Tensor, list[tuple[str, int]]]]:
    """Numbers of tokens (M,), their activations (M, U), and the name and size of each group of units, in chunks."""
    if isinstance(task, Translator):
        ((tokens, own),) = batch
        units, real = task.read(tokens[None].to(device)).units, own >= 0
        states = torch.cat([group[0, real.to(device)] for group in units.values()], -1)
        yield own[real], states, [(name, group.shape[-1]) for name, group in units.items()]
        return
    inputs, numbers = (pad_sequence([piece[part] for piece in batch], True, fill) for part, fill in ((0, PAD), (1, -1)))
    state: State | None = None
    for tokens, own in zip(torch.split(inputs, CHUNK, 1), torch.split(numbers, CHUNK, 1), strict=True):
        tokens = tokens.to(device)
        _, state, trace = task.traced(Batch(tokens, torch.full_like(tokens, IGNORE)), state)
        real = own >= 0
        states = torch.cat([group[real.to(device)] for group in trace.units.values()], -1)
        yield own[real], states, [(name, group.shape[-1]) for name, group in trace.units.items()]
