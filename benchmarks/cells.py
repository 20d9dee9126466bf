"""Tokens per second of recurrent layers, forward and backward, beside torch's fused LSTM of equal width."""

import time
from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from benchmarks.measure import Comparison, Entry, compare_all
from seqmodels.nn import LSTM, Backbone, MinGRU, MinLSTM, MultiplicativeLSTM, MultiplicativeRNN


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """All comparisons of this topic; see `Topic`."""
    size, rows, length = (8, 2, 16) if small else (512, 8, 512)
    x = torch.randn(rows, length, size)
    rival = partial(tokens_per_second, nn.LSTM(size, size, batch_first=True), x)
    networks: dict[str, tuple[Backbone, str]] = {
        "LSTM": (LSTM(size, size), ""),
        "MinGRU": (MinGRU(size, size, num_layers=1), ">= 1.0"),
        "MinLSTM": (MinLSTM(size, size, num_layers=1), ">= 1.0"),
        "MultiplicativeRNN": (MultiplicativeRNN(size, size), ">= 0.4"),
        "MultiplicativeLSTM": (MultiplicativeLSTM(size, size), ">= 0.6"),
    }
    entries = [
        Entry(f"Layer of {name}, {size} wide, {rows}x{length}", partial(tokens_per_second, network, x), rival, target)
        for name, (network, target) in networks.items()
    ]
    yield from compare_all(entries, unit="tokens/s", rounds=rounds)


def tokens_per_second(network: nn.Module, x: torch.Tensor) -> float:
    """Of one forward and backward pass."""
    network.zero_grad()
    began = time.perf_counter()
    network(x)[0].sum().backward()
    return x.shape[0] * x.shape[1] / (time.perf_counter() - began)
