"""The examples that are read when a run is killed anywhere and resumed with another number of processes."""

import itertools
from collections import Counter
from pathlib import Path

import torch
from promises.runs import write_data

from seqmodels import TextDataModule, TranslationDataModule
from seqmodels.batch import EOS, IGNORE, PAD, Batch
from seqmodels.data import Replica, SequenceDataModule
from seqmodels.data.sampler import loader

Row = tuple[int, ...]
WORLDS = (1, 2, 4)
LENGTH = 16
BETWEEN = -1
"""Stands between a source and its translation."""
TOGETHER = {"windows": 8, "lanes": 8, "pairs": 160}
"""Rows, or tokens, that all processes read in a step."""


def lost_or_repeated(folder: Path) -> dict[str, str]:
    """Every layout, stopped after every batch of two epochs, from every number of processes to every other.

    Batches are compared with the text itself, and the second part is read as a resumed run reads it: by loaders that
    begin at a place.
    """
    write_data(folder)
    results = {}
    for layout in TOGETHER:
        modules = {world: _module(layout, folder, world) for world in WORLDS}
        counts = {world: len(module.training_batches(Replica(0, world))) for world, module in modules.items()}
        epoch = counts[1]
        # With epochs of another length, resuming is refused.
        worlds = [world for world in WORLDS if counts[world] == epoch]
        read = {world: [_read(modules[world], world, (e, 0)) for e in range(2)] for world in worlds}
        there = _examples(layout, modules[1])
        for before, after in itertools.product(worlds, worlds):
            for stop in range(2 * epoch):
                number, done = divmod(stop, epoch)
                rest = _read(modules[after], after, (number, done))
                seen = sum(read[before][number][: done * before] + rest, start=list[Row]())
                case = f"{layout}, {before} then {after} processes, batch {stop}"
                results[case] = _wrong(layout, seen, there, epoch)
    return results


def _module(layout: str, folder: Path, world: int) -> SequenceDataModule:
    size = TOGETHER[layout] // world
    if layout == "pairs":
        return TranslationDataModule(str(folder), "en", "fr", tokenizer="word", batch_tokens=size)
    return TextDataModule(str(folder / "text.txt"), length=LENGTH, batch_size=size, carry=layout == "lanes")


def _read(module: SequenceDataModule, world: int, place: tuple[int, int]) -> list[list[Row]]:
    """The rows of each batch from a place to the end of its epoch, rank by rank."""
    ranks = [list(loader(module.training_batches(Replica(rank, world)), place=place)) for rank in range(world)]
    return [_rows(batch) for batches in zip(*ranks, strict=True) for batch in batches]


def _rows(batch: Batch) -> list[Row]:
    """Inputs and the last target, or a source and its translation without padding."""
    if batch.source is not None:
        pairs = zip(batch.source.tolist(), batch.targets.tolist(), strict=True)
        rows = [(*source, BETWEEN, *target) for source, target in pairs]
        return [tuple(token for token in row if token not in (PAD, IGNORE)) for row in rows]
    ends = batch.targets[:, -1:].clamp(min=0)
    return [tuple(row) for row in torch.cat([batch.inputs, ends], 1).tolist()]


def _examples(layout: str, module: SequenceDataModule) -> Counter[Row]:
    """All examples of an epoch, from the tokens or sentences themselves."""
    if isinstance(module, TranslationDataModule):
        sides = [module.tokenizer if side == "target" else module.source_tokenizer for side in ("source", "target")]
        rows = module.corpus.rows("train")
        return Counter(
            (*sides[0].encode(source), EOS, BETWEEN, *sides[1].encode(target), EOS)
            for source, target in zip(rows["source"], rows["target"], strict=True)
        )
    assert isinstance(module, TextDataModule)
    tokens = module.tokens("train")
    step = 1 if layout == "lanes" else LENGTH  # lanes may be cut at any place
    return Counter(tuple(row) for row in tokens.unfold(0, LENGTH + 1, step).tolist())


def _wrong(layout: str, seen: list[Row], there: Counter[Row], epoch: int) -> str:
    """The trouble with the rows of an epoch; empty where each was read once, up to an incomplete last batch."""
    read = Counter(seen)
    whole = layout == "pairs"
    count = there.total() if whole else epoch * TOGETHER[layout]
    if read.total() != count:
        return f"{read.total()} rows rather than {count}"
    if whole:
        return "" if read == there else "other pairs than there are"
    return "" if read <= there else "a row that is not in the text, or twice"
