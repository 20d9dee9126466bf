"""Data for a model with the vocabularies that it has."""

from typing import Any

from seqmodels.data import SequenceDataModule, TextDataModule, TranslationDataModule
from seqmodels.errors import InputError
from seqmodels.tasks.base import SequenceTask
from seqmodels.tasks.language_model import LanguageModel
from seqmodels.tasks.translator import Translator


def vocabularies(task: SequenceTask) -> dict[str, Any]:
    """The tokenizers of a model, as arguments of a data module: one, or two of a translator."""
    found = {"tokenizer": task.tokenizer}
    if isinstance(task, Translator) and task.source_tokenizer.json != task.tokenizer.json:
        found["source_tokenizer"] = task.source_tokenizer
    return found


def data_of(task: SequenceTask, given: Any) -> SequenceDataModule:
    """The data module of what a program gave, such as a Dataset or a list of texts, with default settings.

    Raises:
        InputError: the task is one of the user's own; or see `TextDataModule`.
    """
    if isinstance(task, LanguageModel):
        return TextDataModule(given, **vocabularies(task))
    if isinstance(task, Translator):
        return TranslationDataModule(given, **vocabularies(task))
    raise InputError(f"a {type(task).__name__} takes a data module; build one, and give it to fit")
