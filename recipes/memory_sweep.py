"""How long networks remember: a problem of long memory at growing lengths, for every kind of recurrent network.

    python recipes/memory_sweep.py

Each network tries with several seeds, side by side, until it has solved the problem or its steps are spent. The command
can be stopped at any time, and goes on where it was; `--part 1/2` and `--part 2/2` share the work of two processes. It
leaves a table, `success.md`, and a picture, `success.png`. What was found stands in `docs/results.md`.
"""

from pathlib import Path
from typing import Any

from lightning import seed_everything

from seqmodels import GRU, LSTM, RNN
from seqmodels.cli import command
from seqmodels.data.memory import MemoryDataModule
from seqmodels.data.memory_tasks import TASKS
from seqmodels.errors import InputError
from seqmodels.memory import draw_success, learn, named, success_table
from seqmodels.sweep import sweep
from seqmodels.tasks.memory import MemoryModel, small_start

SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.1}
METHODS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "RNN SGD": (RNN, {"recurrent_init": "sparse"}, SGD | {"clip": 0.0}),
    "RNN SGD clipping": (RNN, {"recurrent_init": "sparse"}, SGD),
    "RNN SGD clipping Omega": (RNN, {"recurrent_init": "sparse"}, SGD | {"omega": 2.0}),
    "IRNN": (RNN, {"nonlinearity": "relu", "recurrent_init": "identity"}, {"lr": 1e-3}),
    "np-RNN": (RNN, {"nonlinearity": "relu", "recurrent_init": "np-rnn"}, {"lr": 1e-3}),
    "LSTM": (LSTM, {}, {"lr": 3e-3}),
    "GRU": (GRU, {}, {"lr": 3e-3}),
}
"""Network, its settings, and those of its training: by SGD as Pascanu et al. (2013), or by Adam."""


def main(
    task: str = "temporal-order",
    lengths: str = "20,50,100,200",
    methods: str = ",".join(METHODS),
    seeds: int = 5,
    hidden_size: int = 50,
    max_steps: int = 20_000,
    max_minutes: float | None = None,
    part: str = "1/1",
    runs: str = "runs/memory",
) -> None:
    """Let networks learn a problem of long memory.

    Args:
        task: temporal-order, adding, copying, random-permutation, sequential-digits, permuted-digits (or -mnist).
        lengths: positions of the examples; those of digits have one length.
        methods: which networks, by their names in this file.
        seeds: how many of each.
        hidden_size: units of each.
        max_steps: steps of an experiment at most.
        max_minutes: minutes of an experiment at most; no limit where not given.
        part: which of the experiments to do, 1/2 for every second one.
        runs: the folder in which results are kept.
    """
    if unknown := [name for name in methods.split(",") if name not in METHODS]:
        raise InputError(f"the method {unknown[0]!r} is not known; choose of {', '.join(METHODS)}")
    own = TASKS[task].length if task in TASKS else None
    columns = [own] if own else [int(length) for length in lengths.split(",")]
    experiments = {named(method, length): (method, length) for length in columns for method in methods.split(",")}

    def experiment(name: str, seed: int) -> dict[str, Any]:
        method, length = experiments[name]
        network, shape, training = METHODS[method]
        data = MemoryDataModule(task, length, seeds=list(range(seed, seed + seeds)))
        networks = []
        for number in data.seeds:
            seed_everything(number, verbose=False)
            networks.append(small_start(network(data.task.inputs, hidden_size, **shape)))
        model = MemoryModel(networks, data.task.outputs, **training)
        return learn(model, data, max_steps=max_steps, max_minutes=max_minutes)

    folder, settings = Path(runs) / task, {"seeds": seeds, "hidden_size": hidden_size, "max_steps": max_steps}
    results = sweep(experiment, list(experiments), [1], folder, part, settings)
    print(success_table(results, columns, folder / "success.md"))
    draw_success(results, columns, task, folder / "success.png")


if __name__ == "__main__":
    command(main)
