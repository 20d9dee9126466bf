"""Many texts at once, and where they end."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.test_cli import refused
from hypothesis import given
from hypothesis import strategies as st
from networks import NETWORKS
from torch import Tensor
from trainers import Record, small_model, small_module, train

from seqmodels import InputError, LanguageModel, Sampling, Tokenizer
from seqmodels.batch import EOS
from seqmodels.cli.main import main
from seqmodels.decoding import VisibleText
from seqmodels.nn import LSTM, Backbone, Transformer
from seqmodels.tasks import generation
from seqmodels.tasks.generation import token_bias
from seqmodels.tasks.stepping import Predictor

LETTERS = "abcdefgh .\n"
PROMPTS = ["abc", "", "a bad cabbage.", "h", "abc", "faced a "]


def lively(backbone: Backbone | None = None, tokenizer: Tokenizer | None = None) -> LanguageModel:
    """A model whose text depends on all it has read, in double precision: no close call is tipped by rounding."""
    torch.manual_seed(0)
    model = LanguageModel(backbone or LSTM(6, 8), tokenizer or Tokenizer.char([LETTERS])).double().eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:  # the others say the same whatever was read
            torch.nn.init.normal_(parameter, std=1.0 if "backbone" in name else 2.0)
    with torch.no_grad():
        model.head.bias[EOS] = -4.0
    return model


def text(model: LanguageModel, prompt: str, **settings: Any) -> str:
    return "".join(model.generate(prompt, **settings))


@pytest.mark.parametrize("name", NETWORKS)
def test_greedy_text_is_the_same_alone_and_in_a_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where prompts are read in pieces, of which the first are padding for some rows."""
    model = lively(NETWORKS[name]())
    settings: dict[str, Any] = {"max_tokens": 20, "sampling": Sampling(0.0, repetition_penalty=2.0)}
    alone = [text(model, prompt, **settings) for prompt in PROMPTS]
    assert len(set(alone)) > 3
    for read in (512, 3):
        monkeypatch.setattr(generation, "READ", read)
        assert model.generate_batch(PROMPTS, **settings) == [[one] for one in alone]


@pytest.mark.parametrize("name", ["LSTM-2-learned-start", "Transformer-narrow-context", "Hybrid"])
def test_a_draw_follows_from_the_places_of_prompt_and_sample(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written beside it, in batches of any size, however many samples there are."""
    model = lively(NETWORKS[name]())
    settings: dict[str, Any] = {"max_tokens": 25, "seed": 5, "stop": ["a."], "sampling": Sampling(3.0)}
    texts = model.generate_batch(PROMPTS, samples=3, **settings)
    assert [len(samples) for samples in texts] == [3] * len(PROMPTS)
    assert len({one for samples in texts for one in samples}) > 15
    assert texts[0] != texts[4]  # the same prompt twice is two draws
    assert texts[0][0] == text(model, PROMPTS[0], **settings)
    assert [samples[:2] for samples in texts] == model.generate_batch(PROMPTS, samples=2, **settings)
    others = [prompt if place == 2 else "bed. " * place for place, prompt in enumerate(PROMPTS)]
    assert model.generate_batch(others, samples=3, **settings)[2] == texts[2]
    for rows in (1, 2, 7):
        monkeypatch.setattr(generation, "ROWS", rows)
        assert model.generate_batch(PROMPTS, samples=3, **settings) == texts
    assert model.generate_batch(PROMPTS, samples=3, **settings | {"seed": 6}) != texts
    unseeded = [model.generate_batch(["a"], max_tokens=99, samples=9) for _ in range(2)]
    assert unseeded[0] != unseeded[1]


def test_a_prompt_is_read_once_for_all_its_samples() -> None:
    model = lively()
    read = []
    model.backbone.register_forward_pre_hook(lambda _, args: read.append(tuple(args[0].shape[:2])))
    model.generate_batch(["abcd"], samples=5, max_tokens=1)
    assert read == [(1, 4)]


def test_rows_that_are_done_leave_the_batch() -> None:
    """Row after row meets the end of a document or a stop string; the state keeps the rows that go on."""
    model = lively()
    a, b = (model.tokenizer.encode(letter)[0] for letter in "ab")
    script = iter([[a, b, a, b], [a, EOS, a, b], [b, a, a], [a, a], [a, a]])
    rows, kept = [], []

    class Scripted:
        def __call__(self, tokens: Tensor) -> Tensor:
            rows.append(len(tokens))
            return torch.nn.functional.one_hot(torch.tensor(next(script)), model.tokenizer.vocab_size) * 9.0

        def select(self, places: Tensor) -> None:
            kept.append(places.tolist())

    model.steps = lambda state, rows: Scripted()  # type: ignore[method-assign,assignment,return-value]
    texts = model.generate_batch([""] * 4, max_tokens=5, sampling=Sampling(0.0), stop=["ab"])
    assert texts == [["a"], ["b"], ["aaaaa"], ["bbaaa"]]
    assert rows == [4, 4, 3, 2, 2]
    assert kept == [[0, 2, 3], [1, 2]]


def tokens_of(written: str, cuts: set[int]) -> Iterator[bytes]:
    data = written.encode()
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return (data[first:last] for first, last in itertools.pairwise(edges))


@given(
    st.text("abé", max_size=20),
    st.lists(st.text("abé", min_size=1, max_size=4), max_size=3),
    st.sets(st.integers(0, 99)),
)
def test_stop_strings(written: str, stop: list[str], cuts: set[int]) -> None:
    """Against a search from the front, for any division into tokens, also within characters."""
    ends = [end for end in range(len(written) + 1) if any(written[:end].endswith(s) for s in stop)]
    wanted = written if not ends else min(written[: ends[0]].removesuffix(s) for s in stop)
    transcript, shown, fed = VisibleText(stop), "", b""
    for token in tokens_of(written, cuts):
        fed, shown = fed + token, shown + transcript.add(token)
        assert wanted.startswith(shown)  # never a part of a stop string, nor anything after it
        if not transcript.stopped:
            held = fed.decode(errors="ignore").removeprefix(shown)
            assert not held or any(s.startswith(held) for s in stop)  # no more than needed
    shown += transcript.add(b"", final=True)
    assert shown == wanted
    assert transcript.stopped == bool(ends)


def test_nothing_is_held_back_without_need() -> None:
    transcript = VisibleText(["END.", "EN:"])
    assert [transcript.add(letter.encode()) for letter in "aENxEEN:b"] == ["a", "", "", "ENx", "", "E", "", "", ""]


@pytest.mark.parametrize("prompt", ["abc", ""])
def test_text_ends_before_the_stop_string(prompt: str) -> None:
    model = lively()
    settings: dict[str, Any] = {"max_tokens": 300, "seed": 3, "sampling": Sampling(3.0, logit_bias={EOS: -100})}
    whole = text(model, prompt, **settings)
    stop = whole[40:43]
    pieces = list(model.generate(prompt, stop=["not there", stop], **settings))
    assert "".join(pieces) == whole[: whole.index(stop)]
    assert len(pieces) > 5  # as it is drawn
    assert model.generate_batch([prompt], samples=2, stop=[stop], **settings)[0][0] == "".join(pieces)


def test_generation_stops_with_the_stop_string(monkeypatch: pytest.MonkeyPatch) -> None:
    model, steps, called = lively(), [], Predictor.__call__
    monkeypatch.setattr(Predictor, "__call__", lambda self, tokens: steps.append(1) or called(self, tokens))
    settings: dict[str, Any] = {"max_tokens": 50, "seed": 3, "sampling": Sampling(3.0, logit_bias={EOS: -100})}
    whole = text(model, "abc", **settings)
    steps.clear()
    cut = text(model, "abc", stop=[whole[5:7]], **settings)
    assert len(steps) == len(cut) + 2  # the text, the stop string


def test_a_penalty_applies_to_the_prompt_too() -> None:
    """A model that likes everything alike never says what it has read or said, as long as there is something else."""
    model = lively()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.fill_(20.0)[EOS] = -100.0
    written = text(model, "abc", max_tokens=8, seed=1, sampling=Sampling(repetition_penalty=100.0))
    assert sorted("abc" + written) == sorted(LETTERS)


def test_bias() -> None:
    model = lively()
    bias = token_bias(model.tokenizer, {"a": 100.0, "<eos>": -100.0})
    assert text(model, "", max_tokens=9, sampling=Sampling(logit_bias=bias)) == "a" * 9
    end = token_bias(model.tokenizer, {"<eos>": 100})
    assert text(model, "", max_tokens=9, sampling=Sampling(logit_bias=end)) == ""
    bpe = Tokenizer.bpe(["the theme of the thing"] * 3, 270)
    assert token_bias(bpe, {" the": 1.0}) == {bpe.encode(" the")[0]: 1.0}


@pytest.mark.parametrize(
    ("bias", "hint"),
    [
        ("☃", "not in the vocabulary"),
        ("", "not in the vocabulary"),
        ("ab", "2 tokens, ['a', 'b']"),
        ("<pad>", "tokens"),
    ],
)
def test_bias_of_what_is_no_token(bias: str, hint: str) -> None:
    with pytest.raises(InputError, match="logit bias of") as refused:
        token_bias(Tokenizer.char([LETTERS + "<>pad"]), {bias: 1.0})
    assert hint in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"samples": 0}, "samples=0"),
        ({"max_tokens": -1}, "max_tokens=-1"),
        ({"stop": [""]}, "at least one character"),
        ({"stop": "end"}, "expected a list"),
        ({"seed": -1}, "seed=-1"),
        ({"sampling": Sampling(logit_bias={99: 1.0})}, "token 99"),
    ],
)
def test_what_cannot_be_written(settings: dict[str, Any], hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        lively().generate_batch(["a"], **settings)
    if "samples" not in settings:
        with pytest.raises(InputError, match=hint):
            lively().generate("a", **settings)  # at once, not with the first piece


def test_prompts_that_cannot_be_read() -> None:
    with pytest.raises(InputError, match="a prompt is text, got 5"):
        lively().generate(5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"got \['a', 'b'\]; generate_batch takes a list"):
        lively().generate(["a", "b"])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected a list of prompts, got 'ab'"):
        lively().generate_batch("ab")
    with pytest.raises(InputError, match="prompt 2 of 3: the prompt has '☃'"):
        lively().generate_batch(["a", "☃", "b"])
    model = lively(Transformer(8, 1, 2, context=16, positions="learned"))
    assert [len(one) <= 8 for (one,) in model.generate_batch(["a", "a bad"], max_tokens=10, seed=0)]
    with pytest.raises(InputError, match="max_tokens=10"):
        model.generate_batch(["a", "a bad"], max_tokens=11)
    with pytest.raises(InputError, match="max_tokens=10"):
        model.generate("a bad", max_tokens=11)
    assert model.generate_batch([]) == []


def test_as_many_tokens_as_there_are_positions() -> None:
    model = lively(Transformer(8, 1, 2, context=16, positions="learned"))
    forever = Sampling(logit_bias={EOS: -100.0})
    assert [len(one) for (one,) in model.generate_batch(["a", "a bad"], sampling=forever)] == [10, 10]


def test_the_model_is_left_as_it_was_found(text_file: Path) -> None:
    model = small_model(small_module(text_file, True)).train()
    model.generate_batch(["the", ""], samples=2, max_tokens=5)
    assert model.training
    assert not torch.is_inference_mode_enabled()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, text_file: Path) -> str:
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    data = small_module(text_file, True)
    train(small_model(data), data, 1, Record(1, path))
    return str(path)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(["generate", *words])
    return capsys.readouterr().out


def test_command_with_several_samples(capsys: pytest.CaptureFixture[str], checkpoint: str) -> None:
    words = [checkpoint, "--prompt", "the ", "--max-tokens", "12", "--seed", "4"]
    one = printed(capsys, *words)
    assert one.startswith("the ")
    page = printed(capsys, *words, "--samples", "2")
    assert page.startswith(f"--- sample 1 ---\n{one}--- sample 2 ---\nthe ")
    lines = [json.loads(line) for line in printed(capsys, *words, "--samples", "2", "--json").splitlines()]
    assert [(line["prompt"], line["sample"]) for line in lines] == [("the ", 1), ("the ", 2)]
    assert page == "".join(f"--- sample {line['sample']} ---\nthe {line['text']}\n" for line in lines)


def test_command_with_a_file_of_prompts(capsys: pytest.CaptureFixture[str], checkpoint: str, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes("the \n\ncafé\r\n a".encode())
    words = [checkpoint, "--prompts", str(file), "--max-tokens", "5", "--seed", "4"]
    lines = [json.loads(line) for line in printed(capsys, *words, "--json").splitlines()]
    assert [line["prompt"] for line in lines] == ["the ", "", "café", " a"]
    page = printed(capsys, *words)
    assert page == "".join(f"--- prompt {n} ---\n{li['prompt']}{li['text']}\n" for n, li in enumerate(lines, 1))
    assert "--- prompt 4, sample 2 ---\n a" in printed(capsys, *words, "--samples", "2")


def test_command_with_all_settings(capsys: pytest.CaptureFixture[str], checkpoint: str) -> None:
    words = [checkpoint, "--max-tokens", "60", "--seed", "4", "--logit-bias", '{"<eos>": -100}', "--temperature", "3"]
    whole = printed(capsys, *words)[:-1]
    stop = whole[30:32]
    assert printed(capsys, *words, "--stop", "☃", "--stop", stop) == whole[: whole.index(stop)] + "\n"
    assert printed(capsys, *words, "--stop=[", f"--stop={stop}") == whole[: whole.index(stop)] + "\n"
    forced = printed(capsys, *words, "--logit-bias", '{"e": 100, "<eos>": -100}')
    assert forced == "e" * 60 + "\n"
    assert printed(capsys, *words, "--min-p", "1") == printed(capsys, *words[:-1], "0")
    once = printed(capsys, *words[:-1], "1", "--max-tokens", "9", "--repetition-penalty", "0.001")
    assert len(set(once)) < 9


def test_command_mistakes(capsys: pytest.CaptureFixture[str], checkpoint: str, tmp_path: Path) -> None:
    for name, content in {"empty": b"", "latin": b"the\ncaf\xe9\n", "odd": "the\n☃\n".encode()}.items():
        (tmp_path / name).write_bytes(content)
    for words, hint in [
        (["--min-p", "0"], "min_p=0"),
        (["--min-p", "1.5"], "min_p=1.5"),
        (["--repetition-penalty", "0"], "repetition_penalty=0"),
        (["--samples", "0"], "samples=0"),
        (["--stop", ""], "at least one character"),
        (["--stop"], "--stop was given without a value"),
        (["--logit-bias", "e"], "--logit-bias was given 'e'; expected JSON"),
        (["--logit-bias", '{"e": "low"}'], "expected JSON"),
        (["--logit-bias", '["e"]'], "expected JSON"),
        (["--logit-bias", '{"☃": 1}'], "'☃' was given, which is not in the vocabulary"),
        (["--logit-bias", '{"the": 1}'], "3 tokens"),
        (["--prompts", str(tmp_path / "missing")], "there is no file"),
        (["--prompts", str(tmp_path)], "there is no file"),
        (["--prompts", str(tmp_path / "empty")], "is empty"),
        (["--prompts", str(tmp_path / "latin")], "line 2 of"),
        (["--prompts", str(tmp_path / "odd")], "prompt 2 of 2"),
        (["--prompts", str(tmp_path / "odd"), "--prompt", "a"], "expected one of them"),
    ]:
        assert hint in refused(capsys, "generate", checkpoint, *words)
