"""What can be done with a trained model can be done with one that was loaded from a public family: on a tiny GPT-2."""

from pathlib import Path

import pytest
import torch
from interop.families.models import transformers, written
from torch.testing import assert_close

from seqmodels import LanguageModel, TextDataModule, load
from seqmodels.analysis.activations import activations
from seqmodels.analysis.gradient_horizon import gradient_norms
from seqmodels.analysis.word_senses import contextual
from seqmodels.cli.main import main
from seqmodels.data.windows import shifted
from seqmodels.interop.families.write import export_hf

TEXT = "the fox ran after the hare, and the cat sat on the mat\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inside")
    written("gpt2", folder / "model")
    (folder / "text.txt").write_text(TEXT * 60)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    found = load(folder / "model")
    assert isinstance(found, LanguageModel)
    return found.double()


def test_attention_maps_and_the_residual_stream(model: LanguageModel, folder: Path) -> None:
    """Of every layer and head, as transformers has them."""
    ids = torch.tensor([model.tokenizer.encode(TEXT)])
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", attn_implementation="eager").double()
    with torch.no_grad():
        wanted = theirs(ids - 4, output_attentions=True, output_hidden_states=True)
        _, _, trace = model.traced(shifted(torch.cat([ids, ids[:, :1]], 1)))
    for layer in (1, 2):
        assert_close(trace.attention[str(layer)], wanted.attentions[layer - 1])
    assert_close(trace.units["1"], wanted.hidden_states[1])


def test_gradient_horizon_activations_and_contextual_vectors(model: LanguageModel) -> None:
    ids = torch.tensor([model.tokenizer.encode(TEXT * 2)])
    norms = gradient_norms(model, shifted(ids))
    assert all(bool(one.isfinite().all()) and float(one.max()) > 0 for one in norms.values())
    found = activations(model, TEXT * 3)
    assert found.values.shape[-1] == len(found.units) > 0
    assert all(bool(one.vector.isfinite().all()) for one in contextual(model, TEXT, "fox"))


def test_neurons_and_report(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", str(folder / "text.txt")]
    main(["neurons", str(folder / "model"), *words, "--characters", "600", "--label", "boundary"])
    assert "boundary" in capsys.readouterr().out
    main(["report", str(folder / "model"), *words, "--to", str(tmp_path / "page.html")])
    told = capsys.readouterr().err
    shown = {line.split("  ")[1].strip(): "(" not in line for line in told.splitlines() if line.startswith("  ")}
    assert {name for name, there in shown.items() if there} >= {
        "Gradient horizon",
        "Neurons",
        "Attention",
        "Embeddings",
    }


def test_fine_tuning_and_the_way_out(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It learns, its softmax layer stays without a bias, and transformers reads what it has become."""
    words = ["--data", str(folder / "text.txt"), "--length", "16", "--batch-size", "4", "--lr", "0.01"]
    more = ["--max-steps", "30", "--validations", "2", "--no-diagnostics", "--runs", str(tmp_path / "runs")]
    main(["fit", "--init", str(folder / "model"), *words, *more])
    (config,) = (tmp_path / "runs").rglob("config.yaml")
    run = config.parent
    tuned, first = load(run), load(folder / "model")
    assert isinstance(tuned, LanguageModel)
    assert isinstance(first, LanguageModel)
    assert tuned.score([TEXT])[0].nats < first.score([TEXT])[0].nats / 2
    assert torch.equal(tuned.head.bias, first.head.bias)
    assert tuned.tokenizer.starts is False
    export_hf(tuned, tmp_path / "out")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.tensor([tuned.tokenizer.encode(TEXT)])
    with torch.no_grad():
        assert_close(tuned(ids)[0][..., 5:], theirs(ids - 4).logits[..., 1:], rtol=1e-4, atol=1e-4)


def test_generated_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["generate", str(folder / "model"), "--prompt", "the fox", "--max-tokens", "5", "--seed", "1"])
    assert capsys.readouterr().out.startswith("the fox")


def test_data_of_its_own_tokenizer(model: LanguageModel, folder: Path) -> None:
    data = TextDataModule(str(folder / "text.txt"), tokenizer=model.tokenizer, length=8, batch_size=2)
    assert data.tokenizer is model.tokenizer
