"""The tables of `docs/guide/coming-from.md`: our flags exist and take the values shown, and theirs are told ours."""

import dataclasses
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from seqmodels.cli import parser
from seqmodels.cli.fit import options_by_section
from seqmodels.cli.generate import generate
from seqmodels.cli.translate import translate
from seqmodels.data import TextDataModule, TranslationDataModule
from seqmodels.errors import InputError
from seqmodels.tasks import LanguageModel, Translator

PAGE = Path(__file__).parents[1] / "docs" / "guide" / "coming-from.md"
NONE = "-"


class Row(NamedTuple):
    """A line of a table: the program and its flag, our command, the flags we give for it."""

    program: str
    theirs: str
    command: str
    ours: str


def rows() -> list[Row]:
    found: list[Row] = []
    program = command = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if len(cells) == 3 and cells[1].startswith("seqmodels "):
            program, command = cells[0], cells[1]
        elif (len(cells) == 3 and not set(cells[1]) <= {"-"}) or (len(cells) == 3 and cells[1] == NONE):
            found.append(Row(program, cells[0], command, cells[1]))
        elif not cells:
            command = program = ""
    return found


ROWS = rows()
COMMANDS: dict[str, Callable[..., Any]] = {"generate": generate, "translate": translate}


def options(command: str) -> parser.Options:
    """All options of a command."""
    if (name := command.split()[1]) != "fit":
        return parser.options_of(COMMANDS[name])
    translator = "Translator" in command
    sections = options_by_section(Translator, TranslationDataModule) if translator else None
    sections = sections or options_by_section(LanguageModel, TextDataModule)
    found = {name: option for section in sections.values() for name, option in section.items()}
    return found | {"import": parser.Option(str)}  # which main takes away first


def test_the_page_has_all_tables() -> None:
    assert len(ROWS) > 150
    assert len({row.program for row in ROWS}) == 10


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.ours != NONE], ids=lambda row: f"{row.program}: {row.theirs}"
)
def test_our_flags_exist_and_take_the_value(row: Row) -> None:
    words = shlex.split(row.ours)
    assert words[0].startswith("--")
    known = options(row.command)
    networks = {name: "Transformer" for name, option in known.items() if option.base and option.required}
    if "hidden-size" in row.ours:
        networks = dict.fromkeys(networks, "LSTM")
    settings = networks | parser.read_flags(words, known)
    parser.converted(
        settings,
        {name: option for name, option in known.items() if name in {one.partition(".")[0] for one in settings}},
    )


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.ours != NONE and re.match("--?[a-z]", row.theirs)],
    ids=lambda row: f"{row.program}: {row.theirs}",
)
def test_their_flag_is_told_ours(row: Row) -> None:
    name = row.theirs.lstrip("-").replace("-", "_")
    known = options(row.command)
    if name in known or name == "sample":  # the same name, whatever it means; samples are nearer
        return
    with pytest.raises(InputError) as refused:
        parser.read_flags([f"{'-' if row.theirs[1] != '-' else '--'}{name}", "1"], known)
    ours = [word.replace("-", "_") for word in shlex.split(row.ours) if word.startswith("--")]
    told = re.findall(r"--[\w.-]+", str(refused.value).partition(";")[2])
    assert {one.replace("-", "_") for one in told} & set(ours), str(refused.value)


def test_names_of_hugging_face_are_theirs() -> None:
    transformers = pytest.importorskip("transformers")
    arguments = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
    decoding = set(vars(transformers.GenerationConfig()))
    for row in ROWS:
        if row.program in ("TrainingArguments", "GenerationConfig"):
            assert row.theirs in (arguments if row.program == "TrainingArguments" else decoding), row.theirs
