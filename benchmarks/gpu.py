"""On a GPU: training beside a plain loop in torch, both compiled, and generating beside `transformers`.

Without a GPU, `--small` runs on the CPU in tiny sizes, which only shows that it works.
"""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.measure import Comparison, Run, compare_all, made_up_words, plainly
from benchmarks.peak import on_gpu
from benchmarks.plain import PlainGPT, PlainLSTM
from benchmarks.sampling import GPT2, LETTERS, beside_generate, beside_plain, made, plain_twin, transformers_of
from benchmarks.trainer import Precision, Work, rates, rival
from seqmodels.nn import LSTM, Transformer

WORDS = 50_253
"""With special tokens, as many as GPT-2 has."""


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """All comparisons of this topic, one after the other.

    Raises:
        RuntimeError: there is no GPU, and the sizes are not small.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not small:
        raise RuntimeError("there is no GPU here; give --small to see that it works")
    yield from training(device, rounds, small)
    yield from writing(device, rounds, small)


def training(device: str, rounds: int, small: bool) -> Iterator[Comparison]:
    """GPT-2 and an LSTM in mixed precision."""
    size, layers, heads, context = (16, 2, 2, 8) if small else GPT2
    mixed: Precision = "bf16-mixed" if device == "cuda" else "32-true"
    rows, units, steps, warm_up = (2, 8, 2, 1) if small else (16, 1024, 20, 5)
    gpt = Work(
        f"GPT-2 {layers}x{size}",
        partial(Transformer, size, layers, heads, context=context, positions="learned"),
        partial(PlainGPT, size=size, layers=layers, heads=heads, context=context),
        rows, context, steps, warm_up, mixed, "word", carry=False, device=device, compiled=not small,
        tied=True,
    )  # fmt: skip
    lstm = Work(
        f"LSTM 2x{units}",
        partial(LSTM, units, units, 2),
        partial(PlainLSTM, size=units, layers=2),
        4 * rows, context // 4, steps, warm_up, mixed, "word", device=device, compiled=not small,
    )  # fmt: skip
    how = on_gpu if device == "cuda" else plainly
    with made_up_words(30 if small else WORDS, 1_000 if small else 450_000) as text:
        yield rates(gpt, rival, text, rounds, how, ">= 1.0", "a compiled loop")
        yield rates(lstm, rival, text, rounds, how, ">= 1.0", "a compiled loop")


def writing(device: str, rounds: int, small: bool) -> Iterator[Comparison]:
    """In bfloat16, with steps recorded as a CUDA graph."""
    units, tokens = (8, 5) if small else (1024, 200)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    lstm = made(LSTM(units, units, 2)).to(device, dtype)
    plain = plain_twin(lstm).to(device, dtype)
    plain.lstm.flatten_parameters()
    how: dict[str, Run] = {"run": on_gpu} if device == "cuda" else {}
    entries = [beside_plain(f"LSTM 2x{units}", lstm, plain, rows, tokens, "") for rows in (1, 16)]
    ours, theirs = transformers_of(65 if small else LETTERS, (16, 2, 2, 8) if small else GPT2)
    ours, theirs = ours.to(device, dtype), theirs.to(device, dtype)
    for cache in ("", "static"):
        for rows in (1, 16):
            entries.append(beside_generate("GPT-2 124M", ours, theirs, rows, 5 if small else 128, "", cache))
    for entry in entries:
        yield from compare_all([entry], unit="tokens/s", rounds=rounds, warm_up=False, **how)
