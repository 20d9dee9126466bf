"""Text becomes batches."""

from seqmodels.data.column import TextFacts, token_column
from seqmodels.data.corpora import Corpus, load_corpus
from seqmodels.data.documents import DocumentWindows, ScoredDocuments
from seqmodels.data.modules import TextDataModule
from seqmodels.data.order import Share
from seqmodels.data.targets import ChosenTargets
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
    "ChosenTargets",
    "DocumentWindows",
    "Lanes",
    "ScoredDocuments",
    "ScoredLanes",
    "ScoredWindows",
    "Share",
    "Windows",
]
