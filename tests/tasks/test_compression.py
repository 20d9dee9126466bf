"""Compressed files come back to the bit, and are as long as the model says."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodels import GRU, LSTM, InputError, LanguageModel, NGram, TextDataModule, Tokenizer, Transformer, fit
from seqmodels.cli.main import main
from seqmodels.errors import DamagedError
from seqmodels.nn import Backbone
from seqmodels.tasks import compression
from seqmodels.tasks.compression import Learning, compress, decompress
from seqmodels.tasks.dynamic_evaluation import Dynamic

TEXT = "the cat sat on the mat\nand the dog sat on the cat\n" * 6
OTHER = "the dog sat on the mat, señor \U0001f600\n"


def model(network: Backbone, tokenizer: Tokenizer | None = None) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(network, tokenizer or Tokenizer.char([TEXT])).eval()


def nothing() -> list[object]:
    raise AssertionError("no training text is needed")


@pytest.fixture(scope="module")
def tasks() -> dict[str, LanguageModel]:
    counting = model(NGram(3, memory=60))
    counting.backbone.count(torch.tensor(counting.tokenizer.encode(TEXT)))
    return {
        "LSTM": model(LSTM(8, 12, num_layers=2)),
        "Transformer": model(Transformer(8, 1, 2, context=16), Tokenizer.byte()),
        "positions": model(Transformer(8, 1, 2, context=16, positions="learned"), Tokenizer.bpe([TEXT], 270)),
        "NGram": counting,
    }


@pytest.mark.parametrize("name", ["LSTM", "Transformer", "positions", "NGram"])
@pytest.mark.parametrize("lanes", [1, 3])
def test_to_the_bit(tasks: dict[str, LanguageModel], name: str, lanes: int) -> None:
    for content in (b"", b"x", OTHER.encode(), b"\xff\x00 the cat\r\n\x80" + OTHER.encode()[:-3]):
        assert decompress(tasks[name], compress(tasks[name], content, lanes), nothing) == content


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes(content: bytes) -> None:
    task = model(GRU(4, 4))
    assert decompress(task, compress(task, content, 2), nothing) == content


@pytest.mark.parametrize("name", ["LSTM", "Transformer", "NGram"])
def test_as_many_bits_as_the_score(tasks: dict[str, LanguageModel], name: str) -> None:
    (score,) = tasks[name].score([TEXT])
    coded = 8 * (len(compress(tasks[name], TEXT.encode())) - compression.HEADER.size)
    assert coded == pytest.approx(score.nats / math.log(2), rel=1e-3, abs=8)


def test_learning(tasks: dict[str, LanguageModel]) -> None:
    """The model learns as it reads and as it restores, and is what it was at the end."""
    task = tasks["LSTM"]
    data = TextDataModule({"train": [TEXT]}, tokenizer=task.tokenizer, length=16, batch_size=2)
    statistics = [data.training_batches()[0, step] for step in range(4)]
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    learn = Learning(Dynamic(lr=2e-3, decay=0.0), 7, lambda: statistics)
    content = TEXT.encode()
    for lanes in (1, 2):
        learned = compress(task, content, lanes, learn)
        if lanes == 1:
            assert len(learned) - compression.SPEED.size < 0.95 * len(compress(task, content))
        assert decompress(task, learned, lambda: statistics) == content
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.state_dict().items())


def test_what_cannot_be_restored(tasks: dict[str, LanguageModel]) -> None:
    task = tasks["LSTM"]
    whole = compress(task, TEXT.encode())
    other = model(LSTM(8, 12, num_layers=2))
    with torch.no_grad():
        other.head.bias[5] += 1e-6
    with pytest.raises(InputError, match="compressed by another model"):
        decompress(other, whole, nothing)
    with pytest.raises(InputError, match="no file that seqmodels compress wrote"):
        decompress(task, b"PK" + whole, nothing)
    for place in (len(whole) // 2, 18):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        with pytest.raises(DamagedError, match="damaged"):
            decompress(task, bytes(damaged), nothing)
    words = model(GRU(4, 4), Tokenizer.word([TEXT]))
    with pytest.raises(InputError, match="does not give a text back"):
        compress(words, b"the  cat")
    with pytest.raises(InputError, match="lanes=0"):
        compress(task, b"the cat", 0)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, other = tmp_path / "a.txt", tmp_path / "b.txt"
    text.write_text(TEXT * 3)
    other.write_bytes(OTHER.encode() + b"\xfe")
    data = TextDataModule(str(text), length=16, batch_size=2)
    run = str(fit(LanguageModel(GRU(8, 8), data.tokenizer), data, max_steps=2, runs=tmp_path, accelerator="cpu"))
    main(["compress", run, str(other), "--dynamic", "--lanes", "2"])
    main(["decompress", run, f"{other}.sqm", "--to", str(tmp_path / "back")])
    assert (tmp_path / "back").read_bytes() == other.read_bytes()
    assert "bits per byte" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_code:
        main(["decompress", run, f"{other}.sqm"])
    assert exit_code.value.code == 2
    assert "already" in capsys.readouterr().err
