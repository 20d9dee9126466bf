"""How far back can a network remember? An IRNN recalls a character after a hundred others that mean nothing.

    python recipes/irnn_long_range.py

Every line is a key, noise, a question mark and the key again; only the last character is learned and scored, so that
nothing but memory helps. Guessing among the 8 keys costs 2.079 nats. `--distance` says how much noise there is,
`--backbone` which network reads it: `RNN --backbone.nonlinearity relu --backbone.recurrent-init identity` is the IRNN
(Le, Jaitly and Hinton 2015). What networks reach at which distance stands in `docs/results.md`.
"""

import json
import random
from pathlib import Path

from seqmodels import RNN, LanguageModel, TextDataModule, fit
from seqmodels.cli import command
from seqmodels.nn import Backbone

KEYS, NOISE = "abcdefgh", ".,;:"


def main(
    distance: int = 100,
    backbone: Backbone | None = None,
    lines: int = 20_000,
    batch_size: int = 32,
    lr: float = 1e-3,
    clip: float = 1.0,
    max_minutes: float = 3.0,
    max_steps: int | None = None,
    seed: int = 1,
    runs: str = "runs",
    wandb: bool = False,
) -> None:
    """Train a network to recall a character from far back.

    Args:
        distance: characters of noise between the key and the question.
        backbone: any network; an IRNN of 100 units where not given.
        lines: how many lines there are to learn from; a tenth of them validates.
        batch_size: lines in a batch.
        lr: highest learning rate.
        clip: largest norm of the gradient.
        max_minutes: how long to train.
        max_steps: how many steps to train at most.
        seed: what chance depends on.
        runs: the folder in which run folders are made.
        wandb: also track the run by Weights & Biases; WANDB_PROJECT and the like say as what.
    """
    path = Path(runs) / f"recall{distance}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    chance = random.Random(0)
    with path.open("w") as file:
        for _ in range(lines):
            key, noise = chance.choice(KEYS), "".join(chance.choices(NOISE, k=distance))
            file.write(json.dumps({"text": f"{key}{noise}?{key}"}) + "\n")
    text = TextDataModule(
        str(path), length=distance + 3, batch_size=batch_size, documents="apart", eos=False, targets="last",
        scored_targets="last", seed=seed,
    )  # fmt: skip
    network = backbone or RNN(input_size=16, hidden_size=100, nonlinearity="relu", recurrent_init="identity")
    model = LanguageModel(network, text.tokenizer, lr=lr)
    fit(model, text, max_minutes=max_minutes, max_steps=max_steps, clip=clip, prompt="a", runs=runs, wandb=wandb)


if __name__ == "__main__":
    command(main)
