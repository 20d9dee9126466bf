"""Batches per second: gathered at once from a token column, beside rows of a dataset collated one by one.

Both sides give int64 inputs and targets (B, T) of the same windows, shuffled, or of lanes in their order. The rival
is made of parts of the libraries: rows of T + 1 tokens in a `datasets.Dataset` in torch format, and a DataLoader
with `default_collate`.
"""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import datasets
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torch.utils.data.distributed import DistributedSampler

from benchmarks.measure import Comparison, Entry, compare_all, made_up_text, per_second
from seqmodels.data import Batches, TextDataModule


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """All comparisons of this topic; see `Topic`."""
    batch_size, length = (4, 16) if small else (64, 256)
    with made_up_text(5_000 if small else 4_000_000) as text:
        for carry, count, target in ((False, 4_000, 10_000), (True, 20_000, 50_000)):
            data = TextDataModule(str(text), length=length, batch_size=batch_size, carry=carry)
            rows = _rows(data.tokens("train"), length)
            rival = per_second(
                partial(_collate, _lanes(rows, batch_size) if carry else _windows(rows, batch_size)),
                5 if small else 200,
            )
            sides = {
                "gathered": partial(_gather, data.training_batches()),
                "through the loader": partial(_load, data.train_dataloader()),
            }
            what = f"{'Lanes' if carry else 'Windows'} of {batch_size}x{length}"
            entries = [
                Entry(f"{what}, {way}", per_second(work, 20 if small else count), rival, f">= {target:,} batches/s")
                for way, work in sides.items()
            ]
            yield from compare_all(entries, unit="batches/s", rounds=rounds)


def _gather(batches: Batches, count: int) -> None:
    """Batches by number, over as many epochs as needed."""
    for number in range(count):
        batches[divmod(number, len(batches))]


def _load(loader: DataLoader[Any], count: int) -> None:
    """The same through the DataLoader of the Trainer."""
    sampler = loader.sampler
    assert isinstance(sampler, DistributedSampler)
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        count -= sum(1 for _ in itertools.islice(loader, count))
        if count == 0:
            return


def _rows(column: Tensor, length: int) -> datasets.Dataset:
    """A row for each window: its tokens and the next one."""
    return datasets.Dataset.from_dict({"tokens": column.unfold(0, length + 1, length).numpy()}).with_format("torch")


def _windows(rows: datasets.Dataset, batch_size: int) -> DataLoader[Any]:
    return DataLoader(rows, batch_size=batch_size, shuffle=True, drop_last=True, collate_fn=default_collate)


def _lanes(rows: datasets.Dataset, batch_size: int) -> DataLoader[Any]:
    """Row b of every batch continues row b of the batch before."""
    width = len(rows) // batch_size
    order = [[lane * width + step for lane in range(batch_size)] for step in range(width)]
    return DataLoader(rows, batch_sampler=order, collate_fn=default_collate)


def _collate(loader: DataLoader[Any], count: int) -> None:
    """Inputs and targets of `count` batches, over as many epochs as needed."""
    for batch in itertools.islice(itertools.chain.from_iterable(itertools.repeat(loader)), count):
        batch["tokens"][:, :-1], batch["tokens"][:, 1:]
