"""The command `fit`, and recipes, which are the same command with other defaults."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqmodels.checkpoints.rebuild import at_most
from seqmodels.cli.parser import (
    REQUIRED,
    Options,
    Settings,
    check_complete,
    converted,
    flag,
    flat,
    named,
    options_of,
    over,
    read_flags,
    seed_all,
    unknown,
)
from seqmodels.config import Recorded, class_path, construct, read_run
from seqmodels.data import SequenceDataModule, TextDataModule, TranslationDataModule
from seqmodels.errors import InputError
from seqmodels.nn import Backbone
from seqmodels.tasks import LanguageModel, SequenceTask, Translator
from seqmodels.training import fit as training
from seqmodels.training.resume import find_origin, rebuild_run, settings_of

OF_PYTHON = ("task", "data", "callbacks")
"""Parameters of `training.fit.fit` that are no options."""
FROM_DATA = ("tokenizer", "source_tokenizer")
"""Arguments of a task that its data knows."""
BUDGET = ("max_minutes", "max_steps", "max_tokens")


def fit(words: Sequence[str], recipe: dict[str, Any] | None = None) -> Path:
    """Train as a command line says.

    Args:
        words: of the command line.
        recipe: defaults by section, as `config.yaml` has them.

    Returns:
        The run folder.

    Raises:
        InputError: an option or a value is not known.
    """
    chosen, rest = {}, list(words)
    for name in ("config", "task", "data_module"):
        chosen[name], rest = taken(rest, flag(name))
    resumed, _ = taken(rest, "--resume")
    if resumed is not None and chosen["config"] is None:
        return _resume(rest, chosen)
    layers = [layer for layer in (recipe, chosen["config"] and read_run(chosen["config"])) if layer]
    task = _class(SequenceTask, "task", chosen["task"], layers) or LanguageModel
    module = _class(SequenceDataModule, "data_module", chosen["data_module"], layers)
    module = module or (TranslationDataModule if issubclass(task, Translator) else TextDataModule)
    options = options_by_section(task, module)
    every = {name: option for section in options.values() for name, option in section.items()}
    given = read_flags(rest, every)
    arguments = {}
    for section, own in options.items():
        settings = _usual(section, task, module, own)
        for layer in layers:
            found = layer.get(section, {})
            settings = over(settings, flat(found if section == "fit" else found.get("init_args", {})))
        mine = {name: value for name, value in given.items() if name.partition(".")[0] in own}
        arguments[section] = converted(over(settings, mine), own)
        check_complete(arguments[section], own)
    return training.fit(*_built(task, module, arguments), **arguments["fit"])


def layer(task: type[SequenceTask], module: type[SequenceDataModule], defaults: Settings) -> dict[str, Any]:
    """Defaults of a recipe by section, as `config.yaml` has them.

    Raises:
        InputError: one is no option.
    """
    options = options_by_section(task, module)
    found: dict[str, Any] = {section: {} for section in options}
    for name, value in defaults.items():
        section = next((section for section, own in options.items() if name in own), None)
        if section is None:
            raise unknown(name, {name: option for own in options.values() for name, option in own.items()})
        found[section][name] = value.constructor_call if isinstance(value, Recorded) else value
    calls = {"task": task, "data": module}
    return found | {name: {"class_path": class_path(cls), "init_args": found[name]} for name, cls in calls.items()}


def taken(words: Sequence[str], flag: str) -> tuple[str | None, list[str]]:
    """The value of a flag on a command line, the last one where there are several, and the other words."""
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


def options_by_section(task: type[SequenceTask], module: type[SequenceDataModule]) -> dict[str, Options]:
    """The options of a task, its data and its training, whose names differ.

    Raises:
        InputError: two have the same name.
    """
    options: dict[str, Options] = {
        "task": options_of(task, FROM_DATA),
        "data": options_of(module),
        "fit": options_of(training.fit, OF_PYTHON),
    }
    names = [name for section in options.values() for name in section]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"{flag(twice[0])} is an argument of two of {task.__name__}, {module.__name__} and fit, so that the flag "
            "says nothing; rename it in one of them"
        )
    return options


def _class(base: type[Any], name: str, given: str | None, layers: Sequence[Any]) -> type[Any] | None:
    """The class of a section: the one that is named, and then that of a file or a recipe, which has to be the same."""
    section, found = name.partition("_")[0], None
    for layer in layers:
        if path := layer.get(section, {}).get("class_path"):
            found = named(base, path)
    chosen = found if given is None else named(base, given)
    if found not in (None, chosen):
        raise InputError(
            f"{flag(name)} {given} was given, and the settings are of {found.__name__}; leave one of them out"
        )
    return chosen


def _usual(section: str, task: type[SequenceTask], module: type[SequenceDataModule], options: Options) -> Settings:
    """Defaults of the command line: networks, and pairs in one row for tasks that read no other."""
    if section == "data" and issubclass(module, TranslationDataModule) and not issubclass(task, Translator):
        return {"layout": "joined"}
    networks = [name for name, option in options.items() if option.base is Backbone and option.default is REQUIRED]
    return dict.fromkeys(networks, "LSTM")


def _built(
    task: type[SequenceTask], module: type[SequenceDataModule], arguments: dict[str, Settings]
) -> tuple[SequenceTask, SequenceDataModule]:
    """The task and its data; weights are drawn from the seed of the data."""
    data: SequenceDataModule = construct(
        {"class_path": class_path(module), "init_args": arguments["data"]}, SequenceDataModule
    )
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
        raise InputError(f"a setting cannot be used: {' '.join(str(error).split())[:200]}") from error


def _resume(words: Sequence[str], chosen: dict[str, str | None]) -> Path:
    """Go on with a run: task and data are those of its checkpoint, settings that are not given those of its folder."""
    options = options_of(training.fit, OF_PYTHON)
    from_data = options_of(TranslationDataModule)["data"]
    others = [flag(name) for name, value in chosen.items() if value is not None]
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    others += [word for word in flags if word[2:].replace("-", "_").removeprefix("no_") not in {*options, "data"}]
    if others:
        raise InputError(
            f"{others[0]} is no option of a run that is resumed, whose task and data are those of its checkpoint; "
            "leave it out, or give --config RUN/config.yaml before --resume RUN to change what can be"
        )
    given = read_flags(words, {**options, "data": from_data})
    moved = given.pop("data", None)
    origin = find_origin(given["resume"], quietly=True)
    settings = settings_of(origin)
    if any(name in given for name in BUDGET):  # one that is given is the whole of it
        settings |= dict.fromkeys(BUDGET)
    arguments = converted(settings | given, options)
    defaults = {name: option.default for name, option in options.items()} | arguments
    task, data = rebuild_run(
        origin, defaults["devices"] * defaults["nodes"], [moved] if isinstance(moved, str) else moved
    )
    return training.fit(task, data, **arguments)
