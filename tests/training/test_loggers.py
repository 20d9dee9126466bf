"""Loggers by name and as objects: what each has got is read back by its own library, also of a run that was resumed."""

import csv
import importlib.util
import json
import os
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger
from pairs import write_pairs
from refusals import refused
from trainers import small_model, small_module

from seqmodels import GRU, InputError, TrackioLogger, TranslationDataModule, Translator, fit
from seqmodels.training.loggers import check_names, chosen

OF_LIBRARIES = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)
PICTURES = {"gradient horizon", "spectra", "spectral radius"}
TABLES = {"gradient horizon table", "spectra table"}


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of whoever runs the tests; files of Trackio, which reads this when it is imported, in the folder."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "TRACKIO_", "WANDB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.chdir(tmp_path)


class Seen:
    """What a logger has: figures of validations by step, and names of texts, pictures and tables."""

    def __init__(self, validated: dict[int, float], samples: list[str], shown: set[str], settings: str) -> None:
        self.validated, self.samples, self.shown, self.settings = validated, samples, shown, settings


def of_tensorboard(run: Path) -> Seen:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    texts = {name.removesuffix("/text_summary"): events.Tensors(name) for name in events.Tags()["tensors"]}
    samples = [one.tensor_proto.string_val[0].decode() for one in texts.pop("samples")]
    figures = {one.step: one.value for one in events.Scalars("val/nats_per_token")}
    shown = {*texts, *events.Tags()["images"]}
    return Seen(figures, samples, shown, (run / "tensorboard" / "hparams.yaml").read_text())


def of_mlflow(run: Path) -> Seen:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{run.absolute().parents[1]}/mlflow.db")
    number = json.loads((run / "mlflow.json").read_text())["run_id"]
    (only,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert (only.info.run_id, only.info.status, only.info.run_name) == (number, "FINISHED", run.name)
    figures = {one.step: one.value for one in client.get_metric_history(number, "val/nats_per_token")}
    files = {path.relative_to(folder).as_posix(): path for folder in _artifacts(run) for path in folder.rglob("*.*")}
    samples = [path.read_text() for name, path in sorted(files.items()) if name.startswith("samples/")]
    assert json.loads(files["result.json"].read_text()) == json.loads((run / "result.json").read_text())
    assert files["checkpoints/best.safetensors"].is_file()
    shown = {path.stem.replace("_", " ") for name, path in files.items() if name.startswith(("pictures/", "tables/"))}
    return Seen(figures, samples, shown, str(only.data.params))


def _artifacts(run: Path) -> list[Path]:
    return list((run.absolute().parents[1] / "mlflow-artifacts").glob("*/artifacts"))


def of_trackio(run: Path) -> Seen:
    from trackio.sqlite_storage import SQLiteStorage

    rows = SQLiteStorage.get_logs("seqmodels", run.name)
    assert SQLiteStorage.get_runs("seqmodels") == [run.name]
    figures = {row["step"]: row["val/nats_per_token"] for row in rows if "val/nats_per_token" in row}
    samples = [row["samples"]["_value"] for row in rows if "samples" in row]
    media = {name for row in rows for name, value in row.items() if isinstance(value, dict)}
    return Seen(figures, samples, media - {"samples"}, str(SQLiteStorage.get_run_config("seqmodels", run.name)))


READERS: dict[str, Callable[[Path], Seen]] = {
    "tensorboard": of_tensorboard,
    "mlflow": of_mlflow,
    "trackio": of_trackio,
}


@OF_LIBRARIES
@pytest.mark.parametrize("name", READERS)
def test_what_arrives(name: str, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every validation of `metrics.csv`, every sample, pictures, tables, settings; a resumed run is the same run."""
    pytest.importorskip(name, reason=f"{name} is not installed: pip install {name}")
    run = None
    for steps in (60, 120):
        data = small_module(text_file, True)
        given: dict[str, Any] = {
            "validations": steps // 30,
            "runs": str(tmp_path / "runs"),
            "prompt": "The ",
            "resume": run,
        }
        run = fit(small_model(data), data, max_steps=steps, logger=name, **given)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert re.search(r"^(board|mlflow|trackio) +(tensorboard|mlflow|trackio) ", printed.out, re.MULTILINE)
    assert run is not None
    seen = READERS[name](run)
    with (run / "metrics.csv").open() as file:
        rows = {
            int(row["step"]): row["val/nats_per_token"] for row in csv.DictReader(file) if row["val/nats_per_token"]
        }
    assert list(seen.validated) == list(rows) == [29, 59, 89, 119]
    assert list(seen.validated.values()) == pytest.approx([float(figure) for figure in rows.values()])
    written = re.findall(r"```text\n(.*?)\n```", (run / "samples.md").read_text(), re.DOTALL)
    assert len(written) >= 2
    plain = [re.sub(r"^ {4}", "", text, flags=re.MULTILINE) for text in seen.samples]
    for sample in written:
        assert any(sample.strip("\n") in text for text in plain)
    assert seen.shown == PICTURES | TABLES
    for setting in ("hidden_size", "batch_size", "max_steps"):
        assert setting in seen.settings
    assert "<unk>" not in seen.settings  # no tokenizer
    assert yaml.safe_load((run / "config.yaml").read_text())["fit"]["logger"] == [name]


def test_translations_arrive(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install tensorboard")
    data = TranslationDataModule(str(write_pairs(tmp_path)), "en", "fr", tokenizer="word", joint=True, batch_tokens=200)
    model = Translator(GRU(8, 8), GRU(8, 16), data.tokenizer)
    run = fit(model, data, max_steps=4, validations=1, runs=tmp_path, logger="tensorboard", diagnostics=False)
    seen = of_tensorboard(run)
    assert seen.shown == {"attention"}
    assert " → " in seen.samples[0]


def test_loggers_of_lightning(text_file: Path, tmp_path: Path) -> None:
    """Several, beside names; each has the rows of `metrics.csv`, which no other logger changes."""
    data, own = small_module(text_file, True), [CSVLogger(tmp_path / name) for name in ("one", "two")]
    given: dict[str, Any] = {"max_steps": 40, "validations": 2, "runs": str(tmp_path / "runs")}
    run = fit(small_model(data), data, logger=["csv", *own], **given)  # type: ignore[list-item]
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/lr"]]
    assert len(rows) == 2
    for logger in own:
        with (Path(logger.log_dir) / "metrics.csv").open() as file:
            theirs = [row for row in csv.DictReader(file) if row["train/lr"]]  # Lightning logs some of them twice
        assert {row["train/nats_per_token"] for row in theirs} == {row["train/nats_per_token"] for row in rows}
        assert "max_steps: 40" in (Path(logger.log_dir) / "hparams.yaml").read_text()
    assert (run / "samples.md").exists()  # not in the folder of another logger
    assert yaml.safe_load((run / "config.yaml").read_text())["fit"]["logger"] == ["csv"]


def test_names() -> None:
    assert chosen(None) == ([], [])
    assert chosen("CSV, csv") == (["csv"], [])
    assert chosen(["csv"]) == (["csv"], [])


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("tensorbord", "logger='tensorbord' was given; choose one or several of csv, wandb, tensorboard"),
        (3, "logger=3 was given; expected one or several of csv"),
        (["csv", object], "or a logger of Lightning"),
    ],
)
def test_refused(logger: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen(logger)


@pytest.mark.parametrize("name", READERS)
def test_not_installed(
    name: str, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence with the command, before anything is written."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda one, *more: None if one == name else found(one, *more))
    runs = tmp_path / "runs"
    error = refused(capsys, "fit", "--data", str(text_file), "--runs", str(runs), "--logger", name, "csv")
    assert error == f"error: logger='{name}' was given, and {name} is not installed; do: pip install {name}\n"
    assert not runs.exists()


def test_settings_of_wandb_without_it(text_file: Path, tmp_path: Path) -> None:
    data = small_module(text_file, True)
    with pytest.raises(InputError, match="wandb_project='mine' was given without W&B; add logger='wandb'"):
        fit(small_model(data), data, max_steps=2, wandb_project="mine", runs=tmp_path)


def test_a_server_of_mlflow_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within seconds, and without the password of the address."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    settings = dict.fromkeys(("wandb_project", "wandb_name", "wandb_group", "wandb_tags"))
    with pytest.raises(InputError, match=r"MLflow's server at http://127\.0\.0\.1:9 does not answer; start it"):
        check_names(["mlflow"], settings)
    check_names(["csv"], settings)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as there:  # which knows no method, and answers
        threading.Thread(target=there.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{there.server_port}")
        check_names(["mlflow"], settings)
        there.shutdown()


@OF_LIBRARIES
def test_under_a_trainer_of_ones_own(text_file: Path, tmp_path: Path) -> None:
    """Loggers of the user's own show samples there, too."""
    from trainers import train

    from seqmodels import Samples

    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install mlflow")
    logger = MLFlowLogger("own", tracking_uri=f"sqlite:///{tmp_path}/own.db", artifact_location=str(tmp_path / "files"))
    data = small_module(text_file, True)
    train(small_model(data), data, 4, Samples("The", first=2, folder=tmp_path), logger=logger)
    assert [path.name for path in sorted((tmp_path / "files").rglob("*.md"))] == [
        "step-00000002.md",
        "step-00000004.md",
    ]
    assert logger.experiment.get_run(logger.run_id).data.params["task/init_args/lr"] == "0.003"


def test_trackio_takes_the_settings_of_a_run_when_it_begins(tmp_path: Path) -> None:
    logger = TrackioLogger("p", "r")
    assert (logger.name, logger.version) == ("p", "r")
    logger.log_hyperparams({"a": 1})
    logger.finalize("success")  # nothing was begun
