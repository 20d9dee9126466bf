"""Sizes of networks by numbers of parameters: the counts are those of the models themselves."""

import inspect

import pytest

from seqmodels import LanguageModel, Tokenizer, find_size, nn
from seqmodels.cli.main import main
from seqmodels.config import construct
from seqmodels.errors import InputError
from seqmodels.nn import Backbone, Transformer
from seqmodels.tasks.sizes import Size, networks, number

OURS = [name for name, path in networks().items() if path.startswith("seqmodels.")]


def made(size: Size, **arguments: bool) -> int:
    call = {"class_path": networks()[size.backbone], "init_args": size.arguments}
    model = LanguageModel(construct(call, Backbone), Tokenizer.byte(), **arguments)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "tied"), [*((name, False) for name in sorted(OURS)), ("LSTM", True), ("Transformer", True)]
)
def test_the_count_is_that_of_the_model_and_the_closest(name: str, tied: bool) -> None:
    found = find_size("60k", name, tie_embeddings=tied)
    assert made(found, tie_embeddings=tied) == found.parameters
    width = "hidden_size" if "hidden_size" in found.arguments else "input_size"
    heads = inspect.signature(getattr(nn, name)).parameters.get("num_heads")
    step = 1 if heads is None else 2 * heads.default
    for beside in (-step, step):
        other = {**found.arguments, width: found.arguments[width] + beside}
        other |= {"input_size": other[width]} if tied else {}
        assert abs(made(Size(name, other, 0), tie_embeddings=tied) - 60_000) >= abs(found.parameters - 60_000)


def test_settings_are_kept() -> None:
    found = find_size(300_000, "LSTM", layers=2, input_size=32)
    assert found.arguments == {"input_size": 32, "hidden_size": found.arguments["hidden_size"], "num_layers": 2}
    assert found.flags.startswith("--backbone LSTM --backbone.input-size 32 --backbone.hidden-size ")
    found = find_size(300_000, Transformer(24, num_layers=2, num_heads=3), vocab_size=1000)
    assert found.arguments["num_heads"] == 3
    assert found.arguments["input_size"] % 6 == 0


def test_numbers_as_people_write_them() -> None:
    assert [number(text) for text in ("1M", "2.5m", "300k", "1_000", "1,000", 7)] == [
        1_000_000, 2_500_000, 300_000, 1000, 1000, 7,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "backbone", "arguments", "says"),
    [
        ("much", "LSTM", {}, "parameters='much' was given; expected a number such as 1M"),
        (0, "LSTM", {}, "parameters=0 was given"),
        ("1M", "Lstmm", {}, "'Lstmm' is not known; choose one of"),
        ("1k", "LSTM", {}, "LSTM has at least .* parameters"),
        ("1M", "Hybrid", {"layers": 2}, "Hybrid has no num_layers; leave out layers"),
        ("1M", "LSTM", {"depth": 2}, "LSTM has no depth; leave out depth"),
        ("1M", "LSTM", {"vocab_size": 3}, "vocab_size=3"),
        ("1M", "LSTM", {"input_size": 0}, "input_size=0"),
    ],
)
def test_what_cannot_be_is_refused(wanted: str, backbone: str, arguments: dict[str, int], says: str) -> None:
    with pytest.raises(InputError, match=says):
        find_size(wanted, backbone, **arguments)


def test_the_command_prints_flags_for_every_network(capsys: pytest.CaptureFixture[str]) -> None:
    main(["size", "--parameters", "100k", "--layers", "2", "--vocab-size", "60"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(networks())
    for line in lines:
        assert "--backbone.num-layers 2" in line or "has no num_layers; leave out layers" in line
    main(["size", "--backbone", "GRU", "--backbone.input-size", "16", "--parameters", "50k", "--tie-embeddings"])
    out = capsys.readouterr().out
    assert out.startswith("GRU")
    assert out.rstrip().endswith("--tie-embeddings")
    with pytest.raises(SystemExit) as ended:
        main(["size", "--parameters", "many"])
    assert ended.value.code == 2
    assert "parameters='many'" in capsys.readouterr().err
