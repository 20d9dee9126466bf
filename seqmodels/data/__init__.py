"""Text becomes batches."""

from seqmodels.data.column import TextFacts, token_column
from seqmodels.data.corpora import Corpus, load_corpus
from seqmodels.data.modules import TextDataModule
from seqmodels.data.order import Share
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.data.windows import Batches, Lanes, ScoredLanes, ScoredWindows, Windows

__all__ = [
    # For a trainer
    "TextDataModule",
    # Text and tokens
    "Corpus",
    "TextFacts",
    "Tokenizer",
    "load_corpus",
    "token_column",
    # Batches
    "Batches",
    "Lanes",
    "ScoredLanes",
    "ScoredWindows",
    "Share",
    "Windows",
]
