"""Tokens per second of generation by each engine, beside `generate` of `transformers` with its cache, in one process.

Models of the same shape with random weights: GPT-2 124M with learned positions, biases and the tanh GELU, and the small
Transformer of the built-in recipes. All draw at random at temperature 1; CTranslate2 by its own random numbers.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ctranslate2
import torch

from benchmarks.measure import Comparison, Entry, compare_all
from benchmarks.sampling import GPT2, LETTERS, RANDOM, made, rate, write
from seqmodels.batch import BOS
from seqmodels.decoding import RowGenerators
from seqmodels.environment import threads
from seqmodels.interop.compiled.engine import CompiledEngine
from seqmodels.interop.ctranslate2 import convert
from seqmodels.interop.ctranslate2.engine import generator_settings
from seqmodels.interop.onnx.engine import OnnxEngine, write_engine
from seqmodels.nn import Transformer
from seqmodels.tasks import LanguageModel
from seqmodels.tasks.generation import Engine

AIMS = {
    ("GPT-2 124M", "torch"): (1.3, 1.8), ("GPT-2 124M", "onnx in int8"): (3, 4),
    ("Transformer 4x128", "onnx"): (5, 4), ("Transformer 4x128", "compiled"): (4.5, 3),
}  # fmt: skip
"""Ratios at batch 1 and 16."""


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """All comparisons of this topic; see `Topic`."""
    little = (16, 2, 2, 32)
    for name, vocabulary, shape, lengths in (
        ("Transformer 4x128", 65, little if small else (128, 4, 4, 256), (5, 5) if small else (255, 255)),
        ("GPT-2 124M", 65 if small else LETTERS, little if small else GPT2, (5, 5) if small else (64, 32)),
    ):
        model, theirs = models(vocabulary, shape)
        with tempfile.TemporaryDirectory() as folder:
            engines = ways(model, Path(folder), int8=not small)
            if not small and name != "GPT-2 124M":  # the code is made once on a machine, in half a minute or more
                engines["compiled"] = partial(by_steps, CompiledEngine(model))
            for place, (rows, tokens) in enumerate(zip((1, 16), lengths, strict=True)):
                from benchmarks import hugging_face  # takes seconds to import

                start = torch.full((rows, 1), BOS)
                rival = partial(rate, partial(hugging_face.written, theirs, start), rows, tokens)
                entries = [
                    Entry(
                        f"Generate {name}, {tokens} tokens, batch {rows}, {engine}",
                        partial(rate, partial(work, rows), rows, tokens), rival,
                        f"ratio >= {AIMS[name, engine][place]}" if (name, engine) in AIMS else "",
                    )
                    for engine, work in engines.items()
                ]  # fmt: skip
                yield from compare_all(entries, unit="tokens/s", rounds=rounds, warm_up=False)


def models(vocabulary: int, shape: tuple[int, int, int, int]) -> tuple[LanguageModel, Any]:
    """Our model and that of `transformers`, of the same form."""
    from benchmarks import hugging_face

    size, layers, heads, context = shape
    network = Transformer(
        size, layers, heads, context=context, positions="learned", bias="all", activation="gelu-tanh"
    )  # fmt: skip
    ours = made(network, vocabulary)
    return ours, hugging_face.gpt2(ours.tokenizer.vocab_size, *shape).eval()


def ways(model: LanguageModel, folder: Path, *, int8: bool) -> dict[str, Any]:
    """By engine, a program that writes so many tokens of so many rows."""
    found: dict[str, Any] = {"torch": partial(by_torch, model)}
    for name, eight in [("onnx", False)] + [("onnx in int8", True)] * int8:
        write_engine(model, folder / f"{name}.onnx", int8=eight)
        found[name] = partial(by_steps, OnnxEngine(model, folder / f"{name}.onnx"))
    (folder / "ctranslate2").mkdir()
    convert.write(model, folder / "ctranslate2")
    for name, kind in [("ctranslate2", "float32")] + [("ctranslate2 in int8", "int8")] * int8:
        settings = generator_settings(model, int8=kind == "int8")
        with threads():
            generator = ctranslate2.Generator(str(folder / "ctranslate2"), **settings)
        found[name] = partial(by_ctranslate2, generator)
    return found


def by_torch(model: LanguageModel, rows: int, count: int) -> object:
    """Write by this package's own steps."""
    return write(model, rows, RANDOM, count)


@torch.inference_mode()
def by_steps(engine: Engine, rows: int, count: int) -> list[list[int]]:
    """Write by the steps of an engine, over ends of texts, as `by_torch` does."""
    rng = RowGenerators(1, [(row,) for row in range(rows)])
    return list(engine.drawing([[BOS]] * rows, 1, RANDOM, count, rng))


def by_ctranslate2(generator: ctranslate2.Generator, rows: int, count: int) -> object:
    """Write by CTranslate2, whose own loop draws."""
    return generator.generate_batch(
        [[str(BOS)]] * rows, max_length=count, min_length=count, sampling_topk=0, include_prompt_in_result=False
    )
