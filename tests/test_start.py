"""What commands import: models are used without Lightning, and trained without what Lightning does not need."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from seqmodels.checkpoints.export import share
from seqmodels.checkpoints.load import load
from seqmodels.data import Tokenizer
from seqmodels.decoding import Beam, Sampling
from seqmodels.imports import delay
from seqmodels.nn import GRU
from seqmodels.tasks import LanguageModel, Translator

TRAINING = (
    "lightning",
    "torchmetrics.metric",
    "datasets",
    "pandas",
    "wandb",
    "sacrebleu",
    "matplotlib",
    "torch._dynamo",
)
"""What takes longer to import than the rest of this package, and a model in use needs nothing of."""
UNUSED = ("transformers", "scipy.signal", "torchmetrics.functional", "torchmetrics.text", "wandb", "tensorboard")
"""What Lightning imports of torchmetrics, and of loggers, that no training here needs."""

LOOK = """
import json, sys
from seqmodels.cli.main import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit:
        pass
    print(json.dumps([words[0], [name for name in sys.argv[2:] if name in sys.modules]]), end="\\0")
"""


def after(commands: list[list[str]], modules: tuple[str, ...]) -> dict[str, tuple[str, list[str]]]:
    """What commands of one program print, and which of the modules are imported behind each."""
    words = [sys.executable, "-c", LOOK, json.dumps(commands), *modules]
    done = subprocess.run(words, input="ab\n", capture_output=True, text=True, timeout=240, check=True)
    found = {}
    for part in done.stdout.split("\0")[:-1]:
        text, _, there = part.rpartition("\n")
        name, imported = json.loads(there)
        found[name] = (text, imported)
    return found


def test_models_are_used_without_lightning(tmp_path: Path) -> None:
    torch.manual_seed(1)
    tokenizer = Tokenizer.char(["ab"])
    writer, reader = LanguageModel(GRU(8, 8), tokenizer), Translator(GRU(8, 8), GRU(8, 8), tokenizer)
    share(writer, tmp_path / "lm")
    share(reader, tmp_path / "mt")
    (tmp_path / "lines.txt").write_text("abba\n")
    commands = [
        ["generate", str(tmp_path / "lm"), "--prompt", "ab", "--max-tokens", "20", "--seed", "1"],
        ["score", str(tmp_path / "lm")],
        ["translate", str(tmp_path / "mt"), str(tmp_path / "lines.txt"), "--beam", "2"],
    ]
    found = after(commands, TRAINING)
    assert {name: there for name, (_, there) in found.items()} == {"generate": [], "score": [], "translate": []}
    model = load(tmp_path / "lm")
    assert isinstance(model, LanguageModel)
    text = "".join(model.generate("ab", max_tokens=20, sampling=Sampling(0.8), seed=1))
    assert found["generate"][0] == f"ab{text}"
    translator = load(tmp_path / "mt")
    assert isinstance(translator, Translator)
    assert found["translate"][0] == translator.translate(["abba"], Beam(size=2))[0][0].text


def test_training_imports_the_base_of_metrics_alone() -> None:
    found = after([["fit", "--backbone", "LSTM", "--max-steps", "nought"]], UNUSED)
    assert found["fit"][1] == []


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that says when its `__init__` is run."""
    folder = tmp_path / "slow_to_import"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "import sys\nsys.modules['ran'] = sys\nfrom slow_to_import.part import A\nB = 2\n"
    )
    (folder / "part.py").write_text("A = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("ran", "slow_to_import", "slow_to_import.part"):
        monkeypatch.setitem(sys.modules, name, sys)  # to be as it was, afterwards
        monkeypatch.delitem(sys.modules, name)
    return "slow_to_import"


def test_a_package_is_delayed(package: str) -> None:
    delay(package, {"A": lambda: import_module(f"{package}.part").A, "gone": lambda: import_module(f"{package}.gone")})
    found = import_module(package)
    assert found.A == 1
    assert not hasattr(found, "__wrapped__")
    assert "ran" not in sys.modules
    assert found.B == 2  # a name that its __init__ alone knows
    assert "ran" in sys.modules
    with pytest.raises(AttributeError):
        found.gone  # noqa: B018
    assert sys.modules[package] is found


def test_a_package_that_is_there_is_left_alone() -> None:
    before = sys.modules["torch"]
    delay("torch", {})
    delay("there_is_no_such_package", {})
    assert sys.modules["torch"] is before
    assert "there_is_no_such_package" not in sys.modules
