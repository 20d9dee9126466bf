"""Long sentences: chains of captions, and networks that translate them with and without attention or positions."""

import random
from pathlib import Path
from typing import Any

from seqmodels.data import TranslationDataModule
from seqmodels.files import write_text
from seqmodels.nn import GRU, Transformer
from seqmodels.tasks import LanguageModel, Translator

ALL: dict[str, Any] = {"dropout": 0.2, "optimizer": "muon", "weight_decay": 0.05}
SMOOTH: dict[str, Any] = {"label_smoothing": 0.1}
"""Of translators; a language model has none."""
ATTENTION: dict[str, dict[str, Any]] = {
    "last state, source reversed": {"attention": "none", "bidirectional": False, "reverse": True},
    "mean of the states": {"attention": "mean"},
    "general attention": {"attention": "general"},
    "Transformer": {},
}
"""Translators that learn chains of all lengths."""
POSITIONS: list[Any] = ["rotary", "learned", "sinusoidal", "relative", "none"]
"""Positions of language models that learn short chains."""
CHAIN = range(1, 6)
"""Captions of a chain."""
VALIDATED = 200
"""Captions that validate, all of whose chains are translated at the end of a training."""


def write_chains(data: str, folder: Path, counts: range) -> Path:
    """Write chains of captions as files, the same each time: of so many captions to learn from, of all to test.

    Every caption is once in a chain of each length, but for those left over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = TranslationDataModule(data, "en", "fr", tokenizer="char")
    tested = "test" if "test" in pairs.splits else "validation"
    for split, file, captions in (("train", "train", counts), ("validation", "val", counts), (tested, "test", CHAIN)):
        rows = [(row["source"].strip(), row["target"].strip()) for row in pairs.corpus.rows(split)]
        rows = rows[:VALIDATED] if file == "val" else rows
        rng, sides = random.Random(0), (list[str](), list[str]())
        for count in captions:
            rng.shuffle(rows)
            for first in range(0, len(rows) - count + 1, count):
                for side, texts in zip(sides, zip(*rows[first : first + count], strict=True), strict=True):
                    side.append(" ".join(texts))
        for language, side in zip(("en", "fr"), sides, strict=True):
            write_text(folder / f"{file}.{language}", "\n".join(side) + "\n")  # two processes may share a folder
    return folder


def translator(name: str, pairs: TranslationDataModule) -> Translator:
    """A network of the story of attention."""
    if name == "Transformer":
        shape: dict[str, Any] = {"input_size": 256, "num_layers": 2, "dropout": 0.1}
        encoder: Any = Transformer(**shape, causal=False)
        return Translator(encoder, Transformer(**shape, memory_size=256), pairs.tokenizer, **ALL, **SMOOTH)
    both = ATTENTION[name].get("bidirectional", True)
    return Translator(
        GRU(256, 128 if both else 256), GRU(256, 256), pairs.tokenizer, **ATTENTION[name], **ALL, **SMOOTH
    )


def language_model(positions: Any, pairs: TranslationDataModule) -> LanguageModel:
    """A network of the story of positions."""
    backbone = Transformer(256, num_layers=4, num_heads=4, context=512, positions=positions, dropout=0.1)
    return LanguageModel(backbone, pairs.tokenizer, tie_embeddings=True, **ALL)
