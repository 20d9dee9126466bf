"""What networks can track and recall, and how far beyond the length they were trained on: parity, groups, recall.

    python recipes/state_and_recall.py --task parity

Every network of the package, several random seeds. Finished results are kept; `abilities.md` and `abilities.png` show
them, `rates.png` how they depend on the learning rate if several are given.
"""

from pathlib import Path
from typing import Any

from seqmodels.cli import command
from seqmodels.errors import InputError
from seqmodels.experiments import abilities
from seqmodels.experiments.sweep import Results, sweep
from seqmodels.files import write_text


def main(
    task: str = "parity", networks: str | None = None, lr: str | None = None, seeds: int = 3,
    max_steps: int | None = None, max_minutes: float | None = None, batch_size: int | None = None,
    width: int = 64, layers: int = 2, heads: int = 4, accelerator: str = "cpu", part: str = "1/1",
    runs: str = "runs/state_and_recall",
) -> None:  # fmt: skip
    """Train and test networks on a problem of state tracking or recall.

    Args:
        task: parity, modular-arithmetic, nested-arithmetic, words-s3, words-a5, words-s5, words-s5-swaps, mqar,
            mad-compression, mad-fuzzy-recall, mad-recall, mad-memorization, mad-noisy-recall, mad-selective-copying, or
            mad, all six of these, with a table of them.
        networks: names from `NETWORKS`, separated by commas; all by default.
        lr: peak learning rates, separated by commas; by default those of the task.
        seeds: networks of each kind.
        max_steps: steps of each training; by default those of the task.
        max_minutes: maximum duration of a training.
        batch_size: examples of a step; by default those of the task.
        width: features of each network.
        layers: layers of each network.
        heads: heads of each layer.
        accelerator: cpu or gpu.
        part: which of the experiments to do, 1/2 for every second one.
        runs: the folder of the results.
    """
    chosen = list(abilities.NETWORKS) if networks is None else networks.split(",")
    if unknown := [name for name in chosen if name not in abilities.NETWORKS]:
        raise InputError(f"the network {unknown[0]!r} is not known; choose from {', '.join(abilities.NETWORKS)}")
    sizes = {"batch_size": batch_size, "width": width, "layers": layers, "heads": heads}
    settings = {**sizes, "max_steps": max_steps, "max_minutes": max_minutes}

    def run(task: str) -> Results:
        rates, folder = abilities.learning_rates(lr, task), Path(runs) / task
        experiments = {f"{name}, {rate:g}": (name, rate) for name in chosen for rate in rates}

        def experiment(label: str, seed: int) -> dict[str, Any]:
            name, rate = experiments[label]
            limits = {"steps": max_steps, "max_minutes": max_minutes}
            return abilities.train_and_test(name, task, seed, lr=rate, accelerator=accelerator, **limits, **sizes)

        table = lambda results: print(abilities.write_abilities(results, task, folder))  # noqa: E731
        return sweep(experiment, list(experiments), range(1, seeds + 1), folder, part, settings, table, accelerator)

    if task != "mad":
        run(task)
        return
    page = abilities.mad_table({one: run(one) for one in abilities.MAD})
    write_text(Path(runs) / "mad.md", page)
    print(page)


if __name__ == "__main__":
    command(main)
