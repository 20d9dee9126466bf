"""How many minutes each topic has, from those that it took when it was last recorded."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pace import TOPIC

MINUTES = 27.0
"""Of a run of all topics on a CPU: thirty, also where a machine is slower than the one that was seen."""
LEAST = 60.0
"""Seconds of one round of a topic that has not been seen yet, with all that starts for it."""
TIMES = Path(__file__).with_name("minutes.json")
"""The seconds: by topic those that it took, and those of one round of it, with machine, commit and day."""

Times = Mapping[str, Mapping[str, Any]]
"""Content of that file."""


def read(path: Path = TIMES) -> Times:
    """Those of a file; none where there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}  # type: ignore[no-any-return]


def share(topics: Sequence[str], times: Times, left: float) -> dict[str, float]:
    """Seconds of each topic: one round of each, and what is left in proportion to that, within `TOPIC`.

    Args:
        topics: that are yet to come.
        times: of topics that have been seen.
        left: seconds for all.
    """
    least = {topic: float(times[topic]["least"]) if topic in times else LEAST for topic in topics}

    def shares(more: float) -> dict[str, float]:
        return {topic: max(seconds, min(seconds * more, TOPIC)) for topic, seconds in least.items()}

    low, high = 1.0, 1 + TOPIC / min([*least.values(), TOPIC])
    for _ in range(40):  # what a topic at its limit cannot use is for the others
        middle = (low + high) / 2
        low, high = (middle, high) if sum(shares(middle).values()) <= left else (low, middle)
    return shares(low)


def plan(topics: Sequence[str], times: Times) -> Iterator[str]:
    """Lines that tell what a run of these topics would take, by the newest times."""
    total = 0.0
    yield f"{'topic':<12} {'one round':>10} {'expected':>9}  seen"
    for topic, seconds in share(topics, times, 60 * MINUTES).items():
        seen = times.get(topic)
        expected = seconds if seen is None else min(seconds, seen["took"])
        total += expected
        where = "never" if seen is None else f"{seen['machine']}, {seen['commit']}, {seen['day']}"
        least = LEAST if seen is None else seen["least"]
        yield f"{topic:<12} {least / 60:>6.1f} min {expected / 60:>5.1f} min  {where}"
    yield f"{'all':<12} {'':>10} {total / 60:>5.1f} min  rounds end so that all take at most {MINUTES:g}"


def record(path: Path, taken: Mapping[str, tuple[float, float]], surroundings: Mapping[str, Any]) -> None:
    """Keep the seconds of topics and of one round of each, in the place of older ones."""
    content = dict(read(path))
    facts = {
        "machine": surroundings["device"], "commit": str(surroundings["commit"])[:7], "day": time.strftime("%F"),
    }  # fmt: skip
    for topic, (took, least) in taken.items():
        content[topic] = {"took": round(took, 1), "least": round(least, 1), **facts}
    path.write_text(json.dumps(content, indent=1) + "\n")
