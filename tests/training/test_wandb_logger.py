"""Tracking by Weights & Biases, with the real client: what it wrote is read back, and servers stand on this machine."""

import json
import os
import re
import runpy
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import wandb
import yaml
from lightning.pytorch.loggers import WandbLogger
from pairs import write_pairs
from refusals import refused
from trainers import small_model, small_module, train
from wandb.proto import wandb_internal_pb2
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from seqmodels import GRU, GradientHorizon, Samples, TranslationDataModule, Translator, fit
from seqmodels.environment import without_secrets
from seqmodels.errors import InputError
from seqmodels.training.wandb_logger import plan_tracking

KEY = "0123456789abcdef0123456789abcdef01234567"
ROOT = Path(__file__).parents[2]
SWEEP = ROOT / "sweeps" / "char_shakespeare.yaml"


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No key and no settings of whoever runs the tests, a folder of its own, and a fresh client."""
    for name in [name for name in os.environ if name.startswith("WANDB_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.delitem(sys.modules, "openai", raising=False)  # of which W&B would speak, if another test imported it
    wandb.teardown()
    yield
    wandb.teardown()


def track(text: Path, runs: Path, steps: int = 120, **settings: Any) -> Path:
    data = small_module(text, True)
    return fit(small_model(data), data, max_steps=steps, validations=2, runs=str(runs), logger="wandb", **settings)


def records(folder: Path) -> list[Any]:
    """What the client keeps to be sent: blocks of 32 KiB with pieces of records, as in the log of LevelDB."""
    wandb.teardown()  # waits until all is written, as the end of a process does
    path = max(folder.glob("wandb/*run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    content, place, found, record = path.read_bytes(), 7, [], b""
    while place < len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            found.append(wandb_internal_pb2.Record.FromString(record))
            record = b""
    return found


def of_kind(found: list[Any], kind: str) -> list[Any]:
    return [getattr(record, kind) for record in found if record.WhichOneof("record_type") == kind]


def items(updates: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}


def history(found: list[Any]) -> list[dict[str, Any]]:
    return [items(row.item) for row in of_kind(found, "history")]


def test_what_is_tracked(text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings, figures over tokens, samples and the best model; all of it below the run folder."""
    names: dict[str, Any] = {"wandb_name": "first", "wandb_group": "small", "wandb_tags": "one, two,"}
    run = track(text_file, tmp_path, prompt="The ", **names)
    found = records(run)
    assert_offline_in_one_line(capsys.readouterr().err, "has no key", run)

    (started,) = of_kind(found, "run")
    assert (started.project, started.display_name, started.run_group) == ("seqmodels", "first", "small")
    assert (started.job_type, sorted(started.tags)) == ("fit", ["one", "two"])
    result = json.loads((run / "result.json").read_text())
    recorded = items(started.config.update)
    assert recorded.pop("_wandb") == {}
    assert recorded.pop("parameters") == result["parameters"]
    assert recorded == yaml.safe_load((run / "config.yaml").read_text())

    metrics = {m.glob_name or m.name: m.step_metric for m in of_kind(found, "metric") if not m.expanded_from_glob}
    assert metrics == {"train/tokens": "", "*": "train/tokens"}
    rows = history(found)
    with (run / "metrics.csv").open() as file:
        logged = len(file.readlines()) - 1
    names = ("gradient horizon", "spectra", "spectral radius", "gradient horizon table", "spectra table", "samples")
    shown = {f"{name}/path" for name in names}
    assert len([row for row in rows if not row.keys() & shown]) == logged
    assert {key for row in rows for key in row if key.endswith("/path")} == shown
    assert [row["trainer/global_step"] for row in rows if "gradient/horizon" in row] == [99]
    assert all(row["train/tokens"] > 0 for row in rows)
    assert {key for row in rows for key in row if key.startswith(("train/", "val/"))} >= {
        "train/nats_per_token", "train/lr", "train/gradient_norm", "train/tokens_per_second",
        "val/nats_per_token", "val/perplexity", "val/bits_per_character", "val/bits_per_byte",
    }  # fmt: skip
    validated = {row["train/tokens"]: row["val/nats_per_token"] for row in rows if "val/nats_per_token" in row}
    assert list(validated) == [60 * 64, 120 * 64]

    tables = [row for row in rows if "samples/path" in row]
    assert [row["samples/nrows"] for row in tables] == [1, 2, 3]  # it grows
    (files,) = run.glob("wandb/offline-run-*/files")
    table = json.loads((files / tables[-1]["samples/path"]).read_text())
    assert table["columns"] == ["step", "tokens", "nats", "prompt", "text"]
    first, second, last = table["data"]
    assert first[:4] == [50, 3200, None, "The "]
    assert second[:4] == [100, 6400, pytest.approx(validated[60 * 64]), "The "]
    assert last[:4] == [120, 7680, pytest.approx(validated[120 * 64]), "The "]
    assert f"The {last[4]}\n```" in (run / "samples.md").read_text()

    (model,) = [artifact for artifact in of_kind(found, "artifact") if artifact.type == "model"]
    assert json.loads(model.metadata) == result
    assert [entry.local_path for entry in model.manifest.contents] == [str(run / "checkpoints" / "best.safetensors")]
    assert "best" in model.aliases
    for artifact in of_kind(found, "artifact"):
        assert all(Path(entry.local_path).is_relative_to(run) for entry in artifact.manifest.contents)
    summary: dict[str, Any] = {}
    for update in of_kind(found, "summary"):
        summary |= items(update.update)
    assert summary.items() >= result.items()
    assert of_kind(found, "exit")[0].exit_code == 0
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_translations_and_what_they_attended_to(tmp_path: Path) -> None:
    """A table with the sentences of each validation, and a picture of each, the earlier ones kept."""
    data = TranslationDataModule(str(write_pairs(tmp_path)), "en", "fr", tokenizer="word", joint=True, batch_tokens=200)
    torch.manual_seed(0)
    model = Translator(GRU(16, 16), GRU(16, 32), data.tokenizer, lr=2e-2)
    run = fit(model, data, max_steps=60, validations=2, runs=str(tmp_path), logger="wandb")
    rows = history(records(run))
    pictures = [row for row in rows if "attention/path" in row]
    assert [row["trainer/global_step"] for row in pictures] == [30, 60]
    (files,) = run.glob("wandb/offline-run-*/files")
    contents = [(files / row["attention/path"]).read_bytes() for row in pictures]
    assert contents[0] != contents[1]
    assert contents[1] == (run / "attention.png").read_bytes()
    (table,) = {row["samples/path"] for row in rows if row.get("samples/nrows") == 8}
    for _, _, _, source, text in json.loads((files / table).read_text())["data"][4:]:
        assert f"- {source}\n  - **{text}**" in (run / "translations.md").read_text()


def test_lightnings_own_logger_under_a_trainer_of_ones_own(text_file: Path, tmp_path: Path) -> None:
    """Samples, pictures and tables arrive there, too."""
    data = small_module(text_file, True)
    logger = WandbLogger("mine", tmp_path, offline=True)
    measures = [Samples("The", first=2, folder=tmp_path), GradientHorizon(first=2, folder=tmp_path)]
    train(small_model(data), data, 4, *measures, logger=logger)
    wandb.finish()
    found = records(tmp_path)
    rows = history(found)
    shown = [name for row in rows for name in row if name.endswith("/path") or name == "gradient horizon/filenames"]
    assert sorted(shown) == [
        "gradient horizon table/path",
        "gradient horizon/filenames",
        "samples/path",
        "samples/path",
    ]
    assert [row["trainer/global_step"] for row in rows if "samples/path" in row] == [2, 4]
    assert items(of_kind(found, "config")[-1].update)["task"]["init_args"]["lr"] == 3e-3


def own_lines(err: str) -> str:
    """Without those of W&B itself, such as that the process has imported the client of OpenAI."""
    return "".join(line for line in err.splitlines(True) if not line.startswith("wandb: "))


def assert_offline_in_one_line(err: str, why: str, run: Path) -> None:
    err = own_lines(err)
    assert err.count("\n") == 1, err
    assert err.startswith("warning: W&B ")
    assert why in err
    path = re.search(r"wandb sync (\S+)$", err.strip())
    assert path, err
    assert list(Path(path[1]).glob("offline-run-*/*.wandb"))
    assert Path(path[1]).parent == run


def test_offline_by_wish_is_no_warning(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "other")
    run = track(text_file, tmp_path, 4)
    assert capsys.readouterr().err == ""
    assert of_kind(records(run), "run")[0].project == "other"


def test_disabled_leaves_nothing(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run = track(text_file, tmp_path, 4)
    assert capsys.readouterr().err == ""
    assert not list(run.glob("wandb*"))


def test_resumed_run_is_the_same_run(text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its id, its project, and the table of samples with the rows it had."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    first = track(text_file, tmp_path, 4, wandb_project="mine")
    ours = of_kind(records(first), "run")[0]
    second = track(text_file, tmp_path, 8, resume=first)
    again = of_kind(records(second), "run")[0]
    other = track(text_file, tmp_path, 12, resume=first / "checkpoints" / "best.safetensors", wandb_project="other")
    apart = of_kind(records(other), "run")[0]
    assert (second, len(list(first.glob("wandb/*run-*")))) == (first, 2)
    assert other != first
    assert (again.run_id, again.project) == (ours.run_id, "mine")
    assert apart.run_id != ours.run_id
    assert [row[0] for row in json.loads((second / "wandb.json").read_text())["samples"]] == [4, 8]
    (first / "wandb.json").write_text("{}")
    with pytest.raises(InputError, match=r"wandb\.json.*damaged"):
        track(text_file, tmp_path, 12, resume=first)


def test_a_run_that_fails_is_closed_as_failed(text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    data = small_module(text_file, True)
    model = small_model(data)
    monkeypatch.setattr(model, "validation_step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(model, data, max_steps=4, runs=str(tmp_path), logger="wandb")
    (run,) = tmp_path.glob("*/*")
    assert of_kind(records(run), "exit")[0].exit_code == 1
    assert wandb.run is None


def rows_of(asked: list[tuple[str, dict[Any, Any]]]) -> dict[int, str]:
    """The rows of the history that a server has been sent, by number; a later one replaces an earlier one."""
    return {number: row for name, given in asked if name == "history" for number, row in given.items()}


class Server(BaseHTTPRequestHandler):
    """As much of a server of W&B as it takes to start a run, or one that refuses every question with a status."""

    status = 200
    asked: ClassVar[list[tuple[str, dict[str, Any]]]]

    def do_POST(self) -> None:
        question = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer: dict[str, Any] = {"errors": [{"message": "no such key"}]}
        if self.path == "/graphql" and self.status == 200:
            answer = self.answer(json.loads(question))
        elif self.path.endswith("/file_stream"):
            history = json.loads(question).get("files", {}).get("wandb-history.jsonl", {"offset": 0, "content": ()})
            self.asked.append(("history", dict(enumerate(history["content"], history["offset"]))))
            answer = {}
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    do_GET = do_POST  # noqa: N815 - what the base class calls

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        name, given = question["operationName"], question.get("variables") or {}
        self.asked.append((name, given))
        project = {"name": given.get("project"), "entity": {"name": "me"}}
        run = {"id": "b", "name": given.get("name"), "displayName": "d", "project": project}
        run["historyLineCount"] = len(rows_of(self.asked))
        before = {"summaryMetrics": "{}", "config": "{}", "historyTail": "[]", "eventsTail": "[]", "logLineCount": 0}
        before |= {"eventsLineCount": 0, "wandbConfig": '{"t": 1}', "tags": []}
        answers: dict[str, Any] = {
            "Viewer": {"viewer": {"id": "u", "entity": "me", "username": "me", "email": "", "flags": "{}"}},
            "RunResumeStatus": {"model": {"id": "p", **project, "bucket": run | before}},
            "UpsertBucket": {"upsertBucket": {"bucket": run, "inserted": True}},
        }
        return {"data": answers[name]} if name in answers else {"errors": [{"message": f"{name} is not known here"}]}

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """The address of one with the status of the test's parameter, and what it was asked."""
    asked: list[tuple[str, dict[str, Any]]] = []
    handler = type("Here", (Server,), {"status": request.param, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


Asked = tuple[str, list[tuple[str, dict[str, Any]]]]


@pytest.mark.parametrize("server", [200], indirect=True)
def test_online(
    server: Asked, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is named, and a resumed one asks for the run that was there."""
    address, asked = server
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "20")
    first = track(text_file, tmp_path, 4)
    record = json.loads((first / "wandb.json").read_text())
    assert (record["project"], record["entity"]) == ("seqmodels", "me")
    shown = capsys.readouterr()
    assert f"wandb    {address}/me/seqmodels/runs/{record['id']}\n" in shown.out
    assert shown.err == ""
    assert "RunResumeStatus" not in dict(asked)
    asked.clear()
    track(text_file, tmp_path, 8, resume=first)
    assert dict(asked)["RunResumeStatus"] == {"project": "seqmodels", "entity": "me", "name": record["id"]}
    assert dict(asked)["UpsertBucket"]["name"] == record["id"]


@pytest.mark.parametrize("server", [200], indirect=True)
def test_training_goes_on_whatever_the_server_does(
    server: Asked, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The client asks about tables while it logs them, and stumbles over an answer that makes no sense."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server[0])
    sane = Server.answer
    nonsense: dict[str, Any] = {"data": {}}
    monkeypatch.setattr(Server, "answer", lambda self, asked: sane(self, asked) if asked["operationName"] else nonsense)
    run = track(text_file, tmp_path, 120)
    err = own_lines(capsys.readouterr().err)
    assert err.startswith("warning: W&B may miss a part of this run (")
    assert err.count("\n") == 1
    (piece,) = re.findall(r"wandb sync --include-online (\S+)$", err.strip())
    assert list(Path(piece).glob("*.wandb"))
    assert json.loads((run / "result.json").read_text())["steps"] == 120
    assert len([row for row in history(records(run)) if "val/nats_per_token" in row]) == 2


@pytest.mark.parametrize("server", [200], indirect=True)
@pytest.mark.parametrize("at_once", [pytest.param(True, marks=pytest.mark.slow), False])
def test_offline_pieces_of_a_resumed_run_are_sent_one_behind_the_other(
    server: Asked, at_once: bool, text_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """By the command that is printed, once at the end or after each piece; none replaces another."""
    asked = {"WANDB_BASE_URL": server[0], "WANDB_API_KEY": KEY}
    logged, run = 0, None
    for steps in (22, 44):
        run = track(text_file, tmp_path, steps, resume=run)
        logged += len(history(records(run)))
        command = re.findall(r"(wandb sync .*)$", capsys.readouterr().err.strip())[0].split()
        if steps == 44 or not at_once:
            subprocess.run(command, env=os.environ | asked, check=True, capture_output=True, timeout=120)
    assert "RunResumeStatus" in dict(server[1])
    sent = rows_of(server[1])
    assert sorted(sent) == list(range(logged))
    tokens = [json.loads(sent[number])["train/tokens"] for number in sorted(sent)]
    assert (min(tokens), max(tokens)) == (11 * 64, 44 * 64)


def tracking_refused(capsys: pytest.CaptureFixture[str], text: Path, runs: Path) -> str:
    """The one line that `fit --wandb` is refused with, with exit code 2, before anything is written."""
    words = "fit", "--data", str(text), "--runs", str(runs), "--logger", "wandb", "--length", "16", "--batch-size", "2"
    error = refused(capsys, *words)
    assert error.startswith("error: W&B ")
    assert not runs.exists()
    return error


@pytest.mark.parametrize("key", ["too-short", "0123456789" * 4 + " !"])
def test_wrong_key(
    key: str, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    error = tracking_refused(capsys, text_file, tmp_path / "runs")
    assert "wandb login" in error
    assert "WANDB_MODE=offline" in error
    assert key not in error


@pytest.mark.parametrize("server", [401, 403], indirect=True)
def test_key_that_the_server_refuses(
    server: Asked, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server[0])
    error = tracking_refused(capsys, text_file, tmp_path / "runs")
    assert "refuses the key" in error
    assert "no such key" in error


@pytest.mark.parametrize("names", [{"wandb_project": "a/b"}, {"wandb_tags": "a," + "b" * 65}])
def test_names_that_are_refused(names: dict[str, str]) -> None:
    with pytest.raises(InputError, match="W&B does not take a name") as error:
        plan_tracking(names)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("server", [500], indirect=True)
@pytest.mark.parametrize("trouble", ["closed", "silent", "ill", "nameless"])
def test_key_without_network(
    server: Asked, trouble: str, text_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Nobody listens, nobody answers, the server is down, its name is looked up forever: offline within ten seconds."""
    over = threading.Event()

    def looked_up(*_: Any, **__: Any) -> Any:
        over.wait(60)
        raise socket.gaierror

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if trouble == "silent":
            listening.listen()
        if trouble == "nameless":
            monkeypatch.setattr(socket, "getaddrinfo", looked_up)
        address = server[0] if trouble == "ill" else f"http://127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        began = time.monotonic()
        plan = plan_tracking({})
        assert time.monotonic() - began < 9
        assert plan is not None
        assert plan.offline
        run = track(text_file, tmp_path, 4) if trouble == "closed" else None
    over.set()
    if run:
        assert_offline_in_one_line(capsys.readouterr().err, f"cannot be reached ({address})", run)


def test_secrets_stay_out(text_file: Path, tmp_path: Path) -> None:
    """Neither of the environment nor of the command line, also where the latter is a script's own."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from seqmodels.cli.main import main\n"
        f"main(['fit', '--data', {str(text_file)!r}, '--max-steps', '2', '--length', '16', '--batch-size', '2', "
        "'--backbone', 'RNN', '--backbone.hidden-size', '4', '--logger', 'wandb', '--wandb-project', 'seen'])\n"
    )
    secrets = {"WANDB_API_KEY": KEY, "SERVICE_TOKEN": "planted-in-token", "SOMETHING": "planted-in-environment"}
    secrets["HTTPS_PROXY"] = "http://me:planted-in-proxy@127.0.0.1:9"
    words = ["--api-key", "planted-in-flag", "--password=planted-in-value", f"x{KEY}", "kept"]
    command = [sys.executable, str(script), *words]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | secrets, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/*/*")
    assert_offline_in_one_line(done.stderr, "cannot be reached", run)
    content = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert b"kept" in content
    assert b"seen" in content
    assert b"planted" not in content
    assert KEY.encode() not in content


def test_words_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "abcdefgh")
    words = ["--tokenizer", "char", "--max-tokens=3", "--key", "a", "b", "--hub-token=c", "xabcdefghy"]
    shown = ["--tokenizer", "char", "--max-tokens=3", "--key", "***", "b", "--hub-token=***", "***"]
    assert without_secrets(words) == shown


@pytest.mark.slow
def test_only_rank_0_tracks(text_file: Path, tmp_path: Path) -> None:
    words = f"--data {text_file} --length 16 --batch-size 2 --max-steps 2 --val-fraction 0.4 --backbone RNN "
    words += "--backbone.hidden-size 4 --devices 2 --accelerator cpu --validations 1 --logger wandb"
    command = [sys.executable, "-m", "seqmodels", "fit", *words.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/*/*")
    assert_offline_in_one_line(done.stderr, "has no key", run)
    assert len(history(records(run))) == 7  # validation, a sample, three pictures and two tables


def test_sweep_runs_the_recipe(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an agent would start it: with the flags W&B makes of the parameters, under the id that it gave to the run."""
    sweep = yaml.safe_load(SWEEP.read_text())
    assert sweep["method"] in ("bayes", "random", "grid")
    values = {name: about.get("values", [about.get("min")])[0] for name, about in sweep["parameters"].items()}
    flags = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})["args"]
    assert len(flags) == 4
    known = {"${env}": [], "${interpreter}": [sys.executable], "${program}": [str(ROOT / sweep["program"])]}
    words = [word for part in sweep["command"] for word in (known | {"${args}": flags}).get(part, [part])]
    (tmp_path / "input.txt").write_bytes(text_file.read_bytes())
    given = {"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "sweep123", "WANDB_RUN_ID": "run45678", "WANDB_PROJECT": "p"}
    small = ["--max-steps", "2", "--length", "16", "--batch-size", "2"]
    with monkeypatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        patch.chdir(tmp_path)
        patch.setattr(sys, "argv", [*words[1:], *small])
        runpy.run_path(words[1], run_name="__main__")
    assert capsys.readouterr().err == ""
    (run,) = tmp_path.glob("runs/*/*")
    found = records(run)
    assert (of_kind(found, "run")[0].run_id, of_kind(found, "run")[0].sweep_id) == ("run45678", "sweep123")
    assert sweep["metric"]["goal"] == "minimize"
    assert any(sweep["metric"]["name"] in row for row in history(found))
    recorded = yaml.safe_load((run / "config.yaml").read_text())
    task = recorded["task"]["init_args"]
    assert task["backbone"]["init_args"]["hidden_size"] == values["backbone.hidden-size"]
    assert task["backbone"]["init_args"]["weight_dropout"] == values["backbone.weight-dropout"]
    assert (task["lr"], task["dropout"]) == (values["lr"], values["dropout"])


def test_sweep_of_the_command_line(text_file: Path, tmp_path: Path) -> None:
    """Every flag that it gives exists, and the run has the values."""
    sweep = yaml.safe_load((ROOT / "sweeps" / "fit.yaml").read_text())
    values = {name: about["values"][0] for name, about in sweep["parameters"].items()}
    flags = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})["args"]
    known = {"${env}": [], "${args}": flags, "seqmodels": [sys.executable, "-m", "seqmodels"]}
    words = [word for part in sweep["command"] for word in known.get(part, [part])]
    words += ["--data", str(text_file), "--length", "16", "--batch-size", "2", "--max-steps", "2"]
    given = os.environ | {"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "sweep123", "WANDB_RUN_ID": "run45678"}
    done = subprocess.run(words, cwd=tmp_path, env=given, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/*/*")
    found = records(run)
    assert of_kind(found, "run")[0].sweep_id == "sweep123"
    assert any(sweep["metric"]["name"] in row for row in history(found))
    task = yaml.safe_load((run / "config.yaml").read_text())["task"]
    assert task["init_args"]["lr"] == values["lr"]
    assert task["init_args"]["backbone"]["class_path"] == f"seqmodels.{values['backbone']}"
