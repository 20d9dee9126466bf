"""English to French, or German, with attention: a bidirectional GRU reads, a GRU writes and looks where it has to.

    python recipes/multi30k_attention.py --data DIRECTORY

The directory holds the sentences of Multi30k as text files, plain or gzipped: train.en, train.fr, val.en, val.fr, and
test_2016_flickr.en and .fr for `seqmodels test RUN`; from the hub it is `--data bentrevett/multi30k` (en and de).
`--attention` chooses what the decoder sees: additive (Bahdanau et al. 2015), dot or general (Luong et al. 2015), with
`--input-feeding` as there; `multi30k_context.py` has the models without attention. After 45 minutes on one core (Intel
Xeon, Sapphire Rapids, bf16, seed 1) it has a BLEU of 57.8 on test 2016, English to French.
"""

from seqmodels import GRU, TranslationDataModule, Translator, fit
from seqmodels.cli import command
from seqmodels.nn.attention_decoder import Attention
from seqmodels.training.fit import Precision
from seqmodels.training.weight_averaging import Average


def main(
    data: str,
    source: str = "en",
    target: str = "fr",
    attention: Attention = "general",
    input_feeding: bool = False,
    vocab_size: int = 6000,
    size: int = 256,
    max_tokens: int = 2048,
    dropout: float = 0.3,
    input_dropout: float = 0.2,
    label_smoothing: float = 0.1,
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
    """Train a translator with attention on Multi30k.

    Args:
        data: the sentences: a directory or a hub name.
        source: language to translate from.
        target: language to translate to.
        attention: additive, dot or general.
        input_feeding: give each step what the one before has seen.
        vocab_size: most subwords, of one vocabulary for both languages.
        size: features of embeddings and of both directions of the encoder; the decoder has twice as many.
        max_tokens: tokens of a batch.
        dropout: share of the networks' outputs dropped while training.
        input_dropout: share of the features of embedded tokens dropped while training.
        label_smoothing: share of the probability that is spread over all tokens while training.
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
        GRU(size, size), GRU(size, 2 * size), pairs.tokenizer, None, attention, input_feeding, dropout=dropout,
        input_dropout=input_dropout, label_smoothing=label_smoothing, optimizer="muon", lr=lr, weight_decay=0.05,
    )  # fmt: skip
    fit(
        model, pairs, max_minutes=max_minutes, max_steps=max_steps, validations=validations, average=average,
        precision=precision, runs=runs, wandb=wandb,
    )  # fmt: skip


if __name__ == "__main__":
    command(main)
