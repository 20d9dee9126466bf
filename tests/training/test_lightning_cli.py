"""Lightning's command line with the tasks and data modules of this package, as the guide shows it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jsonargparse", reason="jsonargparse is not installed: pip install 'jsonargparse[signatures]'")

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "own-trainer.md"


@pytest.mark.slow
def test_the_example_of_the_guide(text_file: Path, tmp_path: Path) -> None:
    from seqmodels import LanguageModel, load

    page = GUIDE.read_text()
    (script,) = re.findall(r"```python notest\n(from lightning\.pytorch\.cli.*?)```", page, re.DOTALL)
    (words,) = re.findall(r"python (train\.py fit .*?)\n```", page, re.DOTALL)
    (tmp_path / "train.py").write_text(script)
    (tmp_path / "book.txt").write_bytes(text_file.read_bytes())
    quiet = "--trainer.enable_progress_bar false --trainer.accelerator cpu --trainer.max_epochs 1 --data.batch_size 4"
    command = [sys.executable, *words.replace("\\\n", " ").split(), "--data.length", "16", *quiet.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("lightning_logs/version_0/checkpoints/*.ckpt")
    model = load(path)
    assert isinstance(model, LanguageModel)
    assert (model.name, model.backbone.output_size) == ("LSTM", 32)
    (config,) = tmp_path.glob("lightning_logs/version_0/config.yaml")
    again = subprocess.run(
        [sys.executable, "train.py", "validate", "--config", str(config), "--ckpt_path", str(path)],
        cwd=tmp_path, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert "val/nats_per_token" in again.stdout, again.stderr
