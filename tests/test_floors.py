"""Imports go down the floors only, without a circle; heavy libraries stay where they belong; files stay small."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import seqmodels

PACKAGE = Path(seqmodels.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

LOOSE = ("errors", "state", "batch", "imports", "config", "files", "environment", "metrics")
"""Files directly below the package: what everything shares."""

FLOORS: dict[str, int] = {
    **dict.fromkeys(LOOSE, 1),
    "decoding": 2,
    "nn": 3,
    "data": 3,
    "tasks": 4,
    "checkpoints": 6,
    "interop": 5,
    "serving": 6,
    "analysis": 6,
    "experiments": 7,
    "training": 8,
    "report": 8,
    "cli": 9,
    "__main__": 10,
}
"""Every folder and every loose file, and its floor: it imports from the floors below, and from itself."""


def part(module: str) -> str:
    """The file or folder directly below the package that a module belongs to: `nn` for `seqmodels.nn.cell`."""
    return module.split(".")[1] if "." in module else "__init__"


def name_of(file: Path) -> str:
    parts = ("seqmodels", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: Path) -> Iterator[str]:
    """Modules that a file imports: at its head, inside functions, and where only type checkers look."""
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


def test_the_table_of_floors_is_complete() -> None:
    there = {part(name_of(file)) for file in FILES} - {"__init__"}
    assert there == set(FLOORS)
    assert len(LOOSE) <= 8


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_go_down(file: Path) -> None:
    me = name_of(file)
    if me == "seqmodels":  # which shows what is public, from all floors
        return
    for other in ours(file):
        assert part(other) != "__init__", f"{me} imports from seqmodels itself; name the module"
        if part(other) != part(me) and not {part(me), part(other)} <= set(LOOSE):
            below = FLOORS[part(other)] < FLOORS[part(me)]
            assert below, f"{me} (floor {FLOORS[part(me)]}) imports {other} (floor {FLOORS[part(other)]})"


def test_there_is_no_circle() -> None:
    """Between files, whether a type checker, a function or the head of a file imports; folders are no way around."""
    graph = {name_of(file): set(ours(file)) for file in FILES if name_of(file) != "seqmodels"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_folders_say_what_they_are_for() -> None:
    for file in FILES:
        if file.name == "__init__.py":
            docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            assert docstring.endswith("."), f"{file} says in one sentence what the folder is for"
            assert "\n\n" not in docstring, f"{file}: one sentence"


def test_libraries_stay_where_they_belong() -> None:
    for file in FILES:
        me, used = name_of(file), libraries(file)
        assert "wandb" not in used or me in ("seqmodels.training.wandb_logger", "seqmodels.training.wandb_logger"), (
            f"{me} imports wandb"
        )
        if "lightning" in used:
            assert FLOORS[part(me)] >= 4 or me == "seqmodels.data.base", f"{me} imports lightning"
        if "datasets" in used:
            assert part(me) == "data", f"{me} imports datasets"


def test_the_command_line_starts_light() -> None:
    """`seqmodels --help` does not wait for torch."""
    heavy = ("torch", "lightning", "datasets", "tokenizers", "torchmetrics", "jsonargparse", "matplotlib", "numpy")
    code = f"import sys, seqmodels.cli.main; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_files_are_small_and_named_for_what_they_hold() -> None:
    for file in FILES:
        assert file.name != "utils.py", f"{file} says nothing about what it holds"
        lines = file.read_text(encoding="utf-8").count("\n")
        assert lines <= 400, f"{file} has {lines} lines; more than 400 are two files"


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
                assert name_of(file) == "seqmodels.checkpoints.safetensors_io", (
                    f"{file}: there is one loader, and it is not this"
                )
                assert settings.get("weights_only") == "True", f"{file}: say weights_only=True"
            if called == "np.load":
                assert settings.get("allow_pickle") == "False", f"{file}: say allow_pickle=False"
            assert "shell" not in settings, f"{file}: {called}"


@pytest.mark.parametrize(
    "word",
    [
        r"\b(c|cloud)?pickle\b", r"\bdill\b", r"\bmarshal\b", r"\bshelve\b", r"weights_only=False", r"(?<!\.)\beval\(",
        r"\bexec\(", r"yaml\.load\(", r"yaml\.unsafe", r"yaml\.full_load", r"joblib", r"allow_pickle=True",
        r"\.load_from_checkpoint", r"torch\.hub", r"shell=True", r"os\.system", r"add_safe_globals",
    ],
)  # fmt: skip
def test_words_that_run_what_a_file_says(word: str) -> None:
    """In code; what a comment or a docstring speaks of runs nothing."""
    for file, code in _code().items():
        assert not (found := re.search(word, code)), f"{file}: {found}"


@functools.cache
def _code() -> dict[Path, str]:
    """The code of every file, without comments and docstrings."""
    return {file: ast.unparse(_without_docstrings(ast.parse(file.read_text(encoding="utf-8")))) for file in FILES}


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            kept = [part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return tree
