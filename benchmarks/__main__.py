"""Run the benchmarks: `python -m benchmarks [topic ...] [--json PATH]`."""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import budget, trainer
from benchmarks.against import checked_out, compare_commits
from benchmarks.ceiling import ceiling
from benchmarks.measure import Comparison, Topic
from benchmarks.pace import PACE
from benchmarks.page import write_page
from benchmarks.seen import SEEN, Seen, record
from benchmarks.topics import TOPICS
from seqmodels.environment import describe_environment
from seqmodels.errors import InputError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run topics, print a line for each comparison, and write the results to files if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="This package beside plain torch.")
    which = f"{', '.join(TOPICS)}; all but gpu where none is given"
    parser.add_argument("topics", nargs="*", metavar="topic", help=which)
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the results to this file")
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="write speed.md and speed.png to this folder")
    parser.add_argument(
        "--rounds", type=_positive, default=5,
        help="most runs of each program (default: 5); two, or more while there is time: a topic takes about five "
        f"minutes, all of them {budget.MINUTES:g}",
    )  # fmt: skip
    parser.add_argument(
        "--against", metavar="REF",
        help="compare with another commit of this package, in turns, in the place of other programs",
    )  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="only tell how many minutes it would take")
    parser.add_argument(
        "--record", action="store_true",
        help=f"add the ratios to {SEEN.name}, for the table, and the minutes to {budget.TIMES.name}, for the plan",
    )  # fmt: skip
    parser.add_argument("--steps", type=_positive, default=6, help="steps per round of the large trainer (default: 6)")
    parser.add_argument("--small", action="store_true", help="tiny sizes: shows that it works, measures nothing")
    given = parser.parse_args(arguments)
    if given.record and (given.against or given.small):
        parser.error("--record was given, and these are no figures beside other programs; leave it out")
    if unknown := [topic for topic in given.topics if topic not in TOPICS]:
        parser.error(f"there is no topic {unknown[0]!r}; choose from {', '.join(TOPICS)}")
    topics, times = given.topics or [topic for topic in TOPICS if topic != "gpu"], budget.read()
    if given.plan:
        if given.against:
            parser.error("--plan was given with --against, which takes as long as its rounds; leave one of them out")
        print("\n".join(budget.plan(topics, times)))
        return
    programs: dict[str, Topic] = TOPICS | {"trainer": partial(trainer.run, steps=given.steps)}
    device = "cuda" if given.topics == ["gpu"] and torch.cuda.is_available() else "cpu"
    surroundings = describe_environment(torch.device(device))
    about = (
        f"{surroundings['device']}, {surroundings['cores']} cores, {surroundings['threads']} threads, "
        f"torch {surroundings['versions']['torch']}, commit {surroundings['commit']}"
        f"{', small sizes: figures mean nothing' if given.small else ''}"
    )
    results: dict[str, list[dict[str, Any]]] = {}
    content = {"environment": surroundings, "rounds": given.rounds, "small": given.small, "topics": results}
    taken, began = dict[str, tuple[float, float]](), time.monotonic()
    with ExitStack() as stack:
        print(about)
        if given.against is not None:
            try:
                tree, content["against"] = stack.enter_context(checked_out(given.against))
            except InputError as error:
                parser.error(f"--against {error}")
            print(f"ours: this folder; rival: commit {content['against']}, both by the benchmarks of this folder")
            small = ["--small"] * given.small
            programs = {name: partial(_of_commits, name, tree, [str(given.rounds), *small]) for name in topics}
        most = ceiling(64, 1000) if given.small else ceiling(device=device)
        content["ceiling"] = asdict(most)
        print(most.line())
        for number, topic in enumerate(topics):
            print(f"\n{topic}")
            results[topic] = []
            since = time.monotonic()
            PACE.begin(budget.share(topics[number:], times, 60 * budget.MINUTES - (since - began))[topic])
            for comparison in programs[topic](rounds=given.rounds, small=given.small):
                print(comparison.line(most), flush=True)
                results[topic].append(comparison.record(most))
                if given.json is not None:  # each time: a run takes long
                    given.json.write_text(json.dumps(content, indent=2) + "\n")
            took = time.monotonic() - since
            taken[topic] = took, took - PACE.spared
            print(f"{topic} took {took / 60:.1f} minutes, {taken[topic][1] / 60:.1f} of them for one round")
    print(f"\nall took {(time.monotonic() - began) / 60:.1f} minutes")
    if given.record:
        record(SEEN, results, surroundings)
        budget.record(budget.TIMES, taken, surroundings)
    if given.page is not None:
        print(f"\n{write_page(given.page, results, f'{about}; {most.line()}', Seen.read(SEEN))}")


def _of_commits(topic: str, tree: Path, arguments: Sequence[str], *, rounds: int, small: bool) -> Iterator[Comparison]:
    """A `Topic` of two commits."""
    return compare_commits(topic, tree, arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} was given; expected at least 1")
    return number


if __name__ == "__main__":
    main()
