"""How long networks remember: a long-memory problem at growing lengths, for every kind of recurrent network.

    python recipes/memory_sweep.py

Each is trained with several random seeds. Finished results are kept; `success.md` and `success.png` show them.
"""

from pathlib import Path
from typing import Any

from seqmodels.cli import command
from seqmodels.experiments.data import MemoryDataModule
from seqmodels.experiments.methods import METHODS
from seqmodels.experiments.model import MemoryModel, small_start
from seqmodels.experiments.results import grid, parse_lengths, seeded, train, write_success
from seqmodels.experiments.sweep import sweep


def main(
    task: str = "temporal-order", lengths: str = "20,50,100,200", shortest: int | None = None,
    methods: str | None = None, seeds: int = 5, hidden_size: int = 50, max_steps: int = 100_000,
    max_minutes: float | None = None, accelerator: str = "cpu", part: str = "1/1", runs: str = "runs/memory",
) -> None:  # fmt: skip
    """Train networks on a long-memory problem.

    Args:
        task: temporal-order, temporal-order-3bit, adding, multiplication, copying, random-permutation,
            sequential-digits, permuted-digits (or -mnist).
        lengths: lengths of the examples, separated by commas; digits have one length.
        shortest: length of the first examples, which grow as they are learned; by default all have the full length.
        methods: names from `seqmodels/experiments/methods.py`, separated by commas; all by default.
        seeds: networks of each kind.
        hidden_size: units of each network.
        max_steps: maximum number of steps of an experiment.
        max_minutes: maximum duration of an experiment.
        accelerator: cpu, or gpu, which is much faster on long sequences.
        part: which of the experiments to do, 1/2 for every second one.
        runs: the folder of the results.
    """
    columns, folder = parse_lengths(task, lengths, shortest), Path(runs) / task
    together = 1 if shortest else seeds  # each at its own pace where examples become longer
    experiments = grid(METHODS, methods, columns)

    def experiment(name: str, seed: int) -> dict[str, Any]:
        (network, shape, std, training), length = experiments[name]
        data = MemoryDataModule(task, length, seeds=list(range(seed, seed + together)), shortest=shortest)
        networks = seeded(lambda: small_start(network(data.task.inputs, hidden_size, **shape), std), data.seeds)
        model = MemoryModel(networks, data.task.outputs, seeds=data.seeds, features=data.task.inputs, **training)
        return train(model, data, max_steps=max_steps, max_minutes=max_minutes, accelerator=accelerator)

    settings = {"seeds": seeds, "hidden_size": hidden_size, "max_steps": max_steps, "shortest": shortest}
    table = lambda results: print(write_success(results, columns, folder))  # noqa: E731
    sweep(experiment, list(experiments), range(1, seeds + 1, together), folder, part, settings, table, accelerator)


if __name__ == "__main__":
    command(main)
