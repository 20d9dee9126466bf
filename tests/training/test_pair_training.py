"""Training on pairs: stopped and resumed, it is what it would have been."""

from pathlib import Path

import pytest
import torch
from pairs import write_pairs
from torch.testing import assert_close
from trainers import Record, trainer

from seqmodels import GRU, TranslationDataModule, Translator
from seqmodels.batch import BOS, EOS
from seqmodels.environment import quiet


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize("stop", [3, 15])
@pytest.mark.parametrize("settings", [{}, {"bpe_dropout": 0.2, "tokenizer": "bpe", "vocab_size": 280}], ids=["", "bpe"])
def test_resume(files: Path, tmp_path: Path, stop: int, settings: dict[str, object]) -> None:
    """In the middle of an epoch, and in a later one."""

    def begun() -> tuple[TranslationDataModule, Translator]:
        torch.manual_seed(0)
        arguments = {"tokenizer": "word", "batch_tokens": 400, "joint": True} | settings
        data = TranslationDataModule(str(files), "en", "fr", **arguments)  # type: ignore[arg-type]
        return data, Translator(GRU(8, 8), GRU(8, 16), data.tokenizer, dropout=0.2, r_drop=1.0)

    def train(record: Record, resume: Path | None = None) -> Translator:
        data, model = begun()
        with quiet():
            trainer(16, record).fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
        return model

    path = tmp_path / "part.safetensors"
    whole, rest = Record(stop, path), Record()
    model = train(whole)
    resumed = train(rest, path)
    assert len(begun()[0].training_batches()) < 15
    assert len(rest.inputs) == 16 - stop
    for ours, theirs in zip(rest.inputs, whole.inputs[stop:], strict=True):
        assert_close(ours, theirs)
    read = sum(int((inputs > EOS).sum() + (inputs == BOS).sum()) for inputs in whole.inputs)
    assert model.tokens_seen == resumed.tokens_seen == read  # R-Drop reads them twice, and learns from no more
    for name, tensor in model.state_dict().items():
        assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
