"""English to French, or German, through one vector: an LSTM reads the sentence, another writes it anew.

    python recipes/multi30k_context.py --data DIRECTORY --reverse

The first step of the story (Sutskever et al. 2014): the last state of the encoder, or with `--attention mean` the mean
of its states, is all that the decoder learns of the source. `--reverse` reads the source from its end, so that its
first words are near those that are written first. Data as for `multi30k_attention.py`. In `translation_story.py` the
last state of a GRU has a BLEU of 7.7 after a thousand steps, 12.7 in reverse, and attention 42.5.
"""

from typing import Literal

from seqmodels import LSTM, TranslationDataModule, Translator, fit
from seqmodels.cli import command
from seqmodels.training.fit import Precision
from seqmodels.training.weight_averaging import Average


def main(
    data: str,
    source: str = "en",
    target: str = "fr",
    attention: Literal["none", "mean"] = "none",
    input_feeding: bool = False,
    reverse: bool = False,
    bidirectional: bool = False,
    vocab_size: int = 6000,
    size: int = 512,
    max_tokens: int = 2048,
    dropout: float = 0.3,
    lr: float = 3e-3,
    average: Average = "ema",
    max_minutes: float = 45.0,
    max_steps: int | None = None,
    validations: int = 10,
    precision: Precision = "auto",
    seed: int = 1,
    runs: str = "runs",
    wandb: bool = False,
) -> None:
    """Train a translator without attention on Multi30k.

    Args:
        data: the sentences: a directory or a hub name.
        source: language to translate from.
        target: language to translate to.
        attention: none for the last state of the encoder, mean for the mean of all.
        input_feeding: give the vector to each step, not to the first alone.
        reverse: read the source from its end to its beginning.
        bidirectional: read it from both ends.
        vocab_size: most subwords, of one vocabulary for both languages.
        size: units of encoder and decoder; embeddings have half as many features.
        max_tokens: tokens of a batch.
        dropout: share of the networks' outputs dropped while training.
        lr: highest learning rate.
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
        data, source, target, tokenizer="bpe", vocab_size=vocab_size, joint=True, batch_tokens=max_tokens, seed=seed
    )
    model = Translator(
        LSTM(size // 2, size), LSTM(size // 2, size), pairs.tokenizer, None, attention, input_feeding, bidirectional,
        reverse, dropout, 0.2, 0.1, optimizer="muon", lr=lr, weight_decay=0.05,
    )  # fmt: skip
    fit(
        model, pairs, max_minutes=max_minutes, max_steps=max_steps, validations=validations, average=average,
        precision=precision, runs=runs, wandb=wandb,
    )  # fmt: skip


if __name__ == "__main__":
    command(main)
