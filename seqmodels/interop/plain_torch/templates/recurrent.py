"""A recurrent language model in plain torch: embedding, layers, softmax layer.

    from model import load
    model = load()
    logits, state = model(ids)            # ids: int64 (rows, positions)
    logits, state = model(more, state)    # goes on after them

Needs torch and safetensors. The settings are in `config.json`, the weights in `model.safetensors`.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F


class MinGRU(nn.Module):
    """`h_t = (1 - z_t) h_{t-1} + z_t n_t`, with gate and candidate from the input alone (Feng et al. 2024)."""

    parts = 2

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.from_input = nn.Linear(input_size, self.parts * hidden_size)

    def coefficients(self, x):
        z, n = self.from_input(x).chunk(2, -1)
        return (-z).sigmoid(), z.sigmoid() * n

    def forward(self, x, h):
        a, b = self.coefficients(x)
        outputs = []
        for t in range(x.shape[1]):
            h = a[:, t] * h + b[:, t]
            outputs.append(h)
        return torch.stack(outputs, 1), h


class MinLSTM(MinGRU):
    """`h_t = f_t h_{t-1} + i_t g_t`, the gates divided by their sum (Feng et al. 2024)."""

    parts = 3

    def coefficients(self, x):
        f, i, g = self.from_input(x).chunk(3, -1)
        difference = F.logsigmoid(f) - F.logsigmoid(i)
        return difference.sigmoid(), (-difference).sigmoid() * g


class LanguageModel(nn.Module):
    """Token ids to logits of the next token, and the state after them."""

    def __init__(self, kind, vocab_size, input_size, hidden_size, num_layers, nonlinearity="tanh"):
        super().__init__()
        self.kind, self.num_layers = kind, num_layers
        self.embedding = nn.Embedding(vocab_size, input_size)
        if kind in ("MinGRU", "MinLSTM"):
            cell = MinGRU if kind == "MinGRU" else MinLSTM
            sizes = [input_size] + [hidden_size] * (num_layers - 1)
            self.layers = nn.ModuleList(cell(size, hidden_size) for size in sizes)
        else:
            more = {"nonlinearity": nonlinearity} if kind == "RNN" else {}
            self.rnn = getattr(nn, kind)(input_size, hidden_size, num_layers, batch_first=True, **more)
        # The state before the first token, for each layer h, and c where there is one.
        self.start = nn.Parameter(torch.zeros(num_layers, 2 if kind == "LSTM" else 1, hidden_size))
        self.head = nn.Linear(hidden_size, vocab_size)

    def initial_state(self, rows):
        parts = tuple(part.unsqueeze(1).repeat(1, rows, 1) for part in self.start.unbind(1))
        return parts if len(parts) > 1 else parts[0]

    def forward(self, ids, state=None):
        x = self.embedding(ids)
        state = self.initial_state(len(ids)) if state is None else state
        if self.kind in ("MinGRU", "MinLSTM"):
            ends = []
            for layer, h in zip(self.layers, state):
                x, end = layer(x, h)
                ends.append(end)
            state = torch.stack(ends)
        else:
            x, state = self.rnn(x, state)
        return self.head(x), state


def load(folder=Path(__file__).parent):
    """The model with its weights, in evaluation mode."""
    folder = Path(folder)
    model = LanguageModel(**json.loads((folder / "config.json").read_text())["model"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()
