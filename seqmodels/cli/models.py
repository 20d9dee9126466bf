"""Translation on the command line: a stream of lines through a model, and the scores of a text."""

from collections.abc import Sequence
from typing import Any

from seqmodels.checkpoints.load import load, read_checkpoint
from seqmodels.errors import InputError
from seqmodels.tasks import LanguageModel, SequenceTask, Translator
from seqmodels.tasks.batch_translation import Translates
from seqmodels.tasks.inference import for_use
from seqmodels.tasks.prefix_lm import PrefixLM
from seqmodels.tasks.training_state import RECORD


def load_translators(
    runs: Sequence[str],
    source: str | None = None,
    target: str | None = None,
    bf16: bool = False,
    int8: bool = False,
) -> list[Translates]:
    """Trained translators, to be used together.

    Args:
        runs: run folders or checkpoints.
        source: the language to translate from, to be checked; None for that of the model.
        target: likewise.
        bf16: see `inference.for_use`.
        int8: see there.

    Raises:
        InputError: a run is no translator, or one of other languages.
    """
    found: list[Translates] = []
    for run in runs:
        task, trained = load(run), trained_on(run)
        task = for_use(task, bf16=bf16, int8=int8)
        for side, wanted in (("source", source), ("target", target)):
            if wanted is not None and trained.get(side) not in (None, wanted):
                raise InputError(
                    f"{run!r} translates from {trained['source']!r} to {trained['target']!r}, and {side}={wanted!r} "
                    "was asked for; take another run, or leave the language out"
                )
        if isinstance(task, Translator):
            found.append(task)
        elif isinstance(task, LanguageModel) and trained.get("layout") == "joined":
            found.append(PrefixLM(task))
        else:
            raise InputError(
                f"{run!r} is a {type(task).__name__} that was not trained to translate; expected a run of a "
                "Translator, or of a LanguageModel with layout='joined'"
            )
    return found


def trained_on(run: str) -> dict[str, Any]:
    """The arguments of the data module that a run was trained with; empty where they are not known."""
    return dict((read_checkpoint(run)[RECORD]["data"] or {"init_args": {}})["init_args"])


def translates(run: str) -> bool:
    """Whether a run is of a translator, of either kind."""
    return "layout" in trained_on(run)


def _language_model(run: str) -> LanguageModel:
    task: SequenceTask = load(run)
    if not isinstance(task, LanguageModel):
        raise InputError(f"{run!r} is a {type(task).__name__}, not a language model; use seqmodels {task.command}")
    return task
