"""A small GPT on WikiText-2, in subwords trained on the text itself.

    python recipes/bpe_wikitext2.py --data DIRECTORY

Data as for `word_wikitext2.py`. Perplexities of subwords and words cannot be compared, bits per byte can: both stand in
`docs/results.md`. Windows overlap by half in training; `seqmodels test RUN --stride 64` scores with more context.
"""

from seqmodels import LanguageModel, TextDataModule, Transformer, fit
from seqmodels.cli import command
from seqmodels.nn import Backbone
from seqmodels.tasks.optim import OptimizerName
from seqmodels.training.fit import Precision


def main(
    data: str,
    subset: str | None = None,
    backbone: Backbone | None = None,
    tokenizer: str = "bpe",
    vocab_size: int | None = None,
    length: int = 128,
    batch_size: int = 16,
    dropout: float = 0.1,
    optimizer: OptimizerName = "muon",
    lr: float = 3e-3,
    weight_decay: float = 0.1,
    max_minutes: float = 30.0,
    max_steps: int | None = None,
    validations: int = 6,
    precision: Precision = "auto",
    devices: int = 1,
    seed: int = 1,
    runs: str = "runs",
    wandb: bool = False,
) -> None:
    """Train a small GPT on WikiText-2.

    Args:
        data: the text: a directory or a hub name.
        subset: configuration of a hub dataset.
        backbone: any network; a Transformer of 6 layers, 256 wide, where not given.
        tokenizer: bpe, char, byte or word, or a tokenizer.json.
        vocab_size: most tokens of a vocabulary of bpe, 4096 where not given, or of words.
        length: tokens of a window.
        batch_size: windows in a batch.
        dropout: share of the network's outputs dropped while training.
        optimizer: adamw; muon for the matrices of the network and adamw for the rest; or plain sgd.
        lr: highest learning rate.
        weight_decay: of matrices.
        max_minutes: how long to train.
        max_steps: how many steps to train at most.
        validations: how often to validate.
        precision: 32-true, bf16-mixed or 16-mixed; auto for bf16-mixed where the hardware computes in it.
        devices: how many processes or GPUs share the work.
        seed: what chance depends on.
        runs: the folder in which run folders are made.
        wandb: also track the run by Weights & Biases; WANDB_PROJECT and the like say as what.
    """
    if tokenizer == "bpe":
        vocab_size = vocab_size or 4096
    text = TextDataModule(
        data, subset=subset, tokenizer=tokenizer, vocab_size=vocab_size, length=length, batch_size=batch_size,
        stride=length // 2, seed=seed,
    )  # fmt: skip
    network = backbone or Transformer(input_size=256, num_layers=6, num_heads=8, context=length, dropout=0.1)
    model = LanguageModel(
        network, text.tokenizer, dropout, tie_embeddings=True, optimizer=optimizer, lr=lr, weight_decay=weight_decay
    )
    fit(
        model, text, max_minutes=max_minutes, max_steps=max_steps, validations=validations, precision=precision,
        devices=devices, runs=runs, wandb=wandb,
    )  # fmt: skip


if __name__ == "__main__":
    command(main)
