"""Imports go down the floors only; heavy libraries stay where they belong; files stay small."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import seqmodels

PACKAGE = Path(seqmodels.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = {
    0: ("errors", "state", "batch", "recorded", "hardware", "plain"),
    1: ("nn", "data", "decoding", "metrics", "softmax", "bleu", "optim"),
    2: ("tasks", "diagnostics"),
}
TOP = 3
"""The floor of everything else: checkpoint, run, cli and so on."""

APART = FLOORS[1]
"""Neighbours that do not import each other: a network knows no data, decoding knows no network."""


def part(module: str) -> str:
    """The file or folder directly below the package that a module belongs to: `nn` for `seqmodels.nn.cells`."""
    return module.split(".")[1] if "." in module else "__init__"


def floor(module: str) -> int:
    return next((number for number, parts in FLOORS.items() if part(module) in parts), TOP)


def name_of(file: Path) -> str:
    parts = ("seqmodels", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: Path) -> Iterator[str]:
    """Modules that a file imports, at its head or inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: imports are absolute in this package"
            assert node.module is not None
            for alias in node.names:
                own = node.module.split(".")[0] == "seqmodels"
                inside = PACKAGE.joinpath(*node.module.split(".")[1:], alias.name)
                is_module = own and (inside.is_dir() or inside.with_suffix(".py").is_file())
                yield f"{node.module}.{alias.name}" if is_module else node.module


def ours(file: Path) -> list[str]:
    return [module for module in imported(file) if module.split(".")[0] == "seqmodels"]


def libraries(file: Path) -> set[str]:
    return {module.split(".")[0] for module in imported(file)}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_go_down(file: Path) -> None:
    me = name_of(file)
    for other in ours(file):
        assert floor(other) <= floor(me), f"{me} (floor {floor(me)}) imports {other} (floor {floor(other)})"
        if part(me) in APART and part(other) in APART:
            assert part(me) == part(other), f"{me} imports {other}, and these two are kept apart"


def test_every_floor_is_inhabited() -> None:
    """A part that was renamed would otherwise rise to the top floor, where everything is allowed."""
    there = {part(name_of(file)) for file in FILES}
    assert {name for parts in FLOORS.values() for name in parts} <= there


def test_libraries_stay_where_they_belong() -> None:
    for file in FILES:
        me, used = name_of(file), libraries(file)
        assert "wandb" not in used or me in ("seqmodels.tracking", "seqmodels.login"), f"{me} imports wandb"
        if "lightning" in used:
            assert floor(me) >= 2 or me == "seqmodels.data.base", f"{me} imports lightning"
        if "datasets" in used:
            assert part(me) == "data", f"{me} imports datasets"


def test_the_command_line_starts_light() -> None:
    """`seqmodels --help` does not wait for torch."""
    heavy = ("torch", "lightning", "datasets", "tokenizers", "torchmetrics", "jsonargparse", "matplotlib", "numpy")
    code = f"import sys, seqmodels.cli; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_files_are_small_and_named_for_what_they_hold() -> None:
    for file in FILES:
        assert file.name != "utils.py", f"{file} says nothing about what it holds"
        lines = file.read_text(encoding="utf-8").count("\n")
        assert lines <= 300, f"{file} has {lines} lines; more than 300 are two files"


def test_nothing_read_from_a_file_is_run() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            settings = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert called not in ("pickle.load", "pickle.loads", "pickle.Unpickler", "eval", "exec"), file
            assert settings.get("weights_only") in (None, "True"), f"{file}: {called}"
            assert settings.get("allow_pickle") in (None, "False"), f"{file}: {called}"
            if called == "torch.load":
                assert name_of(file) == "seqmodels.checkpoint", f"{file}: there is one loader, and it is not this"
                assert settings.get("weights_only") == "True", f"{file}: say weights_only=True"
            if called == "np.load":
                assert settings.get("allow_pickle") == "False", f"{file}: say allow_pickle=False"
            assert "shell" not in settings, f"{file}: {called}"


@pytest.mark.parametrize(
    "word",
    [
        r"\b(c|cloud)?pickle\b", r"\bdill\b", r"\bmarshal\b", r"\bshelve\b", r"weights_only=False", r"(?<!\.)\beval\(",
        r"\bexec\(", r"yaml\.load\(", r"yaml\.unsafe", r"yaml\.full_load", r"joblib", r"allow_pickle=True",
        r"load_from_checkpoint", r"torch\.hub", r"shell=True", r"os\.system", r"add_safe_globals",
    ],
)  # fmt: skip
def test_words_that_run_what_a_file_says(word: str) -> None:
    """In code; what a comment or a docstring speaks of runs nothing."""
    for file in FILES:
        code = ast.unparse(_without_docstrings(ast.parse(file.read_text(encoding="utf-8"))))
        assert not (found := re.search(word, code)), f"{file}: {found}"


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            kept = [part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return tree
