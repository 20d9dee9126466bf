"""How far back gradients reach in five networks that learn the same text: the reason why there are gates.

    python recipes/gradient_horizons.py

An RNN, an IRNN, an LSTM, a GRU and a Transformer of similar sizes learn the source of Python's standard library for the
same number of steps. The results are `comparison.html` and `horizons.png`, the norm of the gradient by distance after
training, on held-out text. A finished network is not trained again.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning import seed_everything

from seqmodels.cli import command
from seqmodels import GRU, LSTM, RNN, LanguageModel, TextDataModule, Transformer, fit, load
from seqmodels.analysis.gradient_horizon import draw_horizons, gradient_horizon, gradient_norms, thinned
from seqmodels.experiments.sweep import sweep
from seqmodels.nn import Backbone
from seqmodels.report import compare


def main(
    data: str = "python", size: int = 128, length: int = 128, max_steps: int = 600, runs: str = "runs/horizons"
) -> None:
    """Train five networks and measure how far back their gradients reach.

    Args:
        data: "python" for the standard library, a text file or directory, or a hub name.
        size: units of each layer.
        length: characters of a row, the longest distance.
        max_steps: training steps of each network.
        runs: the folder of the runs, the page and the picture.
    """
    networks: dict[str, Callable[[], Backbone]] = {
        "RNN": lambda: RNN(64, size),
        "IRNN": lambda: RNN(64, size, nonlinearity="relu", recurrent_init="identity"),
        "LSTM": lambda: LSTM(64, size),
        "GRU": lambda: GRU(64, size),
        "Transformer": lambda: Transformer(size, num_layers=2, context=length),
    }
    text = TextDataModule(data, length=length)

    def experiment(name: str, seed: int) -> dict[str, Any]:
        seed_everything(seed, verbose=False)
        model = LanguageModel(networks[name](), text.tokenizer, lr=1e-3)
        return {"run": str(fit(model, text, max_steps=max_steps, validations=1, prompt="def ", runs=runs))}

    settings = {"data": data, "size": size, "length": length, "steps": max_steps}
    found = sweep(experiment, list(networks), [1], Path(runs) / "done", settings=settings)
    folders = [found[name][0]["run"] for name in networks]
    batch = text.scored_batches("validation")[0, 0]
    norms = {name: gradient_norms(load(run), batch) for name, run in zip(networks, folders, strict=True)}
    draw_horizons({name: thinned(by["x"]) for name, by in norms.items()}).savefig(Path(runs) / "horizons.png", dpi=150)
    for name, by in norms.items():
        print(f"{name:<12} falls below one per cent at distance {gradient_horizon(by['x'])}")
    print(f"page         {compare(folders, to=Path(runs) / 'comparison.html')}")


if __name__ == "__main__":
    command(main)
