"""Sentences per second of beam search, beside CTranslate2 with the same weights.

    python -m benchmarks.beam RUN SOURCE TARGET

RUN is a trained translator of two Transformers. Both programs translate the file SOURCE with beam size 5, from text
to text, with a batch on each of `OMP_NUM_THREADS` cores, and BLEU against the file TARGET tells whether they translate
equally well. Needs `pip install ctranslate2`.
"""

import argparse
import copy
import gzip
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import ctranslate2
import torch
from torch import nn

from benchmarks.ctranslate import converted, translated
from benchmarks.measure import Comparison, Entry, compare_all, per_second
from seqmodels.checkpoints.load import load
from seqmodels.data import Tokenizer
from seqmodels.decoding import Beam
from seqmodels.environment import describe_environment, multiplies_bf16, threads
from seqmodels.interop.ctranslate2.engine import TranslatorEngine
from seqmodels.metrics import corpus_scores
from seqmodels.nn import Transformer, quantization
from seqmodels.tasks import Translator


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the speed and BLEU of both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beam", description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder of a translator of two Transformers")
    parser.add_argument("source", type=Path, help="a text file with a sentence a line, plain or gzipped")
    parser.add_argument("target", type=Path, help="its translation")
    parser.add_argument("--size", type=int, default=5, help="beam size (default: 5)")
    parser.add_argument("--rounds", type=int, default=5, help="number of runs of each program (default: 5)")
    parser.add_argument("--sentences", type=int, default=1000, help="number of sentences (default: 1000)")
    given = parser.parse_args(arguments)
    model = load(given.run).eval()
    if not isinstance(model, Translator):
        parser.error(f"{given.run!r} is no translator")
    sources, references = (_lines(path)[: given.sentences] for path in (given.source, given.target))
    surroundings = describe_environment(torch.device("cpu"))
    print(f"{surroundings['device']}, {surroundings['threads']} threads, commit {surroundings['commit']}")
    comparisons, scores = of_run(model, sources, references, size=given.size, rounds=given.rounds)
    for comparison in comparisons:
        print(comparison.line())
    print(", ".join(f"BLEU of {who} {bleu:.2f}" for who, bleu in scores.items()))


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """Random weights and made-up sentences; arguments as of `Topic`.

    An untrained network hardly ever ends a sentence, so both programs decode up to the same maximal length.
    """
    count, size, words = (4, 16, 20) if small else (1_000, 256, 6_000)
    source = random.Random(1)
    letters = [chr(0x10000 + number) for number in range(words)]
    sentences = [
        "".join(source.choices(letters, k=max(3, round(source.lognormvariate(2.65, 0.32))))) for _ in range(count)
    ]
    torch.manual_seed(1)
    encoder = Transformer(size, 1 if small else 3, 4, causal=False)
    decoder = Transformer(size, 1 if small else 3, 4, memory_size=size)
    model = Translator(encoder, decoder, Tokenizer.char(letters)).eval()
    programs = _programs(model, sentences, Beam(5, max_length=5 if small else 20))
    yield from _speeds(programs, count, "Beam 5, {:,} made-up sentences", rounds)


def of_run(
    model: Translator, sources: list[str], references: list[str], *, size: int = 5, rounds: int = 5
) -> tuple[list[Comparison], dict[str, float]]:
    """Both programs on the same sentences, with a model of two Transformers: the speeds, and BLEU by program."""
    programs = _programs(model, sources, Beam(size))
    scores = {name: corpus_scores(work(len(sources)), references)["bleu"] for name, work in programs.items()}
    return list(_speeds(programs, len(sources), f"Beam {size}, {{:,}} sentences", rounds)), scores


def _programs(model: Translator, sources: list[str], beam: Beam) -> dict[str, Callable[[int], list[str]]]:
    """Programs that translate the first sentences, by name: ours in fp32, bf16 and int8, and CTranslate2."""
    count = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        converted(model, Path(folder) / "model")
        with threads():
            theirs, theirs_in_int8 = (
                ctranslate2.Translator(f"{folder}/model", compute_type=kind, inter_threads=count, intra_threads=1)
                for kind in ("float32", "int8")
            )
        engine = TranslatorEngine(model, Path(folder) / "model")
    half, eight = copy.deepcopy(model).bfloat16(), copy.deepcopy(model)
    longest = {} if beam.max_length is None else {"max_length": beam.max_length}

    def rival(translator: ctranslate2.Translator, count: int) -> list[str]:
        found = translated(translator, model.source_tokenizer.encode_batch(sources[:count]), beam.size, **longest)
        return [model.tokenizer.decode(ids) for ids in found]

    programs = {"ours": partial(_translated, model, sources, beam)}
    programs["ours by its engine"] = lambda count: [
        found[0].text for found in engine.translations(sources[:count], beam)
    ]
    if multiplies_bf16("cpu"):
        programs["ours in bf16"] = partial(_translated, half, sources, beam)
    if any(isinstance(part, nn.Linear) and part.weight.numel() >= quantization.MIN_WEIGHTS for part in model.modules()):
        quantization.to_int8(eight)
        programs["ours in int8"] = partial(_translated, eight, sources, beam)
        programs["CTranslate2 in int8"] = partial(rival, theirs_in_int8)
    return {**programs, "CTranslate2": partial(rival, theirs)}


def _translated(model: Translator, sources: list[str], beam: Beam, count: int) -> list[str]:
    return [found[0].text for found in model.translate(sources[:count], beam, torch.get_num_threads())]


def _speeds(
    programs: dict[str, Callable[[int], list[str]]], count: int, what: str, rounds: int
) -> Iterator[Comparison]:
    """Each of ours beside CTranslate2."""
    for work in programs.values():
        work(min(count, 50))
    sides = {name: per_second(work, count) for name, work in programs.items()}
    rivals = {name: sides.pop(name) for name in list(sides) if name.startswith("CTranslate2")}
    targets = {"fp32": 0.75, "bf16": 1.0, "int8": 0.7, "by its engine": 0.95}
    entries = []
    for name, side in sides.items():
        kind = name.removeprefix("ours").strip().removeprefix("in ") or "fp32"
        beside = " by CTranslate2's fp32" if kind == "bf16" else ""
        rival = rivals.get(f"CTranslate2 in {kind}", rivals["CTranslate2"])
        entries.append(Entry(f"{what.format(count)}, {kind}{beside}", side, rival, f"ratio >= {targets[kind]}"))
    yield from compare_all(entries, unit="sentences/s", rounds=rounds, warm_up=False)


def _lines(path: Path) -> list[str]:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode().splitlines()


if __name__ == "__main__":
    main()
