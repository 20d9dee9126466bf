"""What a network is trained to do."""

from seqmodels.tasks.base import SequenceTask
from seqmodels.tasks.language_model import LanguageModel
from seqmodels.tasks.translator import Translator

__all__ = ["LanguageModel", "SequenceTask", "Translator"]
