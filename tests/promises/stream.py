"""Memory while gigabytes of text pass through.

The text is in shards of parquet that are written when the stream comes to them and deleted when it has passed: the disk
holds one of them at a time, and the text was never there as a whole. All else is what `TextDataModule(stream=True)`
does: reading, tokenizing, shuffling, batches; and a step of a small model now and then, so that torch is at work too.
"""

import itertools
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import torch

from seqmodels.batch import Batch
from seqmodels.data import Replica, Tokenizer
from seqmodels.data.stream_corpus import FileShards, Shards, StreamedCorpus, TextRow
from seqmodels.data.stream_windows import StreamedWindows
from seqmodels.nn import LSTM
from seqmodels.tasks import LanguageModel

LENGTH, BATCH = 256, 32
EVERY = 200
"""Batches between two steps of the model."""


class Passing(Shards):
    """Shards of made-up documents, each of so many characters and on disk only while it is read."""

    def __init__(self, folder: Path, count: int, characters: int) -> None:
        self.folder, self.characters = folder, characters
        self.names = self.stamps = [f"{number:05d}.parquet" for number in range(count)]

    def rows(self, shard: int, first: int = 0) -> Iterator[TextRow]:
        """Write the shard, read it as any other, and delete it."""
        path = self.folder / self.names[shard]
        texts = documents(shard, self.characters)
        with pa.parquet.ParquetWriter(path, pa.schema({"text": pa.string()})) as writer:
            while group := list(itertools.islice(texts, 1000)):
                writer.write_table(pa.table({"text": group}))
        yield from FileShards([path], "text").rows(0, first)
        path.unlink()


def documents(seed: int, characters: int) -> Iterator[str]:
    """Documents of a few kilobytes in made-up words, of so many characters together."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(1, 9))) for _ in range(2000)]
    while characters > 0:
        text = " ".join(chance.choices(words, k=chance.randint(100, 1500)))
        characters -= len(text)
        yield text


def resident() -> float:
    """Megabytes of memory that this process has, files that are mapped into it left out."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def drain(gigabytes: float, shard: float) -> Iterator[tuple[float, float]]:
    """Read gigabytes of text in batches; yields megabytes read and megabytes of memory, a hundred times."""
    count, total = max(2, round(gigabytes / shard)), gigabytes * 1e9
    tokenizer = Tokenizer.byte()
    model = LanguageModel(LSTM(16, 32), tokenizer)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with tempfile.TemporaryDirectory() as folder:
        shards = Passing(Path(folder), count, round(shard * 1e9))
        corpus = StreamedCorpus("made-up text", shards, {}, held_out=100)
        batches = StreamedWindows(corpus, tokenizer, LENGTH, BATCH, LENGTH, 8192, 1, Replica(), bos=True, eos=True)
        step, said = 0, 0
        while step * BATCH * LENGTH < total:
            batch = batches[0, step]
            if step % EVERY == 0:
                train(model, optimizer, batch)
            step += 1
            if (read := step * BATCH * LENGTH) >= said * total / 100:
                said += 1
                yield read / 1e6, resident()


def train(model: LanguageModel, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """One step."""
    logits, _ = model(batch)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def measured(gigabytes: float, shard: float = 0.1) -> tuple[float, float, float]:
    """Maximal memory in the second tenth of the text, as the first includes the start, and in the last, in megabytes,
    and megabytes of text per second.
    """
    began = time.monotonic()
    passed = list(drain(gigabytes, min(shard, gigabytes / 4)))
    memory, tenth = [now for _, now in passed], max(1, len(passed) // 10)
    return max(memory[tenth : 2 * tenth]), max(memory[-tenth:]), passed[-1][0] / (time.monotonic() - began)
