"""A model for others: the same to the bit, with nothing of where it was made, and taken in place of a run."""

import getpass
import json
from pathlib import Path

import pytest
import torch
from networks import NETWORKS
from safetensors import safe_open
from tasks.test_translator import TRANSLATORS
from trainers import small_module

from seqmodels import InputError, LanguageModel, Tokenizer, Transformer, Translator, fit, load, share
from seqmodels.checkpoints.safetensors_io import read, write
from seqmodels.checkpoints.saved import checkpoint_path
from seqmodels.cli.main import main
from seqmodels.errors import DamagedError
from seqmodels.tasks import SequenceTask

TEXT = Tokenizer.char(["abcdefgh "])
MODELS = {
    **{name: lambda make=make: LanguageModel(make(), TEXT) for name, make in NETWORKS.items()},
    **TRANSLATORS,
    "tied": lambda: LanguageModel(Transformer(8, 1, 2), TEXT, tie_embeddings=True),
    "two tokenizers": lambda: Translator(NETWORKS["GRU"](), NETWORKS["GRU"](), TEXT, Tokenizer.byte()),
    "one tokenizer twice": lambda: Translator(NETWORKS["GRU"](), NETWORKS["GRU"](), TEXT, TEXT),
}


def saved(task: SequenceTask, path: Path) -> Path:
    """A checkpoint without training."""
    record = {"format": 1, "task": task.constructor_call, "data": None}
    write(path, {"seqmodels": record, "state_dict": task.state_dict()})
    return path


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(name: str, tmp_path: Path) -> None:
    task = MODELS[name]()
    loaded = load(share(saved(task, tmp_path / "model.safetensors"), tmp_path / "shared"))
    assert loaded.constructor_call == task.constructor_call
    theirs, weights = loaded.state_dict(), task.state_dict()
    assert list(theirs) == list(weights)
    assert all(torch.equal(theirs[key], weights[key]) for key in weights)
    tied = {id(parameter) for parameter in task.parameters()}
    assert len({id(parameter) for parameter in loaded.parameters()}) == len(tied)


def test_tied_weights_are_there_once(tmp_path: Path) -> None:
    folder = share(saved(MODELS["tied"](), tmp_path / "model.safetensors"), tmp_path / "shared")
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert "embedding.weight" in file.keys()  # noqa: SIM118 - it is no dict
        assert "head.weight" not in file.keys()  # noqa: SIM118
    weights = read(folder / "model.safetensors")["state_dict"]
    assert weights["head.weight"] is weights["embedding.weight"]


@pytest.mark.parametrize(("name", "files"), [("two tokenizers", 2), ("one tokenizer twice", 1), ("additive", 1)])
def test_a_tokenizer_is_there_once(name: str, files: int, tmp_path: Path) -> None:
    folder = share(saved(MODELS[name](), tmp_path / "model.safetensors"), tmp_path / "shared")
    assert len(list(folder.glob("*tokenizer.json"))) == files


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, text_file: Path) -> Path:
    data = small_module(text_file, True)
    model = LanguageModel(NETWORKS["GRU"](), data.tokenizer)
    return fit(model, data, max_steps=3, validations=1, runs=str(tmp_path_factory.mktemp("runs")), accelerator="cpu")


def test_every_command_takes_it(
    run: Path, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["share", str(run), "shared"])
    assert capsys.readouterr().out.splitlines()[-1] == "shared"
    written = []
    for model in (str(run), "shared", "shared/model.safetensors"):
        main(["generate", model, "--prompt", "the", "--max-tokens", "12", "--seed", "3"])
        main(["test", model, "--data", str(text_file), "--json"])
        written.append(capsys.readouterr().out)
    assert written[0] == written[1] == written[2]
    for words in (["test", "shared"], ["validate", "shared"], ["fit", "--data", str(text_file), "--resume", "shared"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
    assert {path.name for path in Path("shared").iterdir()} == {
        "README.md", "config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip


def test_nothing_of_where_it_was_made(run: Path, text_file: Path, tmp_path: Path) -> None:
    folder = share(run, tmp_path / "shared")
    for path in folder.iterdir():
        content = path.read_bytes()
        for secret in (str(text_file), str(run), str(tmp_path), text_file.name):
            assert secret.encode() not in content, (path, secret)
        if len(user := getpass.getuser()) > 4:
            assert user.encode() not in content
    assert "optimizer_states" not in (folder / "config.json").read_text()
    assert json.loads((folder / "config.json").read_text())["data"]["init_args"]["carry"] is True


def test_the_page_has_the_figures(run: Path, tmp_path: Path) -> None:
    page = (share(run, tmp_path / "shared") / "README.md").read_text()
    result = json.loads((run / "result.json").read_text())
    assert f"| parameters | {result['parameters']:g} |" in page
    assert f"| val/nats_per_token | {result['val/nats_per_token']:g} |" in page


def test_nothing_is_written_over(run: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    with pytest.raises(InputError, match="is there already"):
        share(run, tmp_path / "shared")
    (tmp_path / "file").write_text("a")
    with pytest.raises(InputError, match="cannot make"):
        share(run, tmp_path / "file" / "shared")
    assert not list((tmp_path / "shared").iterdir())


def test_a_bit_that_flipped_is_found(run: Path, tmp_path: Path) -> None:
    folder = share(run, tmp_path / "shared")
    for name in ("model.safetensors", "tokenizer.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        with pytest.raises(DamagedError, match=f"{name}' (cannot be read|is not the file that was shared)"):
            load(folder)
        (folder / name).write_bytes(whole)
    load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_that_is_missing(name: str, run: Path, tmp_path: Path) -> None:
    folder = share(run, tmp_path / "shared")
    (folder / name).unlink()
    with pytest.raises(InputError):
        load(folder)


def test_a_name_of_a_file_is_not_followed(run: Path, tmp_path: Path) -> None:
    """Only the names that `share` gives are read."""
    folder = share(run, tmp_path / "shared")
    config = json.loads((folder / "config.json").read_text())
    config["task"]["init_args"]["tokenizer"] = {"file": "../secret.json"}
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "secret.json").write_text(TEXT.json)
    with pytest.raises(InputError, match="does not fit"):
        load(folder)


def test_no_last_checkpoint_to_go_on_from(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="resume from its run"):
        checkpoint_path(share(run, tmp_path / "shared"), "last")
