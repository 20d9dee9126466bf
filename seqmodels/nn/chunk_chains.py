"""How a memory goes from chunk to chunk: the one part of a chunkwise kernel that has to wait for what comes before.

Each chain is one function with a backward pass of its own, in which gradients of the memory alone go from chunk to
chunk; all others are single products for all chunks. Memories at the starts of chunks are kept, and are outputs, so
gradients of gradients are those of any other function.
"""

from typing import Any

import torch
from torch import Tensor


def added(keep: Tensor, move: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """`S_{n+1} = keep_n S_n + move_n`, element by element.

    Args:
        keep: (N, ...), in which sizes of 1 are expanded.
        move: (N, ...).
        S: the memory before the first chunk, (...).

    Returns:
        Memories at the start of each chunk, (N, ...), and that after the last.
    """
    starts, last = _Added.apply(keep, move, S)  # type: ignore[no-untyped-call]
    return starts, last


def replaced(
    keep: Tensor, write: Tensor, new: Tensor, solve: Tensor, ask: Tensor, S: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`S_{n+1} = keep_n S_n + write_n w_n`, where `w_n = new_n + solve_n ask_n S_n` is what the chunk writes.

    Args:
        keep: (N, B, 1 or K, 1).
        write: (N, B, K, C).
        new: (N, B, C, V).
        solve: (N, B, C, C).
        ask: (N, B, C, K).
        S: the memory before the first chunk, (B, K, V).

    Returns:
        Memories at the start of each chunk, (N, B, K, V), what chunks write, (N, B, C, V), and the last memory.
    """
    starts, written, last = _Replaced.apply(keep, write, new, solve, ask, S)  # type: ignore[no-untyped-call]
    return starts, written, last


class _Added(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keep: Tensor, move: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
        starts = []
        for kept, moved in zip(keep.unbind(), move.unbind(), strict=True):
            starts.append(S)
            S = torch.addcmul(moved, kept, S)
        every = torch.stack(starts)
        ctx.save_for_backward(keep, every)
        return every, S

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep, starts = ctx.saved_tensors
        of_starts, of_last = gradients
        after, moving = of_last, []
        for kept, of_start in zip(reversed(keep.unbind()), reversed(of_starts.unbind()), strict=True):
            moving.append(after)
            after = torch.addcmul(of_start, kept, after)
        of_move = torch.stack(moving[::-1])
        return (of_move * starts).sum_to_size(keep.shape), of_move, after


class _Replaced(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, keep: Tensor, write: Tensor, new: Tensor, solve: Tensor, ask: Tensor, S: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        starts, written = [], []
        for kept, writing, value, solving, asking in zip(*_chunks(keep, write, new, solve, ask), strict=True):
            starts.append(S)
            written.append(torch.baddbmm(value, solving, asking @ S))
            S = torch.baddbmm(kept * S, writing, written[-1])
        every, values = torch.stack(starts), torch.stack(written)
        ctx.save_for_backward(keep, write, solve, ask, every, values)
        return every, values, S

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        keep, write, solve, ask, starts, written = ctx.saved_tensors
        of_starts, of_written, after = gradients
        memories, values, asked = [], [], []
        chunks = zip(*map(reversed, _chunks(keep, write, solve, ask, of_starts, of_written)), strict=True)
        for kept, writing, solving, asking, of_start, of_value in chunks:
            memories.append(after)
            values.append(torch.baddbmm(of_value, writing.mT, after))
            asked.append(solving.mT @ values[-1])
            after = torch.baddbmm(torch.addcmul(of_start, kept, after), asking.mT, asked[-1])
        of_memory, of_new, of_old = (torch.stack(parts[::-1]) for parts in (memories, values, asked))
        return (
            (of_memory * starts).sum_to_size(keep.shape), of_memory @ written.mT, of_new,
            of_new @ (ask @ starts).mT, of_old @ starts.mT, after,
        )  # fmt: skip


def _chunks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    return [tensor.unbind() for tensor in tensors]
