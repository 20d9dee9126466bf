"""Word vectors: neighbours, analogies, and initial embeddings of models."""

import contextlib
import difflib
import gzip
import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.batch import UNK
from seqmodels.data import Tokenizer
from seqmodels.errors import InputError
from seqmodels.files import AnyPath, atomic_writer, local
from seqmodels.interop.word_vectors.analogies import Accuracy, Question, read_questions
from seqmodels.interop.word_vectors.subwords import Subwords
from seqmodels.interop.word_vectors.vector_files import read_vectors
from seqmodels.tasks import LanguageModel, Translator

SENTENCE_END = "</s>"
"""The end of a line in word2vec and fastText."""
SUGGESTED_FROM = 50_000
"""Number of most frequent words among which similar spellings of an unknown word are suggested."""
SCORES_AT_ONCE = 1 << 24
"""Scores that are computed at a time."""


class Neighbour(NamedTuple):
    """A similar word."""

    word: str
    score: float
    """Cosine similarity to the word, or to b - a + c of an analogy."""


class Filled(NamedTuple):
    """The words of a vocabulary, after its embedding was filled."""

    found: int
    """Number of words whose embedding is now their vector."""
    missing: list[str]
    """Words without a vector, whose embedding is unchanged."""


class WordVectors:
    """Words and their vectors.

    Args:
        words: N distinct words, by custom the most frequent first.
        matrix: their vectors, float32 (N, D); not copied.
        subwords: vectors of character n-grams, for words that have no vector.

    Raises:
        InputError: words and matrix do not fit, a word is given twice, or a number is not finite.
    """

    def __init__(self, words: Sequence[str], matrix: Tensor, subwords: Subwords | None = None) -> None:
        self.words, self.matrix, self.subwords = list(words), matrix, subwords
        self._places = {word: place for place, word in enumerate(self.words)}
        if matrix.ndim != 2 or len(self.words) != len(matrix) or 0 in matrix.shape:
            raise InputError(
                f"{len(self.words):,} words and a matrix {tuple(matrix.shape)} were given; expected a row for each word"
            )
        if len(self._places) < len(self.words):
            raise InputError(f"{len(self.words) - len(self._places):,} words are there twice; expected each once")
        if not bool(self._norms.isfinite().all()):
            word = self.words[int(self._norms.isfinite().logical_not().nonzero()[0])]
            raise InputError(f"the vector of {word!r} has a number that is not finite; leave this word out")

    @classmethod
    def read(
        cls, path: AnyPath, limit: int | None = None, words: Collection[str] | None = None, lowercase: bool = False
    ) -> "WordVectors":
        """Read a file of word2vec, GloVe or fastText; see `vector_files.read_vectors` for formats and errors.

        Args:
            path: the file, plain or gzipped.
            limit: most words to read, the first of the file.
            words: read only these, such as `words_of(tokenizer)`.
            lowercase: read their lower-case forms, too.
        """
        if words is not None and lowercase:
            words = {*words, *(word.lower() for word in words)}
        return cls(*read_vectors(path, limit, words))

    @classmethod
    def of(cls, task: LanguageModel | Translator, limit: int | None = None) -> "WordVectors":
        """A copy of a model's embedding, of a translator's target, of all or the first tokens.

        A word vocabulary begins with the most frequent words.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit={limit} was given; expected at least 1")
        if not task.learns:
            raise InputError(f"{task.name} counts tokens, and has no embedding that was learned")
        tokens = list(itertools.islice(numbered_words(task.tokenizer).items(), limit))
        matrix = task.embedding.weight.detach().float().cpu()[[number for _, number in tokens]]
        return cls([word for word, _ in tokens], matrix)

    def write(self, path: AnyPath) -> None:
        """Write a file of word2vec as text, gzipped if its name ends in .gz, that `read` reads to the bit.

        The end of a line, a token of models, is written as `</s>`.

        Raises:
            InputError: a word has a line end in it, or is no valid Unicode, or the file cannot be written.
        """
        path, words = local(path), [SENTENCE_END if word == "\n" else word for word in self.words]
        odd = [word for word in words if "\n" in word or re.search("[\ud800-\udfff]", word)]
        odd += [SENTENCE_END] if words.count(SENTENCE_END) > 1 else []
        if odd:
            raise InputError(f"the word {odd[0]!r} cannot be written on a line of its own; leave it out")
        try:
            with atomic_writer(path) as file:
                packed = path.suffix == ".gz"
                with gzip.GzipFile("", "wb", fileobj=file, mtime=0) if packed else contextlib.nullcontext(file) as to:
                    to.write(f"{len(self)} {self.matrix.shape[1]}\n".encode())
                    for word, row in zip(words, self.matrix.float().cpu().numpy(), strict=True):
                        to.write(f"{word} {' '.join(map(str, row))}\n".encode())
        except OSError as error:
            raise InputError(f"cannot write {str(path)!r}: {error.strerror or error}") from error

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._places

    @cached_property
    def _norms(self) -> Tensor:
        """Length of each vector, (N,)."""
        norms: Tensor = torch.linalg.vector_norm(self.matrix, dim=1)
        return norms

    def vector(self, word: str) -> Tensor:
        """The vector of a word, (D,), or the mean of its n-grams if it has none and there are subwords.

        Raises:
            InputError: it has neither.
        """
        if word in self._places:
            return self.matrix[self._places[word]]
        made = self.subwords.vector(word) if self.subwords is not None else None
        if made is None:
            raise InputError(f"the word {word!r} has no vector; {self._hint(word)}")
        return made

    def vectors(self, words: Iterable[str]) -> Tensor:
        """Vectors of several words, (N, D)."""
        return torch.stack([self.vector(word) for word in words])

    def _hint(self, word: str) -> str:
        cased = [form for form in (word.lower(), word.capitalize(), word.upper()) if form in self._places]
        near = cased or difflib.get_close_matches(word, self.words[:SUGGESTED_FROM], 3)
        return f"did you mean {' or '.join(near)}?" if near else f"choose one of the {len(self):,} words that have one"

    def neighbours(self, word: str | Tensor, k: int = 10) -> list[Neighbour]:
        """The k words nearest to a word, without itself, or to a vector (D,) by cosine, the nearest first.

        Raises:
            InputError: the word has no vector, or the vector another shape.
        """
        if isinstance(word, str):
            return self._nearest(self.vector(word), [word], k)
        if word.shape != self.matrix.shape[1:]:
            raise InputError(f"a vector {tuple(word.shape)} was given; expected {tuple(self.matrix.shape[1:])}")
        return self._nearest(word, [], k)

    def analogy(self, a: str, b: str, c: str, k: int = 10) -> list[Neighbour]:
        """The k words that are to `c` as `b` is to `a`, such as "woman", "king" and "man": the nearest to b - a + c.

        All vectors are scaled to length 1 first (Mikolov, Yih and Zweig 2013; 3CosAdd in Levy and Goldberg 2014). The
        three themselves are no answers.

        Raises:
            InputError: a word has no vector.
        """
        first, second, third = F.normalize(self.vectors((a, b, c)), dim=1)
        return self._nearest(second - first + third, [a, b, c], k)

    def _nearest(self, vector: Tensor, without: list[str], k: int) -> list[Neighbour]:
        if k < 1:
            raise InputError(f"k={k} was given; expected a number of words, at least 1")
        scores = self._cosines(F.normalize(vector.to(self.matrix), dim=0)[:, None]).squeeze(1)
        places = [self._places[word] for word in without if word in self._places]
        scores[places] = -torch.inf
        found = scores.topk(min(k, len(self) - len(set(places))))
        return [Neighbour(self.words[place], score) for score, place in zip(*map(Tensor.tolist, found), strict=True)]

    def _cosines(self, columns: Tensor) -> Tensor:
        """Cosines of all words with unit vectors, the columns of (D, M): (N, M)."""
        return self.matrix @ columns / self._norms.clamp(min=1e-12)[:, None]

    def evaluate(self, questions: AnyPath | list[Question], lowercase: bool = False) -> dict[str, Accuracy]:
        """The accuracy of `analogy` by section, and that of all as "total".

        Questions with a word that has no vector of its own are left out and counted.

        Args:
            questions: a file in the format of questions-words.txt (Mikolov et al. 2013), or its questions.
            lowercase: convert the questions to lower case, for vectors without capitals.

        Raises:
            InputError: the file cannot be read, or has no questions.
        """
        found = questions if isinstance(questions, list) else read_questions(questions)
        if lowercase:
            found = [Question(one.section, *(word.lower() for word in one[1:])) for one in found]
        known = [all(word in self._places for word in one[1:]) for one in found]
        right = iter(self._answered(list(itertools.compress(found, known))))
        sections = {one.section: [0, 0, 0] for one in found}
        for one, asked in zip(found, known, strict=True):
            counts = (next(right), 1, 0) if asked else (0, 0, 1)
            sections[one.section] = [a + b for a, b in zip(sections[one.section], counts, strict=True)]
        total = Accuracy(*(sum(column) for column in zip(*sections.values(), strict=True)))
        return {name: Accuracy(*counts) for name, counts in sections.items()} | {"total": total}

    def _answered(self, questions: list[Question]) -> list[bool]:
        right = list[bool]()
        together = max(1, SCORES_AT_ONCE // len(self))
        for first in range(0, len(questions), together):
            places = torch.tensor([[self._places[w] for w in one[1:]] for one in questions[first : first + together]])
            a, b, c = (F.normalize(self.matrix[column], dim=1) for column in places[:, :3].unbind(1))
            scores = self._cosines((b - a + c).T).scatter(0, places[:, :3].T, -torch.inf)
            right += (scores.argmax(0) == places[:, 3]).tolist()
        return right

    def into(
        self,
        target: LanguageModel | Translator | nn.Embedding,
        tokenizer: Tokenizer | None = None,
        freeze: bool = False,
        lowercase: bool = False,
        rescale: bool = False,
    ) -> Filled:
        """Fill an embedding with the vectors of its words; rows of words without a vector stay unchanged.

        The end of a line takes the vector of `</s>`. If the softmax layer has the same matrix (`tie_embeddings`), it is
        filled, and frozen, too.

        Args:
            target: a model, or an embedding (V, D).
            tokenizer: the tokenizer of the embedding; a model has its own.
            freeze: do not train the embedding, missing words included. Checkpoints do not keep this: freeze again
                before a run is resumed.
            lowercase: a word without a vector takes that of its lower-case form.
            rescale: scale the vectors to the mean square of the embedding's numbers.

        Raises:
            InputError: the dimensions differ, no word was found, or the tokenizer is missing or of another size.
        """
        embedding = target if isinstance(target, nn.Embedding) else target.embedding
        if not isinstance(target, nn.Embedding):
            tokenizer = tokenizer or target.tokenizer
        rows, dim = embedding.weight.shape
        if tokenizer is None or tokenizer.vocab_size != rows:
            size = "none" if tokenizer is None else f"one of {tokenizer.vocab_size:,} tokens"
            raise InputError(f"an embedding of {rows:,} rows needs its tokenizer, got {size}")
        if dim != self.matrix.shape[1]:
            raise InputError(
                f"the vectors have {self.matrix.shape[1]} numbers and the embedding has {dim}; give a network with "
                f"input_size={self.matrix.shape[1]}"
            )
        found, places, missing = list[int](), list[int](), list[str]()
        for word, number in numbered_words(tokenizer).items():
            forms = [SENTENCE_END if word == "\n" else word, *([word.lower()] if lowercase else [])]
            if (place := next((self._places[form] for form in forms if form in self._places), None)) is None:
                missing.append(word)
            else:
                found.append(number)
                places.append(place)
        if not found:
            raise InputError("none of the tokens has a vector; vectors of words are for a tokenizer of words")
        with torch.no_grad():
            vectors = self.matrix[places]
            if rescale and not vectors.any():
                raise InputError("the vectors of all words that were found are zero, which no scale changes")
            if rescale:
                vectors = vectors * (embedding.weight.square().mean() / vectors.square().mean()).sqrt().cpu()
            embedding.weight[found] = vectors.to(embedding.weight)
        embedding.weight.requires_grad_(not freeze)
        return Filled(len(found), missing)


def words_of(tokenizer: Tokenizer) -> list[str]:
    """The words of a vocabulary in the order of their ids, without special tokens; the end of a line as `</s>`, too."""
    found = list(numbered_words(tokenizer))
    return [*found, SENTENCE_END] if "\n" in found else found


def numbered_words(tokenizer: Tokenizer) -> dict[str, int]:
    """Ids by the text of each token of valid UTF-8, without the space before it if every token has one, as words do."""
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
