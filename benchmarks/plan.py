"""Memory of a model on each device, and expected tokens per second: computed, before a machine is rented.

    python -m benchmarks.plan
    python -m benchmarks.plan --peak-tflops 312 --mfu 0.35 --bandwidth 25 --markdown

Parameters are counted in the real classes, and activations are verified by `tests/test_plan.py`. All figures are
for bf16-mixed and AdamW, as in `fit`: weights, gradients and both moments in single precision.
"""

import argparse
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from seqmodels.data import Tokenizer
from seqmodels.nn import LSTM, Backbone, Transformer
from seqmodels.tasks import LanguageModel
from seqmodels.tasks.fsdp import sharded_units

GIB = 2**30
GPUS = (1, 8, 16, 64)


@functools.lru_cache
def characters(vocab_size: int) -> Tokenizer:
    """A vocabulary of some size, PAD, BOS, EOS and UNK included."""
    return Tokenizer.char([chr(0x10000 + number) for number in range(vocab_size - 4)])


@dataclass(frozen=True)
class Size:
    """A language model with tied embeddings, and the batch of a device.

    Attributes:
        name: of the size.
        network: Transformer or LSTM.
        layers: number of layers.
        width: features D of each.
        vocab_size: tokens V.
        rows: rows B on each device.
        length: positions T.
    """

    name: str
    network: str
    layers: int
    width: int
    vocab_size: int
    rows: int = 8
    length: int = 1024

    @cached_property
    def model(self) -> LanguageModel:
        """The model on the meta device."""
        with torch.device("meta"):
            network: Backbone
            if self.network == "LSTM":
                network = LSTM(self.width, self.width, self.layers)
            else:
                network = Transformer(self.width, self.layers, self.heads, context=self.length)
            return LanguageModel(network, characters(self.vocab_size), tie_embeddings=True)

    @property
    def heads(self) -> int:
        """Attention heads, of 64 features."""
        return max(1, self.width // 64)

    @cached_property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.model.parameters())

    @cached_property
    def unit(self) -> int:
        """Parameters of the largest FSDP unit."""
        return max(sum(p.numel() for p in part.parameters()) for part in sharded_units(self.model.network))

    @cached_property
    def rest(self) -> int:
        """Parameters outside the FSDP units: embedding and softmax layer."""
        return self.parameters - sum(p.numel() for part in sharded_units(self.model.network) for p in part.parameters())

    @property
    def tokens(self) -> int:
        """Tokens that a device reads in a step."""
        return self.rows * self.length

    def activations(self, mixed: bool = True) -> int:
        """Bytes that the layers keep for the backward pass, without copies of weights.

        A block of the Transformer keeps, in multiples of D: inputs (2) and outputs (2) of its two norms, queries, keys
        and values (3), rotated queries and keys (2), outputs of attention before and after the heads are concatenated
        (2), and the hidden layer of the feed-forward part before and after GELU (8). Under autocast the first two are
        in single precision. An LSTM layer keeps its output and 16 in the kernel, as measured with oneDNN; cuDNN may
        keep less.
        """
        if self.network == "LSTM":
            return (48 if mixed else 68) * self.width * self.layers * self.tokens
        each = (2 * 4 + 17 * 2 if mixed else 19 * 4) * self.width
        statistics = 4 * 4 + 4 * self.heads  # of two norms, and of softmax
        return (each + statistics) * self.layers * self.tokens

    def logits(self) -> int:
        """Peak bytes of the softmax: logits, log-probabilities and the gradient, in single precision."""
        return 12 * self.vocab_size * self.tokens

    def states(self, gpus: int = 1, sharded: bool = False) -> int:
        """Bytes of weights, gradients and moments on one device, and of their copies and buffers.

        With DDP, autocast's copies of the weights and, with several devices, the buckets in which gradients are
        summed. With FSDP, its shard; embeddings and their gradient whole; and two units in half precision, one of
        which has gradients that are summed in single precision.
        """
        if not sharded:
            return 16 * self.parameters + 2 * self.parameters + (4 * self.parameters if gpus > 1 else 0)
        return 16 * self.parameters // gpus + (4 + 4 + 2) * self.rest + (2 * 2 + 2 + 4) * self.unit

    def memory(self, gpus: int, sharded: bool = False) -> float:
        """Total memory in GiB on each device."""
        return (self.states(gpus, sharded) + self.activations() + self.logits()) / GIB

    def operations(self) -> int:
        """Operations of a token, forward and backward: 6 for each weight, and causal attention."""
        attention = 0 if self.network == "LSTM" else 6 * self.layers * self.width * self.length
        return 6 * self.parameters + attention

    def sent(self, gpus: int, sharded: bool = False) -> float:
        """Bytes that each device sends in a step, with ring algorithms.

        DDP sums gradients in single precision. FSDP gathers units in half precision twice and embeddings in single
        precision once, and reduces gradients to the device that owns their shard.
        """
        others = (gpus - 1) / gpus
        if not sharded:
            return 2 * 4 * self.parameters * others
        return (2 * 2 * (self.parameters - self.rest) + 4 * self.rest + 4 * self.parameters) * others


SIZES = (
    Size("10 M", "Transformer", 6, 320, 8192),
    Size("30 M", "Transformer", 8, 512, 8192),
    Size("100 M", "Transformer", 12, 768, 16384),
    Size("124 M", "Transformer", 12, 768, 50257),
    Size("350 M", "Transformer", 24, 1024, 50257),
    Size("1.3 B", "Transformer", 24, 2048, 50257),
    Size("2.7 B", "Transformer", 32, 2560, 50257),
    Size("7 B", "Transformer", 32, 4096, 50257),
    Size("30 M", "LSTM", 2, 1024, 16384),
    Size("350 M", "LSTM", 4, 3072, 16384),
)


class Machines(NamedTuple):
    """Speed and memory of the devices."""

    peak_tflops: float
    mfu: float
    inside: float
    """GB/s that a device sends to others of its machine, which has eight."""
    between: float
    """GB/s that it sends to other machines."""
    memory: float
    """GiB of a device."""

    def rate(self, size: Size, gpus: int, sharded: bool) -> tuple[float, float]:
        """Tokens per second of all devices: without and with overlap of computation and communication."""
        compute = size.operations() * size.tokens / (self.peak_tflops * 1e12 * self.mfu)
        send = size.sent(gpus, sharded) / (1e9 * (self.inside if gpus <= 8 else self.between))
        return gpus * size.tokens / (compute + send), gpus * size.tokens / max(compute, send)


def rows(machines: Machines) -> Iterator[list[str]]:
    """The rows of the table, its heading first."""
    kinds = [(gpus, sharded) for sharded in (False, True) for gpus in GPUS if gpus > 1 or not sharded]
    names = [f"{'fsdp' if sharded else 'ddp'} {gpus}" if gpus > 1 else "1 GPU" for gpus, sharded in kinds]
    yield ["model", "layers x width", "parameters", *(f"GiB, {name}" for name in names)] + [
        f"tokens/s, {name}" for name in ("1 GPU", "8", "64")
    ]
    for size in SIZES:
        cells = [f"{size.name} {size.network}", f"{size.layers} x {size.width}", f"{size.parameters / 1e6:,.0f} M"]
        for gpus, sharded in kinds:
            need = size.memory(gpus, sharded)
            cells.append(f"{need:.1f}" if need <= machines.memory else f"({need:.0f})")
        for gpus in (1, 8, 64):
            fitting = [sharded for sharded in (False, True) if size.memory(gpus, sharded) <= machines.memory]
            if not fitting or (gpus == 1 and fitting[0]):
                cells.append("does not fit")
                continue
            low, high = machines.rate(size, gpus, fitting[0])
            span = short(low) if short(low) == short(high) else f"{short(low)} to {short(high)}"
            cells.append(span + (", fsdp" if fitting[0] else ""))
        yield cells


def short(number: float) -> str:
    """A number of three digits, in thousands or millions."""
    return f"{number / 1e6:.3g} M" if number >= 1e6 else f"{number / 1e3:.3g} k"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan", description="Memory and speed, computed.")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="of a device in bf16 (default: 989, an H100)")
    parser.add_argument("--mfu", type=float, default=0.4, help="fraction of it that is reached (default: 0.4)")
    parser.add_argument("--bandwidth", type=float, default=50.0, help="GB/s per device between machines (default: 50)")
    parser.add_argument("--inside", type=float, default=450.0, help="GB/s per device inside one (default: 450)")
    parser.add_argument("--memory", type=float, default=80.0, help="GiB of a device (default: 80)")
    parser.add_argument("--markdown", action="store_true", help="as a table for the documentation")
    given = parser.parse_args(arguments)
    for name, value in vars(given).items():
        if name != "markdown" and value <= 0:
            parser.error(f"--{name.replace('_', '-')} {value} was given; expected more than 0")
    if given.mfu > 1:
        parser.error(f"--mfu {given.mfu} was given; expected a fraction of at most 1")
    table = list(rows(Machines(given.peak_tflops, given.mfu, given.inside, given.bandwidth, given.memory)))
    if given.markdown:
        table.insert(1, ["---"] * len(table[0]))
        print("\n".join(f"| {' | '.join(cells)} |" for cells in table))
        return
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)))


if __name__ == "__main__":
    main()
