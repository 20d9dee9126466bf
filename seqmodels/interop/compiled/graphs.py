"""Steps of a language model as functions of tensors alone, from which a compiler makes machine code."""

from typing import Literal, cast

import torch
from torch import Tensor, nn

from seqmodels.batch import NEVER
from seqmodels.errors import InputError
from seqmodels.interop.onnx.graphs import StepGraph, example_states, flattened
from seqmodels.nn.attention import SelfAttention, attend, rotate
from seqmodels.nn.block import Block
from seqmodels.nn.rnn_lstm_gru import FusedCell
from seqmodels.nn.transformer import ResidualStack
from seqmodels.tasks.autoregressive_model import AutoregressiveModel

Kind = Literal["cached", "state"]
"""Keys and values in a cache that is written in place; or a state that goes in and comes out."""

ROWS, SLOTS, SEEN = 3, 11, 7
"""Sizes of examples: different ones, and neither 0 nor 1, which exporters take for constants."""


def kind_of(model: AutoregressiveModel) -> Kind:
    """What form of step a model has.

    Raises:
        InputError: none that is worth its compilation.
    """
    network = model.backbone
    what = f"compile was given, and {model.name}"
    if not model.learns:
        raise InputError(f"{what} counts, without products to compile; leave it out")
    if any(isinstance(part, FusedCell) for part in network.modules()):
        raise InputError(f"{what} has layers that step as fast by torch's own kernels; leave it out")
    if isinstance(network, ResidualStack) and network.attends:
        parts = cast(list[Block], list(network.blocks))
        if network.plain and all(isinstance(block.mixer, SelfAttention) for block in parts):
            return "cached"
        raise InputError(f"{what} is no plain Transformer, the only form of attention that is compiled; leave it out")
    return "state"


class CachedStep(nn.Module):
    """One token of each row to logits of the next, minus infinity for tokens that are never generated.

    Inputs: token ids, int64 (B,); the position that they have, int64 (1,); a tensor with as many elements as positions
    are seen, the current one included, and one with two more than slots before the first of these, both never read,
    since sizes alone can cut a tensor without a wait for its values; keys and values of each layer, (B, 2 kv heads, S,
    D / H), in which one slot is written.

    Args:
        model: a Transformer of the kind "cached".
    """

    def __init__(self, model: AutoregressiveModel) -> None:
        super().__init__()
        self.embedding, self.stack, self.head = model.embedding, cast(ResidualStack, model.backbone), model.head
        self.never = nn.Buffer(_never(model))

    def forward(self, ids: Tensor, position: Tensor, seen: Tensor, skipped: Tensor, caches: list[Tensor]) -> Tensor:
        stack = self.stack
        count, first = seen.shape[0], skipped.shape[0] - 2
        last, positions = first + count - 1, stack.position
        x = stack.placed(self.embedding(ids), position)
        rotation = positions.rotation(position[None])
        turns = None if rotation is None else tuple(part[:, 0].to(x.dtype) for part in rotation)  # (1, 1, R / 2)
        bias = None
        if positions.are_of_pairs:
            bias = positions.bias(torch.arange(count - 1, -1, -1, device=ids.device)[None]).to(x.dtype)
        for block, cache in zip(cast(list[Block], list(stack.blocks)), caches, strict=True):

            def mix(x: Tensor, h: Tensor, block: Block = block, cache: Tensor = cache) -> Tensor:
                mixer = cast(SelfAttention, block.mixer)
                heads = mixer.project(h).view(h.shape[0], -1, mixer.head_size)
                queries, keys, values = mixer.heads
                qk, v = heads.split((queries + keys, values), 1)
                qk = qk if mixer.norm_query is None else mixer.normed(qk)
                qk = qk if turns is None else rotate(qk, *turns)
                cache.select(2, last).copy_(torch.cat((qk[:, queries:], v), 1))
                k, v = cache[:, :, first : first + count].chunk(2, 1)
                y = attend(qk[:, :queries].unsqueeze(2), k, v, bias, scale=mixer.scale)
                return x + cast(Tensor, mixer.out(y.reshape(x.shape[0], -1)))

            def feed(x: Tensor, h: Tensor, block: Block = block) -> Tensor:
                return x + cast(Tensor, cast(nn.Module, block.feed_forward)(h))

            x = block.order(x, (block.norm_mixer, cast(nn.Module, block.norm_feed_forward)), (mix, feed))
        return cast(Tensor, self.head(stack.norm(x))) + self.never


class StateStep(StepGraph):
    """The same with a state of fixed size, tensor by tensor, which comes out after the logits."""

    def __init__(self, model: AutoregressiveModel, like: tuple[Tensor, ...]) -> None:
        super().__init__(model, like)
        self.never = nn.Buffer(_never(model))

    def forward(self, ids: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        logits, *following = super().forward(ids, *state)
        # Compiled code does not look how its inputs lie in memory.
        return logits + self.never, *(tensor.contiguous() for tensor in following)


def _never(model: AutoregressiveModel) -> Tensor:
    """What is added to logits, (V,): minus infinity for some tokens."""
    weight = model.embedding.weight.detach()
    return weight.new_zeros(model.tokenizer.vocab_size).index_fill(0, torch.tensor(NEVER), -torch.inf)


def module_of(model: AutoregressiveModel, kind: Kind) -> nn.Module:
    """The function of a step."""
    return CachedStep(model) if kind == "cached" else StateStep(model, example_states(model)[1])  # type: ignore[arg-type]


def exported(model: AutoregressiveModel, kind: Kind) -> torch.export.ExportedProgram:
    """The graph of a step for any number of rows."""
    rows, module = torch.export.Dim("rows", max=2**20), module_of(model, kind).eval()
    ids = torch.full((ROWS,), model.tokenizer.vocab_size - 1)
    inputs: tuple[object, ...]
    shapes: tuple[object, ...]
    if kind == "state":
        state = [tensor.contiguous() for tensor in flattened(example_states(model)[1])]
        inputs, shapes = (ids, *state), ({0: rows}, tuple({0: rows} for _ in state))
    else:
        stack = cast(ResidualStack, model.backbone)
        seen, skipped, slots = (torch.export.Dim(name, max=2**40) for name in ("seen", "skipped", "slots"))
        one = model.embedding.weight.new_zeros(ROWS, 2 * stack.heads[1], SLOTS, stack.head_size)
        caches = [one.clone() for _ in stack.blocks]
        inputs = ids, torch.tensor([1]), torch.zeros(SEEN), torch.zeros(4), caches
        shapes = {0: rows}, None, {0: seen}, {0: skipped}, [{0: rows, 2: slots} for _ in caches]
    with torch.no_grad():
        return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
