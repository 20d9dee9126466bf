"""From a command to its first character, first step and first line, beside the import of what is below this package.

A process begins for each figure, on one model and one corpus that are cached. The rival is an interpreter that imports
torch, and for a training also Lightning and `datasets`: what no program on them can begin without.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measure import Comparison, compare, made_up_text
from seqmodels.checkpoints.export import share
from seqmodels.data import Tokenizer
from seqmodels.nn import GRU, LSTM
from seqmodels.tasks import LanguageModel, Translator

PACKAGE = Path(__file__).parents[1]
FIRST_STEP = """
import sys
from torch.optim.optimizer import register_optimizer_step_post_hook
register_optimizer_step_post_hook(lambda *_: print("a first step", flush=True))
"""
"""A module that a training imports, which tells of each step of an optimizer."""


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """All comparisons of this topic; see `Topic`."""
    size = 8 if small else 128
    with made_up_text(2_000 if small else 100_000) as text:
        folder = text.parent
        tokenizer = Tokenizer.char(["abc "])
        share(LanguageModel(LSTM(size, size), tokenizer), folder / "writer")
        share(Translator(GRU(size, size), GRU(size, size), tokenizer), folder / "translator")
        (folder / "lines.txt").write_text("abc\n")
        (folder / "first_step.py").write_text(FIRST_STEP)
        commands = {
            "`generate`, command to first character": ["generate", "writer", "--prompt", "a", "--max-tokens", "1"],
            "`translate`, command to first line": ["translate", "translator", "lines.txt"],
            "`fit`, command to first step, cached corpus": [
                "fit", "--data", str(text), "--tokenizer", "char", "--length", "8", "--batch-size", "2",
                "--max-steps", "1", "--validations", "1", "--import", "first_step",
            ],
        }  # fmt: skip
        for what, words in commands.items():
            libraries = "torch, lightning.pytorch, datasets" if words[0] == "fit" else "torch"
            ours = partial(
                seconds, [sys.executable, "-m", "seqmodels", *words], folder, "a first" * (words[0] == "fit")
            )
            rival = partial(seconds, [sys.executable, "-c", f"import {libraries}; print(1)"], folder)
            yield compare(f"{what}, beside the import of {libraries}", ours, rival, unit="s", rounds=rounds)


def seconds(words: Sequence[str], folder: Path, wanted: str = "") -> float:
    """Seconds from the beginning of a program to the first line that it prints with the wanted text."""
    paths = [str(PACKAGE), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    began = time.perf_counter()
    with subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        for line in program.stdout:
            if wanted in line:
                taken = time.perf_counter() - began
                program.kill()
                return taken
        raise RuntimeError(f"{words[1:4]} ended without {wanted!r}: {program.stderr.read()[-500:]}")
