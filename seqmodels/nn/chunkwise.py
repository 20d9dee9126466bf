"""Associative memories: sums of gated outer products with or without the delta rule, in chunks or step by step.

The state is a matrix `S` for each head, (K, V), from keys to values. With a decay `a_t` and a writing strength
`beta_t`, both from the input alone,

- `S_t = a_t S_{t-1} + beta_t k_t v_t^T` adds to what is there (linear attention: Yang et al. 2024, Dao and Gu 2024);
- `S_t = (I - beta_t k_t k_t^T) a_t S_{t-1} + beta_t k_t v_t^T`, the delta rule, replaces what is stored under `k_t`
  (Schlag et al. 2021; Yang, Kautz and Hatamizadeh 2024).

The output is `S_t^T q_t`. `recurrent` is the definition; `chunkwise` computes the same with matrix products.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.environment import widest
from seqmodels.errors import InputError

CHUNK = {"cpu": 32}
"""Positions of a chunk by type of device; 64 on others."""

LEAF = 4
"""Positions of a block whose products with a decay by key are computed one by one."""

SPAN = 40.0
"""Largest logarithm of the decay by key between positions whose products are one product: e^40 is far from overflow."""

SMALLEST = -1000.0
"""Logarithm of a decay whose exponential is zero, and whose sums still have digits."""

Kernel = Callable[..., tuple[Tensor, Tensor]]
"""A function of the arguments of `recurrent` with the same results."""


def recurrent(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor, state: Tensor, *, delta: bool = False,
    ask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The recurrence, step by step.

    Args:
        q: queries (B, T, G, K); each of the G groups is shared by H / G heads.
        k: keys (B, T, G, K).
        v: values (B, T, H, V).
        decay: logarithms of the decay, at most 0: (B, T, H), or (B, T, H, K) for one decay for each feature of a key.
        beta: writing strengths (B, T, H).
        state: the memory before the first step, (B, H, K, V).
        delta: use the delta rule.
        ask: keys under which the delta rule looks for the value that it replaces, (B, T, G, K); `k` by default.

    Returns:
        Outputs (B, T, H, V), and the memory after the last step.
    """
    heads = v.shape[2] // q.shape[2]
    q, k, ask = (t.repeat_interleave(heads, 2) for t in (q, k, k if ask is None else ask))
    a = (decay if decay.ndim == 4 else decay.unsqueeze(-1)).exp().unsqueeze(-1)
    outputs = []
    for t in range(v.shape[1]):
        state = a[:, t] * state
        key, value = k[:, t].unsqueeze(-1), v[:, t].unsqueeze(-2)
        if delta:
            value = value - ask[:, t].unsqueeze(-2) @ state
        state = state + beta[:, t, :, None, None] * key * value
        outputs.append(q[:, t].unsqueeze(-2) @ state)
    return torch.stack(outputs, 1).squeeze(-2), state


def recurrent_(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor, state: Tensor, *, delta: bool = False
) -> tuple[Tensor, Tensor]:
    """The same for a single step, T = 1, without gradients: the memory is overwritten."""
    if (heads := v.shape[2] // q.shape[2]) > 1:
        q, k = q.repeat_interleave(heads, 2), k.repeat_interleave(heads, 2)
    memory = state.flatten(0, 1)  # (B H, K, V), the same memory: it is contiguous
    query, key, value = (t.reshape(len(memory), 1, -1) for t in (q, k, v))
    memory.mul_(decay.exp().reshape(len(memory), -1, 1))
    if delta:
        value = torch.baddbmm(value, key, memory, alpha=-1)
    memory.baddbmm_(key.mT, beta.reshape(-1, 1, 1) * value)
    return torch.bmm(query, memory).view(v.shape), state


def chunkwise(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor, state: Tensor, *, delta: bool = False,
    chunk: int | None = None, ask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The same as `recurrent`, in chunks: within a chunk by masked products, from chunk to chunk by the memory.

    Products of decays are exponentials of non-positive differences, so nothing overflows. With the delta rule, the
    values that a chunk writes solve a triangular system, since each depends on those before it.

    Args:
        q: see `recurrent`, as all others.
        k: keys.
        v: values.
        decay: logarithms of the decay.
        beta: writing strengths.
        state: the memory before the first step.
        delta: use the delta rule.
        ask: keys under which the delta rule looks.
        chunk: most positions of a chunk, which changes nothing but the time; None for `CHUNK`.

    Raises:
        InputError: shapes do not fit, a chunk has no position, or (found on a CPU only) a decay is larger than 1.
    """
    check_terms(q, k, v, decay, beta, state)
    if chunk is None:
        chunk = CHUNK.get(v.device.type, 64)
    if chunk < 1:
        raise InputError(f"chunk={chunk} was given; expected at least 1 position")
    ask = k if ask is None else ask
    if delta and (heads := v.shape[2] // q.shape[2]) > 1:  # what a head writes depends on what is in its own memory
        q, k, ask = (t.repeat_interleave(heads, 2) for t in (q, k, ask))
    B, T, H, V = v.shape
    G, K = q.shape[2:]
    # Chunks of equal length, so that the last one is not mostly padding: 40 positions are two of 20.
    R, C = H // G, -(-T // -(-T // chunk))
    if missing := -T % C:  # steps that neither decay nor write
        q, k, ask, v, decay, beta = (
            F.pad(t, (0, 0) * (t.ndim - 2) + (0, missing)) for t in (q, k, ask, v, decay, beta)
        )
    # Chunks first, so that each is one piece of memory; then rows, groups, positions, and the heads of a group.
    q, k, ask = (t.reshape(B, -1, C, G, K).permute(1, 0, 3, 2, 4) for t in (q, k, ask))  # (N, B, G, C, K)
    decay = decay.reshape(B, -1, C, G, K if decay.ndim == 4 else R).permute(1, 0, 3, 2, 4)
    # Sums in double precision: small differences of large sums are needed.
    sums = decay.to(widest(v.device)).clamp(min=SMALLEST).cumsum(3)  # (N, B, G, C, R), or K instead of R
    S = state.to(v.dtype).view(B, G, R, K, V).transpose(2, 3)  # (B, G, K, R, V)
    if delta:
        beta = beta.reshape(B, -1, C, H).permute(1, 0, 3, 2)  # (N, B, H, C)
        v = v.reshape(B, -1, C, H, V).permute(1, 0, 3, 2, 4)  # (N, B, H, C, V)
        o, S = _replace(q, k, ask, v, sums, beta, S.squeeze(3))
        o, S = o.unsqueeze(4), S.unsqueeze(3)
    else:
        written = (v * beta.unsqueeze(-1)).view(B, -1, C, G, R, V).permute(1, 0, 3, 2, 4, 5)  # (N, B, G, C, R, V)
        o, S = _add(q.contiguous(), k.contiguous(), written, sums, S)
    return o.permute(1, 0, 3, 2, 4, 5).reshape(B, -1, H, V)[:, :T], S.transpose(2, 3).reshape(B, H, K, V)


def _add(q: Tensor, k: Tensor, written: Tensor, sums: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """Without the delta rule: outputs (N, B, G, C, R, V), and the memory after the last chunk, (B, G, K, R, V)."""
    last, dtype = sums[:, :, :, -1:], q.dtype
    grown, left, kept = (s.to(dtype).exp() for s in (sums, last - sums, last))
    if written.shape[4] == 1 and sums.shape[4] == k.shape[4]:  # by key, or keys of one feature
        reading, moved = q * grown, _folded((k * left).mT, written)
        inside = _decayed_products(q.unsqueeze(3), k, sums)
        kept = kept.mT.unsqueeze(-1)  # (N, B, G, K, 1, 1)
    else:
        reading, moved = q, _folded(k.mT, written * left.unsqueeze(-1))
        inside = (q @ k.mT).unsqueeze(-3) * _ratio(sums.mT, dtype)
        kept = kept.unsqueeze(-1)  # (N, B, G, 1, R, 1)
    starts = []
    # Unbound rather than indexed: the gradient of every index is as large as the whole.
    for keep, move in zip(kept.unbind(), moved.unbind(), strict=True):
        starts.append(S)
        S = keep * S + move
    before = _folded(reading, torch.stack(starts))
    if reading is q:
        before = before * grown.unsqueeze(-1)
    return (inside @ written.transpose(3, 4)).transpose(3, 4) + before, S


def _replace(
    q: Tensor, k: Tensor, ask: Tensor, v: Tensor, sums: Tensor, beta: Tensor, S: Tensor
) -> tuple[Tensor, Tensor]:
    """With the delta rule: outputs (N, B, H, C, V), and the memory after the last chunk, (B, H, K, V).

    What a chunk writes is `(I + A)^-1 (beta V - beta a K S)`, with A the products of each key with those before it. Its
    first part is known before the memory `S` at the start of the chunk is.
    """
    N, B, H, C, K = k.shape
    dtype = k.dtype
    own = ask is not k
    both = torch.cat((q, ask), 3).flatten(1, 2)  # (N, B H, 2 C, K): what is read, and what is replaced
    q, ask = both.split_with_sizes([C, C], 2)
    k = k.flatten(1, 2) if own else ask
    v, beta, S = v.flatten(1, 2), beta.flatten(1, 2).unsqueeze(-1), S.flatten(0, 1)
    sums = sums.flatten(1, 2)  # (N, B H, C, 1 or K)
    last = sums[:, :, -1:]
    grown, left, kept = (s.to(dtype).exp() for s in (sums, last - sums, last))
    if sums.shape[3] == K:  # by key, or keys of one feature
        both = both.view(N, -1, 2, C, K)
        of_q, of_k = _decayed_products(both, k, sums).unbind(2)
        both = (both * grown.unsqueeze(2)).flatten(2, 3)
        scale: Tensor | None = None
    else:
        products = (both @ k.mT).view(N, -1, 2, C, C) * _ratio(sums.mT, dtype)
        of_q, of_k = products.unbind(2)
        scale = grown
    solved = cast(Tensor, _Inverse.apply(of_k * beta))  # type: ignore[no-untyped-call]
    solved = solved * beta.mT
    known, corrected, read = solved @ v, [], []
    again = -solved if scale is None else solved * -scale.mT
    pieces = (both, known, again, (k * left).mT, kept.mT)
    for asked, new, solve, write, keep in zip(*(piece.unbind() for piece in pieces), strict=True):
        before, old = (asked @ S).split_with_sizes([C, C], 1)
        read.append(before)
        corrected.append(torch.baddbmm(new, solve, old))
        S = torch.baddbmm(keep * S, write, corrected[-1])
    before = torch.stack(read)
    o = before if scale is None else before * scale
    o = o + of_q @ torch.stack(corrected)
    return o.view(N, B, H, C, -1), S.view(B, H, K, -1)


def _ratio(sums: Tensor, dtype: torch.dtype) -> Tensor:
    """The decay from position j to i of a chunk, (..., C, C), from running sums (..., C); zero for j > i."""
    C = sums.shape[-1]
    later = torch.ones(C, C, dtype=torch.bool, device=sums.device).triu(1)
    between = (sums.unsqueeze(-1) - sums.unsqueeze(-2)).to(dtype)
    return between.masked_fill(later, -torch.inf).exp()


def _folded(x: Tensor, y: Tensor) -> Tensor:
    """Products of (..., C, K), shared by the heads of a group, with (..., K, R, V) of each head: (..., C, R, V)."""
    return (x @ y.flatten(-2)).view(*x.shape[:-1], *y.shape[-2:])


def _decayed_products(x: Tensor, k: Tensor, sums: Tensor) -> Tensor:
    """`x_i . k_j` with decays by key from j to i, (..., X, C, C), zero for j > i.

    Positions whose decays are within `SPAN` of each other meet in one product, with decays counted from a border
    between them. Others are halved: one half meets the other by one product, where no exponent is positive, and is
    halved in turn, down to blocks of `LEAF`. To look which is free on a CPU only; elsewhere all are halved.

    Args:
        x: (..., X, C, K).
        k: (..., C, K).
        sums: running sums of the decays' logarithms, (..., C, K).
    """
    seen = x.device.type == "cpu" and not torch.compiler.is_compiling()
    earlier = x.new_ones(x.shape[-2], x.shape[-2]).tril()

    def product(left: Tensor, right: Tensor) -> Tensor:
        return (left.flatten(-3, -2) @ right.mT).view(*left.shape[:-1], -1)

    def block(first: int, end: int) -> Tensor:
        asked, own, keys = x[..., first:end, :], sums[..., first:end, :], k[..., first:end, :]
        middle = (end - first) // 2
        if seen and (own[..., 0, :] - own[..., -1, :]).max() <= SPAN:
            # The border cancels, so that it has no gradient.
            lead = (own - own[..., middle : middle + 1, :].detach()).to(x.dtype)
            return product(asked * lead.exp().unsqueeze(-3), keys * (-lead).exp()) * earlier[first:end, first:end]
        if end - first <= LEAF:
            hidden = torch.ones(end - first, end - first, dtype=torch.bool, device=x.device).triu(1).unsqueeze(-1)
            between = (own.unsqueeze(-2) - own.unsqueeze(-3)).to(x.dtype).masked_fill(hidden, -torch.inf).exp()
            return ((between * keys.unsqueeze(-3)).unsqueeze(-4) * asked.unsqueeze(-2)).sum(-1)
        border = own[..., middle - 1 : middle, :]
        after = asked[..., middle:, :] * (own[..., middle:, :] - border).to(x.dtype).exp().unsqueeze(-3)
        before = keys[..., :middle, :] * (border - own[..., :middle, :]).to(x.dtype).exp()
        upper = F.pad(block(first, first + middle), (0, end - first - middle))
        return torch.cat((upper, torch.cat((product(after, before), block(first + middle, end)), -1)), -2)

    return block(0, x.shape[-2])


class _Inverse(torch.autograd.Function):
    """`(I + A)^-1` of the part of A, (..., C, C), below the diagonal."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        identity = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
        inverse = torch.linalg.solve_triangular(a, identity.expand_as(a), upper=False, unitriangular=True)
        ctx.save_for_backward(inverse)
        return cast(Tensor, inverse)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        return cast(Tensor, -(inverse.mT @ gradients[0] @ inverse.mT).tril(-1))


def check_terms(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor, state: Tensor) -> None:
    """Refuse shapes that do not fit, and on a CPU, where looking is free, decays above 1."""
    shapes = {"q": q, "k": k, "v": v, "decay": decay, "beta": beta, "state": state}
    given = ", ".join(f"{name} {tuple(t.shape)}" for name, t in shapes.items())
    fits = q.ndim == v.ndim == 4 and q.shape == k.shape and q.shape[:2] == v.shape[:2] and v.shape[1] > 0
    if not fits or v.shape[2] % q.shape[2]:
        raise InputError(
            f"{given} were given; expected q and k (B, T, G, K) and v (B, T, H, V), T at least 1 and H a multiple of G"
        )
    (B, T, H, V), K = v.shape, q.shape[3]
    by_key = (B, T, H, K) if q.shape[2] == H else None
    if beta.shape != (B, T, H) or decay.shape not in ((B, T, H), by_key) or state.shape != (B, H, K, V):
        wanted = f"beta {(B, T, H)}, decay {(B, T, H)}{f' or {by_key}' if by_key else ''} and state {(B, H, K, V)}"
        raise InputError(f"{given} were given; expected {wanted}")
    if v.device.type == "cpu" and not torch.compiler.is_compiling() and (decay.detach() > 0).any():
        largest = float(decay.detach().max())
        raise InputError(f"a decay with logarithm {largest:.3g} was given; expected at most 0, where nothing grows")


_HANDED_IN: dict[tuple[str, bool, bool], Kernel] = {}
"""Kernels by type of device, delta rule and decay by key."""


def fastest(device: str, delta: bool, by_key: bool) -> Kernel:
    """The kernel for a type of device and a kind of recurrence: the one that was handed in, or `chunkwise`."""
    return _HANDED_IN.get((device, delta, by_key), chunkwise)


def hand_in(
    kernel: Kernel | None,
    *,
    delta: bool,
    by_key: bool = False,
    device: str | torch.device = "cuda",
    tolerance: float = 1e-2,
) -> None:
    """Let all networks use another kernel on a type of device, such as one of `fla`; None for `chunkwise` again.

    It is tried first: values and gradients for several lengths, among them some that no chunk divides, and a memory
    that is not empty, against `recurrent` in double precision.

    Args:
        kernel: a function of the arguments and the results of `recurrent`.
        delta: whether it is for the delta rule.
        by_key: whether it is for decays (B, T, H, K) rather than (B, T, H).
        device: on which it is tried, and for whose type it is used.
        tolerance: largest difference, as a fraction of 1 + the size of the value.

    Raises:
        InputError: it fails, or differs from the recurrence by more than the tolerance.
    """
    place = torch.device(device)
    key = place.type, delta, by_key
    if kernel is None:
        _HANDED_IN.pop(key, None)
        return
    for T in (1, 64, 100):
        try:
            found = _difference(kernel, T, delta, by_key, place)
        except Exception as error:  # of any code
            raise InputError(
                f"the kernel that was handed in raised {type(error).__name__} on {T} positions, "
                f"{' '.join(str(error).split())[:200]}; it is given the arguments of chunkwise.recurrent"
            ) from error
        if not found <= tolerance:
            raise InputError(
                f"the kernel that was handed in differs from the recurrence by {found:.2g} on {T} positions; expected "
                f"at most {tolerance:g}. Mind the scale of queries, which is not part of the kernel, and the layout of "
                "chunkwise.recurrent"
            )
    _HANDED_IN[key] = kernel


def _difference(kernel: Kernel, T: int, delta: bool, by_key: bool, device: torch.device) -> float:
    """The largest relative difference of values and gradients from the recurrence in double precision."""
    B, H, K, V = 2, 2, 32, 32
    random = torch.Generator().manual_seed(0)
    new = partial(torch.randn, generator=random, dtype=torch.float64)
    q, k = (F.normalize(new(B, T, H, K), dim=-1) for _ in range(2))
    decay = F.logsigmoid(new(B, T, H, K) if by_key else new(B, T, H))
    terms = [q, k, new(B, T, H, V), decay, new(B, T, H).sigmoid(), new(B, H, K, V)]
    weights = new(B, T, H, V), new(B, H, K, V)
    results = []
    for function, where, dtype in ((recurrent, "cpu", torch.float64), (kernel, device, torch.float32)):
        own = [term.to(where, dtype).requires_grad_() for term in terms]
        values = function(*own, delta=delta)
        loss = torch.stack([(a * w.to(a)).sum() for a, w in zip(values, weights, strict=True)]).sum()
        results.append([t.detach().cpu().double() for t in (*values, *torch.autograd.grad(loss, own))])
    return max(float(((a - b).abs() / (1 + b.abs())).max()) for b, a in zip(*results, strict=True))
