"""The token column: a split of a corpus as one long row of token ids, memory-mapped."""

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
from torch import Tensor

from seqmodels.batch import BOS, EOS, UNK
from seqmodels.data.tokenizers import Tokenizer

LAYOUT = 2
"""Changes when the same text and tokenizer make another column or other facts: nothing stale is found in the cache."""


@dataclass(frozen=True)
class TextFacts:
    """What a split holds: counts, and a hash of its text to tell whether two runs saw the same."""

    tokens: int
    characters: int
    bytes: int
    unknown: int
    documents: int
    sha256: str

    def bits_per_byte(self, nats: float) -> float:
        """Bits per byte of the text as it stands, from nats summed over all of its tokens.

        Exact for every tokenizer, also one that leaves out white space or has unknown tokens; `Tokenizer.sizes`, by
        which batches are measured, can only say what a token stands for.
        """
        return nats / math.log(2) / self.bytes


def token_column(
    rows: datasets.Dataset, tokenizer: Tokenizer, *, bos: bool = True, eos: bool = True
) -> tuple[Tensor, TextFacts]:
    """All documents one after the other, each between BOS and EOS, and BOS at the very start in any case.

    Tokenized once for a text and a tokenizer: the result lies in the cache of `datasets` as a flat file of 2 or
    4 bytes a token and is mapped into memory, not read.

    Args:
        rows: `text`, `starts` and `ends` as in `corpora.Corpus`.
        tokenizer: what to encode with.
        bos: begin each document with BOS.
        eos: end each with EOS.

    Returns:
        Token ids (N,), int16 or int32, and the facts about the text.
    """
    made_of = f"{LAYOUT} {bos} {eos} {rows._fingerprint} {tokenizer.json}"
    key = hashlib.sha256(made_of.encode()).hexdigest()[:24]
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "seqmodels"
    path, facts_path = folder / f"{key}.npy", folder / f"{key}.json"
    if not (path.exists() and facts_path.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        ids, facts = _tokenize(rows, tokenizer, bos, eos)
        _write(path, lambda file: np.save(file, ids))
        _write(facts_path, lambda file: file.write(json.dumps(asdict(facts)).encode()))
    # Copy-on-write, since torch warns about arrays that nobody may write to; nobody does.
    tokens = torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    return tokens, TextFacts(**json.loads(facts_path.read_text()))


def _tokenize(rows: datasets.Dataset, tokenizer: Tokenizer, bos: bool, eos: bool) -> tuple[np.ndarray, TextFacts]:
    dtype = np.int16 if tokenizer.vocab_size <= 1 << 15 else np.int32
    parts, digest = [np.array([BOS], dtype)], hashlib.sha256()
    characters = size = documents = 0
    for batch in rows.iter(256):
        for text, starts, ends, ids in zip(
            batch["text"], batch["starts"], batch["ends"], tokenizer.encode_batch(batch["text"]), strict=True
        ):
            content = text.encode()
            digest.update(content)
            characters, size = characters + len(text), size + len(content)
            documents += starts or len(parts) == 1
            opening = [BOS] if bos and starts and len(parts) > 1 else []
            parts.append(np.array([*opening, *ids, *([EOS] if eos and ends else [])], dtype))
    column = np.concatenate(parts)
    unknown = int((column == UNK).sum())
    return column, TextFacts(len(column) - 1, characters, size, unknown, documents, digest.hexdigest())


def _write(path: Path, write: object) -> None:
    """Write beside the target, then rename: other processes see the whole file or none."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        write(file)  # type: ignore[operator]
    beside.replace(path)
