"""Models of different vocabularies on one text: what is measured is the text."""

import itertools
import math
import random
from pathlib import Path

import pytest
import torch

from seqmodels.batch import IGNORE
from seqmodels.data import TextDataModule
from seqmodels.metrics import TextMetrics, summed_nats

KINDS = ["char", "byte", "bpe", "word"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words one space or line end apart, which a vocabulary of words measures to the byte; documents on lines."""
    chance = random.Random(1)
    words = ["the", "café", "of", "naïve", "state", "火车", "network", "gate", "<unk>"]
    folder = tmp_path_factory.mktemp("plain")
    for name in ("train", "valid"):
        lines = [" ".join(chance.choices(words, k=chance.randint(1, 9))) + "\n" for _ in range(40)]
        (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_sums_over_batches_are_exact(kind: str, carry: bool, plain: Path) -> None:
    """Against float64 and Python: every token once, and the bytes of the file."""
    size = 300 if kind in ("bpe", "word") else None
    data = TextDataModule(str(plain), tokenizer=kind, vocab_size=size, length=8, batch_size=3, carry=carry)
    text = (plain / "valid.txt").read_text(encoding="utf-8")
    V = data.tokenizer.vocab_size
    table = torch.randn(V, V, generator=torch.Generator().manual_seed(0))  # a bigram model in single precision
    metric = TextMetrics(data.tokenizer.sizes)
    batches = data.scored_batches("validation")
    for k in range(len(batches)):
        batch = batches[0, k]
        metric.update(summed_nats(table[batch.inputs], batch.targets)[0], batch.targets)
    column = data.tokens("validation").tolist()
    logarithms = table.double().log_softmax(-1).tolist()
    nats = -sum(logarithms[before][after] for before, after in itertools.pairwise(column))
    found = {name: figure.item() for name, figure in metric.compute().items()}
    assert found["nats_per_token"] == pytest.approx(nats / (len(column) - 1), rel=1e-6)
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / len(text.encode()), rel=1e-6)
    assert found["bits_per_character"] == pytest.approx(nats / math.log(2) / len(text), rel=1e-6)
    assert data.facts("validation").bits_per_byte(nats) == nats / math.log(2) / len(text.encode())


def test_models_that_know_the_same_score_the_same(plain: Path) -> None:
    """Each line equally likely, whatever it is cut into: nats per token differ, bits per byte do not."""
    found = {}
    for kind in KINDS:
        data = TextDataModule(
            str(plain), tokenizer=kind, vocab_size=300 if kind in ("bpe", "word") else None, length=8, batch_size=3
        )
        metric = TextMetrics(data.tokenizer.sizes)
        batches, tokens = data.scored_batches("validation"), data.facts("validation").tokens
        for k in range(len(batches)):
            targets = batches[0, k].targets
            share = (targets != IGNORE).sum().double() / tokens
            metric.update(1000 * share, targets)
        found[kind] = {name: figure.item() for name, figure in metric.compute().items()}
    size = (plain / "valid.txt").stat().st_size
    assert [f["bits_per_byte"] for f in found.values()] == pytest.approx([1000 / math.log(2) / size] * 4, rel=1e-9)
    assert len({f["nats_per_token"] for f in found.values()}) == 4
