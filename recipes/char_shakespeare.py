"""A character model of Shakespeare: Karpathy's Tiny Shakespeare, its last tenth as validation, all of it scored.

    python recipes/char_shakespeare.py --data input.txt

`input.txt` is the file of that name in the repository karpathy/char-rnn, 1,115,394 characters. An LSTM on carried
lanes, its recurrent matrix trained by Muon. In 131 seconds on two cores it reaches 1.416 nats, the mean of three seeds;
`docs/results.md` has machine and commit, and the flags of a run of ten minutes that reached 1.395.
"""

from seqmodels import LSTM, LanguageModel, TextDataModule, fit
from seqmodels.cli import command
from seqmodels.nn import Backbone
from seqmodels.tasks.optim import OptimizerName
from seqmodels.training.fit import Precision


def main(
    data: str,
    backbone: Backbone | None = None,
    length: int = 64,
    batch_size: int = 32,
    dropout: float = 0.3,
    input_dropout: float = 0.0,
    optimizer: OptimizerName = "muon",
    lr: float = 6e-3,
    weight_decay: float = 0.1,
    max_minutes: float = 131 / 60,
    max_steps: int | None = None,
    precision: Precision = "auto",
    devices: int = 1,
    seed: int = 1,
    runs: str = "runs",
    wandb: bool = False,
) -> None:
    """Train a character model on Tiny Shakespeare.

    Args:
        data: the text: a file, a directory or a hub name.
        backbone: any network; an LSTM of 512 units where not given.
        length: tokens that gradients reach back; the state goes on.
        batch_size: lanes that are read side by side.
        dropout: share of the network's outputs dropped while training.
        input_dropout: share of the embedded characters dropped while training.
        optimizer: adamw, or muon for the matrices of the network and adamw for the rest.
        lr: highest learning rate.
        weight_decay: of matrices.
        max_minutes: how long to train.
        max_steps: how many steps to train at most.
        precision: 32-true, bf16-mixed or 16-mixed; auto for bf16-mixed where the hardware computes in it.
        devices: how many processes or GPUs share the work.
        seed: what chance depends on.
        runs: the folder in which run folders are made.
        wandb: also track the run by Weights & Biases; WANDB_PROJECT and the like say as what.
    """
    text = TextDataModule(data, length=length, batch_size=batch_size, carry=True, seed=seed)
    network = backbone or LSTM(input_size=64, hidden_size=512)
    model = LanguageModel(
        network, text.tokenizer, dropout=dropout, input_dropout=input_dropout, optimizer=optimizer, lr=lr,
        weight_decay=weight_decay, schedule="linear",
    )  # fmt: skip
    fit(
        model, text, max_minutes=max_minutes, max_steps=max_steps, precision=precision, devices=devices, runs=runs,
        validations=2, wandb=wandb,
    )  # fmt: skip


if __name__ == "__main__":
    command(main)
