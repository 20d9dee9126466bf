"""Trained models for commands, checked for what they can do."""

from collections.abc import Sequence

from seqmodels.checkpoints.load import Loaded, load, load_with_origin
from seqmodels.errors import InputError
from seqmodels.nn.quantization import for_use
from seqmodels.tasks import LanguageModel, SequenceTask, Translator
from seqmodels.tasks.batch_translation import Translates
from seqmodels.tasks.prefix_lm import PrefixLM


def load_translators(
    runs: Sequence[str], source: str | None = None, target: str | None = None, bf16: bool = False, int8: bool = False
) -> list[Translates]:
    """Trained translators, for languages that are checked where they are given; `bf16`, `int8`: see `for_use`.

    Raises:
        InputError: a run is no translator, or one of other languages.
    """
    models = [load_with_origin(run) for run in runs]
    for model in models:
        for_use(model.task, bf16=bf16, int8=int8)
    return [as_translator(run, model, source, target) for run, model in zip(runs, models, strict=True)]


def as_translator(run: str, model: Loaded, source: str | None = None, target: str | None = None) -> Translates:
    """A loaded model as a translator; see `load_translators`."""
    task, trained = model.task, model.data_arguments
    for side, wanted in (("source", source), ("target", target)):
        if wanted is not None and trained.get(side) not in (None, wanted):
            raise InputError(
                f"{run!r} translates from {trained['source']!r} to {trained['target']!r}, and {side}={wanted!r} "
                "was asked for; take another run, or leave the language out"
            )
    if isinstance(task, Translator):
        return task
    if isinstance(task, LanguageModel) and trained.get("layout") == "joined":
        return PrefixLM(task)
    raise InputError(
        f"{run!r} is a {type(task).__name__} that was not trained to translate; expected a run of a Translator, or of "
        "a LanguageModel with layout='joined'"
    )


def load_language_model(run: str) -> LanguageModel:
    """A trained language model; an InputError for another task."""
    task: SequenceTask = load(run)
    if not isinstance(task, LanguageModel):
        raise InputError(f"{run!r} is a {type(task).__name__}, not a language model; use seqmodels {task.command}")
    return task
