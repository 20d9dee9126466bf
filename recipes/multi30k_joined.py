"""A language model translates: source and target in one text, with the loss on the target alone.

    python recipes/multi30k_joined.py --data DIRECTORY

Only the layout of the data differs from that of any other language model; `seqmodels translate RUN` and `seqmodels test
RUN` then treat it as a translator. Data as for `multi30k_attention.py`. After eleven minutes on one core (Intel Xeon,
Sapphire Rapids, bf16, seed 1, other work beside it) its BLEU on test 2016 is 45.6, English to French.
"""

from seqmodels.cli import recipe
from seqmodels import LanguageModel, Transformer, TranslationDataModule

if __name__ == "__main__":
    recipe(
        __doc__, LanguageModel, TranslationDataModule,
        source="en", target="fr", tokenizer="bpe", vocab_size=6000, layout="joined", batch_tokens=4096,
        backbone=Transformer(256, num_layers=6, num_heads=4, context=512, dropout=0.2), tie_embeddings=True,
        optimizer="muon", weight_decay=0.05,
        max_minutes=45.0, validations=10, average="ema", precision="auto",
    )  # fmt: skip
