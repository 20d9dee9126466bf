"""Run the benchmarks: `python -m benchmarks [topic ...] [--json PATH]`."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import (
    batches,
    beam,
    cells,
    diagnostics,
    engines,
    gpu,
    loading,
    memories,
    recompute,
    safety,
    sampling,
    scale,
    start,
    trainer,
    translation,
)  # fmt: skip
from benchmarks.ceiling import ceiling
from benchmarks.measure import Topic
from benchmarks.page import write_page
from seqmodels.environment import describe_environment

ON_CPU = (
    trainer, recompute, batches, cells, memories, sampling, engines, translation, beam, diagnostics, safety, loading,
    scale, start,
)  # fmt: skip
TOPICS: dict[str, Topic] = {topic.__name__.rpartition(".")[2]: topic.run for topic in (*ON_CPU, gpu)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run topics, print a line for each comparison, and write the results to files if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="This package beside plain torch.")
    which = f"{', '.join(TOPICS)}; all but gpu where none is given"
    parser.add_argument("topics", nargs="*", metavar="topic", help=which)
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the results to this file")
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="write speed.md and speed.png to this folder")
    parser.add_argument("--rounds", type=_positive, default=5, help="number of runs of each program (default: 5)")
    parser.add_argument("--steps", type=_positive, default=6, help="steps per round of the large trainer (default: 6)")
    parser.add_argument("--small", action="store_true", help="tiny sizes: shows that it works, measures nothing")
    given = parser.parse_args(arguments)
    if unknown := [topic for topic in given.topics if topic not in TOPICS]:
        parser.error(f"there is no topic {unknown[0]!r}; choose from {', '.join(TOPICS)}")
    programs = TOPICS | {"trainer": partial(trainer.run, steps=given.steps)}
    device = "cuda" if given.topics == ["gpu"] and torch.cuda.is_available() else "cpu"
    surroundings = describe_environment(torch.device(device))
    about = (
        f"{surroundings['device']}, {surroundings['cores']} cores, {surroundings['threads']} threads, "
        f"torch {surroundings['versions']['torch']}, commit {surroundings['commit']}"
        f"{', small sizes: figures mean nothing' if given.small else ''}"
    )
    print(about)
    most = ceiling(64, 1000) if given.small else ceiling(device=device)
    print(most.line())
    results: dict[str, list[dict[str, Any]]] = {}
    content = {
        "environment": surroundings, "ceiling": asdict(most), "rounds": given.rounds, "small": given.small,
        "topics": results,
    }  # fmt: skip
    for topic in given.topics or [topic for topic in TOPICS if topic != "gpu"]:
        print(f"\n{topic}")
        results[topic] = []
        for comparison in programs[topic](rounds=given.rounds, small=given.small):
            print(comparison.line(most), flush=True)
            results[topic].append(comparison.record(most))
            if given.json is not None:  # each time: a run takes long
                given.json.write_text(json.dumps(content, indent=2) + "\n")
    if given.page is not None:
        print(f"\n{write_page(given.page, results, f'{about}; {most.line()}')}")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} was given; expected at least 1")
    return number


if __name__ == "__main__":
    main()
