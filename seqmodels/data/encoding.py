"""Many texts to token ids: in parallel processes where that pays, with a bar where someone is watching."""

import contextlib
import multiprocessing
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from seqmodels.data.tokenizers import Tokenizer

LARGE = 1 << 25
"""Bytes of text from which on processes, and a bar, are worth their start."""

TOGETHER = 1 << 20
"""Characters that are encoded at a time, and sent to a process."""

T = TypeVar("T")

_tokenizer: Tokenizer
"""What a forked process encodes with."""


def width(tokenizer: Tokenizer) -> type[np.signedinteger]:
    """The smallest type that holds all ids of a vocabulary: int16 or int32."""
    return np.int16 if tokenizer.vocab_size <= 1 << 15 else np.int32


def grouped(rows: Iterable[T], characters: Callable[[T], int]) -> Iterator[list[T]]:
    """Rows in groups of about `TOGETHER` characters, so that many short ones are encoded at once."""
    group, together = list[T](), 0
    for row in rows:
        group.append(row)
        together += characters(row)
        if together >= TOGETHER:
            yield group
            group, together = [], 0
    if group:
        yield group


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[np.ndarray]:
    """Token ids of each text, (N,) int16 or int32."""
    return [np.array(ids, width(tokenizer)) for ids in tokenizer.encode_batch(texts)]


def encode_all(
    texts: Iterable[str], tokenizer: Tokenizer, size: int, processes: int | None = None
) -> Iterator[np.ndarray]:
    """Token ids of texts, one after the other and in their order; only a few groups of them are in memory.

    Args:
        texts: what to encode.
        tokenizer: what to encode with.
        size: bytes of all texts together.
        processes: how many to encode with; where not given, one for each core that this process may use, if the text is
            large and processes can be forked. In one process the library itself uses all cores, but lists of ids become
            arrays one after the other.

    Yields:
        (N,) int16 or int32 for each text.
    """
    if processes is None:
        processes = _cores() if size >= LARGE and sys.platform == "linux" else 1
    groups = grouped(texts, len)
    encoded = _in_processes(groups, tokenizer, processes) if processes > 1 else (encode(tokenizer, g) for g in groups)
    console = Console(file=sys.stdout)
    with contextlib.closing(encoded):
        for group in track(
            encoded,
            f"tokenizing {size / 1e6:,.0f} MB",
            total=-(-size // TOGETHER),
            console=console,
            transient=True,
            disable=size < LARGE or not console.is_terminal,
        ):
            yield from group


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _in_processes(
    groups: Iterable[list[str]], tokenizer: Tokenizer, processes: int
) -> Generator[list[np.ndarray], None, None]:
    """The groups encoded by forked processes, in their order; no more of them are under way than keep all busy.

    Forked, since a fresh interpreter would run the program of a user once more where it has no main guard, and would
    load torch for nothing.
    """
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(tokenizer,)) as pool:
        waiting: deque[Future[list[np.ndarray]]] = deque()
        with warnings.catch_warnings():
            # Of Python 3.12, for the locks of threads that a fork would copy; these processes only encode.
            warnings.filterwarnings("ignore", r".*is multi-threaded, use of fork\(\)", DeprecationWarning)
            waiting.append(pool.submit(_encode, []))
        waiting.popleft().result()
        try:
            for group in groups:
                waiting.append(pool.submit(_encode, group))
                if len(waiting) > 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(tokenizer: Tokenizer) -> None:
    """In a forked process: it has one thread, without those that the library had before the fork."""
    global _tokenizer
    _tokenizer = tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _encode(texts: list[str]) -> list[np.ndarray]:
    return encode(_tokenizer, texts)
