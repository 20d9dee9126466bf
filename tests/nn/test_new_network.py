"""A new network is its file and one line, everywhere: tried with a copy of the package that has one more."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import seqmodels

TOY = '''
"""A network of its own."""

import torch
from torch import Tensor, nn

from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.recurrent import RecurrentStack


class ToyCell(Cell):
    """h_t = decay * h_{t-1} + tanh(W x_t)."""

    def __init__(self, input_size: int, hidden_size: int, decay: float) -> None:
        super().__init__(input_size, hidden_size)
        self.value, self.decay = nn.Linear(input_size, hidden_size), decay

    def project(self, x: Tensor) -> Tensor:
        return self.value(x).tanh()

    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        return (self.decay * state[0] + projected,)


class Toy(RecurrentStack):
    """A decaying sum.

    Args:
        decay: fraction of the state that is kept.
    """

    def __init__(self, input_size: int = 64, hidden_size: int = 256, num_layers: int = 1, decay: float = 0.5) -> None:
        self.decay = decay
        super().__init__(input_size, hidden_size, num_layers)

    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return ToyCell(input_size, hidden_size, self.decay)
'''

CHECKS = """
import sys

from seqmodels.cli import help

page = help.networks()
assert "torch" not in sys.modules
assert "Toy" in page.split("of GRU")[0]
assert "--backbone.decay X" in page and "fraction of the state that is kept. (default: 0.5)" in page

import seqmodels

assert "Toy" in dir(seqmodels) and "Toy" in seqmodels.__all__
from seqmodels import Hybrid, Toy
from seqmodels.config import class_path, subclasses
from seqmodels.nn import Backbone

assert class_path(Toy) == "seqmodels.Toy" and Toy in subclasses(Backbone)
assert type(Hybrid(8, "Toy,attention").blocks[0].mixer.network) is Toy

from networks import NETWORKS

assert NETWORKS["Toy"]().output_size == 8
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    package, tests = Path(seqmodels.__file__).parent, Path(__file__).parents[1]
    shutil.copytree(package, folder / "seqmodels", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("networks.py", "test_laws.py"):
        shutil.copy(tests / name, folder)
    (folder / "seqmodels" / "nn" / "toy.py").write_text(TOY)
    with (folder / "seqmodels" / "nn" / "__init__.py").open("a") as exports:
        exports.write("from seqmodels.nn.toy import Toy as Toy\n")
    return folder


def run(copy: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_found_everywhere(copy: Path) -> None:
    run(copy, "-c", CHECKS)


def test_the_laws_are_tried(copy: Path) -> None:
    found = run(copy, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(copy), "-k", "Toy", "test_laws.py")
    assert " passed" in found
    assert int(found.split(" passed")[0].split()[-1]) >= 8


@pytest.mark.slow
def test_it_is_trained_from_the_command_line(copy: Path) -> None:
    (copy / "tale.txt").write_text("The fox ran after the hare, and the hare got away.\n" * 50)
    sizes = ["--backbone.input-size", "8", "--backbone.decay", "0.25"]
    options = ["--data", "tale.txt", "--length", "8", "--batch-size", "2", "--max-steps", "2", "--runs", "runs"]
    run(copy, "-m", "seqmodels", "fit", "--backbone", "Toy", *sizes, *options)
    (config,) = copy.glob("runs/**/config.yaml")
    assert "seqmodels.Toy" in config.read_text()
