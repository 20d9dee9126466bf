"""Models on the hub: shared and loaded by name, only what is read is fetched, and errors are one line in seconds."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
from checkpoints.test_export import saved
from hub_server import READER, WRITER, Hub, ask, serving
from networks import NETWORKS
from refusals import refused
from trainers import small_module

from seqmodels import InputError, LanguageModel, Tokenizer, Translator, fit, load, share
from seqmodels.checkpoints.model_card import card
from seqmodels.cli.main import main
from seqmodels.data.hub import HubName, hub_name

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own use of httpx
FILES = ["config.json", "model.safetensors", "tokenizer.json"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, an empty cache, a token that may write, and a current folder of its own."""
    monkeypatch.setenv("HF_TOKEN", WRITER)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with serving() as server:
        ask(server, tmp_path, monkeypatch)
        yield server


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, text_file: Path) -> Path:
    data = small_module(text_file, True)
    model = LanguageModel(NETWORKS["LSTM"](), data.tokenizer)
    return fit(model, data, max_steps=3, validations=1, runs=str(tmp_path_factory.mktemp("runs")), accelerator="cpu")


def test_names() -> None:
    assert hub_name("user/name") == HubName("user/name", "main")
    assert hub_name("user/na-me.2@v1.0") == HubName("user/na-me.2", "v1.0")
    assert str(hub_name("user/name@refs/pr/1")) == "user/name@refs/pr/1"
    assert hub_name("gpt2") is None
    assert hub_name("gpt2", bare=True) == HubName("gpt2", "main")
    for path in ("./name", "../name", "/a/b", "a/b/c", "a//b", "~/b", "a/b@", "a/..", "-a/b", "a b/c", "a/b\n", ""):
        assert hub_name(path) is None, path


def test_pushed_and_loaded(run: Path, hub: Hub) -> None:
    assert share(run, push="me/lstm") == "me/lstm"
    assert sorted(hub.models["me/lstm"][0]) == sorted(
        [*FILES, "README.md", "special_tokens_map.json", "tokenizer_config.json"]
    )
    assert [path[:11] for path in hub.asked if path.startswith("PUT")] == ["PUT /large/"]  # the weights
    hub.asked.clear()
    ours, theirs = load(run).state_dict(), load("me/lstm").state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert sorted(hub.downloaded()) == FILES
    hub.asked.clear()
    load("me/lstm")
    assert not hub.downloaded()


def test_revisions(run: Path, hub: Hub, tmp_path: Path) -> None:
    share(run, push="me/model")
    torch.manual_seed(1)
    other = LanguageModel(NETWORKS["GRU"](), Tokenizer.byte())
    share(saved(other, tmp_path / "other.safetensors"), push="me/model")
    assert load("me/model").name == load("me/model@main").name == "GRU"
    assert load("me/model@v0").name == "LSTM"
    with pytest.raises(InputError, match="has no revision 'v7'"):
        load("me/model@v7")


@pytest.mark.slow
def test_every_command_takes_a_name(
    run: Path, hub: Hub, text_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["share", str(run), "--push", "me/lstm", "--license", "cc0-1.0", "--language", "en"])
    assert capsys.readouterr().out == f"{hub.address}/me/lstm\n"
    card = hub.models["me/lstm"][0]["README.md"].decode()
    assert "license: cc0-1.0" in card
    assert 'load("me/lstm")' in card
    written = []
    for model in (str(run), "me/lstm", "me/lstm@main"):
        main(["generate", model, "--prompt", "the", "--max-tokens", "12", "--seed", "3"])
        main(["test", model, "--data", str(text_file), "--json"])
        main(["embeddings", model, "--near", "a", "--k", "2"])
        written.append(capsys.readouterr().out)
    assert written[0] == written[1] == written[2]
    main(["neurons", "me/lstm", "--data", str(text_file), "--characters", "100"])
    main(["report", "me/lstm", "--data", str(text_file)])
    assert Path("report.html").is_file()
    assert not list(Path(huggingface_hub.constants.HF_HUB_CACHE).rglob("report.html"))
    steps = ["--max-steps", "1", "--validations", "1", "--runs", "runs", "--length", "16", "--batch-size", "4"]
    main(["fit", "--init", "me/lstm", "--data", str(text_file), "--accelerator", "cpu", *steps])
    assert "me/lstm" in next(Path("runs").rglob("config.yaml")).read_text()
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the state\n")))
    main(["score", "me/lstm"])
    assert "the state" in capsys.readouterr().out
    assert "there is no 'me/lstm'" in refused(capsys, "fit", "--data", str(text_file), "--resume", "me/lstm")


def test_a_folder_here_comes_first(run: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    share(run, "me/lstm")
    assert load("me/lstm").name == "LSTM"
    assert "there is no 'me/other'" in refused(capsys, "generate", "me/other")  # a slip below a folder that is here
    assert not hub.asked


def test_the_cache_without_network(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    share(run, push="me/lstm")
    load("me/lstm")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert load("me/lstm").name == "LSTM"
    assert not hub.asked
    with pytest.raises(InputError, match=r"there is no 'me/other' here, and .* HF_HUB_OFFLINE is set"):
        load("me/other")


def test_a_tokenizer(hub: Hub) -> None:
    tokenizer = Tokenizer.bpe(["some words that are here, some words that are there"], 280)
    hub.commit("me/words", {"tokenizer.json": tokenizer.json.encode(), "weights.bin": b"x"})
    assert Tokenizer.from_hub("me/words").json == tokenizer.json
    assert hub.downloaded() == ["tokenizer.json"]
    hub.commit("me/empty", {"README.md": b""})
    for name, why in (
        ("me/empty", "has no tokenizer.json"),
        ("me/none", "no model of this name"),
        ("/a", "as user/name"),
    ):
        with pytest.raises(InputError, match=why):
            Tokenizer.from_hub(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "me/none",
            "no model of this name on the Hugging Face hub that may be read; check the name, and if it is private",
        ),
        ("me/foreign", "is a model of type .bert.; known here"),
        ("me/empty", "has no config.json"),
        ("me/half", "has no model.safetensors"),
        ("me/large", "model.safetensors of 'me/large' on the hub has .* bytes; expected at most"),
    ],
)
def test_models_that_cannot_be_used(name: str, why: str, hub: Hub, run: Path) -> None:
    share(run, "folder")
    files = {path.name: path.read_bytes() for path in Path("folder").iterdir()}
    hub.commit("me/foreign", {**files, "config.json": b'{"model_type": "bert"}'})
    hub.commit("me/empty", {"README.md": b""})
    hub.commit("me/half", {"config.json": files["config.json"]})
    hub.commit("me/large", files)
    if name == "me/large":
        hub.sizes["model.safetensors"] = 1 << 50
    with pytest.raises(InputError, match=why) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    assert "model.safetensors" not in hub.downloaded()


def test_what_may_run_is_not_fetched(run: Path, hub: Hub) -> None:
    share(run, "folder")
    files = {path.name: path.read_bytes() for path in Path("folder").iterdir()}
    hub.commit("me/model", {**files, "pytorch_model.bin": b"cos\nsystem\n", "modeling.py": b"import os"})
    load("me/model")
    assert sorted(hub.downloaded()) == FILES


def test_a_private_model(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    share(run, push="me/secret", private=True)
    assert hub.private == {"me/secret"}
    load("me/secret")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="if it is private, log in with `hf auth login`, or set HF_TOKEN"):
        load("me/secret")


@pytest.mark.parametrize(
    ("token", "name", "why"),
    [
        (None, "me/model", "without a token of the hub; log in with `hf auth login`, or set HF_TOKEN"),
        (READER, "me/model", "refuses 'me/model' to this token"),
        (WRITER, "model", "expected the name of a model on the hub, as user/name"),
        (WRITER, "me/model@v1", "expected the name of a model on the hub, as user/name"),
    ],
)
def test_pushes_that_are_refused(
    token: str | None, name: str, why: str, run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "nowhere")
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InputError, match=re.escape(why)):
        share(run, push=name)
    assert not hub.models.get("me/model")


def test_a_licence_that_the_hub_does_not_know(run: Path, hub: Hub) -> None:
    with pytest.raises(InputError, match='"license" must be one of a list'):
        share(run, push="me/model", license="nonsense")
    with pytest.raises(InputError, match="expected a name of the hub's"):
        share(run, push="me/model", license="Free for all")


def test_a_hub_that_is_broken(hub: Hub) -> None:
    hub.failing = 500
    began = time.perf_counter()
    with pytest.raises(InputError, match=r"could not answer about 'me/lstm': .*; try again later"):
        load("me/lstm")
    assert time.perf_counter() - began < 10


def test_a_port_that_nobody_listens_on(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    began = time.perf_counter()
    for action in (lambda: load("me/lstm"), lambda: Tokenizer.from_hub("gpt2"), lambda: share(run, push="me/lstm")):
        with pytest.raises(InputError, match=f"the hub \\({address}\\) cannot be reached"):
            action()
    assert time.perf_counter() - began < 10


def test_the_program_on_a_hub_of_its_own(run: Path, hub: Hub, tmp_path: Path) -> None:
    """HF_ENDPOINT and HF_HOME, as people set them."""
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": WRITER}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])

    share(run, push="me/lstm")
    command = [sys.executable, "-m", "seqmodels", "generate", "me/lstm", "--max-tokens", "5", "--seed", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stderr, done.returncode) == ("", 0)
    assert sorted(path.name for path in (tmp_path / "home" / "hub").glob("*/snapshots/*/*")) == FILES


def test_the_front_matter_is_the_hubs(run: Path, tmp_path: Path) -> None:
    text = (Path(share(run, tmp_path / "small-lstm", license="mit", language="en")) / "README.md").read_text()
    matter = huggingface_hub.ModelCard(text).data
    assert (matter.license, matter.language, matter.library_name) == ("mit", "en", "seqmodels")
    assert matter.pipeline_tag == "text-generation"
    assert {"seqmodels", "lstm"} <= set(matter.tags)
    result = json.loads((run / "result.json").read_text())
    (figure,) = matter.eval_results
    assert (matter.metrics, figure.metric_type) == (["perplexity"], "perplexity")
    assert figure.metric_value == pytest.approx(result["val/perplexity"], rel=1e-5)
    assert matter.model_name == "small-lstm"
    assert matter.datasets is None  # a file of this machine is nobody's business


def test_a_translator_and_its_tests(tmp_path: Path) -> None:
    tokenizer = Tokenizer.char(["abc"])
    task = Translator(NETWORKS["GRU"](), NETWORKS["GRU"](), tokenizer, tokenizer)
    scores = {"bleu": 41.25, "chrf": 60.5, "ter": 30.0, "exact_match": 0.25, "by_length": []}
    result = {"val/bleu": 40.0, "val/perplexity": None, "tests": {"/secret/one": scores, "two": scores}}
    (tmp_path / "result.json").write_text(json.dumps(result))
    data = {"class_path": "seqmodels.TranslationDataModule", "init_args": {"source": "en", "target": "fr"}}
    text = card(task, data, tmp_path, name="a", where="a")
    assert "secret" not in text
    matter = huggingface_hub.ModelCard(text).data
    assert (matter.language, matter.pipeline_tag) == (["en", "fr"], "translation")
    assert matter.metrics == ["bleu", "chrf", "ter", "exact_match"]
    figures = [(one.dataset_split, one.metric_type, one.metric_value) for one in matter.eval_results]
    assert ("validation", "bleu", 40.0) in figures
    assert ("test 1", "bleu", 41.25) in figures
    assert len(figures) == 9
    assert {one.task_type for one in matter.eval_results} == {"translation"}


def test_a_dataset_of_the_hub_is_named(run: Path, tmp_path: Path) -> None:
    task = load(run)
    origins = {"me/text from the hub": ["me/text"], "the file text": None, "me/text-two from the hub": None}
    for origin, expected in origins.items():
        (tmp_path / "env.json").write_text(json.dumps({"corpus": {"origin": origin}}))
        data = {"class_path": "seqmodels.TextDataModule", "init_args": {"data": "me/text"}}
        text = card(task, data, tmp_path, name="a", where="a")
        assert huggingface_hub.ModelCard(text).data.datasets == expected
