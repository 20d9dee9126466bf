"""A word model of WikiText-2: an LSTM with the regularisation of AWD-LSTM, on lanes with the state carried.

    python recipes/word_wikitext2.py --data DIRECTORY

The directory holds `train`, `valid` and `test` as text files, plain or gzipped, a paragraph a line with `<unk>` in it;
from the hub it is `--data Salesforce/wikitext --subset wikitext-2-v1`. After an hour on two cores, `seqmodels test RUN
--lanes 1` gave a perplexity of 122.3, `seqmodels test RUN --dynamic --dynamic-piece 70` 87.4; see `docs/results.md`.
"""

from seqmodels import LSTM, LanguageModel, TextDataModule, fit
from seqmodels.cli import command
from seqmodels.nn import Backbone
from seqmodels.tasks.optim import OptimizerName, Schedule
from seqmodels.training.fit import Precision
from seqmodels.training.weight_averaging import Average


def main(
    data: str,
    subset: str | None = None,
    backbone: Backbone | None = None,
    length: int = 35,
    batch_size: int = 32,
    dropout: float = 0.4,
    embedding_dropout: float = 0.1,
    activation_penalty: float = 2.0,
    temporal_penalty: float = 1.0,
    optimizer: OptimizerName = "muon",
    lr: float = 6e-3,
    weight_decay: float = 0.05,
    schedule: Schedule = "linear",
    average: Average = "none",
    max_minutes: float = 60.0,
    max_steps: int | None = None,
    validations: int = 8,
    precision: Precision = "auto",
    seed: int = 1,
    runs: str = "runs",
    wandb: bool = False,
) -> None:
    """Train a word model on WikiText-2.

    Args:
        data: the text: a directory or a hub name.
        subset: configuration of a hub dataset.
        backbone: any network as wide at its input as at its output; an LSTM of 512 units where not given.
        length: words that gradients reach back; the state goes on.
        batch_size: lanes that are read side by side.
        dropout: share of the network's inputs and outputs dropped while training.
        embedding_dropout: share of the vocabulary dropped while training.
        activation_penalty: weight of the mean square of the outputs in the loss.
        temporal_penalty: weight of the mean square of their change in the loss.
        optimizer: adamw; muon for the matrices of the network and adamw for the rest; or plain sgd.
        lr: highest learning rate.
        weight_decay: of matrices.
        schedule: cosine, linear, constant or inverse-sqrt.
        average: none, ema, or stalled: with sgd and a constant schedule, the averaging of AWD-LSTM.
        max_minutes: how long to train.
        max_steps: how many steps to train at most.
        validations: how often to validate; with `average` stalled, better 30.
        precision: 32-true, bf16-mixed or 16-mixed; auto for bf16-mixed where the hardware computes in it.
        seed: what chance depends on.
        runs: the folder in which run folders are made.
        wandb: also track the run by Weights & Biases; WANDB_PROJECT and the like say as what.
    """
    text = TextDataModule(data, subset, tokenizer="word", length=length, batch_size=batch_size, carry=True, seed=seed)
    network = backbone or LSTM(input_size=512, hidden_size=512, weight_dropout=0.3)
    model = LanguageModel(
        network, text.tokenizer, dropout, dropout, embedding_dropout, activation_penalty, temporal_penalty,
        tie_embeddings=True, optimizer=optimizer, lr=lr, weight_decay=weight_decay, schedule=schedule,
    )  # fmt: skip
    fit(
        model, text, max_minutes=max_minutes, max_steps=max_steps, average=average, clip=0.25, validations=validations,
        precision=precision, runs=runs, wandb=wandb,
    )  # fmt: skip


if __name__ == "__main__":
    command(main)
