"""Runs mixed with counts and a cache, in every command that takes them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmodels import GRU, InputError, LanguageModel, NGram, TextDataModule, fit, load
from seqmodels.batch import Batch
from seqmodels.cli.main import main
from seqmodels.cli.test import test as evaluated
from seqmodels.tasks import dynamic_evaluation
from seqmodels.tasks.dynamic_evaluation import _root_mean_squares
from seqmodels.tasks.mixing import Mix, mixed, unmixed

TEXT = "".join(f"the {a} sat on the {b}\n" for a in ("cat", "dog", "cow") for b in ("mat", "hat", "bed", "cot")) * 8


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A network that has hardly learned, and counts."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TEXT)
    data = TextDataModule(str(folder / "text.txt"), length=16, batch_size=4, carry=True)
    made = [LanguageModel(network, data.tokenizer) for network in (GRU(8, 8), NGram(4))]
    first, second = (str(fit(task, data, max_steps=20, runs=folder / "runs", diagnostics=False)) for task in made)
    return first, second


def test_figures(runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Counts of the training text help a network that has hardly learned, and nothing mixed in changes nothing."""
    run, counts = runs
    alone, counted = evaluated(run), evaluated(counts)
    both = evaluated(run, counts=counts, counts_weight=0.5, cache=50)
    assert "mixed with counts at 0.5 and a cache of 50 positions at 0.1" in capsys.readouterr().out
    assert both["nats_per_token"] < alone["nats_per_token"] - 0.3
    assert evaluated(run, counts=counts, counts_weight=0.0)["nats_per_token"] == pytest.approx(
        alone["nats_per_token"], rel=1e-5
    )
    nearly = evaluated(run, counts=counts, counts_weight=0.9999)
    assert nearly["nats_per_token"] == pytest.approx(counted["nats_per_token"], rel=1e-3)
    learned = evaluated(run, counts=counts, cache=50, dynamic=True, dynamic_lr=1e-3)
    assert learned["nats_per_token"] < evaluated(run, counts=counts, cache=50, lanes=1)["nats_per_token"]
    kept = json.loads((Path(run) / "result.json").read_text())["tests"]
    name = "the file text.txt, validation, state carried through 8 lanes"
    assert kept[name].items() >= alone.items()
    assert kept[f"{name}, mixed with counts at 0.5 and a cache of 50 positions at 0.1"].items() >= both.items()
    assert {"command", "commit", "device", "threads", "began"} <= kept[name]["environment"].keys()


def test_gradients_of_training_are_of_the_network_alone(runs: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts know the training text, which would leave little to the network; weights and rates are those of both."""
    network, counts = (load(run) for run in runs)
    assert isinstance(network, LanguageModel)
    assert isinstance(counts, LanguageModel)
    both = mixed(network, Mix(counts, 0.5, cache=20))
    tokens = torch.randint(4, network.tokenizer.vocab_size, (2, 9))
    batches = [Batch(tokens[:, :-1], tokens[:, 1:])]
    found = list[list[torch.Tensor]]()

    def noted(*args: Any) -> list[torch.Tensor]:
        found.append(_root_mean_squares(*args))
        return found[-1]

    monkeypatch.setattr(dynamic_evaluation, "_root_mean_squares", noted)
    for task in (network, both):
        with dynamic_evaluation.learning(task, batches, dynamic_evaluation.Dynamic()) as learn:
            learn(batches[0], None)
    alone, mixture = (sorted(float(root.norm()) for root in roots if root.numel()) for roots in found)
    assert alone == mixture
    assert min(alone) > 0
    assert unmixed(network) is network


def test_commands(runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, counts = runs
    file, mix = tmp_path / "a", ["--counts", counts, "--counts-weight", "0.8"]
    file.write_text("the cow sat on the hat\n" * 3)
    main(["compress", run, str(file), *mix, "--cache", "40"])
    main(["decompress", run, f"{file}.sqm", *mix, "--cache", "40", "--to", str(tmp_path / "b")])
    assert (tmp_path / "b").read_text() == file.read_text()
    with pytest.raises(SystemExit):
        main(["decompress", run, f"{file}.sqm", *mix, "--to", str(tmp_path / "c")])
    assert "compressed by another model" in capsys.readouterr().err
    main(["generate", run, *mix, "--prompt", "the c", "--max-tokens", "18", "--temperature", "0"])
    assert "sat on the" in capsys.readouterr().out


def test_refusals(runs: tuple[str, str]) -> None:
    run, counts = runs
    with pytest.raises(InputError, match="--cache-weight was given without --cache"):
        evaluated(run, cache_weight=0.2)
    with pytest.raises(InputError, match="counts were given of GRU; expected a run of NGram"):
        evaluated(run, counts=run)
    data = TextDataModule({"train": [TEXT]}, tokenizer="byte")
    with pytest.raises(InputError, match="of another vocabulary"):
        mixed(LanguageModel(GRU(8, 8), data.tokenizer), Mix(load(counts)))
