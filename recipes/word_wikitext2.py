"""An LSTM with the regularisation of AWD-LSTM learns the words of WikiText-2.

    python recipes/word_wikitext2.py --data DIRECTORY

The directory holds `train`, `valid` and `test` as text files, plain or gzipped, a paragraph a line with `<unk>` in it;
from the hub it is `--data Salesforce/wikitext --subset wikitext-2-v1`. After an hour on two cores, `seqmodels test RUN
--lanes 1` gave a perplexity of 122.3, `seqmodels test RUN --dynamic --dynamic-piece 70` 87.4; see
`docs/laboratory/results.md`.
`--average stalled --optimizer sgd --schedule constant --validations 30` averages weights as AWD-LSTM does.
"""

from seqmodels.cli import recipe
from seqmodels import LSTM, LanguageModel, TextDataModule

if __name__ == "__main__":
    recipe(
        __doc__, LanguageModel, TextDataModule,
        tokenizer="word", length=35, batch_size=32, carry=True,
        backbone=LSTM(input_size=512, hidden_size=512, weight_dropout=0.3), dropout=0.4, input_dropout=0.4,
        embedding_dropout=0.1, activation_penalty=2.0, temporal_penalty=1.0, tie_embeddings=True,
        optimizer="muon", lr=6e-3, weight_decay=0.05, schedule="linear",
        max_minutes=60.0, clip=0.25, validations=8, precision="auto",
    )  # fmt: skip
