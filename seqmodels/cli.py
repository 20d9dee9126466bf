"""The command line: `seqmodels fit`, `generate`, `test` and so on, and recipes as commands."""

import errno
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from seqmodels import help as pages
from seqmodels.errors import DivergedError, InputError
from seqmodels.imports import quick_imports

COMMANDS = {
    "fit": "train a model and leave a run folder",
    "validate": "score the validation text of a run",
    "test": "score the test text of a run, or any text",
    "generate": "write text with a trained model",
    "score": "say how likely each line of standard input is",
    "translate": "translate each line of standard input",
    "share": "write a trained model into a folder for others",
    "embeddings": "neighbours, analogies and a map of word vectors",
    "neurons": "find single units that can be read, and colour text by them",
    "report": "write a page about a run, or one that compares several",
}

HOMES = {"fit": "run", "embeddings": "embeddings", "neurons": "neurons", "report": "report.command"}
"""Modules of commands that have one of their own; the others are in `commands`."""

OVERVIEW = """usage: seqmodels COMMAND [options]

Train, understand and use sequence models, from the vanilla RNN to GPT.

{commands}

examples:
  seqmodels fit --max-minutes 3                          an LSTM learns the source of the standard library
  seqmodels fit --data book.txt --tokenizer bpe --backbone Transformer --length 256
  seqmodels generate runs/language_model/RUN --prompt "def "
  seqmodels test runs/language_model/RUN --data other.txt
  seqmodels score runs/language_model/RUN < lines.txt
  seqmodels translate runs/translator/RUN < sentences.txt > translations.txt
  seqmodels share runs/language_model/RUN my-model
  seqmodels embeddings glove.6B.100d.txt --near paris --analogy man king woman
  seqmodels neurons runs/language_model/RUN --html neurons.html
  seqmodels report runs/language_model/RUN

seqmodels COMMAND --help says what a command takes. With --import MODULE, a command
knows the networks that a module of your own defines."""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the program `seqmodels`; exits with code 2 where the user can put something right."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(OVERVIEW.format(commands="\n".join(f"  {name:<10} {what}" for name, what in COMMANDS.items())))
        return
    _guarded(lambda: _run(words[0], _imported(words[1:])))


def command(function: Callable[..., Any]) -> None:
    """Make a typed function a program: every argument is a flag, `--help` shows its docstring.

    With an argument `seed`, torch is seeded with it before anything is built. A recipe ends with
    `if __name__ == "__main__": command(main)`.
    """
    words = sys.argv[1:]

    def run() -> None:
        if "-h" in words or "--help" in words:
            about, found = pages.options(Path(inspect.getfile(function)), function.__name__, skip=("backbone",))
            print(f"usage: python {sys.argv[0]} [options]\n\n{about}\n")
            print(f"options:\n{pages.render(found)}")
            if "backbone" in inspect.signature(function).parameters:
                print(
                    "\nWithout --backbone, the recipe's own network is trained; one that is named has these defaults."
                )
                print(f"\n{pages.networks()}")
            return
        from seqmodels.parsing import Parser, call

        parser = Parser()
        parser.add_function_arguments(function)
        call(function, parser.parse(_imported(words)))

    _guarded(run)


def _guarded(action: Callable[[], None]) -> None:
    try:
        action()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stderr.close()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
            raise
        where = f" {error.filename!r}" if error.filename else ""
        print(
            f"error: cannot write{where}: {error.strerror}; make room or give another folder; what was saved is whole",
            file=sys.stderr,
        )
        sys.exit(2)
    except (MemoryError, RuntimeError, ValueError) as error:
        if not re.search(r"can't allocate memory|out of memory", str(error)):
            raise
        asked = re.search(r"tried to allocate ([\d.]+ ?\w+)", str(error))
        more = f" ({asked[1]} were asked for)" if asked else ""
        print(
            f"error: the memory does not suffice{more}; give smaller sizes or a smaller --batch-size", file=sys.stderr
        )
        sys.exit(2)


def _run(name: str, words: list[str]) -> None:
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(COMMANDS)}"
        raise InputError(f"the command {name!r} is not known; {hint}")
    if "-h" in words or "--help" in words:
        print(_fit_help() if name == "fit" else _help(name))
        return
    with quick_imports(keep=True):
        from seqmodels.parsing import Parser, call

        home = import_module(f"seqmodels.{HOMES.get(name, 'commands')}")
    if name == "fit":
        _fit(words)
    else:
        function = getattr(home, name)
        parser = Parser()
        parser.add_function_arguments(function, as_positional=True)
        call(function, parser.parse(words))


def _imported(words: list[str]) -> list[str]:
    """Import the modules named by --import, which may define networks, and leave the other words."""
    while "--import" in words[:-1]:
        place = words.index("--import")
        sys.path.insert(0, str(Path.cwd()))
        try:
            import_module(words[place + 1])
        except ImportError as error:
            raise InputError(f"--import {words[place + 1]}: {error}; expected a module found from here") from error
        words = words[:place] + words[place + 2 :]
    return words


def _help(name: str) -> str:
    home = HOMES.get(name, "commands").replace(".", "/")
    about, found = pages.options(pages.PACKAGE / f"{home}.py", name)
    positional = [option for option in found if not option.default]
    optional = found[len(positional) :]
    lines = "\n".join(f"  {option.name.upper():<32}{option.meaning}" for option in positional)
    rest = f"\n\noptions:\n{pages.render(optional)}" if optional else ""
    usage = " ".join([option.name.upper() for option in positional] + ["[options]"] * bool(optional))
    return f"usage: seqmodels {name} {usage}\n\n{about}\n\n{lines}{rest}"


def _fit_help() -> str:
    package = pages.PACKAGE
    data = pages.options(package / "data" / "modules.py", "TextDataModule")[1]
    model = pages.options(package / "tasks" / "language_model.py", "LanguageModel", ("backbone", "tokenizer"))[1]
    about, run = pages.options(package / "run.py", "fit", ("task", "data", "callbacks"))
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
    from seqmodels.configuration import ConfigFile
    from seqmodels.data import TextDataModule
    from seqmodels.nn import LSTM, Backbone
    from seqmodels.parsing import Parser, call
    from seqmodels.rebuilding import at_most
    from seqmodels.run import fit
    from seqmodels.tasks import LanguageModel

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
    from seqmodels.parsing import Parser, call
    from seqmodels.resuming import find_origin, rebuild, settings_of
    from seqmodels.run import fit

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


if __name__ == "__main__":
    main()
