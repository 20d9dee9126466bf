"""Sentences of a small language and their translations."""

import random
from pathlib import Path

WORDS = {"a": "un", "dog": "chien", "cat": "chat", "sees": "voit", "big": "grand", "bird": "oiseau", "and": "et"}


def write_pairs(folder: Path) -> Path:
    """Files of a language in which every word has one translation, and adjectives come last."""
    chance = random.Random(0)
    for split, count in (("train", 400), ("valid", 40), ("test", 30)):
        sides: tuple[list[str], list[str]] = ([], [])
        for _ in range(count):
            words = chance.choices(list(WORDS), k=chance.randint(1, 5))
            sides[0].append(" ".join(words))
            sides[1].append(" ".join(WORDS[word] for word in reversed(words)))
        for language, lines in zip(("en", "fr"), sides, strict=True):
            (folder / f"{split}.{language}").write_text("".join(line + "\n" for line in lines))
    return folder
