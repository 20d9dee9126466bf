"""Questions of word analogies, as in questions-words.txt, and the accuracy of the answers."""

from typing import NamedTuple

from seqmodels.errors import InputError
from seqmodels.files import AnyPath, local, read_small


class Question(NamedTuple):
    """`a` is to `b` as `c` is to `d`."""

    section: str
    a: str
    b: str
    c: str
    d: str


class Accuracy(NamedTuple):
    """Counts of the questions of a section."""

    correct: int
    asked: int
    left_out: int
    """Those with a word that has no vector."""

    @property
    def fraction(self) -> float:
        """Correct answers as a fraction of the questions asked, 0 if there were none."""
        return self.correct / self.asked if self.asked else 0.0


def read_questions(path: AnyPath) -> list[Question]:
    """Read questions from a file: a line `: section`, and then four words on each line.

    Raises:
        InputError: it cannot be read, a line does not have four words, or there is no question.
    """
    path = local(path)
    section, found = "questions", list[Question]()
    for number, line in enumerate(read_small(path).removeprefix("\ufeff").splitlines(), 1):
        words = line.split()
        if line.startswith(":"):
            section = line[1:].strip()
        elif len(words) == 4:
            found.append(Question(section, *words))
        elif words:
            raise InputError(f"line {number} of {str(path)!r} has {len(words)} words; expected four, or a ': section'")
    if not found:
        raise InputError(f"{str(path)!r} has no questions; expected ': section' and four words on each line")
    return found
