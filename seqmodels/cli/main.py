"""The program `seqmodels`: an overview, and a command from its file."""

import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from seqmodels.cli import help as pages
from seqmodels.cli.program import HELP, guarded, imported
from seqmodels.errors import InputError
from seqmodels.imports import VERSION, bound_threads, delay, other_package, quick_imports, short_waits

COMMANDS = {
    "fit": "train a model and leave a run folder",
    "recipe": "run a recipe, such as char_python, or list them",
    "sweep": "search settings within a budget, with a table and a picture",
    "validate": "score the validation text of a run",
    "test": "score the test text of a run, or any text",
    "generate": "write text with a trained model",
    "score": "say how likely each line of standard input is",
    "compress": "compress a file with a trained model",
    "decompress": "restore a compressed file to the bit",
    "translate": "translate each line of standard input",
    "share": "write a trained model into a folder for others",
    "export": "write a trained model in a form that other programs read",
    "serve": "answer requests of OpenAI's clients, with a page to type into",
    "embeddings": "neighbours, analogies and a map of word vectors",
    "neurons": "find single units that can be read, and colour text by them",
    "size": "find the sizes at which networks have as many parameters",
    "report": "write a page about a run, or one that compares several",
    "cache": "say where texts are kept that were read, and clear it",
}

SYNONYMS = {
    "train": "fit", "pretrain": "fit", "finetune": "fit", "resume": "fit", "sample": "generate", "predict": "generate",
    "complete": "generate", "convert": "export", "evaluate": "test", "eval": "test", "perplexity": "score",
    "save": "share", "vectors": "embeddings", "compare": "report", "plot": "report", "decode": "translate",
}  # fmt: skip
"""Names of commands in other programs, and ours."""

HOMES = {"validate": "test", "decompress": "compress"}
"""Files of commands that have none of their own name."""

BASE_OF_METRICS = {
    "Metric": lambda: import_module("torchmetrics.utilities.checks").Metric,
    "MetricCollection": lambda: import_module("torchmetrics.collections").MetricCollection,
    "__version__": lambda: import_module("torchmetrics.__about__").__version__,
    "_logger": lambda: logging.getLogger("torchmetrics"),
}
"""What Lightning and the base class ask of torchmetrics when they are imported."""

OVERVIEW = """usage: seqmodels COMMAND [options]

Train, understand and use sequence models, from the vanilla RNN to GPT.

{commands}

examples:
  seqmodels recipe char_python                           two minutes of training and a report
  seqmodels fit --max-minutes 3                          an LSTM learns the source of the standard library
  seqmodels fit --data book.txt --tokenizer bpe --backbone Transformer --length 256
  seqmodels fit --task Translator --data phrases --source en --target fr
  seqmodels generate runs/language_model/RUN --prompt "def "
  seqmodels sweep sweep.yaml
  seqmodels test runs/language_model/RUN --data other.txt
  seqmodels score runs/language_model/RUN < lines.txt
  seqmodels compress runs/language_model/RUN book.txt
  seqmodels translate runs/translator/RUN < sentences.txt > translations.txt
  seqmodels share runs/language_model/RUN my-model
  seqmodels export runs/language_model/RUN --to onnx
  seqmodels serve runs/language_model/RUN
  seqmodels embeddings glove.6B.100d.txt --near paris --analogy man king woman
  seqmodels neurons runs/language_model/RUN --html neurons.html
  seqmodels report runs/language_model/RUN

seqmodels COMMAND --help lists the options of a command. With --import MODULE, a command
knows the networks, tasks and data modules that a module of your own defines."""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the program `seqmodels`; exits with code 2 where the user can put something right."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(OVERVIEW.format(commands="\n".join(f"  {name:<10} {what}" for name, what in COMMANDS.items())))
        return
    if words[0] in ("--version", "-V", "version"):
        print(f"seqmodels {VERSION}")
        return
    bound_threads()
    short_waits()
    if words[0] == "recipe":
        guarded(lambda: _recipe(words[1:]))
        return
    guarded(lambda: _run(words[0], imported(words[1:])), lasting=words[0] == "fit" and not HELP & set(words))


def _recipe(words: list[str]) -> None:
    from seqmodels.cli.recipes import recipe

    _check_alone()
    recipe(words)


def _check_alone() -> None:
    if why := other_package():
        raise InputError(why)


def _run(name: str, words: list[str]) -> None:
    _check_alone()
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(SYNONYMS.get(name.lower(), name.lower()), COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(COMMANDS)}"
        raise InputError(f"the command {name!r} is not known; {hint}")
    if HELP & set(words):
        print(page(name, words))
        return
    delay("torchmetrics", BASE_OF_METRICS)
    with quick_imports(keep=True):
        from seqmodels.cli.parser import called

        home = import_module(f"seqmodels.cli.{HOMES.get(name, name)}")
    if name == "fit":
        home.fit(words)
    else:
        called(getattr(home, name), words, positional=True)


def page(name: str, words: Sequence[str] = ()) -> str:
    """The help page of a command; that of `fit` is of the task and the data module that are named."""
    if name == "fit":
        return pages.of_fit(words)
    if name == "recipe":
        from seqmodels.cli.recipes import PAGE

        return PAGE
    file = pages.PACKAGE / "cli" / f"{HOMES.get(name, name)}.py"
    return pages.of_function(file, name, f"seqmodels {name}", positional=True)
