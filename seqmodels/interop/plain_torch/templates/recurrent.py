"""Recurrent cells as one step each, and stacks of them."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.interop.plain_torch.templates.models import make


def choose(real, new, old):
    """Tensors of `new` in rows that are real, (rows,), of `old` in the others."""
    return [torch.where(real.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(new, old)]


class Cell(nn.Module):
    """One step in time, `y, state = cell.step(x, state)`, from inputs (rows, features); a state is a list of tensors.

    A sequence is the loop over its steps: slow, and obviously right.
    """

    def initial(self, x):
        return [x.new_zeros(len(x), *shape) for shape in self.shapes]

    def from_vector(self, vector):
        """A state from its features side by side."""
        return list(vector.chunk(len(self.shapes), -1))

    def vector_size(self):
        return sum(size for (size,) in self.shapes)

    def forward(self, x, state=None, lengths=None):
        """Outputs (rows, positions, features), and the state at the end, which for each row is at its length."""
        state, outputs = self.initial(x) if state is None else state, []
        for t in range(x.shape[1]):
            y, new = self.step(x[:, t], state)
            state = new if lengths is None else choose(t < lengths, new, state)
            outputs.append(y)
        return torch.stack(outputs, 1), state


class Fused(Cell):
    """A layer of torch."""

    def __init__(self, input_size, hidden_size, **more):
        super().__init__()
        self.kernel = self.layer(input_size, hidden_size, batch_first=True, **more)
        self.shapes = [(hidden_size,)] * self.parts

    def forward(self, x, state=None, lengths=None):
        state = [part.unsqueeze(0).contiguous() for part in (self.initial(x) if state is None else state)]
        whole = x.shape[1]
        if lengths is not None:
            x = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, end = self.kernel(x, tuple(state) if self.parts > 1 else state[0])
        if lengths is not None:
            y, _ = pad_packed_sequence(y, batch_first=True, total_length=whole)
        return y, [part.squeeze(0) for part in (end if self.parts > 1 else (end,))]


class RNN(Fused):
    layer, parts = nn.RNN, 1


class LSTM(Fused):
    layer, parts = nn.LSTM, 2


class GRU(Fused):
    layer, parts = nn.GRU, 1


class MinGRU(Cell):
    """`h_t = (1 - z_t) h_{t-1} + z_t n_t`, with gate and candidate from the input alone (Feng et al. 2024)."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.from_input = nn.Linear(input_size, 2 * hidden_size)
        self.shapes = [(hidden_size,)]

    def step(self, x, state):
        z, n = self.from_input(x).chunk(2, -1)
        h = (-z).sigmoid() * state[0] + z.sigmoid() * n
        return h, [h]


class MinLSTM(Cell):
    """`h_t = f_t h_{t-1} + i_t g_t`, the gates divided by their sum (Feng et al. 2024)."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.from_input = nn.Linear(input_size, 3 * hidden_size)
        self.shapes = [(hidden_size,)]

    def step(self, x, state):
        f, i, g = self.from_input(x).chunk(3, -1)
        difference = F.logsigmoid(f) - F.logsigmoid(i)
        h = difference.sigmoid() * state[0] + (-difference).sigmoid() * g
        return h, [h]


class Multiplicative(Cell):
    """The recurrent matrix depends on the input: factors `m` stand in the place of the last `h`."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.factors_of_input = nn.Linear(input_size, hidden_size, bias=False)
        self.factors_of_state = nn.Linear(hidden_size, hidden_size, bias=False)
        self.from_input = nn.Linear(input_size, self.maps * hidden_size)
        self.from_factors = nn.Linear(hidden_size, self.maps * hidden_size, bias=False)
        self.shapes = [(hidden_size,)] * self.parts

    def maps_of(self, x, h):
        m = self.factors_of_input(x) * self.factors_of_state(h)
        return self.from_input(x) + self.from_factors(m)


class MultiplicativeRNN(Multiplicative):
    """Sutskever, Martens and Hinton 2011."""

    maps, parts = 1, 1

    def step(self, x, state):
        h = self.maps_of(x, state[0]).tanh()
        return h, [h]


class MultiplicativeLSTM(Multiplicative):
    """Krause et al. 2016."""

    maps, parts = 4, 2

    def step(self, x, state):
        h, c = state
        i, f, g, o = self.maps_of(x, h).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return h, [h, c]


class SLSTM(Cell):
    """An LSTM with exponential input gates and a normaliser `n`, all divided by `exp(m)` (Beck et al. 2024)."""

    def __init__(self, input_size, hidden_size, heads):
        super().__init__()
        self.heads, self.size = heads, hidden_size // heads
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.from_state = nn.Linear(self.size, 4 * hidden_size, bias=False)
        self.shapes = [(hidden_size,)] * 4

    def initial(self, x):
        h, c, n, m = super().initial(x)
        return [h, c, n, torch.full_like(m, -torch.inf)]

    def from_vector(self, vector):
        h, c = vector.chunk(2, -1)
        return [h, c, torch.ones_like(c), torch.zeros_like(c)]

    def vector_size(self):
        return 2 * self.heads * self.size

    def step(self, x, state):
        h, c, n, m = state
        maps = self.from_state.weight.view(self.heads, 4, self.size, self.size)
        of_state = torch.einsum("rhd,hged->rghe", h.view(len(h), self.heads, self.size), maps)
        i, f, z, o = (self.from_input(x) + of_state.flatten(1)).chunk(4, -1)
        kept = F.logsigmoid(f) + m
        m = torch.maximum(kept, i)
        write, keep = (i - m).exp(), (kept - m).exp()
        c, n = keep * c + write * z.tanh(), keep * n + write
        h = o.sigmoid() * c / n
        return h, [h, c, n, m]


class Recurrent(nn.Module):
    """Layers of cells, each of which reads the outputs of the one below; their state is a list, one a layer."""

    def __init__(self, layers, learned_start):
        super().__init__()
        self.layers = nn.ModuleList(make(settings) for settings in layers)
        if learned_start:
            self.start = nn.Parameter(torch.zeros(sum(cell.vector_size() for cell in self.layers)))
        self.learned_start = learned_start

    def as_state(self, vectors):
        """The states of all layers from their features side by side, (rows, features)."""
        parts = vectors.split([cell.vector_size() for cell in self.layers], -1)
        return [cell.from_vector(part) for cell, part in zip(self.layers, parts)]

    def forward(self, x, state=None, lengths=None):
        if state is None:
            state = self.as_state(self.start.expand(len(x), -1)) if self.learned_start else [None] * len(self.layers)
        ends = []
        for cell, start in zip(self.layers, state):
            x, end = cell(x, start, lengths)
            ends.append(end)
        return x, ends

    def summary(self, y, lengths):
        return last(y, lengths)


def last(y, lengths):
    """The last outputs of rows, (rows, features), which end at their lengths."""
    return y[:, -1] if lengths is None else y[torch.arange(len(y), device=y.device), lengths - 1]
