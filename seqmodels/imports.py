"""Importing: large packages quickly, and this package rather than another of its name."""

import contextlib
import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

DISTRIBUTION, VERSION = "seqmodels-lightning", "0.1.0"
"""This package for pip, where `seqmodels` is a genomics package of another author, and its version."""


@cache
def other_package(package: Path = Path(__file__).parent) -> str | None:
    """Why this package cannot be used: the other `seqmodels` is installed in the same place, and files are mixed.

    None if it is not; of no package but the two a file is looked for, in the folder where this one is installed.
    """
    for record in package.parent.glob("seqmodels-*.dist-info/RECORD"):
        if "seqmodels/__init__.py," in record.read_text(encoding="utf-8", errors="replace"):
            return (
                f"two packages are installed as seqmodels in {str(package.parent)!r}: {DISTRIBUTION}, and another "
                "author's, for genomics; their files are mixed. Run `pip uninstall seqmodels`, then "
                f"`pip install --force-reinstall --no-deps {DISTRIBUTION}`"
            )
    return None


@contextmanager
def quick_imports(*, keep: bool = False) -> Iterator[None]:
    """Turn garbage collection off while lightning is imported for the first time.

    Torch, lightning and datasets create half a million objects, nearly all of which stay. Collecting again and again
    takes a quarter to a third of the import time. Programs, which begin with their imports, `keep` these objects: they
    are excluded from later collections, each of which would take half a second.
    """
    if "lightning" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        _import_tqdm()
        yield
    finally:
        if keep:
            gc.freeze()
        gc.enable()


def _import_tqdm() -> None:
    """Import tqdm in a notebook, without its warning that there is no ipywidgets: none of it is needed here."""
    if "IPython" in sys.modules:
        with contextlib.suppress(ImportError), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")
            import_module("tqdm.auto")


def short_waits() -> None:
    """Have torch's threads sleep soon while they wait for one another, for a program of our own.

    By default they spin for milliseconds (libgomp). Beside another program that needs the cores, a thread then spins
    where the one that it waits for should run. Waking up takes longer on processors of Intel, where small networks lose
    a fifth or more to threads that sleep as soon as elsewhere. No effect where torch is imported already, or the user
    has chosen.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000" if _is_intel() else "3000")


def bound_threads() -> None:
    """Have torch use no more threads than there are cores, for a program of our own, and tell what was asked for.

    Threads beyond cores wait for one another at each operation. No effect where torch is imported already.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    if "torch" not in sys.modules and given.isdecimal() and int(given) > cores():
        count = os.environ["OMP_NUM_THREADS"] = str(cores())
        print(f"OMP_NUM_THREADS={given} asks for more threads than the {count} cores: {count} work", file=sys.stderr)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_intel() -> bool:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="ascii", errors="replace") as facts:
        return "GenuineIntel" in facts.read(200)
    return False


def delay(package: str, parts: Mapping[str, Callable[[], Any]]) -> None:
    """Have a package run its `__init__` only where more than some names of it is used, for a program of our own.

    Its modules are imported as ever. A package that is imported already, or not installed, stays as it is.

    Args:
        package: such as torchmetrics, whose `__init__` imports all metrics there are, and with them scipy and
            transformers, where Lightning asks for the base class alone.
        parts: names that do not need `__init__`, each with a function that returns what it stands for.
    """
    spec = None if package in sys.modules else find_spec(package)
    if spec is None or spec.loader is None:
        return
    module, loader = module_from_spec(spec), spec.loader

    def found(name: str) -> Any:
        if name in parts:
            with contextlib.suppress(ImportError, AttributeError):  # another version, in which it is elsewhere
                return parts[name]()
        elif name.startswith("__"):  # a question of the import system, or of who looks at all modules
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if vars(module).pop("__getattr__", None) is not None:
            loader.exec_module(module)
        return getattr(module, name)

    module.__getattr__ = found  # type: ignore[method-assign]
    sys.modules[package] = module


def on_demand(
    package: str, file: str, *, together: bool = False
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose names are imported when they are first used.

    Its `__init__.py` lists them as imports for type checkers. Who imports one module of it does not wait for all. Names
    that come `together` are those of classes that are found by their names: who uses one knows them all.
    """

    def found(name: str) -> Any:
        names = exports(Path(file))
        if name == "__all__":
            return sorted(names)
        if name in names:
            if why := other_package():
                raise ImportError(why)
            with quick_imports():
                for module in dict.fromkeys(names.values()) if together else ():
                    import_module(module)
                return getattr(import_module(names[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *exports(Path(file))})

    return found, listed


@cache
def exports(file: Path) -> dict[str, str]:
    """Public names that a source file of this package imports for others, and the modules that they come from.

    These are its imports of the form `from module import Name as Name`, and all exports of packages that it imports
    with a star. Nothing is imported.
    """
    import ast  # only where a name is looked up

    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if alias.name == "*":
                    found |= exports(Path(__file__).parents[1].joinpath(*node.module.split("."), "__init__.py"))
                elif alias.name == alias.asname:
                    found[alias.name] = node.module
    return found
