"""Importing large packages quickly."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


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
        yield
    finally:
        if keep:
            gc.freeze()
        gc.enable()


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
