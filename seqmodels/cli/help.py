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
class Option:
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
  --config PATH                   settings from a file, such as the config.yaml of an earlier run"""


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


def of_command(file: Path, name: str) -> str:
    """The page of a command, whose required arguments have no flags."""
    about, found = options(file, name)
    positional = [option for option in found if not option.default]
    optional = found[len(positional) :]
    lines = "\n".join(f"  {option.name.upper():<32}{option.meaning}" for option in positional)
    rest = f"\n\noptions:\n{render(optional)}" if optional else ""
    usage = " ".join([option.name.upper() for option in positional] + ["[options]"] * bool(optional))
    return f"usage: seqmodels {name} {usage}\n\n{about}\n\n{lines}{rest}"


def of_function(file: Path, name: str, program: str) -> str:
    """The page of a function that is a program, all of whose arguments have flags."""
    about, found = options(file, name)
    plain = [option for option in found if not option.is_network]
    page = f"usage: {program} [options]\n\n{about}\n\noptions:\n{render(plain)}"
    return page if plain == found else f"{page}\n\n{networks()}"


def _fit_options(task: str, data: str) -> tuple[str, dict[str, list[Option]]]:
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


def options(file: Path, name: str, skip: tuple[str, ...] = ()) -> tuple[str, list[Option]]:
    """The first paragraph of the docstring, and the parameters, of what a file defines or imports under a name."""
    chain = _chain(file, name)
    meanings: dict[str, str] = {}
    for node, _ in reversed(chain):
        meanings |= _meanings(ast.get_docstring(node) or "")
    signature, home = next((call.args, home) for node, home in chain if (call := _call(node)))
    plain = signature.posonlyargs + signature.args
    defaults = [None] * (len(plain) - len(signature.defaults)) + list(signature.defaults)
    pairs = [*zip(plain, defaults, strict=True), *zip(signature.kwonlyargs, signature.kw_defaults, strict=True)]
    aliases = _aliases(_tree(home))
    found = [
        Option(
            argument.arg,
            _unaliased(ast.unparse(argument.annotation), aliases) if argument.annotation else "",
            "" if default is None else ast.unparse(default),
            meanings.get(argument.arg, ""),
        )
        for argument, default in pairs
        if argument.arg not in ("self", *skip)
    ]
    return (ast.get_docstring(chain[0][0]) or "").split("\n\n")[0], found


def _chain(file: Path, name: str) -> list[tuple[Definition, Path]]:
    """A function or class that a file defines or imports, then the bases of the class in this package, with files."""
    for node in _tree(file).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            bases = [base.id for base in getattr(node, "bases", ()) if isinstance(base, ast.Name)]
            return [(node, file), *(link for base in bases for link in _chain(file, base))]
        names = [alias.asname or alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.module and name in names:
            module = PACKAGE.parent.joinpath(*node.module.split("."))
            home = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
            return _chain(home, name) if home.exists() else []
    return []


def _call(node: Definition) -> ast.FunctionDef | None:
    """The function itself, or the constructor of a class where it has one of its own."""
    functions = [node, *node.body] if isinstance(node, ast.FunctionDef) else node.body
    named = (n for n in functions if isinstance(n, ast.FunctionDef) and n.name in ("__init__", node.name))
    return next(named, None)


@functools.cache
def _tree(file: Path) -> ast.Module:
    """A source file, parsed once."""
    return ast.parse(file.read_text(encoding="utf-8"))


def _unaliased(annotation: str, aliases: dict[str, str]) -> str:
    """A type with its choices in place of their name."""
    return " | ".join(aliases.get(part, part) for part in annotation.split(" | "))


def _aliases(tree: ast.Module) -> dict[str, str]:
    """Names that stand for a choice, `Name = Literal[...]`, in a file and in the modules that it imports from here."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seqmodels."):
            file = PACKAGE.parent / f"{str(node.module).replace('.', '/')}.py"
            # Few files have a choice, and parsing takes longest.
            if file.exists() and " = Literal[" in file.read_text(encoding="utf-8"):
                found |= _aliases(ast.Module([n for n in _tree(file).body if _is_choice(n)], []))
        elif _is_choice(node):
            found[node.targets[0].id] = ast.unparse(node.value)  # type: ignore[attr-defined]
    return found


def _is_choice(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Literal[")


def _meanings(docstring: str) -> dict[str, str]:
    """The entries of the Args section."""
    section = re.search(r"^Args:\n((?:[ ].*\n?|\n)+)", docstring, re.MULTILINE)
    if not section:
        return {}
    entries = re.findall(r"^    (\w+): ((?:.|\n {8})*)", section.group(1), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def render(found: list[Option], prefix: str = "") -> str:
    """Options as lines of a help page, with dashes as people type them."""
    lines = []
    for option in found:
        switch = "no-" if option.default == "True" else ""
        flag = f"--{prefix}{switch}{option.name.replace('_', '-')}"
        choices = re.findall(r"'([\w-]+)'", option.type) if "Literal" in option.type else []
        kind = "|".join(choices) or _kind(option)
        default = option.default.strip("'\"")
        tail = f" (default: {default})" if default not in ("", "None", "False", "True") else ""
        body = textwrap.wrap(option.meaning + tail, 84)
        head = f"  {flag} {kind}".rstrip()
        if len(head) > 32 or not body:
            lines.append(head)
        else:
            lines.append(f"{head:<34}{body.pop(0)}")
        lines += [" " * 34 + line for line in body]
    return "\n".join(lines)


def _kind(option: Option) -> str:
    if "bool" in option.type:
        return ""
    kind = re.split(r"[\[\], |]+", option.type.removeprefix("list[").removeprefix("tuple["))[0]  # several, one by one
    return {"int": "N", "float": "X", "str": "TEXT"}.get(kind, kind.upper())


def networks() -> str:
    """The section on networks: what `--backbone` may be, and the arguments of each, those of several only once."""
    found = {name: options(NN, name)[1] for name in sorted(exports(NN)) if _is_network(name)}
    found = {name: own for name, own in found.items() if all(option.default for option in own)}
    takers: dict[Option, tuple[str, ...]] = {}
    for name, own in found.items():
        takers |= {option: (*takers.get(option, ()), name) for option in own}
    names = textwrap.wrap(f"{', '.join(found)}, or module.Class of your own", 84)
    lines = ["network:", f"{'  --backbone NAME':<34}{names[0]}", *(" " * 34 + line for line in names[1:])]
    for group in sorted(set(takers.values()), key=lambda group: (-len(group), group)):
        lines.append(f"  of {', '.join(group)}:")
        lines.append(render([option for option, names in takers.items() if names == group], "backbone."))
    return "\n".join(lines)


def _is_network(name: str) -> bool:
    """Whether an export of `nn` is a network that leaves no method abstract."""
    chain = [node for node, _ in _chain(NN, name)]
    abstract: set[str] = set()
    for node in reversed(chain):
        for method in (n for n in node.body if isinstance(n, ast.FunctionDef)):
            marked = any(ast.unparse(decorator) == "abstractmethod" for decorator in method.decorator_list)
            abstract = abstract | {method.name} if marked else abstract - {method.name}
    return not abstract and "Backbone" in [node.name for node in chain]
