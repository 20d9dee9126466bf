"""What a network is trained to do."""

from seqmodels.tasks.base import SequenceTask
from seqmodels.tasks.language_model import LanguageModel

__all__ = ["LanguageModel", "SequenceTask"]
