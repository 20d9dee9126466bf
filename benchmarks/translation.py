"""Target tokens per second of training a translator, beside a plain loop around `nn.Transformer`.

Ours is the whole Trainer with `precision="auto"`. The loop is the simplest one: `nn.Transformer` of the same size,
sentences in random order, batches filled up to the same number of tokens with padding, cross-entropy, AdamW. Sentences
are made up; their lengths are distributed like those of Multi30k in subwords. Targets without padding are counted.
"""

import contextlib
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Comparison, compare, scratch
from benchmarks.trainer import Screen
from seqmodels.batch import IGNORE, PAD, Batch
from seqmodels.data import TranslationDataModule
from seqmodels.data.buckets import pair_batch
from seqmodels.nn import Transformer
from seqmodels.tasks import Translator
from seqmodels.training.fit import fit


@dataclass(frozen=True)
class Work:
    """A training."""

    size: int
    """Features of embedding and layers."""
    layers: int
    """Of the encoder, and of the decoder."""
    words: int
    """In the vocabulary."""
    max_tokens: int
    """Of a batch."""
    steps: int
    """That are timed."""

    def data(self, folder: Path) -> TranslationDataModule:
        """The sentences."""
        return TranslationDataModule(
            str(folder), "en", "fr", tokenizer="word", joint=True, batch_tokens=self.max_tokens
        )


WARM_UP = 3
"""Steps before the timed ones."""


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """All comparisons of this topic; see `Topic`."""
    work = Work(16, 1, 20, 200, 2) if small else Work(256, 3, 6_000, 2048, 30)
    with made_up_pairs(300 if small else 29_000, work.words) as folder:
        what = f"Train Transformer {work.layers}+{work.layers}x{work.size} to translate, {work.max_tokens:,} tokens"
        sides = partial(ours, work, folder), partial(rival, work, folder)
        yield compare(what, *sides, unit="tokens/s", rounds=rounds, warm_up=False, target="ratio >= 2.5")


@contextlib.contextmanager
def made_up_pairs(count: int, words: int) -> Iterator[Path]:
    """A temporary directory of sentence pairs of similar lengths, about 15 tokens per side."""
    source = random.Random(1)
    vocabulary = [f"w{number}" for number in range(words)]
    with scratch() as folder:
        for split, size in {"train": count, "val": 20}.items():
            lengths = [max(3, round(source.lognormvariate(2.65, 0.32))) for _ in range(size)]
            for language in ("en", "fr"):
                sizes = (max(2, length + source.randint(-2, 3)) for length in lengths)
                lines = (" ".join(source.choices(vocabulary, k=size)) + "\n" for size in sizes)
                (folder / f"{split}.{language}").write_text("".join(lines))
        yield folder


class Clock(pl.Callback):
    """Records the end time and the number of targets of every step."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.targets: list[int] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.tick(batch)

    def tick(self, batch: Batch) -> None:
        """Record a step."""
        self.ends.append(time.perf_counter())
        self.targets.append(int((batch.targets != IGNORE).sum()))

    def rate(self) -> float:
        """Targets per second of the timed steps."""
        return sum(self.targets[WARM_UP:]) / (self.ends[-1] - self.ends[WARM_UP - 1])


def ours(work: Work, folder: Path) -> float:
    """Target tokens per second inside `seqmodels.fit`."""
    data, clock = work.data(folder), Clock()
    shape: dict[str, Any] = {"input_size": work.size, "num_layers": work.layers, "dropout": 0.1}
    model = Translator(
        Transformer(**shape, causal=False), Transformer(**shape, memory_size=work.size), data.tokenizer,
        label_smoothing=0.1, tie_embeddings="all",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as runs, contextlib.redirect_stdout(Screen()):
        fit(
            model, data, max_steps=WARM_UP + work.steps, validations=1, precision="auto", accelerator="cpu", runs=runs,
            callbacks=(clock,),
        )  # fmt: skip
    return clock.rate()


def rival(work: Work, folder: Path) -> float:
    """Target tokens per second of the plain loop."""
    data, clock = work.data(folder), Clock()
    source, target = data.sentences("train")
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(1)).tolist()
    model = PlainTransformer(data.tokenizer.vocab_size, work.size, work.layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(WARM_UP + work.steps):
        rows, widest = [], 0
        while order:
            widest = max(widest, int(source.lengths[order[-1]]) + 1, int(target.lengths[order[-1]]) + 1)
            if widest * (len(rows) + 1) > work.max_tokens:
                break
            rows.append(order.pop())
        batch = pair_batch(source, target, torch.tensor(rows), "pair")
        assert batch.source is not None
        logits = model(batch.source, batch.inputs)
        loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        clock.tick(batch)
    return clock.rate()


class PlainTransformer(nn.Module):
    """A translator around `nn.Transformer`, with `size` features of embedding and layers."""

    def __init__(self, vocab_size: int, size: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, size)
        self.position = nn.Embedding(256, size)
        self.transformer = nn.Transformer(size, 4, layers, layers, 4 * size, 0.1, batch_first=True)
        self.head = nn.Linear(size, vocab_size)
        self.head.weight = self.embedding.weight

    def forward(self, source: Tensor, inputs: Tensor) -> Tensor:
        """Token ids (B, S) and (B, T) to logits (B, T, V)."""
        x, y = (self.embedding(ids) + self.position.weight[: ids.shape[1]] for ids in (source, inputs))
        later = nn.Transformer.generate_square_subsequent_mask(inputs.shape[1], dtype=torch.bool)  # type: ignore[arg-type]
        padding = source == PAD
        y = self.transformer(
            x, y, tgt_mask=later, src_key_padding_mask=padding, memory_key_padding_mask=padding, tgt_is_causal=True
        )
        return self.head(y)
