"""The score of a text: the sum of what single steps say, whatever it is scored beside."""

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cli.test_cli import refused
from networks import NETWORKS
from trainers import Record, small_model, small_module, train

from seqmodels import InputError, LanguageModel, TextDataModule, Tokenizer, load
from seqmodels.batch import BOS, EOS
from seqmodels.cli.main import main
from seqmodels.nn import LSTM, Backbone, Transformer
from seqmodels.tasks import scoring

LETTERS = "abcdefgh .é"
TEXTS = ["a bad café.", "", "h", "head " * 9, "a", "", "a bad café.", "cab " * 3]


def varied(backbone: Backbone, tokenizer: Tokenizer | None = None) -> LanguageModel:
    """A model with strong opinions, in double precision."""
    torch.manual_seed(0)
    model = LanguageModel(backbone, tokenizer or Tokenizer.char([LETTERS])).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def by_steps(model: LanguageModel, text: str, eos: bool) -> float:
    """Minus the logarithm of the probability, one token after the other."""
    nats, token, state = 0.0, BOS, None
    for target in model.tokenizer.encode(text) + [EOS] * eos:
        with torch.no_grad():
            logits, state = model.step(torch.tensor([token]), state)
        shares = [math.exp(logit) for logit in logits[0].tolist()]
        nats -= math.log(shares[target] / sum(shares))
        token = target
    return nats


@pytest.mark.parametrize("eos", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_sums_of_single_steps(name: str, eos: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = varied(NETWORKS[name]())
    wanted = [by_steps(model, text, eos) for text in TEXTS]
    for positions in (2**14, 50, 1):  # all in one batch, a few in each, and token by token
        monkeypatch.setattr(scoring, "MAX_POSITIONS", positions)
        scores = model.score(TEXTS, eos=eos)
        assert [score.nats for score in scores] == pytest.approx(wanted, rel=1e-12)
        assert [score.tokens for score in scores] == [len(text) + eos for text in TEXTS]
    assert [score.nats for text in TEXTS for score in model.score([text], eos=eos)] == pytest.approx(wanted, rel=1e-12)


def test_batches_are_of_similar_length(monkeypatch: pytest.MonkeyPatch) -> None:
    model = varied(LSTM(6, 8))
    read: list[tuple[int, ...]] = []
    model.backbone.register_forward_pre_hook(lambda _, args: read.append(tuple(args[0].shape[:2])))
    monkeypatch.setattr(scoring, "MAX_POSITIONS", 40)
    model.score([letter * n for letter, n in zip("abcdefg", (20, 1, 13, 2, 1, 12, 90), strict=True)])
    assert read == [(3, 2), (2, 13), (1, 20), (1, 40), (1, 40), (1, 10)]


def test_few_logits_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = varied(LSTM(6, 8))
    held = []
    model.head.register_forward_hook(lambda *args: held.append(args[2].numel()))
    monkeypatch.setattr(scoring, "MAX_LOGITS", 600)
    model.score(["bad " * 200, *["abc"] * 30])
    assert max(held) <= 600
    assert sum(held) < 1.2 * 600 * len(held)


def test_figures() -> None:
    score = varied(LSTM(6, 8)).score(["é."], eos=True)[0]
    assert (score.tokens, score.bytes, score.unknown) == (3, 3, 0)
    assert score.nats_per_token == pytest.approx(score.nats / 3)
    assert score.bits_per_byte == pytest.approx(score.nats / math.log(2) / 3)
    nothing = varied(LSTM(6, 8)).score([""])[0]
    assert (nothing.nats, nothing.tokens, nothing.bytes) == (0.0, 0, 0)
    assert math.isnan(nothing.nats_per_token)
    assert math.isnan(nothing.bits_per_byte)
    assert varied(LSTM(6, 8)).score([]) == []


def test_vocabularies_are_compared_by_bytes() -> None:
    for tokenizer in (Tokenizer.byte(), Tokenizer.bpe(["é bad café " * 9], 280)):
        score = varied(LSTM(6, 8), tokenizer).score(["a café"])[0]
        assert score.bytes == 7
        assert score.tokens == len(tokenizer.encode("a café"))


def test_unknown_characters_are_counted() -> None:
    score = varied(LSTM(6, 8)).score(["a ☃☃ b", "a"])
    assert [one.unknown for one in score] == [2, 0]
    assert score[0].bytes == len("a ☃☃ b".encode())


def test_text_longer_than_learned_positions() -> None:
    model = varied(Transformer(8, 1, 2, context=16, positions="learned"))
    assert model.score(["a" * 16, "a" * 15])[0].tokens == 16
    for text, eos in (("a" * 17, False), ("a" * 16, True)):
        with pytest.raises(InputError, match="text 2 has 17 tokens, and this network has 16 positions"):
            model.score(["a", text], eos=eos)


def test_the_model_is_left_as_it_was_found(text_file: Path) -> None:
    model = small_model(small_module(text_file, True), dropout=0.5).train()
    assert model.score(["the"]) == model.score(["the"])  # without dropout
    assert model.training
    assert not torch.is_inference_mode_enabled()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, text_file: Path) -> str:
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    data = small_module(text_file, True)
    train(small_model(data), data, 1, Record(1, path))
    return str(path)


class Lines:
    """Standard input that counts the lines that were taken."""

    def __init__(self, content: bytes) -> None:
        self.lines, self.taken = iter(io.BytesIO(content)), 0

    def __iter__(self) -> Iterator[bytes]:
        for line in self.lines:
            self.taken += 1
            yield line

    def isatty(self) -> bool:
        return False


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> Lines:
    lines = Lines(content)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=lines))
    return lines


def test_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, checkpoint: str) -> None:
    """As many lines come out as went in, in their order, with the figures of the function below."""
    lines = ["The gate.", "", "a\tcafé ☃☃", "The gate.", "", "naïve\u2028 state\x0b"]
    content = "The gate.\r\n\na\tcafé ☃☃\nThe gate.\n\nnaïve\u2028 state\x0b".encode()
    model = load(checkpoint)
    assert isinstance(model, LanguageModel)
    for words, eos in ((["score", checkpoint], False), (["score", "--eos", checkpoint], True)):
        give(monkeypatch, content)
        main(words)
        out, err = capsys.readouterr()
        assert out.count("\n") == len(lines)
        assert err.startswith("5 tokens are unknown to the vocabulary")
        for row, line, score in zip(out.split("\n"), lines, model.score(lines, eos=eos), strict=False):
            nats, tokens, mean, bits, rest = row.split("\t", 4)
            assert rest == line
            assert int(tokens) == len(line) + eos
            assert float(nats) == pytest.approx(score.nats, abs=6e-5)
            assert float(mean) == pytest.approx(score.nats_per_token, abs=6e-5, nan_ok=True)
            assert float(bits) == pytest.approx(score.bits_per_byte, abs=6e-5, nan_ok=True)


def test_command_as_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, checkpoint: str) -> None:
    give(monkeypatch, "café\n\n☃".encode())
    main(["score", checkpoint, "--json"])
    first, empty, odd = map(json.loads, capsys.readouterr().out.splitlines())
    (score,) = load(checkpoint).score(["café"])  # type: ignore[operator]
    assert first == {
        "nats": score.nats,
        "tokens": 4,
        "nats_per_token": score.nats_per_token,
        "bits_per_byte": score.bits_per_byte,
        "unknown": 0,
        "text": "café",
    }
    assert empty == {**first, "nats": 0.0, "tokens": 0, "nats_per_token": None, "bits_per_byte": None, "text": ""}
    assert odd["unknown"] == 1
    give(monkeypatch, b"")
    main(["score", checkpoint])
    assert capsys.readouterr() == ("", "")


def test_command_reads_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch, checkpoint: str) -> None:
    stream = give(monkeypatch, b"the state\n" * 600)
    parts, seen = [], LanguageModel.forward

    def forward(model: LanguageModel, *args: Any) -> Any:
        parts.append(stream.taken)
        return seen(model, *args)

    monkeypatch.setattr(LanguageModel, "forward", forward)
    main(["score", checkpoint])
    assert sorted(set(parts)) == [256, 512, 600]


def test_command_mistakes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, checkpoint: str, tmp_path: Path
) -> None:
    assert "there is no" in refused(capsys, "score", "missing")
    give(monkeypatch, b"the\n" * 300 + b"caf\xe9\n")
    assert "line 301 of standard input is not UTF-8" in refused(capsys, "score", checkpoint)
    path, data = tmp_path / "model.safetensors", TextDataModule(str(text_of(tmp_path)), length=8, batch_size=2)
    model = small_model(data, Transformer(8, 1, 2, context=8, positions="learned"))
    train(model, data, 1, Record(1, path))
    give(monkeypatch, b"abc\n" * 300 + b"abcabcabc\n")
    assert "text 301 has 9 tokens" in refused(capsys, "score", str(path))


def text_of(folder: Path) -> Path:
    (folder / "text.txt").write_text("abc\n" * 200)
    return folder / "text.txt"
