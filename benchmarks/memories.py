"""Tokens per second of layers whose state is an associative memory: training beside torch's LSTM of equal width, and
generation, in constant memory, beside our LSTM of equal width and depth.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from benchmarks.cells import tokens_per_second
from benchmarks.engines import by_steps
from benchmarks.measure import Comparison, Entry, compare_all
from benchmarks.sampling import RANDOM, made, rate, write
from seqmodels.interop.compiled.engine import CompiledEngine
from seqmodels.nn import (
    GLA,
    HGRN2,
    LSTM,
    MLSTM,
    RGLRU,
    RWKV7,
    SLSTM,
    DeltaNet,
    GatedDeltaNet,
    KimiDeltaNet,
    Mamba2,
    RetNet,
    SimpleGLA,
)
from seqmodels.nn.mixer_stack import MixerStack

TARGETS: dict[type[MixerStack], str] = {
    GatedDeltaNet: ">= 1.0", Mamba2: ">= 1.3", MLSTM: "", SimpleGLA: "", RetNet: "", RGLRU: "", GLA: "", HGRN2: "",
    DeltaNet: "", KimiDeltaNet: "", RWKV7: "",
}  # fmt: skip


class Layer(nn.Module):
    """A cell by itself, without the feed-forward layer of its block."""

    def __init__(self, network: MixerStack) -> None:
        super().__init__()
        self.cell = network.cells[0]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        return self.cell.sequence(x, self.cell.initial_state(len(x), x))


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """All comparisons of this topic; see `Topic`."""
    size, rows, length, written = (8, 2, 16, 5) if small else (256, 8, 512, 200)
    x = torch.randn(rows, length, size)
    rival = partial(tokens_per_second, nn.LSTM(size, size, batch_first=True), x)
    layers: dict[str, tuple[nn.Module, str]] = {
        kind.__name__: (Layer(kind(size, num_layers=1)), target) for kind, target in TARGETS.items()
    }
    layers["SLSTM"] = SLSTM(size, size), ""
    entries = [
        Entry(f"Layer of {name}, {size} wide, {rows}x{length}", partial(tokens_per_second, layer, x), rival, target)
        for name, (layer, target) in layers.items()
    ]
    yield from compare_all(entries, unit="tokens/s", rounds=rounds)
    beside = partial(rate, partial(write, made(LSTM(size, size)), 1, RANDOM), 1, written)
    entries = []
    for kind in TARGETS:
        ours = partial(rate, partial(write, made(kind(size, num_layers=1)), 1, RANDOM), 1, written)
        what = f"Sample {kind.__name__} 1x{size} beside our LSTM, batch 1"
        entries.append(Entry(what, ours, beside, ">= 0.5"))
        if kind in (GatedDeltaNet, Mamba2) and not small:  # the code is made once on a machine, in half a minute each
            engine = CompiledEngine(made(kind(size, num_layers=1)))
            compiled = partial(rate, partial(by_steps, engine, 1), 1, written)
            what = f"Sample {kind.__name__} 1x{size}, compiled, beside our LSTM, batch 1"
            entries.append(Entry(what, compiled, beside, ">= 0.5"))
    yield from compare_all(entries, unit="tokens/s", rounds=rounds, warm_up=False)
