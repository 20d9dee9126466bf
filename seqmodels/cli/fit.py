"""The command line: `seqmodels fit`, `generate`, `test` and so on, and recipes as commands."""

import inspect

from seqmodels.cli import help as pages
from seqmodels.errors import InputError


def _fit_help() -> str:
    package = pages.PACKAGE
    data = pages.options(package / "data" / "text.py", "TextDataModule")[1]
    model = pages.options(package / "tasks" / "language_model.py", "LanguageModel", ("backbone", "tokenizer"))[1]
    about, run = pages.options(package / "training" / "fit.py", "fit", ("task", "data", "callbacks"))
    sections = [
        f"usage: seqmodels fit [options]\n\n{about}",
        "options can also come from a file, such as the config.yaml of an earlier run:\n  --config PATH",
        f"run:\n{pages.render(run)}",
        f"data:\n{pages.render(data)}",
        f"model:\n{pages.render(model)}",
        pages.networks(),
    ]
    return "\n\n".join(sections)


def _fit(words: list[str]) -> None:
    from seqmodels.checkpoints.rebuild import at_most
    from seqmodels.cli.parser import ConfigFile, Parser, call
    from seqmodels.data import TextDataModule
    from seqmodels.nn import LSTM, Backbone
    from seqmodels.tasks import LanguageModel
    from seqmodels.training.fit import fit

    of_a_run = set(inspect.signature(fit).parameters) - {"task", "data", "callbacks"}
    flags = {word.partition("=")[0][2:].replace("-", "_") for word in words if word.startswith("--")}
    if "resume" in flags and "config" not in flags:
        _resume(words, flags, of_a_run)
        return
    parser = Parser()
    parser.add_argument("--config", action=ConfigFile)
    parser.add_class_arguments(TextDataModule)
    parser.add_subclass_arguments(Backbone, "backbone", required=False)
    parser.add_class_arguments(LanguageModel, skip={"backbone", "tokenizer"})
    parser.add_function_arguments(fit, skip={"task", "data", "callbacks"})
    with at_most():
        arguments = parser.parse(words)
    arguments.backbone = arguments.backbone or LSTM()
    text = call(TextDataModule, arguments)
    arguments.task = call(LanguageModel, arguments, tokenizer=text.tokenizer)
    call(fit, arguments, data=text)


def _resume(words: list[str], flags: set[str], known: set[str]) -> None:
    """Go on with a run: model and data are those of its checkpoint, settings that are not given those of its folder."""
    from seqmodels.cli.parser import Parser, call
    from seqmodels.training.fit import fit
    from seqmodels.training.resume import find_origin, rebuild, settings_of

    parser = Parser()
    parser.add_function_arguments(fit, skip={"task", "data", "callbacks"})
    parser.add_argument("--data", type=tuple[str, ...] | None)
    if others := sorted(flags - known - {"data", "no_wandb"}):
        raise InputError(
            f"--{others[0].replace('_', '-')} is no option of a run that is resumed, whose model and data are those of "
            "its checkpoint; leave it out, or give --config RUN/config.yaml before --resume RUN to change what can be"
        )
    origin = find_origin(parser.parse(words).resume, quietly=True)
    settings = {name: value for name, value in settings_of(origin).items() if name in known}
    budget = {"max_minutes", "max_steps", "max_tokens"}
    if budget & flags:  # one that is given is the whole of it
        settings |= dict.fromkeys(budget)
    parser.set_defaults(settings)
    arguments = parser.parse(words)
    task, data = rebuild(origin, arguments.devices * arguments.nodes, arguments.data)
    call(fit, arguments, task=task, data=data)
