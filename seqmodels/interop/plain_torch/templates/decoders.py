"""Networks made of networks: in sequence, in both directions, and as the decoder of a source."""

import torch
from torch import nn

from seqmodels.interop.plain_torch.templates.models import make, turned


class Sequence(nn.Module):
    """Networks one above the other."""

    def __init__(self, networks, causal):
        super().__init__()
        self.networks, self.causal = nn.ModuleList(make(one) for one in networks), causal

    def forward(self, x, state=None, lengths=None):
        ends = []
        for network, start in zip(self.networks, [None] * len(self.networks) if state is None else state):
            x, end = network(x, start, lengths)
            ends.append(end)
        return x, ends if self.causal else None

    def summary(self, y, lengths):
        return self.networks[-1].summary(y, lengths)


class BothWays(nn.Module):
    """Two networks, of which the second reads from the end; outputs are side by side, in the order of the text."""

    def __init__(self, networks):
        super().__init__()
        self.ways = nn.ModuleList(make(one) for one in networks)

    def forward(self, x, state=None, lengths=None):
        y, _ = self.ways[0](x, None, lengths)
        z, _ = self.ways[1](turned(x, lengths), None, lengths)
        return torch.cat((y, turned(z, lengths)), -1), None

    def summary(self, y, lengths):
        forwards, backwards = y.chunk(2, -1)
        backwards = self.ways[1].summary(turned(backwards, lengths), lengths)
        return torch.cat((self.ways[0].summary(forwards, lengths), backwards), -1)


class Alignment(nn.Module):
    """Attention weights of queries (rows, positions, features) over a source, and its mean under them."""

    def __init__(self, kind, query_size, memory_size):
        super().__init__()
        self.kind = kind
        self.key = nn.Identity() if kind == "dot" else nn.Linear(memory_size, query_size, bias=False)
        if kind == "additive":
            self.query = nn.Linear(query_size, query_size, bias=False)
            self.score = nn.Parameter(torch.zeros(query_size))

    def forward(self, query, memory):
        keys = memory["keys"]
        if self.kind == "additive":
            scores = (self.query(query).unsqueeze(2) + keys.unsqueeze(1)).tanh() @ self.score
        else:
            scores = query @ keys.mT
        weights = scores.masked_fill(~memory["real"].unsqueeze(1), -torch.inf).softmax(-1)
        return weights @ memory["source"]


class Decoder(nn.Module):
    """A network that starts from the summary of a source, and sees the source through an alignment at each step."""

    def __init__(self, network, input_size, output_size, memory_size, attention, fed, start, bridge):
        super().__init__()
        self.network, self.attention, self.bridge, self.size = make(network), attention, bridge, output_size
        self.start = nn.Linear(memory_size, start) if start else None
        self.aligned = attention not in ("none", "mean")
        if self.aligned:
            self.align = Alignment(attention, output_size, memory_size)
            self.correct = nn.Linear(memory_size + output_size, output_size)
        if attention == "additive":
            self.begin = nn.Linear(memory_size, output_size)
        self.feed = nn.Linear(fed, input_size, bias=False) if fed else None

    def remember(self, source, real, lengths, state):
        """What is needed of a source; `state` is that of its encoder."""
        summary = state[0]
        if self.attention == "mean":
            summary = source.mean(1) if lengths is None else source.sum(1) / lengths.unsqueeze(1)
        start = state[1] if self.bridge == "copy" else None
        if self.start is not None:
            start = self.network.as_state(self.start(summary).tanh())
        memory = {"real": real, "source": source, "summary": summary, "start": start}
        return memory | ({"keys": self.align.key(source)} if self.aligned else {})

    def corrected(self, y, context):
        return self.correct(torch.cat((context, y), -1)).tanh()

    def forward(self, x, state=None, lengths=None, memory=None):
        if state is None:
            before = x.new_zeros(len(x), self.size)
            if self.attention == "additive":
                before = self.begin(memory["summary"]).tanh()
            state = memory["start"], before
        inner, before = state
        if not self.aligned or self.feed is None:  # all positions at once
            if self.feed is not None:
                x = x + self.feed(memory["summary"]).unsqueeze(1)
            y, inner = self.network(x, inner)
            return self.corrected(y, self.align(y, memory)) if self.aligned else y, (inner, before)
        outputs = []
        for t in range(x.shape[1]):
            last = before.unsqueeze(1)
            if self.attention == "additive":  # the source under the previous output is an input
                context = self.align(last, memory)
                following, inner = self.network(x[:, t : t + 1] + self.feed(context), inner)
                y = self.corrected(following, context)
            else:
                plain, inner = self.network(x[:, t : t + 1] + self.feed(last), inner)
                y = following = self.corrected(plain, self.align(plain, memory))
            before = following.squeeze(1)
            outputs.append(y)
        return torch.cat(outputs, 1), (inner, before)
