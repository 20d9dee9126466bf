"""A small GPT writes Shakespeare: four layers, 128 wide, on windows of 64 characters, as large as nanoGPT's for a CPU.

    python recipes/gpt_shakespeare.py --data input.txt

`input.txt` is the file of that name in the repository karpathy/char-rnn. `--tokenizer bpe` turns characters into
subwords, `--backbone LSTM` puts another network on the same windows. What it reaches stands in `docs/results.md`.
"""

from seqmodels import LanguageModel, TextDataModule, Transformer, fit
from seqmodels.cli import command
from seqmodels.nn import Backbone
from seqmodels.tasks.optim import OptimizerName
from seqmodels.training.fit import Precision


def main(
    data: str,
    backbone: Backbone | None = None,
    tokenizer: str = "char",
    vocab_size: int | None = None,
    length: int = 64,
    batch_size: int = 12,
    stride: int = 1,
    dropout: float = 0.0,
    optimizer: OptimizerName = "muon",
    lr: float = 3e-3,
    max_minutes: float = 131 / 60,
    max_steps: int | None = None,
    precision: Precision = "32-true",
    devices: int = 1,
    seed: int = 1,
    runs: str = "runs",
    wandb: bool = False,
) -> None:
    """Train a small GPT on Tiny Shakespeare.

    Args:
        data: the text: a file, a directory or a hub name.
        backbone: any network; a Transformer of 4 layers, 128 wide, where not given.
        tokenizer: char, byte or bpe.
        vocab_size: most tokens of a bpe vocabulary, 1024 where not given.
        length: tokens of a window.
        batch_size: windows in a batch.
        stride: distance between windows; at 1, every place in the text may begin one.
        dropout: share of the network's outputs dropped while training.
        optimizer: adamw, or muon for the matrices of the network and adamw for the rest.
        lr: highest learning rate.
        max_minutes: how long to train.
        max_steps: how many steps to train at most.
        precision: 32-true, bf16-mixed or 16-mixed; auto for bf16-mixed where the hardware computes in it.
        devices: how many processes or GPUs share the work.
        seed: what chance depends on.
        runs: the folder in which run folders are made.
        wandb: also track the run by Weights & Biases; WANDB_PROJECT and the like say as what.
    """
    text = TextDataModule(
        data, tokenizer=tokenizer, vocab_size=vocab_size, length=length, batch_size=batch_size, stride=stride, seed=seed
    )
    network = backbone or Transformer(input_size=128, num_layers=4, num_heads=4, context=length)
    model = LanguageModel(network, text.tokenizer, dropout=dropout, optimizer=optimizer, lr=lr)
    fit(
        model, text, max_minutes=max_minutes, max_steps=max_steps, precision=precision, devices=devices, runs=runs,
        validations=3, wandb=wandb,
    )  # fmt: skip


if __name__ == "__main__":
    command(main)
