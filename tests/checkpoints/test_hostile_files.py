"""Files that cannot harm: whatever a file says, nothing of it is run, and what is wrong is told in one line."""

import contextlib
import random
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hostile
import pytest
import torch
from checkpoints.test_safetensors_io import same
from networks import NETWORKS
from torch.testing import assert_close
from trainers import small_model, small_module, train

from seqmodels import InputError, Tokenizer, load
from seqmodels.batch import UNK
from seqmodels.checkpoints.export import share
from seqmodels.checkpoints.safetensors_io import read
from seqmodels.checkpoints.saved import read_checkpoint
from seqmodels.cli.main import main
from seqmodels.data.vocabularies import library_errors
from seqmodels.errors import DamagedError

SECONDS, MEMORY = 10, 1 << 30
"""What an attack may cost at most."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, text_file: Path) -> Path:
    """A checkpoint as training leaves it, with an optimizer's state."""
    path = tmp_path_factory.mktemp("good") / "model.safetensors"
    data = small_module(text_file, True)
    train(small_model(data, NETWORKS["LSTM"]()), data, 2).save_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def content(good: Path) -> dict[str, Any]:
    found: dict[str, Any] = read(good)
    return found


@pytest.fixture(autouse=True)
def _watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has a folder of its own, memory that is limited, and no canary in the end."""
    monkeypatch.chdir(tmp_path)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    began = time.monotonic()
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
    assert not list(tmp_path.rglob("canary*"))
    assert time.monotonic() - began < 60 * SECONDS  # a hang, not a slow machine


def refused(action: Callable[[], object]) -> str:
    """The one line that an action is refused with."""
    with pytest.raises(InputError) as caught:
        action()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000
    return str(caught.value)


def exits(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


def run_folder(checkpoint: bytes) -> Path:
    Path("run/checkpoints").mkdir(parents=True)
    for name in ("best", "last"):
        Path(f"run/checkpoints/{name}.safetensors").write_bytes(checkpoint)
    return Path("run")


FILES = {
    **{f"header: {name}": file for name, file in hostile.HEADERS.items()},
    **{f"foreign: {name}": file for name, file in hostile.FOREIGN.items()},
}


@pytest.mark.parametrize("name", FILES)
def test_checkpoints(name: str) -> None:
    folder = run_folder(FILES[name])
    for path in (folder, folder / "checkpoints" / "last.safetensors"):
        refused(lambda path=path: load(path))  # type: ignore[misc]
        refused(lambda path=path: read_checkpoint(path))  # type: ignore[misc]


@pytest.mark.parametrize("name", hostile.CHANGES)
def test_checkpoints_that_are_whole(name: str, content: dict[str, Any]) -> None:
    folder = run_folder(hostile.edited(content, hostile.CHANGES[name]))
    refused(lambda: load(folder))


@pytest.mark.parametrize(
    "name",
    [
        "header: content nested deeply", "header: tensors: overlapping", "foreign: a canary in the weights",
        "foreign: a pickle, protocol 2", "foreign: zeros",
    ],
)  # fmt: skip
def test_commands(name: str, text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(run_folder(FILES[name]))
    for command in ("generate", "score", "translate", "test", "validate"):
        exits(capsys, command, folder)
    exits(capsys, "share", folder, "shared")
    exits(capsys, "fit", "--data", str(text_file), "--max-steps", "1", "--resume", folder)
    assert {path.name for path in Path.cwd().iterdir()} == {"run"}


@pytest.mark.parametrize("name", hostile.TOKENIZERS)
def test_tokenizers(name: str, text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("tokenizer.json").write_text(hostile.TOKENIZERS[name])
    with contextlib.suppress(InputError):
        Tokenizer.from_file("tokenizer.json").encode("a b")
        assert name == "parentheses"  # which is a pattern like any other
    if name == "ids far apart":
        exits(capsys, "fit", "--data", str(text_file), "--tokenizer", "tokenizer.json", "--max-steps", "1")


def test_a_pattern_that_goes_back_and_forth() -> None:
    """The library panics, which is no exception as others are."""
    pattern = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    tokenizer = Tokenizer(hostile.rules(pre_tokenizer=pattern))
    assert tokenizer.encode("xxy") == [UNK]
    assert "failed to cut" in refused(lambda: tokenizer.encode("x" * 60))


def test_a_stop_by_the_user_is_no_failure_of_the_library() -> None:
    with pytest.raises(KeyboardInterrupt), library_errors("work"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", hostile.SETTINGS)
def test_settings(name: str, text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text(hostile.SETTINGS[name])
    Path("canary_module.py").write_text("open('imported', 'w')")
    exits(capsys, "fit", "--data", str(text_file), "--max-steps", "1", "--config", "config.yaml")
    Path("canary_module.py").unlink()
    assert not Path("imported").exists()


@pytest.mark.parametrize("name", ["exabytes", "tensors: a terabyte", "a tensor that is missing"])
def test_shared_weights(name: str, good: Path) -> None:
    folder = share(good, "shared")
    (folder / "model.safetensors").write_bytes(hostile.HEADERS[name])
    refused(lambda: load(folder))


@pytest.mark.parametrize("address", ["http://host/a.ckpt", "s3://a/b", "hf://a/b", "file:///a", "simplecache::s3://a"])
def test_addresses(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    for door in (load, read_checkpoint, Tokenizer.from_file, lambda path: share(path, "shared")):
        assert "fetch it first" in refused(lambda door=door: door(address))  # type: ignore[misc]
    exits(capsys, "generate", address)
    exits(capsys, "fit", "--config", address)
    exits(capsys, "fit", "--resume", address)


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe that nobody writes to would be waited for, a device never ends."""
    for path in (hostile.pipe(tmp_path), Path("/dev/zero"), Path("/dev/null")):
        for door in (load, read_checkpoint, Tokenizer.from_file):
            assert "no regular file" in refused(lambda door=door, path=path: door(path))  # type: ignore[misc]
    refused(lambda: load("a\0b"))


def test_every_bit_is_guarded(good: Path, content: dict[str, Any]) -> None:
    whole, chance = good.read_bytes(), random.Random(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(100), *(chance.randrange(header) for _ in range(100)), *range(header - 5, header + 5)]
    places += [*(chance.randrange(header, len(whole)) for _ in range(100)), *range(len(whole) - 10, len(whole))]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        Path("damaged").write_bytes(damaged)
        with pytest.raises(DamagedError):
            read_checkpoint("damaged")


def test_truncated_or_longer(good: Path) -> None:
    whole = good.read_bytes()
    for changed in (
        *(whole[:size] for size in range(0, len(whole), 997)),
        whole + b"\0",
        whole + whole,
        b"\0" * len(whole),
    ):
        Path("damaged").write_bytes(changed)
        with pytest.raises(DamagedError):
            read_checkpoint("damaged")


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_checkpoints_are_taken(name: str, text_file: Path) -> None:
    """Of every network: with all that training keeps, and through a shared folder to the bit."""
    data = small_module(text_file, name not in ("Transformer-learned",))
    model = small_model(data, NETWORKS[name]())
    train(model, data, 1).save_checkpoint("model")
    folder = share("model", "shared")
    for loaded in (load("model"), load(folder)):
        assert same(dict(loaded.state_dict()), dict(model.state_dict()))
        assert loaded.constructor_call == model.constructor_call


def test_the_outline_of_a_model_costs_no_randomness(good: Path) -> None:
    torch.manual_seed(0)
    load(good)
    first = torch.rand(1)
    torch.manual_seed(0)
    task = load(good)
    assert_close(first, torch.rand(1))
    assert not any(tensor.is_meta for tensor in (*task.state_dict().values(), task.tokenizer.sizes))
