"""Which examples are read where a run is killed anywhere and goes on with another number of processes."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.reliability.promise import Promise, none_of
from benchmarks.reliability.runs import write_data
from seqmodels import TextDataModule, TranslationDataModule
from seqmodels.data import SequenceDataModule, Share

WORLDS = (1, 2, 4)
TOGETHER = {"windows": 8, "lanes": 8, "pairs": 160}
"""Rows, or tokens, that all processes read in a step."""


def run(folder: Path, small: bool) -> Iterator[Promise]:
    """Every layout, killed at every batch of two epochs, from every number of processes to every other."""
    write_data(folder)
    cases, trouble = 0, []
    for layout in TOGETHER:
        modules = {world: _module(layout, folder, world) for world in WORLDS}
        counts = {world: len(module.training_batches(Share(0, world))) for world, module in modules.items()}
        epoch = counts[1]
        # Where epochs are cut otherwise, resuming is refused.
        read = {world: _read(modules[world], world, epoch) for world in WORLDS if counts[world] == epoch}
        wanted = [sum(read[1][first : first + epoch], Counter()) for first in (0, epoch)]
        for before, after in itertools.product(read, read):
            for stop in range(0, 2 * epoch, 7 if small else 1):
                cases += 1
                together = read[before][:stop] + read[after][stop:]
                if [sum(together[first : first + epoch], Counter()) for first in (0, epoch)] != wanted:
                    trouble.append(f"{layout}, {before} then {after} processes, batch {stop}")
    what = "Examples lost or repeated in runs killed at any batch and resumed by 1, 2 or 4 processes"
    yield none_of(what, cases, len(trouble), tuple(trouble))


def _module(layout: str, folder: Path, world: int) -> SequenceDataModule:
    size = TOGETHER[layout] // world
    if layout == "pairs":
        return TranslationDataModule(str(folder), "en", "fr", tokenizer="word", max_tokens=size)
    return TextDataModule(str(folder / "text.txt"), length=16, batch_size=size, carry=layout == "lanes")


def _read(module: SequenceDataModule, world: int, epoch: int) -> list[Counter[tuple[int, ...]]]:
    """The rows that all ranks read in each batch of two epochs, without padding."""
    found = []
    for place in itertools.product(range(2), range(epoch)):
        batches = [module.training_batches(Share(rank, world))[place] for rank in range(world)]
        found.append(Counter(tuple(filter(None, row)) for batch in batches for row in batch.inputs.tolist()))
    return found
