"""Memory that a step frees is kept for the next one where logits are large or the user wants it, and only there."""

import sys
from pathlib import Path

import pytest

from seqmodels import GRU, LanguageModel, TextDataModule, fit


class Reached(Exception):  # noqa: N818 - no error
    """Ends a run where its steps would begin."""


@pytest.mark.parametrize(("many", "wanted"), [(1, False), (None, True), (None, False)])
def test_where_logits_are_large_or_it_is_wanted(
    many: int | None, wanted: bool, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(name: str) -> None:
        raise Reached(name)

    module = sys.modules[fit.__module__]  # of which the package shows the function by the same name
    monkeypatch.setattr(module, "kept_memory", lambda: end("memory"))
    monkeypatch.setattr(module, "kept_kernels", lambda: end("kernels"))
    if many is not None:
        monkeypatch.setattr(module, "MANY", many)
    data = TextDataModule(str(text_file), length=8, batch_size=2)
    with pytest.raises(Reached, match="memory" if many or wanted else "kernels"):
        fit(LanguageModel(GRU(4, 4), data.tokenizer), data, max_steps=1, keep_memory=wanted, runs=str(tmp_path))
