"""The words that the tokens of a vocabulary stand for."""

from seqmodels.batch import UNK
from seqmodels.data import Tokenizer

SENTENCE_END = "</s>"
"""What word2vec and fastText call the end of a line."""


def words_of(tokenizer: Tokenizer) -> list[str]:
    """What its tokens stand for, in their order, without padding, start and end; the end of a line as `</s>`, too."""
    found = list(numbered_words(tokenizer))
    return [*found, SENTENCE_END] if "\n" in found else found


def numbered_words(tokenizer: Tokenizer) -> dict[str, int]:
    """Texts of tokens, with the id of each; those that are no text by themselves are left out.

    Where every token brings the space before it along, as words do, it is left out.
    """
    written = tokenizer.token_bytes
    spaced = all(text.startswith(b" ") or text == b"\n" for text in written[UNK:] if text)
    found: dict[str, int] = {}
    for number, content in enumerate(written[UNK:], UNK):
        text = content.removeprefix(b" ") if spaced else content
        try:
            found.setdefault(text.decode(), number)
        except UnicodeDecodeError:
            continue
    found.pop("", None)
    return found
