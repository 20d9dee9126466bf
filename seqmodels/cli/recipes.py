"""The command `seqmodels recipe`: the scripts of `recipes/`, which an installed package carries along."""

import ast
import runpy
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from seqmodels.errors import InputError
from seqmodels.files import local

PACKAGE = Path(__file__).parents[1]
PAGE = """usage: seqmodels recipe NAME [options of the recipe]
       seqmodels recipe --list
       seqmodels recipe NAME --copy [DIR]

Run a recipe: a script of some twenty lines that trains a model of a published result.

options:
  --list                          list the recipes.
  --copy [DIR]                    copy the script instead, to be changed, into this folder (default: the current one);
                                  nothing is overwritten.

seqmodels recipe NAME --help lists the options of a recipe."""


def recipe(words: Sequence[str]) -> None:
    """Run a recipe with the words behind its name, list all, or copy one; see `PAGE`.

    Raises:
        InputError: there is no such recipe, or it cannot be copied.
    """
    if not words or list(words) == ["--list"]:
        every = recipes()
        width = max(map(len, every), default=0)
        for name, file in every.items():
            about = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            print(f"  {name:<{width}}  {' '.join(about.partition(chr(10) * 2)[0].split())}")
        return
    if words[0] in ("-h", "--help"):
        print(PAGE)
        return
    file = found(words[0])
    if words[1:2] == ["--copy"]:
        if len(words) > 3:
            raise InputError(f"{words[3]!r} was not expected; --copy takes one folder")
        copy(file, local(words[2] if len(words) > 2 else "."))
        return
    sys.argv = [str(file), *words[1:]]  # further processes of Lightning run this file with these words
    runpy.run_path(str(file), run_name="__main__")


def recipes() -> dict[str, Path]:
    """The recipes by name, of the installed package or of the repository."""
    folder = next((one for one in (PACKAGE / "recipes", PACKAGE.parent / "recipes") if one.is_dir()), None)
    return {} if folder is None else {file.stem: file for file in sorted(folder.glob("*.py"))}


def found(name: str) -> Path:
    """A recipe by its name, with or without `.py`."""
    every = recipes()
    if (file := every.get(Path(name).name.removesuffix(".py"))) is None:
        import difflib

        near = difflib.get_close_matches(name, every, 1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(every)}"
        raise InputError(f"the recipe {name!r} is not known; {hint}")
    return file


def copy(file: Path, folder: Path) -> None:
    """Copy a recipe into a folder, and print how the copy is run."""
    target = folder / file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("rb") as source, target.open("xb") as copied:
            shutil.copyfileobj(source, copied)
    except FileExistsError as error:
        raise InputError(f"{error.filename!r} is there already, and nothing is written over; give a folder") from error
    except OSError as error:
        raise InputError(f"cannot write {str(target)!r}: {error.strerror or error}; give another folder") from error
    print(f"python {target}")
