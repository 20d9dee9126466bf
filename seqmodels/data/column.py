"""The token column: a split of a corpus as one long row of token ids, memory-mapped."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
from torch import Tensor

from seqmodels.batch import BOS, EOS, UNK
from seqmodels.data.tokenizers import Tokenizer


@dataclass(frozen=True)
class TextFacts:
    """What a split holds: counts, and a hash of its text to tell whether two runs saw the same."""

    tokens: int
    characters: int
    bytes: int
    unknown: int
    sha256: str


def token_column(rows: datasets.Dataset, tokenizer: Tokenizer) -> tuple[Tensor, TextFacts]:
    """All documents one after the other, each between BOS and EOS, and BOS at the very start.

    Tokenized once for a text and a tokenizer: the result lies in the cache of `datasets` as a flat file of 2 or
    4 bytes a token and is mapped into memory, not read.

    Args:
        rows: `text`, `starts` and `ends` as in `corpora.Corpus`.
        tokenizer: what to encode with.

    Returns:
        Token ids (N,), int16 or int32, and the facts about the text.
    """
    key = hashlib.sha256(f"{rows._fingerprint} {tokenizer.json}".encode()).hexdigest()[:24]
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "seqmodels"
    path, facts_path = folder / f"{key}.npy", folder / f"{key}.json"
    if not (path.exists() and facts_path.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        ids, facts = _tokenize(rows, tokenizer)
        _write(path, lambda file: np.save(file, ids))
        _write(facts_path, lambda file: file.write(json.dumps(asdict(facts)).encode()))
    # Copy-on-write, since torch warns about arrays that nobody may write to; nobody does.
    return torch.from_numpy(np.load(path, mmap_mode="c")), TextFacts(**json.loads(facts_path.read_text()))


def _tokenize(rows: datasets.Dataset, tokenizer: Tokenizer) -> tuple[np.ndarray, TextFacts]:
    dtype = np.int16 if tokenizer.vocab_size <= 1 << 15 else np.int32
    parts, digest, characters, size = [np.array([BOS], dtype)], hashlib.sha256(), 0, 0
    for batch in rows.iter(256):
        for text, starts, ends, ids in zip(
            batch["text"], batch["starts"], batch["ends"], tokenizer.encode_batch(batch["text"]), strict=True
        ):
            content = text.encode()
            digest.update(content)
            characters, size = characters + len(text), size + len(content)
            opening = [BOS] if starts and len(parts) > 1 else []
            parts.append(np.array([*opening, *ids, *([EOS] if ends else [])], dtype))
    column = np.concatenate(parts)
    unknown = int((column == UNK).sum())
    return column, TextFacts(len(column) - 1, characters, size, unknown, digest.hexdigest())


def _write(path: Path, write: object) -> None:
    """Write beside the target, then rename: other processes see the whole file or none."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        write(file)  # type: ignore[operator]
    beside.replace(path)
