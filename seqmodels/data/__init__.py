"""Text becomes batches."""

from typing import TYPE_CHECKING

from seqmodels.imports import on_demand

if TYPE_CHECKING:  # imported when a name is first used: who uses a tokenizer or a model waits for neither
    # `datasets` nor Lightning
    from seqmodels.data.base import SequenceDataModule as SequenceDataModule
    from seqmodels.data.buckets import Buckets as Buckets
    from seqmodels.data.buckets import Sentences as Sentences
    from seqmodels.data.corpora import Corpus as Corpus
    from seqmodels.data.corpora import load_corpus as load_corpus
    from seqmodels.data.sampler import Batches as Batches
    from seqmodels.data.sampler import Replica as Replica
    from seqmodels.data.targets import ChosenTargets as ChosenTargets
    from seqmodels.data.text import TextDataModule as TextDataModule
    from seqmodels.data.token_column import TextFacts as TextFacts
    from seqmodels.data.token_column import tokenize_column as tokenize_column
    from seqmodels.data.tokenizers import Tokenizer as Tokenizer
    from seqmodels.data.translation import TranslationDataModule as TranslationDataModule
    from seqmodels.data.windows import DocumentWindows as DocumentWindows
    from seqmodels.data.windows import Lanes as Lanes
    from seqmodels.data.windows import ScoredDocuments as ScoredDocuments
    from seqmodels.data.windows import ScoredLanes as ScoredLanes
    from seqmodels.data.windows import ScoredWindows as ScoredWindows
    from seqmodels.data.windows import Windows as Windows

__getattr__, __dir__ = on_demand(__name__, __file__, together=True)
