"""Scores of lines under public models are the losses of transformers."""

from pathlib import Path

import pytest
import torch
from interop.families.models import written

from seqmodels import load
from seqmodels.batch import BOS
from seqmodels.cli.main import main

TEXTS = ["the fox ran after the hare", "café 漢字 on the mat", "hare"]


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3", "gpt_neox"])
def test_scores_are_losses(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line behind the token that begins a text, from Python and from the command line."""
    theirs, ours = written(name, tmp_path / name), load(tmp_path / name)
    expected = []
    for text in TEXTS:
        ids = [token - ours.tokenizer.shift for token in ours.tokenizer.encode(text)]
        read = torch.tensor([[ours.tokenizer.origins[BOS], *ids]])
        with torch.no_grad():
            expected.append(float(theirs(read, labels=read).loss) * len(ids))
    assert [score.nats for score in ours.score(TEXTS)] == pytest.approx(expected, rel=1e-5)
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(TEXTS), encoding="utf-8")
    main(["score", str(tmp_path / name), str(lines)])
    printed = [float(line.split("\t")[0]) for line in capsys.readouterr().out.splitlines()]
    assert printed == pytest.approx(expected, rel=1e-4)
