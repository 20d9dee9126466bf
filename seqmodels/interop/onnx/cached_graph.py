"""A step of a Transformer whose keys and values lie in a preallocated cache, written to in place.

The op is onnxruntime's own `GroupQueryAttention`: with the same memory bound to a cache as input and as output, a step
copies none of it. Rows may have read different numbers of tokens, without padding.
"""

from typing import cast

import torch
from torch import Tensor, nn

from seqmodels.batch import NEVER
from seqmodels.nn import Transformer
from seqmodels.nn.attention import SelfAttention, rotate
from seqmodels.nn.block import Block
from seqmodels.tasks.autoregressive_model import AutoregressiveModel

MULTIPLE = 8
"""Features of a head come in multiples of it for this op."""


def fits(model: AutoregressiveModel) -> bool:
    """Whether steps of a model can be written so."""
    network = model.backbone
    if type(model.head) is not nn.Linear:
        return False
    if type(network) is not Transformer or network.position.are_of_pairs or not network.plain:
        return False
    return network.memory_size is None and network.head_size % MULTIPLE == 0


class CachedGraph(nn.Module):
    """One token of each row to logits of the next, minus infinity for tokens that are never generated.

    Inputs: token ids, int64 (B,); the number of cached keys of each row, int32 (B,); the length of the longest row with
    the new key, int32 (1,); what is added to the inputs, (B, D), zeros where positions are rotary; cosine and sine of
    the angles, (B, 1, R / 2), with R = 0 where they are not; caches of keys and values, (B, kv heads, S, D / H) each.

    Args:
        model: one that `fits`.
    """

    def __init__(self, model: AutoregressiveModel) -> None:
        super().__init__()
        self.embedding, self.stack, self.head = model.embedding, cast(Transformer, model.backbone), model.head
        bias = model.head.bias.detach()
        self.register_buffer("bias", bias.index_fill(0, torch.tensor(NEVER), -torch.inf))
        self.turns = self.stack.position.rotation(torch.zeros(1, 1, dtype=torch.int64)) is not None

    def forward(
        self, ids: Tensor, lengths: Tensor, total: Tensor, vectors: Tensor, cos: Tensor, sin: Tensor, *caches: Tensor
    ) -> tuple[Tensor, ...]:
        stack = self.stack
        x = self.embedding(ids)
        if stack.input_scale != 1:
            x = x * stack.input_scale
        x = x + vectors
        written: list[Tensor] = []
        for number, block in enumerate(cast(list[Block], list(stack.blocks))):

            def mix(x: Tensor, h: Tensor, number: int = number, block: Block = block) -> Tensor:
                mixer, rows = cast(SelfAttention, block.mixer), h.shape[0]
                heads = mixer.project(h).view(rows, -1, mixer.head_size)
                queries, keys, _ = mixer.heads
                qk = heads[:, : queries + keys]
                qk = qk if mixer.norm_query is None else mixer.normed(qk)
                if self.turns:
                    qk = rotate(qk, cos, sin)
                cache = caches[2 * number : 2 * number + 2]
                y, *following = torch.onnx.ops.symbolic_multi_out(
                    "com.microsoft::GroupQueryAttention",
                    (
                        qk[:, :queries].reshape(rows, 1, -1), qk[:, queries:].reshape(rows, 1, -1),
                        heads[:, queries + keys :].reshape(rows, 1, -1), *cache, lengths, total,
                    ),
                    {
                        "num_heads": queries, "kv_num_heads": keys, "scale": mixer.scale or mixer.head_size**-0.5,
                        "local_window_size": -1 if stack.position.ends == stack.window else stack.window,
                    },
                    dtypes=(x.dtype, x.dtype, x.dtype),
                    shapes=([rows, 1, queries * mixer.head_size], cache[0].shape, cache[1].shape),
                    version=1,
                )  # fmt: skip
                written.extend(following)
                return x + cast(Tensor, mixer.out(y.squeeze(1)))

            def feed(x: Tensor, h: Tensor, block: Block = block) -> Tensor:
                return x + cast(Tensor, cast(nn.Module, block.feed_forward)(h))

            x = block.order(x, (block.norm_mixer, cast(nn.Module, block.norm_feed_forward)), (mix, feed))
        return nn.functional.linear(stack.norm(x), self.head.weight, cast(Tensor, self.bias)), *written


def example(model: AutoregressiveModel) -> tuple[dict[str, Tensor], list[str], list[dict[int, str]]]:
    """Inputs of `CachedGraph` by name, names of its outputs, and the dimensions of each input that vary."""
    stack = cast(Transformer, model.backbone)
    rows, slots = 2, 5
    positions = torch.zeros(rows, 1, dtype=torch.int64)
    vectors, cos, sin = position_inputs(stack, positions.squeeze(1))
    inputs = {
        "ids": torch.full((rows,), model.tokenizer.vocab_size - 1),
        "lengths": torch.full((rows,), 3, dtype=torch.int32),
        "total": torch.tensor([4], dtype=torch.int32),
        "vectors": vectors, "cos": cos, "sin": sin,
    }  # fmt: skip
    axes: list[dict[int, str]] = [{0: "rows"}, {0: "rows"}, {}, {0: "rows"}, {0: "rows"}, {0: "rows"}]
    heads = stack.heads[1]
    names = [f"{kind}_{number}" for number in range(len(stack.blocks)) for kind in ("keys", "values")]
    for name in names:
        inputs[name] = torch.zeros(rows, heads, slots, stack.head_size)
        axes.append({0: "rows", 2: "slots"})
    return inputs, ["logits", *(f"next_{name}" for name in names)], axes


def position_inputs(stack: Transformer, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`vectors`, `cos` and `sin` of `CachedGraph` for the next position of each row, int64 (B,)."""
    dtype = next(stack.parameters()).dtype
    vectors = stack.position.vectors(positions)
    rotation = stack.position.rotation(positions[:, None])
    empty = torch.zeros(len(positions), 1, 0, dtype=dtype)
    cos, sin = (empty, empty) if rotation is None else (part[:, :, 0].to(dtype) for part in rotation)
    if vectors is None:
        vectors = torch.zeros(len(positions), stack.input_size)
    return vectors.detach().to(dtype), cos, sin
