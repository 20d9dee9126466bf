"""Labels of Python source code, by its tokenizer; see `character_labels`.

Where a text stops being valid Python, for example in a file that was split, labels are NaN from there on.
"""

import ast
import contextlib
import functools
import io
import itertools
import tokenize
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

OPENING, CLOSING = "([{", ")]}"
MARKS = "'", '"', "'''", '"""'
STARTS = tuple(getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name))
ENDS = tuple(getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name))
"""Tokens of f-strings since Python 3.12; before, an f-string is one token."""
SILENT = (tokenize.INDENT, tokenize.DEDENT, tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER)
"""Tokens that begin no statement."""


class Token(NamedTuple):
    """A token, from its first character to before `behind`."""

    kind: int
    string: str
    first: int
    behind: int


def is_python(texts: Sequence[str]) -> bool:
    """Whether most of the texts, by length, are source code of the running Python version."""
    return 2 * sum(len(text) for text in texts if _parses(text)) > sum(map(len, texts))


def _parses(text: str) -> bool:
    with warnings.catch_warnings(action="ignore"):  # such as those of invalid escapes
        try:
            return bool(ast.parse(text).body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False


def inside(text: str, marks: Sequence[str] = MARKS, comments: bool = False) -> list[float | bool]:
    """Inside strings, docstrings and f-strings: from the last opening mark to before the last closing one.

    Args:
        text: source code.
        marks: of the strings that count.
        comments: also inside comments, from # to before the end of the line.
    """
    tokens = _tokens(text)
    end = _end(text, tokens)
    found: list[float | bool] = [False] * end + [float("nan")] * (len(text) - end)
    spans = [(first, behind) for mark, first, behind in _strings(tokens) if mark in marks]
    spans += [(token.first, token.behind) for token in tokens if comments and token.kind == tokenize.COMMENT]
    for first, behind in spans:
        found[first:behind] = [True] * (behind - first)
    return found


def _strings(tokens: list[Token]) -> list[tuple[str, int, int]]:
    """Opening marks of each string, the index of the last of them, and that of the last closing mark.

    A string in a replacement field belongs to the string around it, as before Python 3.12.
    """
    found, depth, mark, begin = list[tuple[str, int, int]](), 0, "", 0
    for kind, string, first, behind in tokens:
        opening = string.lstrip("rRbBuUfFtT")
        prefix = len(string) - len(opening)
        if kind in STARTS:
            mark, begin = (mark, begin) if depth else (opening, behind - 1)
            depth += 1
        elif kind in ENDS:
            depth -= 1
            found += [] if depth else [(mark, begin, behind - 1)]
        elif kind == tokenize.STRING and not depth:
            marks = opening[:3] if opening[:3] in ("'''", '"""') else opening[0]
            found.append((marks, first + prefix + len(marks) - 1, behind - 1))
    return found


def brackets(text: str) -> list[float]:
    """Open brackets, without those in strings and comments."""
    tokens = _tokens(text)
    changes, strings = [0] * _end(text, tokens), 0
    for kind, string, first, _ in tokens:
        strings += (kind in STARTS) - (kind in ENDS)
        if kind == tokenize.OP and not strings and string in OPENING + CLOSING:
            changes[first] += 1 if string in OPENING else -1
    return [float(depth) for depth in itertools.accumulate(changes)] + [float("nan")] * (len(text) - len(changes))


def indentation(text: str) -> list[float]:
    """Nested blocks around a statement, from its first character to the end of its last line; elsewhere undefined."""
    found = [float("nan")] * len(text)
    depth, begin = 0, -1
    for kind, _, first, behind in _tokens(text):
        depth += (kind == tokenize.INDENT) - (kind == tokenize.DEDENT)
        if begin < 0 and kind not in SILENT:
            begin = first
        if kind == tokenize.NEWLINE:
            found[begin:behind] = [float(depth)] * (behind - begin)
            begin = -1
    return found


def _end(text: str, tokens: list[Token]) -> int:
    """The number of characters that are valid Python."""
    return len(text) if tokens and tokens[-1].kind == tokenize.ENDMARKER else tokens[-1].behind if tokens else 0


@functools.lru_cache(16)  # shared by all labels
def _tokens(text: str) -> list[Token]:
    """The tokens of a text up to the first error."""
    starts = [0, *itertools.accumulate(len(line) for line in io.StringIO(text, newline="\n"))]
    starts += [len(text)] * 2  # the tokenizer adds a missing last newline
    found = list[Token]()
    with warnings.catch_warnings(action="ignore"), contextlib.suppress(tokenize.TokenError, SyntaxError):
        for token in tokenize.generate_tokens(io.StringIO(text, newline="\n").readline):
            if token.type == tokenize.ERRORTOKEN and token.string.strip(" "):
                break
            first, behind = (min(starts[line - 1] + column, len(text)) for line, column in (token.start, token.end))
            found.append(Token(token.type, token.string, first, behind))
    return found


LABELS: dict[str, Callable[[str], Sequence[float | bool]]] = {
    "quotation": inside,
    "single-quoted": functools.partial(inside, marks=("'",)),
    "double-quoted": functools.partial(inside, marks=('"',)),
    "triple-quoted": functools.partial(inside, marks=("'''", '"""')),
    "comment": functools.partial(inside, marks=(), comments=True),
    "comment-or-string": functools.partial(inside, comments=True),
    "brackets": brackets,
    "indentation": indentation,
}
