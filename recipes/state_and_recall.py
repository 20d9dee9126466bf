"""What networks can track and recall, and how far beyond the length they were trained on: parity, groups, recall.

    python recipes/state_and_recall.py --task parity

Every network of the package, several random seeds. Finished results are kept; `abilities.md` and `abilities.png` show
them, `rates.png` how they depend on the learning rate if several are given.
"""

from pathlib import Path
from typing import Any

from seqmodels.cli import command
from seqmodels.errors import InputError
from seqmodels.experiments.abilities import NETWORKS, learning_rates, train_and_test, write_abilities
from seqmodels.experiments.sweep import sweep


def main(
    task: str = "parity", networks: str | None = None, lr: str | None = None, seeds: int = 3,
    max_steps: int | None = None, max_minutes: float | None = None, width: int = 64, layers: int = 2, heads: int = 4,
    accelerator: str = "cpu", part: str = "1/1", runs: str = "runs/state_and_recall",
) -> None:  # fmt: skip
    """Train and test networks on a problem of state tracking or recall.

    Args:
        task: parity, modular-arithmetic, nested-arithmetic, words-s3, words-a5, words-s5, words-s5-swaps, mqar,
            mad-compression, mad-fuzzy-recall, mad-recall, mad-memorization, mad-noisy-recall or mad-selective-copying.
        networks: names from `NETWORKS`, separated by commas; all by default.
        lr: peak learning rates, separated by commas; by default those of the task.
        seeds: networks of each kind.
        max_steps: steps of each training; by default those of the task.
        max_minutes: maximum duration of a training.
        width: features of each network.
        layers: layers of each network.
        heads: heads of each layer.
        accelerator: cpu or gpu.
        part: which of the experiments to do, 1/2 for every second one.
        runs: the folder of the results.
    """
    rates, folder = learning_rates(lr, task), Path(runs) / task
    chosen = list(NETWORKS) if networks is None else networks.split(",")
    if unknown := [name for name in chosen if name not in NETWORKS]:
        raise InputError(f"the network {unknown[0]!r} is not known; choose from {', '.join(NETWORKS)}")
    experiments = {f"{name}, {rate:g}": (name, rate) for name in chosen for rate in rates}

    def experiment(label: str, seed: int) -> dict[str, Any]:
        name, rate = experiments[label]
        return train_and_test(
            name, task, seed, lr=rate, steps=max_steps, width=width, layers=layers, heads=heads,
            max_minutes=max_minutes, accelerator=accelerator,
        )  # fmt: skip

    settings = {"width": width, "layers": layers, "heads": heads, "max_steps": max_steps, "max_minutes": max_minutes}
    table = lambda results: print(write_abilities(results, task, folder))  # noqa: E731
    sweep(experiment, list(experiments), range(1, seeds + 1), folder, part, settings, table, accelerator)


if __name__ == "__main__":
    command(main)
