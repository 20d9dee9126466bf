"""PPMd as a rival of language models: bits per byte of a text after it has read the training text."""

import hashlib
import importlib.util
from typing import Any

from seqmodels.data import TextDataModule
from seqmodels.data.cache import cache_folder, once
from seqmodels.data.stream_corpus import StreamedCorpus

ORDERS = (6, 16)
"""Orders that are tried; the better one counts."""
MOST = 1 << 26
"""Bytes of training text and text together above which nothing is measured."""
MEMORY = (1 << 24, 1 << 30)
"""Least and most bytes of memory that PPMd takes; it takes 32 for a byte of text between them."""


def ppmd_bits_per_byte(trained_on: object, data: object, split: str) -> dict[str, float]:
    """The figure as `ppmd_bits_per_byte`; nothing for other data than text, without pyppmd, or for a large text.

    PPMd (Shkarin 2002), variant H, predicts bytes by the longest of its contexts and goes on learning as it reads, so
    that its fair rival is dynamic evaluation. Training text and text are read as they are, document after document.

    Args:
        trained_on: data whose training text is read before.
        data: the text.
        split: of the text, which is measured.
    """
    if not (isinstance(data, TextDataModule) and isinstance(trained_on, TextDataModule)):
        return {}
    if data.scored_targets != "all" or any(isinstance(one.corpus, StreamedCorpus) for one in (trained_on, data)):
        return {}
    train, held_out = trained_on.facts("train"), data.facts(split)
    if importlib.util.find_spec("pyppmd") is None or not held_out.bytes or train.bytes + held_out.bytes > MOST:
        return {}
    key = hashlib.sha256(f"ppmd {ORDERS} {MEMORY} {train.sha256} {held_out.sha256}".encode()).hexdigest()[:24]
    bits = once(cache_folder() / f"{key}.json", lambda _: _measured(trained_on, data, split))["bits"]
    return {"ppmd_bits_per_byte": bits / held_out.bytes}


def _measured(trained_on: TextDataModule, data: TextDataModule, split: str) -> dict[str, Any]:
    before, text = _bytes(trained_on, "train"), _bytes(data, split)
    return {"bits": min(bits_after(before, text, order) for order in ORDERS)}


def _bytes(data: TextDataModule, split: str) -> bytes:
    return b"".join(text.encode() for batch in data.corpus.rows(split).iter(64) for text in batch["text"])


def bits_after(before: bytes, text: bytes, order: int) -> int:
    """Bits that PPMd writes for a text after it has read another."""
    import pyppmd

    size = min(MEMORY[1], max(MEMORY[0], 32 * (len(before) + len(text))))
    encoder = pyppmd.Ppmd7Encoder(order, size)
    encoder.encode(before)
    return 8 * (len(encoder.encode(text)) + len(encoder.flush()))
