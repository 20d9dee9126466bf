"""Sentences of a small language and their translations: each word has one, and the order of words is reversed."""

import random
from pathlib import Path

WORDS = {"a": "un", "dog": "chien", "cat": "chat", "sees": "voit", "big": "grand", "bird": "oiseau", "and": "et"}


def write_pairs(folder: Path, train: int = 400, valid: int = 40, test: int = 30) -> Path:
    """Write `train.en`, `train.fr` and so on, with these numbers of sentences; returns the folder."""
    chance = random.Random(0)
    for split, count in {"train": train, "valid": valid, "test": test}.items():
        sources = [chance.choices(list(WORDS), k=chance.randint(1, 5)) for _ in range(count)]
        targets = [[WORDS[word] for word in reversed(words)] for words in sources]
        for language, sentences in (("en", sources), ("fr", targets)):
            (folder / f"{split}.{language}").write_text("".join(f"{' '.join(words)}\n" for words in sentences))
    return folder
