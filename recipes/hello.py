"""A tiny network learns the word "hello": the same input has two answers, because the state differs.

    python recipes/hello.py

After each of four characters, the network says how likely every character is to come next: after the first `l` another
`l`, after the second an `o`. It takes a few seconds.
"""

from pathlib import Path

import torch

from seqmodels.cli import command
from seqmodels import RNN, LanguageModel, TextDataModule, fit, load
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
    model = LanguageModel(backbone or RNN(input_size=8, hidden_size=8), text.tokenizer, lr=2e-2)
    show(load(fit(model, text, max_steps=max_steps, validations=1, runs=runs)), word)


@torch.inference_mode()
def show(model: LanguageModel, word: str) -> None:
    """Print a line for each character of a word, with the probabilities of the next."""
    ids, state = sorted(set(model.tokenizer.encode(word))), None
    print("\nread so far   next: " + "".join(f"{model.tokenizer.decode([i]):>8}" for i in ids))
    for place, i in enumerate(model.tokenizer.encode(word[:-1]), 1):
        logits, state = model.step(torch.tensor([i]), state)
        print(f"{word[:place]:<20}" + "".join(f"{p:>8.3f}" for p in logits.softmax(-1)[0, ids].tolist()))


if __name__ == "__main__":
    command(main)
