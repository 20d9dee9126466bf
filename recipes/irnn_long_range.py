"""How far back can a network remember? An IRNN recalls a character after a hundred others that mean nothing.

    python recipes/irnn_long_range.py

Every line is a key, noise, a question mark and the key again; only the last character is learned and scored. Guessing
among the 8 keys costs 2.079 nats. The default network is the IRNN of Le, Jaitly and Hinton (2015);
`docs/laboratory/results.md` has the figures of others by distance.
"""

import json
import random
from pathlib import Path

from seqmodels.cli import command
from seqmodels import RNN, LanguageModel, TextDataModule, fit
from seqmodels.nn import Backbone


def main(
    distance: int = 100, backbone: Backbone | None = None, lines: int = 20_000, max_minutes: float = 3.0,
    max_steps: int | None = None, seed: int = 1, runs: str = "runs",
) -> None:  # fmt: skip
    """Train a network to recall a character from far back.

    Args:
        distance: characters of noise between the key and the question.
        backbone: any network; by default an IRNN of 100 units.
        lines: number of lines, a tenth of which validates.
        max_minutes: duration of training.
        max_steps: maximum number of steps.
        seed: random seed.
        runs: the folder in which run folders are made.
    """
    path, rng = Path(runs) / f"recall{distance}.jsonl", random.Random(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for _ in range(lines):
            key, noise = rng.choice("abcdefgh"), "".join(rng.choices(".,;:", k=distance))
            file.write(json.dumps({"text": f"{key}{noise}?{key}"}) + "\n")
    last = {"documents": "apart", "eos": False, "targets": "last", "scored_targets": "last"}
    text = TextDataModule(str(path), length=distance + 3, batch_size=32, seed=seed, **last)
    irnn = RNN(16, 100, nonlinearity="relu", recurrent_init="identity")
    model = LanguageModel(backbone or irnn, text.tokenizer, lr=1e-3)
    fit(model, text, max_minutes=max_minutes, max_steps=max_steps, prompt="a", runs=runs)


if __name__ == "__main__":
    command(main)
