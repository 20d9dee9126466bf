"""A character model learns the source code of Python's standard library, from what lies on every machine.

    python recipes/char_python.py

Two minutes of training on two cores, without network or download. `--help` lists every flag: other text with
`--data`, other networks with `--backbone GRU`, more time with `--max-minutes`. What it reaches stands in
`docs/results.md`.
"""

from seqmodels import LSTM, LanguageModel, TextDataModule, fit
from seqmodels.cli import command
from seqmodels.nn import Backbone
from seqmodels.report import end_with_report
from seqmodels.training.fit import Precision


def main(
    data: str = "python",
    backbone: Backbone | None = None,
    tokenizer: str = "char",
    length: int = 64,
    batch_size: int = 16,
    dropout: float = 0.1,
    lr: float = 5e-3,
    max_minutes: float = 2.0,
    max_steps: int | None = None,
    precision: Precision = "auto",
    devices: int = 1,
    seed: int = 1,
    prompt: str = "def ",
    runs: str = "runs",
    wandb: bool = False,
) -> None:
    """Train a character model on the source of the Python standard library.

    Args:
        data: "python" for the standard library, a text file or directory, or a hub name.
        backbone: any network; an LSTM of 512 units where not given.
        tokenizer: char, byte or bpe.
        length: tokens that gradients reach back; the state goes on.
        batch_size: lanes that are read side by side.
        dropout: share of the network's outputs dropped while training.
        lr: highest learning rate.
        max_minutes: how long to train.
        max_steps: how many steps to train at most.
        precision: 32-true, bf16-mixed or 16-mixed; auto for bf16-mixed where the hardware computes in it.
        devices: how many processes or GPUs share the work.
        seed: what chance depends on.
        prompt: what the samples continue.
        runs: the folder in which run folders are made.
        wandb: also track the run by Weights & Biases; WANDB_PROJECT and the like say as what.
    """
    text = TextDataModule(data, tokenizer=tokenizer, length=length, batch_size=batch_size, carry=True, seed=seed)
    network = backbone or LSTM(input_size=64, hidden_size=512)
    model = LanguageModel(network, text.tokenizer, dropout=dropout, lr=lr, beta2=0.999)
    run = fit(
        model, text, max_minutes=max_minutes, max_steps=max_steps, precision=precision, devices=devices,
        prompt=prompt, runs=runs, wandb=wandb,
    )  # fmt: skip
    end_with_report(run)


if __name__ == "__main__":
    command(main)
