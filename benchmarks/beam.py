"""Sentences per second of beam search, against CTranslate2 with the same weights.

    python -m benchmarks.beam RUN SOURCE TARGET

RUN is a trained translator of two Transformers. Both programs translate the file SOURCE with a beam of five, from text
to text, and BLEU against the file TARGET tells whether they find the same. Needs `pip install ctranslate2`.
"""

import argparse
import copy
import gzip
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import ctranslate2
import torch

from benchmarks.ctranslate import converted, translated
from benchmarks.measure import Comparison, compare, per_second
from seqmodels.bleu import corpus_scores
from seqmodels.checkpoint import load
from seqmodels.decoding import Beam
from seqmodels.environment import environment
from seqmodels.nn.int8 import to_int8
from seqmodels.tasks import Translator


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line with the speed of both, and the BLEU of each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beam", description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder of a translator of two Transformers")
    parser.add_argument("source", type=Path, help="a text file with a sentence a line, plain or gzipped")
    parser.add_argument("target", type=Path, help="its translation")
    parser.add_argument("--size", type=int, default=5, help="of the beam (default: 5)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each program runs (default: 5)")
    parser.add_argument("--sentences", type=int, default=1000, help="how many are translated (default: 1000)")
    given = parser.parse_args(arguments)
    model = load(given.run).eval()
    if not isinstance(model, Translator):
        parser.error(f"{given.run!r} is no translator")
    sources, references = (_lines(path)[: given.sentences] for path in (given.source, given.target))
    surroundings = environment(torch.device("cpu"))
    print(f"{surroundings['device']}, {surroundings['threads']} threads, commit {surroundings['commit']}")
    comparisons, scores = run(model, sources, references, size=given.size, rounds=given.rounds)
    for comparison in comparisons:
        print(comparison.line())
    print(", ".join(f"BLEU of {who} {bleu:.2f}" for who, bleu in scores.items()))


def run(
    model: Translator, sources: list[str], references: list[str], *, size: int = 5, rounds: int = 5
) -> tuple[list[Comparison], dict[str, float]]:
    """Both programs on the same sentences: in fp32, and ours with weights of sixteen and of eight bits beside it.

    Args:
        model: of two Transformers.
        sources: to be translated.
        references: their translations.
        size: of the beam.
        rounds: how often each program runs.

    Returns:
        The speeds, and BLEU by program.
    """
    with tempfile.TemporaryDirectory() as folder:
        converted(model, Path(folder) / "model")
        theirs = ctranslate2.Translator(
            f"{folder}/model", compute_type="float32", inter_threads=torch.get_num_threads(), intra_threads=1
        )
        half, eight = copy.deepcopy(model).bfloat16(), copy.deepcopy(model)
        to_int8(eight)
        programs: dict[str, Callable[[int], list[str]]] = {
            "ours": lambda count: [found[0].text for found in model.translate(sources[:count], Beam(size))],
            "ours in bf16": lambda count: [found[0].text for found in half.translate(sources[:count], Beam(size))],
            "ours in int8": lambda count: [found[0].text for found in eight.translate(sources[:count], Beam(size))],
            "CTranslate2": lambda count: [
                model.tokenizer.decode(ids)
                for ids in translated(theirs, model.source_tokenizer.encode_batch(sources[:count]), size)
            ],
        }
        scores = {name: corpus_scores(work(len(sources)), references)["bleu"] for name, work in programs.items()}
        ours, ours_half, ours_eight, rival = (per_second(work, len(sources)) for work in programs.values())
        what, how = f"Beam {size}, {len(sources):,} sentences", {"unit": "sentences/s", "warm_up": False}
        speeds = [
            compare(f"{what}, fp32", ours, rival, rounds=rounds, target="ratio >= 0.67", **how),
            compare(f"{what}, bf16 by CTranslate2's fp32", ours_half, rival, rounds=rounds, **how),
            compare(f"{what}, int8 by CTranslate2's fp32", ours_eight, rival, rounds=rounds, **how),
        ]
    return speeds, scores


def _lines(path: Path) -> list[str]:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode().splitlines()


if __name__ == "__main__":
    main()
