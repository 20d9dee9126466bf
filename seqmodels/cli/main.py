"""The command line: `seqmodels fit`, `generate`, `test` and so on, and recipes as commands."""

import errno
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from seqmodels.cli import help as pages
from seqmodels.cli.fit import _fit, _fit_help
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

HOMES = {"validate": "test"}
"""Files of commands that have none of their own name."""

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
        from seqmodels.cli.parser import Parser, call

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
        from seqmodels.cli.parser import Parser, call

        home = import_module(f"seqmodels.cli.{HOMES.get(name, name)}")
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
    about, found = pages.options(pages.PACKAGE / "cli" / f"{HOMES.get(name, name)}.py", name)
    positional = [option for option in found if not option.default]
    optional = found[len(positional) :]
    lines = "\n".join(f"  {option.name.upper():<32}{option.meaning}" for option in positional)
    rest = f"\n\noptions:\n{pages.render(optional)}" if optional else ""
    usage = " ".join([option.name.upper() for option in positional] + ["[options]"] * bool(optional))
    return f"usage: seqmodels {name} {usage}\n\n{about}\n\n{lines}{rest}"
