"""The token column: a split of a corpus as one long row of token ids, tokenized in parallel and memory-mapped."""

import contextlib
import hashlib
import json
import math
import multiprocessing
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import datasets
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from seqmodels.batch import BOS, EOS, UNK
from seqmodels.data.cache import cache_folder, once
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.files import bare
from seqmodels.imports import cores

PARALLEL_BYTES = 1 << 25
"""Bytes of text from which on several processes and a progress bar are used."""

GROUP_CHARACTERS = 1 << 20
"""Characters that are encoded at a time, and sent to a process."""

COLUMN_VERSION = 5
"""Increased when the same text and tokenizer make another column or other facts, so that no stale one is found."""

T = TypeVar("T")

_tokenizer: Tokenizer
"""The tokenizer of a forked process."""


def width(tokenizer: Tokenizer) -> type[np.signedinteger]:
    """The smallest type for all ids of a vocabulary: int16 or int32."""
    return np.int16 if tokenizer.vocab_size <= 1 << 15 else np.int32


def grouped(rows: Iterable[T], characters: Callable[[T], int]) -> Iterator[list[T]]:
    """Rows in groups of about `GROUP_CHARACTERS`, so that many short ones are encoded at once."""
    group, together = list[T](), 0
    for row in rows:
        group.append(row)
        together += characters(row)
        if together >= GROUP_CHARACTERS:
            yield group
            group, together = [], 0
    if group:
        yield group


def encode(tokenizer: Tokenizer, texts: list[str]) -> list[np.ndarray]:
    """Token ids of each text, (N,) int16 or int32."""
    return [np.array(ids, width(tokenizer)) for ids in tokenizer.encode_batch(texts)]


def framed(ids: np.ndarray, opens: bool, closes: bool) -> np.ndarray:
    """Token ids with BOS before them, and EOS behind."""
    return np.concatenate([[BOS] * opens, ids, [EOS] * closes], dtype=ids.dtype, casting="unsafe")


def encode_all(
    texts: Iterable[str], tokenizer: Tokenizer, size: int, processes: int | None = None
) -> Iterator[np.ndarray]:
    """Token ids of texts in their order, (N,) int16 or int32 each; only a few groups of them are in memory.

    Args:
        texts: the texts.
        tokenizer: the tokenizer.
        size: bytes of all texts together.
        processes: number of processes; default: one for each core that this process may use, if the text is large and
            processes can be forked. In one process the library itself uses all cores, but lists of ids become arrays
            one after the other.
    """
    if processes is None:
        processes = cores() if size >= PARALLEL_BYTES and sys.platform == "linux" else 1
    groups = grouped(texts, len)
    encoded = _in_processes(groups, tokenizer, processes) if processes > 1 else (encode(tokenizer, g) for g in groups)
    console, total = Console(file=bare(sys.stdout)), -(-size // GROUP_CHARACTERS)
    hidden = size < PARALLEL_BYTES or not console.is_terminal
    with contextlib.closing(encoded):
        told = f"tokenizing {size / 1e6:,.0f} MB"
        for group in track(encoded, told, total=total, console=console, transient=True, disable=hidden):
            yield from group


def _in_processes(groups: Iterable[list[str]], tokenizer: Tokenizer, processes: int) -> Generator[list[np.ndarray]]:
    """The groups encoded by forked processes, in their order; just enough of them are under way to keep all busy.

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
    """Initialize a forked process, which lacks the threads that the library had before the fork."""
    global _tokenizer
    _tokenizer = tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _encode(texts: list[str]) -> list[np.ndarray]:
    return encode(_tokenizer, texts)


@dataclass(frozen=True)
class TextFacts:
    """Counts of a split, and a hash of its text, which tells whether two runs saw the same.

    Where there are several documents, it is of the places where they begin, too.
    """

    tokens: int
    characters: int
    bytes: int
    unknown: int
    documents: int
    sha256: str

    def bits_per_byte(self, nats: float) -> float:
        """Bits per byte of the text, from nats summed over all of its tokens.

        Exact for every tokenizer, even with lost white space or unknown tokens; `Tokenizer.sizes`, by which batches
        are measured, only knows the text of the tokens.
        """
        return nats / math.log(2) / self.bytes


def tokenize_column(
    rows: datasets.Dataset, tokenizer: Tokenizer, *, bos: bool = True, eos: bool = True
) -> tuple[Tensor, TextFacts]:
    """All documents one after the other, each between BOS and EOS, and BOS at the very start in any case.

    A text is tokenized once by a tokenizer, wherever its files are and however many processes ask for it: the column is
    a file of 2 or 4 bytes a token in the cache of `datasets`, memory-mapped.

    Args:
        rows: `text`, `starts` and `ends` as in `corpora.Corpus`.
        tokenizer: the tokenizer.
        bos: begin each document with BOS.
        eos: end each with EOS.

    Returns:
        Token ids (N,), int16 or int32, and the facts about the text.
    """
    folder = cache_folder()
    text = once(folder / f"{_key(rows._fingerprint)}.text.json", lambda _: _read(rows))
    name = _key(bos, eos, text, tokenizer.json)
    facts = once(folder / f"{name}.json", lambda path: _tokenize(path, rows, text["bytes"], tokenizer, bos, eos))
    dtype = torch.int16 if width(tokenizer) is np.int16 else torch.int32
    ids = torch.from_file(str(folder / f"{name}.ids"), shared=False, size=facts["tokens"] + 1, dtype=dtype)
    return ids, TextFacts(**facts, **{name: text[name] for name in ("characters", "bytes", "documents", "sha256")})


def _key(*made_of: object) -> str:
    return hashlib.sha256(json.dumps([COLUMN_VERSION, *made_of]).encode()).hexdigest()[:24]


def _each(rows: datasets.Dataset) -> Iterator[tuple[str, bool, bool]]:
    """The text of each row, whether a document starts with it, and whether one ends."""
    for batch in rows.iter(64):
        yield from zip(batch["text"], batch["starts"], batch["ends"], strict=True)


def _read(rows: datasets.Dataset) -> dict[str, Any]:
    """Facts of a text that do not depend on the tokenizer, and a hash of the cuts between rows and documents."""
    digest, cuts, beginnings = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    characters = size = documents = 0
    for number, (text, starts, ends) in enumerate(_each(rows)):
        content = text.encode()
        digest.update(content)
        cuts.update(f"{len(content)} {starts} {ends}\n".encode())
        if starts or number == 0:
            documents += 1
            beginnings.update(f"{size}\n".encode())
        characters, size = characters + len(text), size + len(content)
    facts = {"characters": characters, "bytes": size, "documents": documents, "sha256": digest.hexdigest()}
    if documents > 1:
        facts["sha256"] = hashlib.sha256(f"{digest.hexdigest()} {beginnings.hexdigest()}".encode()).hexdigest()
    return {**facts, "cuts": cuts.hexdigest()}


def _tokenize(
    record: Path, rows: datasets.Dataset, size: int, tokenizer: Tokenizer, bos: bool, eos: bool
) -> dict[str, Any]:
    """Write the column to a file beside its record, piece by piece; returns the counts of tokens."""
    beside = record.with_suffix(".ids.part")
    tokens = unknown = 0
    with beside.open("wb") as file:
        begin, end = (np.array([special], width(tokenizer)).tobytes() for special in (BOS, EOS))
        encoded = encode_all((text for text, _, _ in _each(rows)), tokenizer, size)
        for number, (ids, (_, starts, ends)) in enumerate(zip(encoded, _each(rows), strict=True)):
            opens, closes = number == 0 or (bos and starts), eos and ends
            file.write(begin * opens + ids.tobytes() + end * closes)
            tokens, unknown = tokens + len(ids) + opens + closes, unknown + int(np.count_nonzero(ids == UNK))
    beside.replace(record.with_suffix(".ids"))
    return {"tokens": tokens - 1, "unknown": unknown}
