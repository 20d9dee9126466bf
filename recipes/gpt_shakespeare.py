"""A small GPT learns Tiny Shakespeare: four layers, 128 wide, on windows of 64 characters, as nanoGPT's for a CPU.

    python recipes/gpt_shakespeare.py --data input.txt

`input.txt` is the file of that name in the repository karpathy/char-rnn. `--tokenizer bpe` trains on subwords,
`--backbone LSTM` puts another network on the same windows. Figures are in `docs/laboratory/results.md`.
"""

from seqmodels.cli import recipe
from seqmodels import LanguageModel, TextDataModule, Transformer

if __name__ == "__main__":
    recipe(
        __doc__, LanguageModel, TextDataModule,
        length=64, batch_size=12, stride=1,
        backbone=Transformer(input_size=128, num_layers=4, num_heads=4, context=64), optimizer="muon",
        max_minutes=131 / 60, validations=3,
    )  # fmt: skip
