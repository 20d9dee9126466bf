"""What holds for each family alike: it can be looked into, and it goes to plain torch."""

import sys
from pathlib import Path

import pytest
import torch
from interop.families.models import CONFIGS, written
from interop.families.translators import MODELS as TRANSLATORS
from torch.testing import assert_close

from seqmodels import LanguageModel, load
from seqmodels.analysis.activations import activations
from seqmodels.analysis.gradient_horizon import gradient_norms
from seqmodels.analysis.word_senses import contextual
from seqmodels.data.windows import shifted
from seqmodels.interop.export import export

TEXT = "the fox ran after the hare, and the cat sat on the mat\n"
FEW = ("llama", "recurrent_gemma")
"""Families that stand for the others: attention with rotary positions, and recurrent layers beside it."""
NAMES = [name for name in CONFIGS if "-" not in name]


@pytest.mark.parametrize("name", [pytest.param(one, marks=[pytest.mark.slow] * (one not in FEW)) for one in NAMES])
def test_language_models(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(name, tmp_path / "model")
    model = load(tmp_path / "model")
    assert isinstance(model, LanguageModel)
    model = model.double()
    ids = torch.tensor([model.tokenizer.encode(TEXT)])
    _, _, trace = model.traced(shifted(ids))
    assert {"1", "2"} <= trace.units.keys()
    for weights in trace.attention.values():
        assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    norms = gradient_norms(model, shifted(ids))
    assert all(bool(one.isfinite().all()) and float(one.max()) > 0 for one in norms.values())
    found = activations(model, TEXT)
    assert found.values.shape[-1] == len(found.units) > 0
    assert all(bool(one.vector.isfinite().all()) for one in contextual(model, TEXT, "fox"))
    plain = plain_of(model, tmp_path / "plain", monkeypatch)
    with torch.no_grad():
        expected, _ = model(ids)
        first, state = plain(ids[:, :7])
        second, _ = plain(ids[:, 7:], state)
    assert_close(torch.cat((first, second), 1), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ["marian", pytest.param("t5", marks=pytest.mark.slow)])
def test_translators(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TRANSLATORS[name](tmp_path / "model")
    model = load(tmp_path / "model").double()
    plain = plain_of(model, tmp_path / "plain", monkeypatch)
    source, ids = torch.tensor([[*model.source_tokenizer.encode("the fox ran"), 2]]), torch.tensor([[1, 5, 6]])  # type: ignore[operator,union-attr]
    with torch.no_grad():
        memory = model.encode(source)  # type: ignore[operator]
        expected = model.head(model.decoder(model.embedding(ids), memory=memory)[0])  # type: ignore[operator]
        assert_close(plain(source, ids), expected, atol=1e-10, rtol=0)


def plain_of(model: object, folder: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """The exported modules with their weights."""
    export(model, folder, "torch")  # type: ignore[arg-type]
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "model", raising=False)
    from model import load as load_plain  # type: ignore[import-not-found]

    del sys.modules["model"]  # not by monkeypatch, which would put it back
    return load_plain()  # type: ignore[no-any-return]
