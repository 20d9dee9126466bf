"""What a network is trained to do."""

from typing import TYPE_CHECKING

from seqmodels.imports import on_demand

if TYPE_CHECKING:  # imported when a name is first used: who uses a tokenizer or a model waits for neither
    # `datasets` nor Lightning
    from seqmodels.tasks.base import SequenceTask as SequenceTask
    from seqmodels.tasks.language_model import LanguageModel as LanguageModel
    from seqmodels.tasks.translator import Translator as Translator

__getattr__, __dir__ = on_demand(__name__, __file__, together=True)
