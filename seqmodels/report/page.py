"""Pages from templates: one file each, that work offline, and without the script that sorts, filters and points."""

import base64
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from seqmodels.analysis.attention import TABLE_STYLE
from seqmodels.analysis.coloured_text import COLOUR_STYLE
from seqmodels.analysis.html_page import POLICY
from seqmodels.errors import InputError
from seqmodels.files import printable, write_text

NONE = "—"
"""Stands for a value that is missing."""
MAX_CHARACTERS = 20_000
"""Of a value, where its template sets no lower limit."""

SCRIPT = (Path(__file__).parent / "templates" / "page.js").read_text(encoding="utf-8")
"""Sorts and filters tables, and says values of pictures under the pointer."""
SCRIPT_POLICY = f"{POLICY}; script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
"""Content security policy of these pages: no script runs but this one, to the letter, and nothing is fetched."""

Source = TypeVar("Source")
Log = Callable[[str], None]
"""Takes a line for each section: its title and the seconds that it took."""


class Section(NamedTuple):
    """The content of a section, or why there is none."""

    lead: str = ""
    """How to read it; plain text."""
    body: str = Markup()
    missing: str | None = None


Part = tuple[str, str, Callable[[Source], Section]]
"""Id and heading of a section, and its builder, which raises an `InputError` where there is nothing to show."""


def silent(line: str) -> None:
    """Log nothing."""


def build(builder: Callable[[Source], Section], source: Source) -> Section:
    """Build a section, or one that says why there is nothing to show."""
    try:
        return builder(source)
    except InputError as error:
        return Section(missing=str(error))


def write_page(
    path: str | Path, parts: Sequence[Part[Source]], source: Source, log: Log = silent, **head: object
) -> Path:
    """Build the sections of a page from their source and write it; an `InputError` if the file cannot be written.

    `head` has `kind`, `title`, `about`, `tiles` and `notes` of the template.
    """
    sections = []
    for key, title, builder in parts:
        began = time.perf_counter()
        section = build(builder, source)
        sections.append((key, title, section))
        why = f"  ({section.missing})" if section.missing else ""
        log(f"  {title:<24}{time.perf_counter() - began:5.1f} s{why}")
    page = _templates().get_template("page.html").render(sections=sections, **head)
    path = Path(path).expanduser()
    try:
        write_text(path, printable(page))  # anybody may have written the files of a run
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror or error}; give another file") from error
    return path


def macro(name: str, *values: object, **options: object) -> Markup:
    """HTML of a macro of `macros.html`, which escapes all text that is not `Markup`."""
    return Markup(getattr(_macros(), name)(*values, **options))


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("seqmodels.report"), autoescape=True, undefined=StrictUndefined, finalize=shortened,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    templates.filters["limit"] = limit
    templates.globals |= {
        "styles": Markup(TABLE_STYLE + COLOUR_STYLE),
        "policy": Markup(SCRIPT_POLICY),
        "script": Markup(SCRIPT),
    }
    return templates


@cache
def _macros() -> Any:
    return _templates().get_template("macros.html").module


def limit(value: object, most: int) -> str:
    """The first characters of a value as text."""
    shown = str(value)
    return shown if len(shown) <= most else shown[:most] + "…"


def shortened(value: object) -> object:
    """The first `MAX_CHARACTERS` of a value as text; `Markup` is kept."""
    return value if isinstance(value, Markup) else limit(value, MAX_CHARACTERS)


def number(value: float, digits: int = 4) -> str:
    """An integer with commas, or another number with some significant digits."""
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def short(count: float) -> str:
    """A large number in thousands (k), millions (M) or billions (G)."""
    sizes = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
    return next((f"{count / power:.3g} {letter}" for power, letter in sizes if count >= power), f"{count:,.0f}")


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, evenly spaced, with the first and the last."""
    return list(range(count)) if count <= most else np.linspace(0, count - 1, most).round().astype(int).tolist()
