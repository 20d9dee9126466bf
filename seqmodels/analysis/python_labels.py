"""Labels of source code of Python, by its own tokenizer; see `labels` for what a label is.

Where a text stops being Python, as where a file was cut in two, its labels are NaN from there on.
"""

import ast
import contextlib
import functools
import io
import itertools
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

OPENING, CLOSING = "([{", ")]}"
STARTS = tuple(getattr(tokenize, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(tokenize, name))
ENDS = tuple(getattr(tokenize, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(tokenize, name))
"""Where Python 3.12 cuts f-strings into tokens; before, each is one string."""
SILENT = (tokenize.INDENT, tokenize.DEDENT, tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER)
"""Tokens that begin no statement."""


class Token(NamedTuple):
    """A token, from its first character to before `behind`."""

    kind: int
    string: str
    first: int
    behind: int


def is_python(texts: Sequence[str]) -> bool:
    """Whether most of the texts, by their length, are source code of the running Python."""
    return 2 * sum(len(text) for text in texts if _parses(text)) > sum(map(len, texts))


@contextlib.contextmanager
def _unheeded() -> Iterator[None]:
    """Without what Python has to say of the text as a program, such as that an escape in a string is none."""
    with warnings.catch_warnings():
        for kind in (SyntaxWarning, DeprecationWarning):
            warnings.simplefilter("ignore", kind)
        yield


def _parses(text: str) -> bool:
    with _unheeded():
        try:
            return bool(ast.parse(text).body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False


def quotation(text: str) -> list[float | bool]:
    """Inside a string, a docstring or an f-string: from its opening marks to before the last of the closing ones."""
    tokens = _tokens(text)
    return _inside(text, tokens, [(first, behind) for _, first, behind in _strings(tokens)])


def single_quoted(text: str) -> list[float | bool]:
    """Inside a string that stands between '."""
    return _quoted(text, "'")


def double_quoted(text: str) -> list[float | bool]:
    """Inside a string that stands between "."""
    return _quoted(text, '"')


def triple_quoted(text: str) -> list[float | bool]:
    """Inside a string between three marks of either kind, as docstrings are."""
    return _quoted(text, "'''", '"""')


def _quoted(text: str, *marks: str) -> list[float | bool]:
    tokens = _tokens(text)
    return _inside(text, tokens, [(first, behind) for mark, first, behind in _strings(tokens) if mark in marks])


def _strings(tokens: list[Token]) -> list[tuple[str, int, int]]:
    """Of each string the opening marks, where they have been read, and where the last of the closing ones stands.

    A string in a replacement field is a part of the one that the field is in, as it is before Python 3.12.
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


def comment(text: str) -> list[float | bool]:
    """Inside a comment: from its # to before the end of the line."""
    tokens = _tokens(text)
    return _inside(text, tokens, _comments(tokens))


def comment_or_string(text: str) -> list[float | bool]:
    """Inside a comment or a string of any kind: where there is no code."""
    tokens = _tokens(text)
    strings = [(first, behind) for _, first, behind in _strings(tokens)]
    return _inside(text, tokens, _comments(tokens) + strings)


def _comments(tokens: list[Token]) -> list[tuple[int, int]]:
    return [(token.first, token.behind) for token in tokens if token.kind == tokenize.COMMENT]


def brackets(text: str) -> list[float]:
    """How many brackets are open; those in strings and comments do not count."""
    tokens = _tokens(text)
    changes, strings = [0] * _end(text, tokens), 0
    for kind, string, first, _ in tokens:
        strings += (kind in STARTS) - (kind in ENDS)
        if kind == tokenize.OP and not strings and string in OPENING + CLOSING:
            changes[first] += 1 if string in OPENING else -1
    return [float(depth) for depth in itertools.accumulate(changes)] + [float("nan")] * (len(text) - len(changes))


def indentation(text: str) -> list[float]:
    """In how many blocks a statement stands, from its first letter to the end of its last line.

    It is not defined before the first letter, in empty lines, and in lines of comments: nothing is said there yet.
    """
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


def _inside(text: str, tokens: list[Token], spans: list[tuple[int, int]]) -> list[float | bool]:
    end = _end(text, tokens)
    found: list[float | bool] = [False] * end + [float("nan")] * (len(text) - end)
    for first, behind in spans:
        found[first:behind] = [True] * (behind - first)
    return found


def _end(text: str, tokens: list[Token]) -> int:
    """How many characters are Python."""
    return len(text) if tokens and tokens[-1].kind == tokenize.ENDMARKER else tokens[-1].behind if tokens else 0


@functools.lru_cache(16)  # label after label asks for them, of the same few texts
def _tokens(text: str) -> list[Token]:
    """The tokens of a text, to the first place where it is no Python."""
    found = list[Token]()
    with _unheeded():
        try:
            for token in _told(text):
                if token.kind == tokenize.ERRORTOKEN and token.string.strip(" "):
                    break
                found.append(token)
        except (tokenize.TokenError, SyntaxError):
            pass  # what was told before it stands
    return found


def _told(text: str) -> Iterator[Token]:
    starts = [0, *itertools.accumulate(len(line) for line in io.StringIO(text, newline="\n"))]
    starts += [len(text)] * 2  # where the tokenizer adds the end of a line that the text lacks
    for token in tokenize.generate_tokens(io.StringIO(text, newline="\n").readline):
        first, behind = (min(starts[line - 1] + column, len(text)) for line, column in (token.start, token.end))
        yield Token(token.type, token.string, first, behind)
