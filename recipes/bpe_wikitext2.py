"""A small GPT learns WikiText-2 in subwords trained on the text itself.

    python recipes/bpe_wikitext2.py --data DIRECTORY

Data as for `word_wikitext2.py`. Perplexities of subwords and words cannot be compared, bits per byte can; both are in
`docs/laboratory/results.md`. Windows overlap by half in training; `seqmodels test RUN --stride 64` scores with more
context.
"""

from seqmodels.cli import recipe
from seqmodels import LanguageModel, TextDataModule, Transformer

if __name__ == "__main__":
    recipe(
        __doc__, LanguageModel, TextDataModule,
        tokenizer="bpe", vocab_size=4096, length=128, batch_size=16, stride=64,
        backbone=Transformer(input_size=256, num_layers=6, num_heads=8, context=128, dropout=0.1), dropout=0.1,
        tie_embeddings=True, optimizer="muon", weight_decay=0.1,
        max_minutes=30.0, precision="auto",
    )  # fmt: skip
