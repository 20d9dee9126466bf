"""Help pages, read from signatures and docstrings without importing what they describe.

Importing torch takes seconds; parsing a few source files takes milliseconds. What the pages say is what the
constructors and functions say themselves.
"""

import ast
import functools
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Option:
    """One parameter of a function or constructor."""

    name: str
    type: str
    default: str
    meaning: str


def options(file: Path, name: str, skip: tuple[str, ...] = ()) -> tuple[str, list[Option]]:
    """What a function, or the constructor of a class, takes.

    Args:
        file: source file that defines it.
        name: its name there.
        skip: parameters that are not of interest.

    Returns:
        The first paragraph of the docstring, and the parameters in order.
    """
    tree = _tree(file)
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == name)
    meanings = _meanings(ast.get_docstring(node) or "")
    if isinstance(node, ast.ClassDef):
        signature = next(n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__").args
    else:
        signature = node.args
    plain = signature.posonlyargs + signature.args
    defaults = [None] * (len(plain) - len(signature.defaults)) + list(signature.defaults)
    pairs = [*zip(plain, defaults, strict=True), *zip(signature.kwonlyargs, signature.kw_defaults, strict=True)]
    aliases = _aliases(tree)
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
    return (ast.get_docstring(node) or "").split("\n\n")[0], found


@functools.cache
def _tree(file: Path) -> ast.Module:
    """A source file, parsed once however many look into it."""
    return ast.parse(file.read_text(encoding="utf-8"))


def _unaliased(annotation: str, aliases: dict[str, str]) -> str:
    """A type with the choices in place of the name that stands for them, also where it may be None."""
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
    """The section on networks: what `--backbone` may be, and what each takes."""
    stack = _of("recurrent", "RecurrentStack")
    minimal = {option.name for option in _of("min_gru", "MinimalStack")}
    lines = [
        "network:",
        "  --backbone NAME                 RNN, LSTM, GRU, MultiplicativeRNN, MultiplicativeLSTM, MinGRU, MinLSTM,",
        "                                  Transformer, Hybrid, or module.Class of your own",
        "  of all recurrent ones:",
        render([option for option in stack if option.name in minimal], "backbone."),
        "  of all of these but MinGRU and MinLSTM:",
        render([option for option in stack if option.name not in minimal], "backbone."),
    ]
    for file, name in (
        ("rnn_lstm_gru", "RNN"),
        ("rnn_lstm_gru", "LSTM"),
        ("transformer", "Transformer"),
        ("hybrid", "Hybrid"),
    ):
        shared = {option.name for option in stack} if file == "rnn_lstm_gru" else set()
        own = [option for option in _of(file, name) if option.name not in shared]
        lines += [f"  of {name}:", render(own, "backbone.")]
    return "\n".join(lines)


def _of(file: str, name: str) -> list[Option]:
    return options(PACKAGE / "nn" / f"{file}.py", name)[1]
