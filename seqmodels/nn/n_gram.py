"""N-grams as a network: interpolated modified Kneser-Ney probabilities, whose state is the context."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.batch import BOS
from seqmodels.errors import InputError
from seqmodels.nn.backbone import Backbone, TokenIds
from seqmodels.nn.n_gram_counts import MOST, counted, discounted, discounts
from seqmodels.nn.n_gram_memory import COMPARED, CountsRead
from seqmodels.state import State

PROBABILITIES = 1 << 23
"""Probabilities held in double precision at a time."""
NOTHING = -1
"""In place of a token before the start of a text, or of a context that never occurred."""


class _Table(NamedTuple):
    """The n-grams of one order, by their contexts, in double precision; N of them, and C contexts."""

    starts: Tensor
    """Where the n-grams of each context begin, int64 (C + 1,)."""
    tokens: Tensor
    """The last token of each, int64 (N,)."""
    shares: Tensor
    """Its discounted count as a fraction of the counts of its context, (N,)."""
    rests: Tensor
    """What discounts leave to shorter contexts, (C,); 1 where a context was never followed."""
    discounts: Tensor
    """What is taken of counts of 0, 1, 2 and more, (4,)."""

    def entries(self, contexts: Tensor) -> tuple[Tensor, Tensor]:
        """The n-grams of contexts (R,) by their row of R and their place in the table."""
        if len(self.starts) < 2:  # an order without contexts
            return contexts[:0], contexts[:0]
        there = contexts.clamp(min=0, max=len(self.starts) - 2)
        first = self.starts[there]
        counts = (self.starts[there + 1] - first) * (contexts >= 0)
        behind = counts.cumsum(0)
        rows = torch.arange(len(contexts), device=contexts.device).repeat_interleave(counts)
        places = torch.arange(len(rows), device=contexts.device)
        return rows, places + (first - behind + counts).repeat_interleave(counts)


class NGram(Backbone):
    """Interpolated Kneser-Ney n-grams with three discounts (Chen and Goodman 1999): counted, not learned.

    `p(w | h) = (c(hw) - D(c(hw))) / c(h) + rest(h) p(w | h')`, where `h'` is the context `h` without its first token.
    Of the longest n-grams `c` is the number of occurrences, of all others that of different tokens before them. Inputs
    are token ids, (B, T, 1), outputs log-probabilities of the next token, (B, T, V); the state is the last `order` - 2
    tokens before. It has no parameters: `count` takes the counts of a text, which are saved as tensors.

    With a memory it goes on counting: probabilities are those of the training text and of what it has read, whose last
    tokens are its state, with the discounts of the training text.

    Args:
        order: tokens of the longest n-gram; 1 knows no context.
        memory: tokens W of what it reads that are counted, too; 0 for none.

    Raises:
        InputError: the order is not positive, or the memory is shorter than it.
    """

    input_size, output_size = 1, 0
    learns = False

    def __init__(self, order: int = 6, memory: int = 0) -> None:
        super().__init__()
        if not 1 <= order <= MOST:
            raise InputError(f"order={order} was given; expected from 1 to {MOST}")
        if memory and memory < order:
            raise InputError(f"memory={memory} was given; expected 0, or at least the {order} tokens of an n-gram")
        self.order, self.memory = order, memory
        # The loss has a gradient, which is empty: trainers, optimizers and checkpoints work as for any network.
        self.nothing = nn.Parameter(torch.empty(0))
        for n in range(1, order + 1):
            self.register_buffer(f"keys_{n}", torch.empty(0, dtype=torch.int64))
            self.register_buffer(f"counts_{n}", torch.empty(0, dtype=torch.int64))
        self._tables: list[_Table] = []

    def ends(self, vocab_size: int) -> tuple[nn.Module, nn.Module]:
        self.output_size = vocab_size
        return TokenIds(vocab_size), nn.Identity()

    @property
    def entries(self) -> int:
        """Number of different n-grams, of all orders."""
        return sum(int((counts > 0).sum()) for _, counts in self._levels())

    def count(self, tokens: Tensor) -> None:
        """Take the counts of a text in place of those there are.

        Args:
            tokens: token ids (N,); PAD and BOS are contexts, and never predicted.
        """
        device = self.nothing.device
        for n, (keys, counts) in enumerate(counted(tokens, self.order, self.output_size, BOS), 1):
            setattr(self, f"keys_{n}", keys.to(device))
            setattr(self, f"counts_{n}", counts.to(device))
        self._tables = []

    def take_sizes(self, tensors: Mapping[str, Tensor]) -> None:
        for name, old in list(self.named_buffers()):
            if name in tensors and tensors[name].ndim == 1:
                setattr(self, name, old.new_empty(tensors[name].shape))
        self._tables = []

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *args: object) -> None:
        inside = {name.removeprefix(prefix): tensor for name, tensor in state_dict.items() if name.startswith(prefix)}
        self.take_sizes(inside)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _levels(self) -> Iterator[tuple[Tensor, Tensor]]:
        for n in range(1, self.order + 1):
            yield getattr(self, f"keys_{n}"), getattr(self, f"counts_{n}")

    def tables(self) -> list[_Table]:
        """The probabilities of each order, made of the counts when they are first needed."""
        device = self.nothing.device
        if not self._tables or self._tables[0].starts.device != device:
            contexts, made = 1, list[_Table]()
            for n, (keys, counts) in enumerate(self._levels(), 1):
                if len(keys) != len(counts) or bool((keys.diff() <= 0).any()) or bool((counts < 0).any()):
                    raise InputError(f"the counts of n-grams of order {n} are damaged: they are not in order")
                bounds = torch.arange(contexts + 1, device=device) * self.output_size
                starts = torch.searchsorted(keys, bounds)
                made.append(_Table(starts, keys % self.output_size, *discounted(starts, counts), discounts(counts)))
                contexts = len(keys)
            self._tables = made
        return self._tables

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        self._check(x, mask, memory)
        tokens, width = x.squeeze(-1).long(), self.memory or max(0, self.order - 2)
        before = tokens.new_full((len(tokens), width), NOTHING)
        known = before.new_zeros(before.shape, dtype=torch.uint8)
        if state is not None:
            before, known = cast(tuple[Tensor, Tensor], state if self.memory else (state, known))
        order = None if mask is None else (~mask).long().argsort(dim=1, stable=True)  # real positions first
        read = torch.cat([before, tokens if order is None else tokens.gather(1, order)], 1)
        if self.memory:
            logs, known = self._read_on(read, known)
        else:
            logs = self._log_probabilities(self._contexts(read, width)).view(*tokens.shape, -1)
        last = read.shape[1] - width + torch.arange(width, device=read.device).expand_as(before)
        if mask is not None and order is not None:
            logs = torch.empty_like(logs).scatter_(1, order.unsqueeze(-1).expand_as(logs), logs)
            logs = logs.masked_fill(~mask.unsqueeze(-1), 0)
            last = last - (~mask).sum(1, keepdim=True)
        kept = read.gather(1, last)
        return logs, (kept, known.gather(1, last)) if self.memory else kept

    def _contexts(self, read: Tensor, width: int, longest: int | None = None) -> list[Tensor]:
        """The contexts at each position from `width` on by their length, from 1 on, int64 (B * T,), or NOTHING.

        `longest` is the length of the last ones, by default `order` - 1.
        """
        known = read
        found = [read[:, width:].flatten()]
        for n in range(2, (self.order if longest is None else longest + 1)):
            keys: Tensor = getattr(self, f"keys_{n}")
            wanted = known[:, :-1] * self.output_size + read[:, 1:]
            wanted = wanted.masked_fill((known[:, :-1] < 0) | (read[:, 1:] < 0), NOTHING)
            if len(keys):
                place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
                known = torch.where(keys[place] == wanted, place, NOTHING)
            else:
                known = torch.full_like(wanted, NOTHING)
            known = F.pad(known, (1, 0), value=NOTHING)
            found.append(known[:, width:].flatten())
        return found

    def _read_on(self, read: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, T, V) behind new tokens, and what is known (B, W + T) of all tokens.

        `read` has W tokens of the memory, and T new ones; `known`, (B, W), is the order of the longest n-gram that
        ends at each of the former and occurred before it.
        """
        W, pieces = self.memory, []
        some = max(1, min(COMPARED // (len(read) * W), PROBABILITIES // (4 * len(read) * self.output_size)))
        for start in range(0, read.shape[1] - W, some):
            piece = read[:, start : start + W + some]
            new, near = piece.shape[1] - W, piece[:, W - min(W, self.order) :]
            grams = self._contexts(near, near.shape[1] - new, self.order)
            trained = torch.stack([self._counted(gram, n) for n, gram in enumerate(grams, 1)], -1)
            orders = torch.arange(1, self.order + 1, device=read.device, dtype=known.dtype)
            trained = (trained * orders).amax(-1).view(-1, new)
            counts = CountsRead(piece, known[:, start:], trained, self.order)
            known = torch.cat([known, counts.known[:, W:]], 1)
            pieces.append(self._with_counts(grams, counts).view(len(read), new, -1))
        return torch.cat(pieces, 1) + self.nothing.sum(), known

    def _counted(self, grams: Tensor, order: int) -> Tensor:
        """Whether n-grams, by their places, occur in the training text."""
        counts: Tensor = getattr(self, f"counts_{order}")
        if not len(counts):
            return torch.zeros_like(grams, dtype=torch.bool)
        return (grams >= 0) & (counts[grams.clamp(min=0)] > 0)

    def _with_counts(self, contexts: list[Tensor], read: CountsRead) -> Tensor:
        """Log-probabilities (R, V) of contexts (R,) by length, with the counts of what was read."""
        R, V = len(contexts[0]), self.output_size
        p = torch.full((R, V), 1 / V, dtype=torch.float64, device=contexts[0].device)
        every = [torch.zeros_like(contexts[0]), *contexts]
        own = read.places(V)
        for context, table, (_, counts), places in zip(every, self.tables(), self._levels(), own, strict=False):
            seen = torch.zeros_like(p)
            rows, entries = table.entries(context)
            seen[rows, table.tokens[entries]] = counts[entries].double()
            seen.view(-1).index_add_(0, places, p.new_ones(len(places)))
            sums, taken = seen.sum(1, keepdim=True), table.discounts[seen.clamp(max=3).long()]
            shares = (seen - taken).addcmul_(taken.sum(1, keepdim=True), p) / sums.clamp(min=1)
            p = torch.where(sums > 0, shares, p)
        return p.log_().to(torch.promote_types(self.nothing.dtype, torch.float32))

    def _log_probabilities(self, contexts: list[Tensor]) -> Tensor:
        """(B * T, V) of contexts (B * T,) by length."""
        tables, rows = self.tables(), max(1, PROBABILITIES // self.output_size)
        base = torch.full((self.output_size,), 1 / self.output_size, dtype=torch.float64, device=contexts[0].device)
        base = base * tables[0].rests[0]
        base.index_add_(0, tables[0].tokens, tables[0].shares)
        pieces = []
        for some in zip(*(torch.split(context, rows) for context in contexts), strict=True):
            p = base.repeat(len(some[0]), 1)
            for context, table in zip(some, tables[1:], strict=False):
                _interpolate(p, context, table)
            pieces.append(p.log_().to(torch.promote_types(self.nothing.dtype, torch.float32)))
        return torch.cat(pieces) + self.nothing.sum()


def _interpolate(p: Tensor, contexts: Tensor, table: _Table) -> None:
    """Probabilities (R, V) of shorter contexts become those of contexts (R,) that are a token longer."""
    if len(table.starts) < 2:  # an order without contexts
        return
    there, known = contexts.clamp(min=0, max=len(table.starts) - 2), contexts >= 0
    p *= torch.where(known, table.rests[there], 1.0).unsqueeze(1)
    rows, places = table.entries(contexts)
    p.view(-1).index_add_(0, rows * p.shape[1] + table.tokens[places], table.shares[places])
