"""Text becomes batches."""

from seqmodels.data.base import SequenceDataModule
from seqmodels.data.column import TextFacts, token_column
from seqmodels.data.corpora import Corpus, load_corpus
from seqmodels.data.documents import DocumentWindows, ScoredDocuments
from seqmodels.data.modules import TextDataModule
from seqmodels.data.order import Share
from seqmodels.data.pairs import Buckets, Sentences
from seqmodels.data.targets import ChosenTargets
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.data.translation import TranslationDataModule
from seqmodels.data.windows import Batches, Lanes, ScoredLanes, ScoredWindows, Windows

__all__ = [
    # For a trainer
    "SequenceDataModule",
    "TextDataModule",
    "TranslationDataModule",
    # Text and tokens
    "Corpus",
    "TextFacts",
    "Tokenizer",
    "load_corpus",
    "token_column",
    # Batches
    "Batches",
    "Buckets",
    "ChosenTargets",
    "DocumentWindows",
    "Lanes",
    "ScoredDocuments",
    "ScoredLanes",
    "ScoredWindows",
    "Sentences",
    "Share",
    "Windows",
]
