"""N-grams as a network: interpolated modified Kneser-Ney probabilities, whose state is the context."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.batch import BOS
from seqmodels.errors import InputError
from seqmodels.nn.backbone import Backbone, TokenIds
from seqmodels.nn.n_gram_counts import MOST, counted, discounted
from seqmodels.state import State

PROBABILITIES = 1 << 23
"""Probabilities held in double precision at a time."""
NOTHING = -1
"""In place of a token before the start of a text, or of a context that never occurred."""


class _Table(NamedTuple):
    """The n-grams of one order, by their contexts, in double precision; W of them, and C contexts."""

    starts: Tensor
    """Where the n-grams of each context begin, int64 (C + 1,)."""
    tokens: Tensor
    """The last token of each, int64 (W,)."""
    shares: Tensor
    """Its discounted count as a fraction of the counts of its context, (W,)."""
    rests: Tensor
    """What discounts leave to shorter contexts, (C,); 1 where a context was never followed."""


class NGram(Backbone):
    """Interpolated Kneser-Ney n-grams with three discounts (Chen and Goodman 1999): counted, not learned.

    `p(w | h) = (c(hw) - D(c(hw))) / c(h) + rest(h) p(w | h')`, where `h'` is the context `h` without its first token.
    Of the longest n-grams `c` is the number of occurrences, of all others that of different tokens before them. Inputs
    are token ids, (B, T, 1), outputs log-probabilities of the next token, (B, T, V); the state is the last `order` - 2
    tokens before. It has no parameters: `count` takes the counts of a text, which are saved as tensors.

    Args:
        order: tokens of the longest n-gram; 1 knows no context.

    Raises:
        InputError: the order is not positive.
    """

    input_size, output_size = 1, 0
    learns = False

    def __init__(self, order: int = 6) -> None:
        super().__init__()
        if not 1 <= order <= MOST:
            raise InputError(f"order={order} was given; expected from 1 to {MOST}")
        self.order = order
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
                made.append(_Table(starts, keys % self.output_size, *discounted(starts, counts)))
                contexts = len(keys)
            self._tables = made
        return self._tables

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        self._check(x, mask, memory)
        tokens, width = x.squeeze(-1).long(), max(0, self.order - 2)
        before = tokens.new_full((len(tokens), width), NOTHING) if state is None else state
        assert isinstance(before, Tensor)
        order = None if mask is None else (~mask).long().argsort(dim=1, stable=True)  # real positions first
        read = torch.cat([before, tokens if order is None else tokens.gather(1, order)], 1)
        logs = self._log_probabilities(self._contexts(read)).view(*tokens.shape, -1)
        if mask is None or order is None:
            return logs, read[:, read.shape[1] - width :]
        logs = torch.empty_like(logs).scatter_(1, order.unsqueeze(-1).expand_as(logs), logs)
        last = mask.sum(1, keepdim=True) + torch.arange(width, device=mask.device)
        return logs.masked_fill(~mask.unsqueeze(-1), 0), read.gather(1, last)

    def _contexts(self, read: Tensor) -> list[Tensor]:
        """The contexts at each position by their length, from 1 on, int64 (B * T,) each, or NOTHING."""
        width, known = max(0, self.order - 2), read
        found = [] if self.order == 1 else [read[:, width:].flatten()]
        for n in range(2, self.order):
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
        return found or [read[:, width:].flatten()]

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
    first = table.starts[there]
    counts = (table.starts[there + 1] - first) * known
    behind = counts.cumsum(0)
    rows = torch.arange(len(p), device=p.device).repeat_interleave(counts)
    places = torch.arange(len(rows), device=p.device) + (first - behind + counts).repeat_interleave(counts)
    p.view(-1).index_add_(0, rows * p.shape[1] + table.tokens[places], table.shares[places])
