"""The command `fit`, and recipes, which are the same command with other defaults."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from seqmodels.checkpoints.load import load, load_with_origin
from seqmodels.cli.parser import Option, converted, flag, flat, named, options_of, over, read_flags, seed_all, unknown
from seqmodels.config import Recorded, class_path, construct, read_run
from seqmodels.data import SequenceDataModule, TextDataModule, TranslationDataModule
from seqmodels.environment import choose_accelerator, choose_devices
from seqmodels.errors import InputError, place
from seqmodels.files import local
from seqmodels.nn import Backbone
from seqmodels.tasks import LanguageModel, SequenceTask, Translator
from seqmodels.tasks.outline import at_most
from seqmodels.tasks.own_data import vocabularies
from seqmodels.training import fit as training
from seqmodels.training.resume import find_origin, rebuild_run, settings_of
from seqmodels.training.run_folder import beside

PYTHON_ONLY = ("task", "data", "callbacks")
"""Parameters of `training.fit.fit` that are no options."""
FROM_DATA = ("tokenizer", "source_tokenizer")
"""Arguments of a task that come from its data."""
OF_TOKENIZERS = (*FROM_DATA, "vocab_size", "min_count", "joint")
"""Arguments of the data that make its tokenizers."""
BUDGET = ("max_minutes", "max_steps", "max_tokens")


def fit(
    words: Sequence[str],
    task: type[SequenceTask] | None = None,
    module: type[SequenceDataModule] | None = None,
    defaults: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Path:
    """Train with the settings of a command line, over those of a file, over the defaults of a recipe.

    Args:
        words: of the command line.
        task: by default LanguageModel.
        module: by default that of the task.
        defaults: of a recipe, by the name of the option; networks as objects.
        callbacks: further ones of Lightning.

    Returns:
        The run folder.

    Raises:
        InputError: an option is unknown, or its value is not of its type.
    """
    chosen, rest = dict[str, str | None](), list(words)
    for name in ("config", "task", "data_module", "init"):
        chosen[name], rest = taken(rest, flag(name))
    if chosen["init"] is not None:
        return _begun_with(chosen["init"], rest, chosen, defaults or {}, tuple(callbacks))
    if chosen["config"] is None and taken(rest, "--resume")[0] is not None:
        return _resume(rest, chosen, tuple(callbacks))
    config = read_run(chosen["config"]) if chosen["config"] else {}
    if chosen["config"] and "data" in config:
        config["data"] = beside(local(chosen["config"]), config["data"])
    task = _class(SequenceTask, "task", chosen["task"], config.get("task", {})) or task or LanguageModel
    module = _class(SequenceDataModule, "data_module", chosen["data_module"], config.get("data", {})) or module
    module = module or (TranslationDataModule if issubclass(task, Translator) else TextDataModule)
    sections = options_by_section(task, module)
    options = {name: option for section in sections.values() for name, option in section.items()}
    settings: dict[str, Any] = {
        n: "LSTM" for n, option in options.items() if option.base is Backbone and option.required
    }
    if issubclass(module, TranslationDataModule) and not issubclass(task, Translator):
        settings["layout"] = "joined"
    calls = {n: v.constructor_call if isinstance(v, Recorded) else v for n, v in (defaults or {}).items()}
    settings = over(settings, flat(calls))
    for section, own in sections.items():
        arguments = config.get(section, {})
        arguments = flat(arguments if section == "fit" else arguments.get("init_args", {}))
        if others := [name for name in arguments if name.partition(".")[0] not in own]:
            raise unknown(others[0], own)
        settings = over(settings, arguments)
    found = converted(over(settings, read_flags(rest, options)), options)
    if defaults is not None and "data" in options and "data" not in found:
        raise InputError("this recipe has no text of its own; give --data, --help says which")
    by_section = {section: {name: found[name] for name in own if name in found} for section, own in sections.items()}
    made, data = _built(task, module, by_section)
    if by_section["fit"].get("init") is not None:  # its weights take the place of those that were drawn
        seed_all(data.seed)
    return training.fit(made, data, callbacks=tuple(callbacks), **by_section["fit"])


def taken(words: Sequence[str], flag: str) -> tuple[str | None, list[str]]:
    """The last value of a flag on a command line, and the other words."""
    value, rest, waiting = None, list[str](), list(words)
    while waiting:
        name, equals, text = (word := waiting.pop(0)).partition("=")
        if name.replace("_", "-") != flag:
            rest.append(word)
        elif equals or waiting:
            value = text if equals else waiting.pop(0)
        else:
            raise InputError(f"{flag} was given without a value; expected {flag} VALUE")
    return value, rest


def options_by_section(task: type[SequenceTask], module: type[SequenceDataModule]) -> dict[str, dict[str, Option]]:
    """The options of a task, its data and its training, whose names differ, else an InputError."""
    run = options_of(training.fit, PYTHON_ONLY)
    sections = {"task": options_of(task, FROM_DATA), "data": options_of(module), "fit": run}
    names = [name for own in sections.values() for name in own]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"{flag(twice[0])} is an argument of two of {task.__name__}, {module.__name__} and fit; rename it in one"
        )
    return sections


def _class(base: type[Any], name: str, flagged: str | None, section: Mapping[str, Any]) -> type[Any] | None:
    """The class that a flag names, or a file."""
    classes = [named(base, given) for given in (flagged, section.get("class_path")) if given]
    if len(set(classes)) > 1:
        raise InputError(
            f"{flag(name)} {flagged} was given, and the file is of a {classes[1].__name__}; leave one of them out"
        )
    return classes[0] if classes else None


def _built(
    task: type[SequenceTask], module: type[SequenceDataModule], arguments: Mapping[str, dict[str, Any]]
) -> tuple[SequenceTask, SequenceDataModule]:
    """The task and its data; weights are drawn from the seed of the data."""
    call = {"class_path": class_path(module), "init_args": arguments["data"]}
    data: SequenceDataModule = construct(call, SequenceDataModule)
    seed_all(data.seed)
    tokenizers = {name: getattr(data, name) for name in FROM_DATA if name in options_of(task)}
    if tokenizers.get("source_tokenizer") is tokenizers.get("tokenizer"):
        tokenizers.pop("source_tokenizer", None)
    call = {"class_path": class_path(task), "init_args": arguments["task"] | tokenizers}
    try:
        with at_most():
            return construct(call, SequenceTask), data
    except (ValueError, RuntimeError, ArithmeticError, IndexError) as error:
        if isinstance(error, InputError) or "memory" in str(error):
            raise
        why = f"a setting cannot be used: {' '.join(str(error).split())[:200]}{place(error)}"
        raise InputError(why) from error


def _begun_with(
    init: str, words: Sequence[str], chosen: Mapping[str, str | None], defaults: Mapping[str, Any],
    callbacks: tuple[Callback, ...],
) -> Path:  # fmt: skip
    """Train a model further: task, tokenizers and ways of reading are its own, but for the settings that are given."""
    if taken(words, "--resume")[0] is not None or chosen["config"] is not None:
        other = "--config" if chosen["config"] is not None else "--resume"
        why = "names what its run began with" if other == "--config" else "goes on with weights of its own"
        raise InputError(f"--init was given with {other}, which {why}; leave out one of the two")
    loaded = load_with_origin(init)
    task = type(loaded.task)
    module = _class(SequenceDataModule, "data_module", chosen["data_module"], loaded.data or {})
    module = module or (TranslationDataModule if issubclass(task, Translator) else TextDataModule)
    _class(SequenceTask, "task", chosen["task"], loaded.task.constructor_call)
    sections = options_by_section(task, module)
    own = {name: option for name, option in sections["task"].items() if option.base is None}
    fixed = {*OF_TOKENIZERS, *(sections["task"].keys() - own.keys())}
    read = {name: option for name, option in sections["data"].items() if name not in fixed}
    options = own | read | sections["fit"]
    for word in (word for word in words if word.startswith("--")):
        name = word[2:].partition("=")[0].replace("-", "_")
        if name.partition(".")[0] in fixed:
            raise InputError(f"{flag(name)} was given with --init {init}, whose weights decide about it; leave it out")
    given = read_flags(words, options)
    reading = {name: value for name, value in loaded.data_arguments.items() if name in read}
    if "data" in given:  # what belongs to the text of before says nothing about this one
        reading = {
            name: value for name, value in reading.items() if name not in ("data", "subset", "column", "columns")
        }
    elif "data" not in reading:
        raise InputError(f"{init!r} does not say what it was trained on; give --data")
    usual = {name: value for name, value in defaults.items() if name in sections["fit"]}
    found = converted(reading | usual | given, options)
    data = module(**{name: found[name] for name in read if name in found}, **vocabularies(loaded.task))
    changes = {name: found[name] for name in own if name in given}
    if loaded.task.frozen:  # parts are frozen for one training, and no flag says that none are
        changes.setdefault("freeze", None)
    model = load(init, **changes) if changes else loaded.task
    seed_all(data.seed)
    own_fit = {name: found[name] for name in sections["fit"] if name in found}
    return training.fit(model, data, callbacks=callbacks, **own_fit)


def _resume(words: Sequence[str], chosen: Mapping[str, str | None], callbacks: tuple[Callback, ...]) -> Path:
    """Continue a run: task and data come from its checkpoint, settings that are not given from its folder."""
    options = options_of(training.fit, PYTHON_ONLY)
    known = options | {"data": options_of(TranslationDataModule)["data"]}
    flags = [word.partition("=")[0][2:].replace("-", "_") for word in words if word.startswith("--")]
    others = [name for name, value in chosen.items() if value is not None]
    if others := others + [name for name in flags if name.removeprefix("no_") not in known]:
        raise InputError(
            f"{flag(others[0])} is no option of a run that is resumed: task and data come from its checkpoint; leave "
            "it out, or give --config RUN/config.yaml before --resume RUN to change what can be"
        )
    given = read_flags(words, known)
    moved = given.pop("data", None)
    origin = find_origin(given["resume"], quietly=True)
    settings = settings_of(origin)
    if any(name in given for name in BUDGET):  # one that is given is the whole of it
        settings |= dict.fromkeys(BUDGET)
    if "logger" in given:  # the run of W&B, if it is one of them, goes on in its project
        settings = {name: value for name, value in settings.items() if not name.startswith("wandb_")}
    arguments = converted(settings | given, options)
    accelerator, devices, nodes = (arguments.get(n, options[n].default) for n in ("accelerator", "devices", "nodes"))
    count = len(choose_devices(choose_accelerator(accelerator), devices)) * nodes
    task, data = rebuild_run(origin, count, [moved] if isinstance(moved, str) else moved)
    return training.fit(task, data, callbacks=callbacks, **arguments)
