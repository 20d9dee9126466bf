"""A tiny network learns the word "hello": the same input has two answers, because the state differs.

    python recipes/hello.py

After each of four characters, the network says how likely every character is to come next: after the first `l` another
`l`, after the second an `o`. It takes a few seconds.
"""

from pathlib import Path

import torch

from seqmodels import RNN, LanguageModel, TextDataModule, fit, load
from seqmodels.cli import command
from seqmodels.nn import Backbone


def main(word: str = "hello", backbone: Backbone | None = None, max_steps: int = 200, runs: str = "runs") -> None:
    """Teach a word to a tiny network, and print its probabilities after each character.

    Args:
        word: the word, at least two characters.
        backbone: any network; by default an RNN of 8 units.
        max_steps: number of training steps.
        runs: the folder in which run folders are made.
    """
    torch.manual_seed(1)
    path = Path(runs) / "hello.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{word}\n" * 100)
    text = TextDataModule(str(path), length=len(word) + 1, batch_size=4, stride=len(word) + 1)
    network = backbone or RNN(input_size=8, hidden_size=8)
    run = fit(LanguageModel(network, text.tokenizer, lr=2e-2), text, max_steps=max_steps, validations=1, runs=runs)
    show(load(run), word)


def show(model: LanguageModel, word: str) -> None:
    """Print a line for each character of a word, with the probabilities of the next."""
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
