"""What README and documentation show works: code runs, flags exist, files are there."""

import contextlib
import functools
import gc
import itertools
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import pytest
import torch
from interop.families import models

from seqmodels.cli import help, main
from seqmodels.environment import quiet
from seqmodels.errors import InputError
from seqmodels.nn import check_network

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELLS = ("bash", "sh", "shell", "console")


class Block(NamedTuple):
    """A fenced block: what stands behind the fence, the number of its first line, and its text."""

    info: str
    line: int
    text: str


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    fence: str | None = None
    info, first, lines = "", 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if fence is None and (opening := re.match(r"(`{3,})(.*)", line)):
            fence, info, first, lines = opening[1], opening[2].strip(), number + 1, []
        elif line == fence:
            found.append(Block(info, first, "\n".join(lines)))
            fence = None
        else:
            lines.append(line)
    assert fence is None, f"{page.name}: the block before line {first} is not closed"
    return found


def compiled(page: Path, block: Block) -> CodeType:
    """Code whose tracebacks point at the line of the page."""
    return compile("\n" * (block.line - 1) + block.text + "\n", str(page), "exec")


NUMBERS = itertools.count()
"""Every run of a page is a module of its own, so that no class it defines is taken for that of another run."""


@contextlib.contextmanager
def run(page: Path) -> Iterator[dict[str, Any]]:
    """Run the blocks of a page in order, as one script; gives its names."""
    names: dict[str, Any] = {"__name__": f"page{next(NUMBERS)}"}
    places = [*sys.path]
    for block in blocks(page):
        if block.info == "python":
            exec(compiled(page, block), names)
    yield names
    names.clear()
    sys.path[:] = places
    sys.modules.pop("model", None)  # an exported one
    gc.collect()  # networks that a page defines are found by name as long as they live


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.info == "python" for b in blocks(page))], ids=lambda page: page.stem
)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if page.stem == "gpt-2":  # in place of what it downloads
        monkeypatch.setitem(models.CONFIGS, "gpt2", functools.partial(models.gpt2, n_positions=1024))
        models.written("gpt2", Path("openai-community", "gpt2"))
    with quiet(), run(page):
        pass


def test_the_example_networks_keep_the_laws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    with run(ROOT / "docs" / "guide" / "own-network.md") as names:
        check_network(names["Leaky"](6, 8))
        check_network(names["LeakyRNN"](6, 8, num_layers=2, learn_initial_state=True))
        module, stack = names["LeakyModule"](6, 8), names["LeakyRNN"](6, 8)
        cell = stack.cells[0]
        with torch.no_grad():  # one equation, written twice
            cell.both.weight.copy_(torch.cat([module.gate.weight, module.value.weight]))
            cell.both.bias.copy_(torch.cat([module.gate.bias, module.value.bias]))
            cell.recurrent.weight.copy_(module.recurrent.weight)
        x = torch.randn(3, 9, 6)
        torch.testing.assert_close(stack(x)[0], module(x)[0])
        with pytest.raises(InputError, match=r"Centred breaks 4 laws: chunk by .*step by .*causal by .*pad by"):
            check_network(names["Centred"](8, 16))
        del module, stack, cell


def known_flags(words: list[str]) -> set[str]:
    """The flags that a command's own help page lists."""
    if words[:2] == ["seqmodels", "recipe"] and len(words) > 2 and not words[2].startswith("--"):
        return known_flags(["python", f"recipes/{words[2]}.py"]) | {"--copy"}
    if words[0] == "seqmodels":
        name = words[1] if len(words) > 1 else "--help"
        if name == "--help":
            return {"--help"}
        assert name in main.COMMANDS, f"there is no command {name!r}"
        page = main.page(name, words)
    else:
        recipe = ROOT / words[1]
        assert recipe.is_file(), f"there is no recipe {words[1]!r}"
        called = re.search(r"recipe\(\s*__doc__, (\w+), (\w+)", recipe.read_text(encoding="utf-8"))
        if called is None:
            page = help.of_function(recipe, "main", words[1])
        else:
            page = main.page("fit", ["--task", called[1], "--data-module", called[2]])
    flags = set(re.findall(r"^ +(--[\w.-]+)", page, re.MULTILINE))
    switches = re.findall(r"^ +(--[\w.-]+)(?: {2,}|$)", page, re.MULTILINE)
    return flags | {f"--no-{flag[2:]}" for flag in switches} | {"--help"}


def started(words: list[str]) -> list[str]:
    """What srun or torchrun start, which have flags of their own."""
    if words[:1] == ["srun"]:
        return words[1:]
    if words[:1] == ["torchrun"]:
        place = next(number for number, word in enumerate(words) if word == "seqmodels" or "recipes/" in word)
        return [
            *(["seqmodels"] if words[place] == "seqmodels" else ["python", words[place]]),
            *words[place + 1 :],
        ]
    return words


def commands(page: Path) -> list[list[str]]:
    """Commands of this package in the shell blocks of a page, as words."""
    found = []
    for block in blocks(page):
        if block.info.split(" ")[0] in SHELLS:
            for line in block.text.replace("\\\n", " ").splitlines():
                for command in re.split(r"&&|\||;", line.split(" #")[0]):
                    words = shlex.split(command.strip().removeprefix("$ "))
                    while words and re.fullmatch(r"\w+=.*", words[0]):
                        words = words[1:]
                    words = started(words)
                    if words[:1] == ["seqmodels"] or (words[:1] == ["python"] and "recipes/" in "".join(words[1:2])):
                        found.append(words)
    return found


@pytest.mark.parametrize(
    "words", [pytest.param(words, id=f"{page.stem}: {' '.join(words)}") for page in PAGES for words in commands(page)]
)
def test_flags_exist(words: list[str]) -> None:
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    assert set(flags) <= known_flags(words)


def test_unknown_flags_are_found() -> None:
    assert "--backbone.hidden-size" in known_flags(["seqmodels", "fit"])
    assert "--no-shuffle" in known_flags(["seqmodels", "fit"])
    assert "--no-data" not in known_flags(["seqmodels", "fit"])
    assert "--top-k" not in known_flags(["seqmodels", "test"])
    assert "--max-minutes" in known_flags(["python", "recipes/char_python.py"])


def test_the_readme_is_two_screens_long() -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= 90


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not re.match(r"\w+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"
