"""An LSTM learns the source code of Python's standard library, character by character.

    python recipes/char_python.py

Two minutes of training on two cores, without download: the text is on every machine that has Python. `--data` names
other text, `--backbone GRU` another network, `--max-minutes` more time. Figures are in `docs/laboratory/results.md`.
"""

from seqmodels.cli import recipe
from seqmodels import LSTM, LanguageModel, TextDataModule

if __name__ == "__main__":
    recipe(
        __doc__, LanguageModel, TextDataModule, report=True,
        data="python", length=64, batch_size=16, carry=True,
        backbone=LSTM(input_size=64, hidden_size=512), dropout=0.1, lr=5e-3, beta2=0.999,
        max_minutes=2.0, precision="auto", prompt="def ",
    )  # fmt: skip
