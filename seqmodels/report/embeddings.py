"""The section of the embeddings."""

from collections import Counter

from seqmodels.analysis.projection import draw_map, map_of
from seqmodels.data import TextDataModule
from seqmodels.errors import InputError
from seqmodels.interop.word_vectors.vectors import WordVectors
from seqmodels.report.attention import visible
from seqmodels.report.figures import inline
from seqmodels.report.section import Section, table
from seqmodels.report.subject import Subject
from seqmodels.tasks import LanguageModel, Translator

CHARACTERS, PAIRS = 60_000, 300
"""Held-out text by which the frequent tokens are found."""
KNOWN, MAPPED, ASKED, NEAR = 5_000, 100, 12, 6
"""Tokens without such text, tokens on the map, those whose neighbours are named, and how many of them."""
LEAD = (
    "Every token that the network reads is a vector that it has learned. The map shows those of the most frequent "
    "tokens in the plane in which they differ most (principal components); what is used alike comes to lie close "
    "together. Below, the nearest tokens by the cosine between vectors."
)


def embeddings(subject: Subject) -> Section:
    """A map of the learned vectors of frequent tokens, and their neighbours.

    Raises:
        InputError: there is no model, or it has too few tokens.
    """
    task = subject.task
    if not isinstance(task, LanguageModel | Translator):
        raise InputError(f"{type(task).__name__} has no embedding that is known here")
    learned = WordVectors.of(task)
    words = [word for word in _frequent(subject) if word in learned] or learned.words[:KNOWN]
    if len(words) < 3:
        raise InputError(f"{len(words)} tokens are too few for a map; expected 3 at least")
    vectors = WordVectors(words, learned.vectors(words))  # those of the text alone
    mapped = words[:MAPPED]
    label = f"Map of the vectors of {len(mapped)} frequent tokens by principal components"
    figure = draw_map(map_of(vectors.vectors(mapped)), [visible(word) for word in mapped], inches=(6.6, 5))
    told = [word for word in words if len(word) > 2 and word.isalpha()] or [word for word in words if word.isalnum()]
    rows = [
        [visible(word), ", ".join(f"{visible(near)} {score:.2f}" for near, score in vectors.neighbours(word, NEAR))]
        for word in (told or words)[:ASKED]
    ]
    return Section(
        "embeddings", "Embeddings", LEAD, inline(figure, label, "embeddings") + table(("token", "nearest"), rows)
    )


def _frequent(subject: Subject) -> list[str]:
    """Texts of the tokens of held-out text, the most frequent first; empty where there is no such text."""
    try:
        running = isinstance(subject.data, TextDataModule)
        text = subject.held_out(CHARACTERS) if running else "\n".join(target for _, target in subject.pairs(PAIRS))
    except InputError:
        return []
    tokenizer = subject.task.tokenizer
    counts = Counter(tokenizer.encode(text))
    found = []
    for token, _ in counts.most_common():
        piece = tokenizer.token_bytes[token].decode("utf-8", errors="ignore")
        found += [piece, piece.removeprefix(" ")]
    return list(dict.fromkeys(piece for piece in found if piece))
