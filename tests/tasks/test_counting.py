"""A network that counts, in runs: counted once, saved as tensors, used like any other, and never trained."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from trainers import trainer

from seqmodels import GRU, InputError, LanguageModel, NGram, TextDataModule, export, fit, load, share
from seqmodels.analysis.gradient_horizon import gradient_norms
from seqmodels.analysis.ppmd import bits_after
from seqmodels.batch import BOS
from seqmodels.checkpoints.load import load_weights
from seqmodels.cli.engines import use
from seqmodels.cli.test import test as evaluated
from seqmodels.environment import quiet
from seqmodels.files import read_json
from seqmodels.interop.word_vectors.vectors import WordVectors
from seqmodels.report import report
from seqmodels.tasks.sizes import networks

LINES = [f"the {a} {b} {c}." for a in ("cat", "old dog", "bird") for b in ("sat", "ran", "sang") for c in "abcdef"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    path.write_text("\n".join(LINES[(7 * number) % len(LINES)] for number in range(120)))
    return str(path)


@pytest.fixture(scope="module")
def run(text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = TextDataModule(text, length=16, batch_size=4)
    task = LanguageModel(NGram(4), data.tokenizer)
    return Path(fit(task, data, runs=tmp_path_factory.mktemp("runs"), accelerator="cpu", prompt="the "))


def test_a_run(run: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The counts are those of the whole training text, and come back from the file; figures are those of the counts."""
    data = TextDataModule(text, length=16, batch_size=4)
    network = NGram(4)
    network.ends(data.tokenizer.vocab_size)
    network.count(data.tokens("train"))
    task = load(run)
    assert isinstance(task, LanguageModel)
    kept = dict(task.backbone.named_buffers())
    assert all(torch.equal(kept[name], counts) for name, counts in network.named_buffers())
    result = read_json(run / "result.json")
    assert (result["steps"], result["ended"], result["parameters"]) == (1, "budget", 0)
    assert result["tokens"] == data.facts("train").tokens
    column = data.tokens("validation").long()
    logs, _ = network(column[None, :-1, None])
    nats = -logs[0].detach().gather(1, column[1:, None]).mean()
    figures = evaluated(str(run), split="validation", length=len(column))
    assert figures["nats_per_token"] == pytest.approx(float(nats), rel=1e-5)
    assert "bits of PPMd" in capsys.readouterr().out
    (score,) = task.score(["the cat sat a."])
    ids = task.tokenizer.encode("the cat sat a.")
    logs, _ = network(torch.tensor([BOS, *ids[:-1]])[None, :, None])
    assert score.nats == pytest.approx(-float(logs[0].detach().gather(1, torch.tensor(ids)[:, None]).sum()), rel=1e-6)
    one = "".join(task.generate("the ", max_tokens=30, seed=1))
    assert task.generate_batch(["the ", "bird sang"], max_tokens=30, seed=1)[0] == [one]
    assert "the" in one or "sat" in one or "ran" in one or "sang" in one
    assert "PPMd" in Path(report(run)).read_text()


def test_resumed(text: str, tmp_path: Path) -> None:
    """A run that was stopped in its validation goes on with the counts of its checkpoint."""

    class Stop(pl.Callback):
        def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            raise KeyboardInterrupt

    data = TextDataModule(text, length=16, batch_size=4)
    with pytest.raises(BaseException):  # noqa: B017, PT011
        fit(LanguageModel(NGram(3), data.tokenizer), data, runs=tmp_path, callbacks=(Stop(),), accelerator="cpu")
    (folder,) = tmp_path.glob("*/*")
    assert not (folder / "checkpoints/best.safetensors").exists()
    again = TextDataModule(text, length=16, batch_size=4)
    task = LanguageModel(NGram(3), again.tokenizer)
    fit(task, again, runs=tmp_path, resume=folder, accelerator="cpu")
    whole = fit(LanguageModel(NGram(3), again.tokenizer), again, runs=tmp_path / "whole", accelerator="cpu")
    wanted, found = (read_json(Path(one) / "result.json") for one in (whole, folder))
    assert wanted["val/nats_per_token"] == found["val/nats_per_token"]


def test_what_does_not_apply(run: Path, text: str, tmp_path: Path) -> None:
    data = TextDataModule(text, length=16, batch_size=4)
    task = load(run)
    with pytest.raises(InputError, match="counts of a text, which are not trained further"):
        fit(task, data, runs=tmp_path)
    with pytest.raises(InputError, match=r"dropout=0.1 was given with NGram"):
        LanguageModel(NGram(), data.tokenizer, dropout=0.1)
    with pytest.raises(InputError, match="learns nothing by gradients"):
        gradient_norms(task, data.scored_batches("validation")[0, 0])
    with pytest.raises(InputError, match="no embedding that was learned"):
        WordVectors.of(task)
    with pytest.raises(InputError, match="dynamic evaluation learns by gradients"):
        evaluated(str(run), dynamic=True)
    with pytest.raises(InputError, match="counts a whole text, and was given a stream"):
        fit(LanguageModel(NGram(), data.tokenizer), TextDataModule(text, stream=True, tokenizer=data.tokenizer))
    with pytest.raises(InputError, match="of other networks"):
        load_weights(LanguageModel(GRU(8, 8), data.tokenizer), run)
    for form in ("onnx", "hf", "torch", "ctranslate2", "word2vec"):
        with pytest.raises(InputError, match="no form for its counts"):
            export(task, tmp_path / form, form)
    assert isinstance(task, LanguageModel)
    with pytest.raises(InputError, match="which torch alone computes here"):
        use(task, str(run), "onnx")
    assert "NGram" not in networks()


def test_under_any_trainer(run: Path, text: str) -> None:
    """Counts are taken there, too, and refused from loaders without a text."""
    data = TextDataModule(text, length=16, batch_size=4)
    task, wanted = LanguageModel(NGram(4), data.tokenizer), load(run)
    with quiet():
        trainer(2).fit(task, datamodule=data)
    assert all(torch.equal(own, kept) for own, kept in zip(task.buffers(), wanted.buffers(), strict=True))
    with quiet(), pytest.raises(InputError, match="give the Trainer a TextDataModule"):
        trainer(2).fit(LanguageModel(NGram(4), data.tokenizer), data.train_dataloader(), data.val_dataloader())


def test_shared_and_in_half_precision(run: Path, tmp_path: Path) -> None:
    """Counts stay whole numbers whatever happens to weights."""
    shared, half = load(share(run, tmp_path / "shared")), load(run)
    assert isinstance(shared, LanguageModel)
    assert isinstance(half, LanguageModel)
    use(half, str(run), bf16=True)
    wanted = list(shared.generate("the ", max_tokens=20, seed=3))
    assert wanted == list(half.generate("the ", max_tokens=20, seed=3))


def test_ppmd_learns_from_what_it_has_read() -> None:
    pytest.importorskip("pyppmd")
    text = "\n".join(LINES).encode()
    assert bits_after(text, text, 6) < 0.7 * bits_after(b"", text, 6)
