"""An LSTM learns Karpathy's Tiny Shakespeare; its last tenth validates, all of it scored.

    python recipes/char_shakespeare.py --data input.txt

`input.txt` is the file of that name in the repository karpathy/char-rnn, 1,115,394 characters. The text is read in
lanes with the state carried, the weight matrices are trained by Muon. `docs/laboratory/results.md` has what it reaches
in 131 seconds on two cores, and what a multiplicative LSTM does in ten minutes.
"""

from seqmodels.cli import recipe
from seqmodels import LSTM, LanguageModel, TextDataModule

if __name__ == "__main__":
    recipe(
        __doc__, LanguageModel, TextDataModule,
        length=32, batch_size=64, carry=True,
        backbone=LSTM(input_size=64, hidden_size=512), dropout=0.3, optimizer="muon", lr=6e-3, weight_decay=0.1,
        schedule="linear",
        max_minutes=131 / 60, validations=2, precision="auto", keep_memory=True,
    )  # fmt: skip
