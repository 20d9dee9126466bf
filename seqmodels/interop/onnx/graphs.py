"""Models as functions of tensors alone, `(ids, state) -> (logits, state)`, for exporters that know no nested states."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.nn import Backbone
from seqmodels.state import State
from seqmodels.tasks.autoregressive_model import AutoregressiveModel
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel


def flattened(state: State) -> list[Tensor]:
    """The tensors of a state in their order."""
    return [state] if isinstance(state, Tensor) else [tensor for part in state for tensor in flattened(part)]


def nested(tensors: Sequence[Tensor], like: State) -> State:
    """The tensors of `flattened` as a state of the same nesting as `like`."""
    waiting = iter(tensors)

    def filled(part: State) -> State:
        return next(waiting) if isinstance(part, Tensor) else tuple(filled(inner) for inner in part)

    return filled(like)


class StepGraph(nn.Module):
    """One token of each row, (B,), and the state to logits of the next, (B, V), and the state.

    Args:
        model: a language model in evaluation mode.
        like: a state of it.
    """

    def __init__(self, model: AutoregressiveModel, like: State) -> None:
        super().__init__()
        self.model, self.like = model, like

    def forward(self, ids: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        logits, following = self.model.step(ids, nested(state, self.like))
        return logits, *flattened(following)


class WindowGraph(StepGraph):
    """The same for T tokens of each row at once, (B, T), with logits (B, T, V)."""

    def forward(self, ids: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        y, following = self.model.backbone(self.model.embedding(ids), nested(state, self.like))
        return self.model.head(y), *flattened(following)


class EncoderGraph(nn.Module):
    """A source, (B, S), and its mask, bool (B, S), to the memory that the decoder attends to."""

    def __init__(self, model: EncoderDecoderModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, source: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        return tuple(flattened(self.model.encode(source, mask)))


class DecoderGraph(nn.Module):
    """One token of each row, (B,), the memory and the state to logits of the next, (B, V), and the state.

    Args:
        model: a translator in evaluation mode.
        memory: of it.
        state: of it.
    """

    def __init__(self, model: EncoderDecoderModel, memory: State, state: State) -> None:
        super().__init__()
        self.model, self.memory, self.state = model, memory, state
        self.count = len(flattened(memory))

    def forward(self, ids: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        memory, state = nested(tensors[: self.count], self.memory), nested(tensors[self.count :], self.state)
        logits, following = self.model.step(ids, state, memory)
        return logits, *flattened(following)


class FirstGraph(DecoderGraph):
    """The first token of each row, (B,), and the memory to logits of the next, (B, V), and the state."""

    def forward(self, ids: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        logits, following = self.model.step(ids, None, nested(tensors, self.memory))
        return logits, *flattened(following)


class EncoderStepGraph(nn.Module):
    """One token of each source, (B,), whether it is real, bool (B,), and the state to an output, (B, D), and the state.

    Args:
        model: a translator in evaluation mode.
        network: its encoder, or one direction of it.
        like: a state of that.
    """

    def __init__(self, model: EncoderDecoderModel, network: Backbone, like: State) -> None:
        super().__init__()
        self.model, self.network, self.like = model, network, like

    def forward(self, ids: Tensor, real: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        x, before = self.model.source_embedding(ids)[:, None], nested(state, self.like)
        y, after = self.network(x, before)
        kept = [
            torch.where(real.view(-1, *[1] * (new.ndim - 1)), new, old)
            for new, old in zip(flattened(after), flattened(before), strict=True)
        ]
        return torch.where(real[:, None], y[:, 0], torch.zeros_like(y[:, 0])), *kept


class MemoryGraph(nn.Module):
    """Outputs of the encoder, (B, S, D), and the mask, bool (B, S), to the memory of the decoder; with the last state
    of the encoder, if the decoder starts from that.
    """

    def __init__(self, model: EncoderDecoderModel, like: State) -> None:
        super().__init__()
        self.model, self.like = model, like

    def forward(self, outputs: Tensor, mask: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        summary = self.model.encoder.summary(outputs, mask)
        more = [nested(state, self.like)] if state else []
        return tuple(flattened(self.model.decoder.remember(outputs, mask, summary, *more)))


ROWS = 3
"""Rows of examples: not 0 or 1, which exporters take for constants."""


@torch.no_grad()
def example_states(model: AutoregressiveModel, padded: bool = False) -> tuple[State, State]:
    """States of some rows before the first token and after two, which differ in shape where a cache grows; `padded`
    ones are of rows with different numbers of tokens, after one position and after two.

    Raises:
        InputError: the network has no state before the first token, or keeps fewer than two keys.
    """
    if not hasattr(model.backbone, "initial_state"):
        raise InputError(f"{model.name} has no method initial_state(rows), so that a graph of a step has no beginning")
    tokens = torch.full((ROWS, 1), model.tokenizer.vocab_size - 1, device=model.device)
    mask = (torch.arange(ROWS, device=model.device) > 0)[:, None] if padded else None
    before: State = model.backbone.initial_state(ROWS)  # type: ignore[operator]
    _, one = model.backbone(model.embedding(tokens), before, mask=mask)
    _, after = model.backbone(model.embedding(tokens), one)
    start = one if padded else before
    for first, then in zip(flattened(start), flattened(after), strict=True):
        if any(a != b and b < 2 for a, b in zip(first.shape, then.shape, strict=True)):
            raise InputError(f"the context of {model.name} keeps fewer than two keys; expected a context of at least 3")
    return start, after
