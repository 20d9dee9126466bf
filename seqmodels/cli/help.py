"""Help pages, read from signatures and docstrings without importing torch, which takes seconds."""

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from seqmodels.imports import exports

PACKAGE = Path(__file__).parents[1]
NN = PACKAGE / "nn" / "__init__.py"
Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class OptionHelp:
    """One parameter of a function or constructor."""

    name: str
    type: str
    default: str
    meaning: str

    @property
    def is_network(self) -> bool:
        """Whether it is a network, whose own options follow a dot."""
        return "Backbone" in self.type


CHOICES = """task and data, here {task} and {data}, with --help for their options:
  --task NAME                     LanguageModel, Translator, or your own with --import MODULE
  --data-module NAME              TextDataModule, TranslationDataModule, or your own; by default that of the task
  --config PATH                   settings from a file, such as the config.yaml of an earlier run
  --import MODULE                 a module of your own with networks, tasks or data modules, found from here"""


def of_fit(words: Sequence[str] = ()) -> str:
    """The page of `seqmodels fit`, for the task and the data module that a command line names."""
    chosen = dict(re.findall(r"--(task|data.module)[= ](\S+)", " ".join(words)))
    task = chosen.get("task", "LanguageModel")
    data = chosen.get("data-module", "TranslationDataModule" if task == "Translator" else "TextDataModule")
    about, sections = _fit_options(task, data)
    names = [option.name for option in sections.pop("networks")]
    page = networks().replace("backbone", names[0]) if names else ""
    page += "".join(f"\n  --{name} NAME, with the same options behind --{name}." for name in names[1:])
    shown = [f"{title}:\n{render(found)}" for title, found in sections.items()]
    head = f"usage: seqmodels fit [options]\n\n{about}"
    return "\n\n".join([head, CHOICES.format(task=task, data=data), *shown, page]).rstrip()


def of_recipe(about: str, task: str, data: str, defaults: dict[str, Any]) -> str:
    """The page of a recipe: its docstring, and the options of which it has defaults of its own."""
    every = [option for section in _fit_options(task, data)[1].values() for option in section]
    found = [
        replace(one, default=_shown(defaults[one.name]), meaning=re.sub(r" *\(default: .*?\)", "", one.meaning))
        for one in every
        if one.name in defaults
    ]
    return (
        f"{about.strip()}\n\noptions with defaults of this recipe:\n{render(found)}\n\n"
        f"All options of `seqmodels fit --task {task} --data-module {data}` work, too; add --help to that for a list."
    )


def of_function(file: Path, name: str, program: str, *, positional: bool = False) -> str:
    """The page of a function that is a program, all of whose arguments have flags; of commands, which are `positional`,
    those without defaults, a `file` and a `folder` have none.
    """
    about, found = options(file, name)
    first = [option for option in found if positional and (option.name in ("file", "folder") or not option.default)]
    rest = [option for option in found if option not in first and not option.is_network]
    shown = [f"[{option.name.upper()}]" if option.default else option.name.upper() for option in first]
    parts = [
        " ".join([f"usage: {program}", *shown, *["[options]"] * bool(rest)]),
        about,
        "\n".join(_beside(f"  {name}", option.meaning) for name, option in zip(shown, first, strict=True)),
        f"options:\n{render(rest)}" if rest else "",
        networks() if len(first + rest) < len(found) else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _fit_options(task: str, data: str) -> tuple[str, dict[str, list[OptionHelp]]]:
    """What `fit` does, and the options of a training by section."""
    about, run = options(PACKAGE / "training" / "fit.py", "fit", ("task", "data", "callbacks"))
    own = options(*_home("tasks", "SequenceTask", task), ("tokenizer", "source_tokenizer"))[1]
    return about, {
        "run": run,
        f"data ({data})": options(*_home("data", "SequenceDataModule", data))[1],
        f"task ({task})": [option for option in own if not option.is_network],
        "networks": [option for option in own if option.is_network],
    }


def _home(folder: str, base: str, name: str) -> tuple[Path, str]:
    """The file that defines or imports a class of this package, or one of the user's own that is imported already."""
    file = PACKAGE / folder / "__init__.py"
    if _chain(file, name):
        return file, name
    from seqmodels.cli.parser import named

    cls = named(getattr(import_module(f"seqmodels.{folder}"), base), name)
    cls = next(one for one in cls.__mro__ if "__init__" in vars(one))
    return Path(inspect.getfile(cls)), cls.__name__


def _shown(value: Any) -> str:
    """A default as people type it; of a network, the arguments that differ from its own defaults."""
    call = getattr(value, "constructor_call", None)
    if call is None:
        return str(value)
    usual = inspect.signature(type(value)).parameters
    own = [f"{name}={given}" for name, given in call["init_args"].items() if given != usual[name].default]
    return f"{type(value).__name__}({', '.join(own)})"


def options(file: Path, name: str, skip: tuple[str, ...] = ()) -> tuple[str, list[OptionHelp]]:
    """The first paragraph of the docstring, and the parameters, of what a file defines or imports under a name."""
    chain = _chain(file, name)
    meanings: dict[str, str] = {}
    for node, _ in reversed(chain):
        meanings |= _meanings(ast.get_docstring(node) or "")
    calls = (
        (part.args, _choices(*PACKAGE.rglob("*.py")) | _choices(home))
        for node, home in chain
        for part in ([node] if isinstance(node, ast.FunctionDef) else node.body)
        if isinstance(part, ast.FunctionDef) and (part is node or part.name == "__init__")
    )
    signature, choices = next(calls)
    plain = signature.posonlyargs + signature.args
    defaults = [None] * (len(plain) - len(signature.defaults)) + list(signature.defaults)
    pairs = [*zip(plain, defaults, strict=True), *zip(signature.kwonlyargs, signature.kw_defaults, strict=True)]
    found = []
    for argument, default in pairs:
        if argument.arg not in ("self", *skip):
            kind = re.sub(r"\w+", lambda word: choices.get(word[0], word[0]), _source(argument.annotation))
            found.append(OptionHelp(argument.arg, kind, _source(default), meanings.get(argument.arg, "")))
    return (ast.get_docstring(chain[0][0]) or "").split("\n\n")[0], found


def _source(node: ast.expr | None) -> str:
    return ast.unparse(node) if node else ""


def _chain(file: Path, name: str) -> list[tuple[Definition, Path]]:
    """A function or class that a file defines or imports, then the bases of the class in this package, with files."""
    top = _tree(file).body
    for node in [*top, *(inner for block in top if isinstance(block, ast.If) for inner in block.body)]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            bases = [base.id for base in getattr(node, "bases", ()) if isinstance(base, ast.Name)]
            return [(node, file), *(link for base in bases for link in _chain(file, base))]
        names = [alias.asname or alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.module and name in names:
            module = PACKAGE.parent.joinpath(*node.module.split("."))
            home = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
            return _chain(home, name) if home.exists() else []
    return []


@functools.cache
def _tree(file: Path) -> ast.Module:
    """A source file, parsed once."""
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def _choices(*files: Path) -> dict[str, str]:
    """Names that stand for a choice, `Name = Literal[...]`, in source files."""
    texts = (file.read_text(encoding="utf-8") for file in files)
    return dict(pair for text in texts for pair in re.findall(r"^(\w+) = (Literal\[.+\])$", text, re.MULTILINE))


def _meanings(docstring: str) -> dict[str, str]:
    """The entries of the Args section."""
    section = re.search(r"^Args:\n((?:[ ].*\n?|\n)+)", docstring, re.MULTILINE)
    if not section:
        return {}
    entries = re.findall(r"^    (\w+): ((?:.|\n {8})*)", section.group(1), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def render(found: list[OptionHelp], prefix: str = "") -> str:
    """Options as lines of a help page, with dashes as people type them."""
    lines = []
    for option in found:
        switch = "no-" if option.default == "True" else ""
        choices = re.findall(r"['\"]([\w-]+)['\"]", option.type) if "Literal" in option.type else []
        head = f"  --{prefix}{switch}{option.name.replace('_', '-')} {'|'.join(choices) or _kind(option)}".rstrip()
        default = option.default.strip("'\"")
        tail = f" (default: {default})" if default not in ("", "None", "False", "True") else ""
        lines.append(_beside(head, "do not " * bool(switch) + option.meaning + tail))
    return "\n".join(lines)


def _beside(head: str, meaning: str) -> str:
    """A name and, beside it or below, what it means."""
    body = textwrap.wrap(meaning, 84)
    first = body.pop(0) if body and len(head) <= 32 else ""
    return "\n".join([f"{head:<34}{first}".rstrip(), *(" " * 34 + line for line in body)])


SCALARS = {"int": "N", "float": "X", "str": "TEXT"}
"""What stands for a value of a type."""


def _kind(option: OptionHelp) -> str:
    if "bool" in option.type:
        return ""
    inner = option.type.removeprefix("list[").removeprefix("tuple[")  # several, one by one
    kinds = [re.split(r"[\[\], ]+", kind)[0] for kind in re.split(r" ?\| ?", inner)]
    names = [SCALARS[kind] for kind in kinds if kind in SCALARS] or [kinds[0].upper()]
    return "|".join(dict.fromkeys(names))


def networks() -> str:
    """The section on networks: what `--backbone` may be, and the arguments of each, those of several only once."""
    chains = {name: [node for node, _ in _chain(NN, name)] for name in sorted(exports(NN))}
    concrete = {
        name: options(NN, name)[1]
        for name, chain in chains.items()
        if "Backbone" in [node.name for node in chain] and "@abstractmethod" not in ast.unparse(chain[0])
    }
    found = {name: own for name, own in concrete.items() if all(option.default for option in own)}
    takers: dict[OptionHelp, tuple[str, ...]] = {}
    for name, own in found.items():
        takers |= {option: (*takers.get(option, ()), name) for option in own}
    names = textwrap.wrap(f"{', '.join(found)}, or module.Class of your own", 84)
    lines = ["network:", f"{'  --backbone NAME':<34}{names[0]}", *(" " * 34 + line for line in names[1:])]
    for group in sorted(set(takers.values()), key=lambda group: (-len(group), group)):
        lines.append(f"  of {', '.join(group)}:")
        lines.append(render([option for option, names in takers.items() if names == group], "backbone."))
    return "\n".join(lines)
