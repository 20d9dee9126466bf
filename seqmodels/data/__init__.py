"""Text becomes batches."""

from seqmodels.data.base import SequenceDataModule
from seqmodels.data.buckets import Buckets, Sentences
from seqmodels.data.corpora import Corpus, load_corpus
from seqmodels.data.sampler import Batches, Replica
from seqmodels.data.targets import ChosenTargets
from seqmodels.data.text import TextDataModule
from seqmodels.data.token_column import TextFacts, tokenize_column
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.data.translation import TranslationDataModule
from seqmodels.data.windows import DocumentWindows, Lanes, ScoredDocuments, ScoredLanes, ScoredWindows, Windows

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
    "tokenize_column",
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
    "Replica",
    "Windows",
]
