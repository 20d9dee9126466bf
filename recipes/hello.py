"""A tiny network learns the word "hello", and that what follows an "l" depends on what came before it.

    python recipes/hello.py

Four characters go in, and after each the network says how likely every character is to come next. After the first `l`
that is another `l`, after the second an `o`: the same input, and two answers, because the state differs. It takes a few
seconds, and it is the smallest use of everything that the other recipes use.
"""

from pathlib import Path

import torch

from seqmodels import RNN, LanguageModel, TextDataModule, fit, load
from seqmodels.cli import command
from seqmodels.nn import Backbone


def main(
    word: str = "hello",
    backbone: Backbone | None = None,
    max_steps: int = 200,
    lr: float = 2e-2,
    seed: int = 1,
    runs: str = "runs",
) -> None:
    """Teach a word to a tiny network, and print what it expects after each character.

    Args:
        word: what to learn, at least two characters.
        backbone: any network; an RNN of 8 units where not given.
        max_steps: how many steps to train.
        lr: highest learning rate.
        seed: what chance depends on.
        runs: the folder in which run folders are made.
    """
    path = Path(runs) / "hello.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{word}\n" * 100)
    text = TextDataModule(str(path), length=len(word) + 1, batch_size=4, stride=len(word) + 1, seed=seed)
    network = backbone or RNN(input_size=8, hidden_size=8)
    run = fit(LanguageModel(network, text.tokenizer, lr=lr), text, max_steps=max_steps, validations=1, runs=runs)
    show(load(run), word)


def show(model: LanguageModel, word: str) -> None:
    """A line for each character of a word: what the model expects after it."""
    shown = sorted(set(word))
    ids = [model.tokenizer.encode(character)[0] for character in shown]
    print("\nread so far   next: " + "".join(f"{character:>8}" for character in shown))
    state = None
    with torch.inference_mode():
        for place, character in enumerate(word[:-1], 1):
            logits, state = model.step(torch.tensor(model.tokenizer.encode(character)), state)
            probabilities = logits.softmax(-1)[0, ids].tolist()
            print(f"{word[:place]:<20}" + "".join(f"{p:>8.3f}" for p in probabilities))


if __name__ == "__main__":
    command(main)
