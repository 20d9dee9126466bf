"""A language model translates: source and target in one text, and the loss on the target alone.

    python recipes/multi30k_joined.py --data DIRECTORY

Nothing but the layout of the data tells it from any other language model; `seqmodels translate RUN` and
`seqmodels test RUN` then treat it as a translator. Data as for `multi30k_attention.py`. After eleven minutes on one
core (Intel Xeon, Sapphire Rapids, bf16, seed 1, other work beside it) its BLEU is 45.6 on test 2016, English to French.
"""

from seqmodels import LanguageModel, Transformer, TranslationDataModule, fit
from seqmodels.cli import command
from seqmodels.nn import Backbone
from seqmodels.tasks.optim import OptimizerName
from seqmodels.training.fit import Precision
from seqmodels.training.weight_averaging import Average


def main(
    data: str,
    source: str = "en",
    target: str = "fr",
    backbone: Backbone | None = None,
    vocab_size: int = 6000,
    max_tokens: int = 4096,
    dropout: float = 0.2,
    optimizer: OptimizerName = "muon",
    lr: float = 3e-3,
    weight_decay: float = 0.05,
    average: Average = "ema",
    max_minutes: float = 45.0,
    max_steps: int | None = None,
    validations: int = 10,
    precision: Precision = "auto",
    seed: int = 1,
    runs: str = "runs",
    wandb: bool = False,
) -> None:
    """Train a language model that translates on Multi30k.

    Args:
        data: the sentences: a directory or a hub name.
        source: language to translate from.
        target: language to translate to.
        backbone: any network; a Transformer of 6 layers, 256 wide, where not given.
        vocab_size: most subwords.
        max_tokens: tokens of a batch.
        dropout: share dropped in all layers while training.
        optimizer: adamw; muon for the matrices of the network and adamw for the rest; or plain sgd.
        lr: highest learning rate.
        weight_decay: of matrices.
        average: ema for a moving average of the weights, none for the last ones.
        max_minutes: how long to train.
        max_steps: how many steps to train at most.
        validations: how often to validate.
        precision: 32-true, bf16-mixed or 16-mixed; auto for bf16-mixed where the hardware computes in it.
        seed: what chance depends on.
        runs: the folder in which run folders are made.
        wandb: also track the run by Weights & Biases; WANDB_PROJECT and the like say as what.
    """
    pairs = TranslationDataModule(
        data,
        source,
        target,
        tokenizer="bpe",
        vocab_size=vocab_size,
        layout="joined",
        batch_tokens=max_tokens,
        seed=seed,
    )
    network = backbone or Transformer(256, num_layers=6, num_heads=4, context=512, dropout=dropout)
    model = LanguageModel(
        network, pairs.tokenizer, tie_embeddings=True, optimizer=optimizer, lr=lr, weight_decay=weight_decay
    )
    fit(
        model, pairs, max_minutes=max_minutes, max_steps=max_steps, validations=validations, average=average,
        precision=precision, runs=runs, wandb=wandb,
    )  # fmt: skip


if __name__ == "__main__":
    command(main)
