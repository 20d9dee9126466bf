"""Text that comes in lines: prompts from a file, and streams that are read a part at a time."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from seqmodels.errors import InputError
from seqmodels.files import parse_json


def read_lines(path: str) -> list[str]:
    """The lines of a file, without what ends them.

    Raises:
        InputError: there is no such file, it is empty, or it is not UTF-8.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"there is no file {path!r}; expected one with a prompt on each line")
    with file.open("rb") as stream:
        lines = [line for part in parts(stream, repr(path)) for line in part]
    if not lines:
        raise InputError(f"the file {path!r} is empty; expected a prompt on each line")
    return lines


def parts(stream: Iterable[bytes], name: str, size: int = 256) -> Iterator[list[str]]:
    r"""Lines of a stream, so many at a time; it is read no further than that.

    Only `\n` and `\r\n` end a line, so that as many lines come out as other programs count.

    Args:
        stream: lines of bytes, such as a file opened as binary.
        name: what to call it where something is wrong.
        size: most lines of a part.

    Raises:
        InputError: a line is not UTF-8.
    """
    numbered = enumerate(stream, 1)
    while part := list(itertools.islice(numbered, size)):
        lines = []
        for number, line in part:
            try:
                lines.append(line.removesuffix(b"\n").removesuffix(b"\r").decode())
            except UnicodeDecodeError as error:
                raise InputError(f"line {number} of {name} is not UTF-8 ({error.reason}); convert it first") from None
        yield lines


def parsed_bias(text: str | None) -> dict[str, float]:
    """A logit bias from the command line: a JSON object of tokens and numbers.

    Raises:
        InputError: it is something else.
    """
    try:
        bias = parse_json(text or "{}", "--logit-bias")
    except InputError:
        bias = None
    if not isinstance(bias, dict) or any(type(number) not in (int, float) for number in bias.values()):
        raise InputError(
            f"--logit-bias was given {text!r}; expected JSON with tokens and numbers, as '{{\"e\": -100}}'"
        )
    return bias
