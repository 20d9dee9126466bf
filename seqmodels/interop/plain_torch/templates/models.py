"""What stands around the networks: embeddings, the softmax layer, and the reading of the folder."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F


def make(settings):
    """The module of these settings, whose class, here or in torch, is `kind`."""
    settings = dict(settings)
    kind = settings.pop("kind")
    return (globals().get(kind) or getattr(nn, kind))(**settings)


def turned(x, lengths):
    """Rows (rows, positions, ...) from their last position to the first; what is behind their lengths stays there."""
    if lengths is None:
        return x.flip(1)
    places = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
    ends = lengths.unsqueeze(1)
    places = torch.where(places < ends, ends - 1 - places, places)
    return x.gather(1, places.view(*places.shape, *[1] * (x.ndim - 2)).expand_as(x))


class Capped(nn.Linear):
    """A softmax layer whose logits are softly bounded."""

    def __init__(self, in_features, out_features, cap):
        super().__init__(in_features, out_features)
        self.cap = cap

    def forward(self, x):
        return self.cap * (F.linear(x, self.weight) / self.cap).tanh() + self.bias


class LanguageModel(nn.Module):
    """Token ids to logits of the next token, and the state after them."""

    def __init__(self, vocab_size, input_size, backbone, head, tied):
        super().__init__()
        self.embedding, self.backbone, self.head = nn.Embedding(vocab_size, input_size), make(backbone), make(head)
        for name in tied:
            getattr(self, name).weight = self.embedding.weight

    def forward(self, ids, state=None):
        y, state = self.backbone(self.embedding(ids), state)
        return self.head(y), state


class Translator(nn.Module):
    """An encoder of a source, and a decoder of its translation."""

    def __init__(self, sources, targets, encoder, decoder, head, tied, reverse):
        super().__init__()
        self.source_embedding, self.embedding = nn.Embedding(*sources), nn.Embedding(*targets)
        self.encoder, self.decoder, self.head, self.reverse = make(encoder), make(decoder), make(head), reverse
        for name in tied:
            getattr(self, name).weight = self.embedding.weight

    def encode(self, source, lengths=None):
        """What the decoder needs of sources (rows, positions), which end with id 2, and are padded behind it if they
        have different lengths (rows,).
        """
        order = turned if self.reverse else lambda x, _: x
        y, state = self.encoder(self.source_embedding(order(source, lengths)), None, lengths)
        real = torch.ones_like(source, dtype=torch.bool)
        if lengths is not None:
            real = torch.arange(source.shape[1], device=source.device) < lengths.unsqueeze(1)
            y = y * real.unsqueeze(-1)
        summary = self.encoder.summary(y, lengths)
        return self.decoder.remember(order(y, lengths), real, lengths, (summary, state))

    def decode(self, ids, memory, state=None):
        """Logits of the next token of translations (rows, positions), which begin with id 1, and the state."""
        y, state = self.decoder(self.embedding(ids), state, memory=memory)
        return self.head(y), state

    def forward(self, source, ids, lengths=None):
        return self.decode(ids, self.encode(source, lengths))[0]


def load(folder=Path(__file__).parent):
    """The model with its weights, in evaluation mode."""
    folder = Path(folder)
    settings = json.loads((folder / "config.json").read_text())["model"]
    weights = load_file(folder / "model.safetensors")
    weights.update({f"{name}.weight": weights["embedding.weight"] for name in settings["tied"]})
    model = make(settings).to(weights["embedding.weight"].dtype)
    model.load_state_dict(weights)
    return model.eval()
