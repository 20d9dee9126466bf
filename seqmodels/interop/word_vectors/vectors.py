"""Word vectors: neighbours, analogies, and embeddings that begin with them."""

import difflib
import itertools
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.data import Tokenizer
from seqmodels.errors import InputError
from seqmodels.files import AnyPath
from seqmodels.interop.word_vectors.questions import Question, read_questions
from seqmodels.interop.word_vectors.subwords import Subwords
from seqmodels.interop.word_vectors.token_words import SENTENCE_END, numbered_words
from seqmodels.interop.word_vectors.vector_files import read_vectors
from seqmodels.tasks import LanguageModel, Translator

SPELLED = 50_000
"""Words, the most frequent, among which one is looked for that is spelled like one that is not there."""
AT_ONCE = 1 << 24
"""Scores that are computed at a time."""


class Neighbour(NamedTuple):
    """A word that lies near."""

    word: str
    score: float
    """Cosine; of an analogy, the sum of three, divided by the length of the vector that was searched for."""


class Accuracy(NamedTuple):
    """How many questions of a section were answered with the word that was expected."""

    correct: int
    asked: int
    left_out: int
    """Those with a word that has no vector."""

    @property
    def share(self) -> float:
        """Of those asked, 0 where there were none."""
        return self.correct / self.asked if self.asked else 0.0


class Filled(NamedTuple):
    """What became of the words of a vocabulary."""

    found: int
    """Those whose embedding is now their vector."""
    missing: list[str]
    """The others, whose embedding is as it was."""


class WordVectors:
    """Words and their vectors.

    Args:
        words: N distinct words; by custom, the most frequent first.
        matrix: their vectors, float32 (N, D); it is not copied.
        subwords: vectors of parts of words, from which those of other words are made.

    Raises:
        InputError: the two do not fit, a word is there twice, or a number is not finite.
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
        """Those of a file: word2vec, GloVe or fastText; see `vector_files.read_vectors` for formats and errors.

        Args:
            path: the file, also gzipped.
            limit: read no more than so many words, the first.
            words: read only these, such as `words_of(tokenizer)`.
            lowercase: of those, read what they are in lower case, too.
        """
        if words is not None and lowercase:
            words = {*words, *(word.lower() for word in words)}
        return cls(*read_vectors(path, limit, words))

    @classmethod
    def of(cls, task: LanguageModel | Translator, limit: int | None = None) -> "WordVectors":
        """Those that a model has learned for its tokens, as its embedding is now: a copy.

        Args:
            task: the model; of a translator, the tokens that it writes.
            limit: no more than so many, the first; a vocabulary of words begins with the most frequent.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit={limit} was given; expected at least 1")
        tokens = list(itertools.islice(numbered_words(task.tokenizer).items(), limit))
        matrix = task.embedding.weight.detach().float().cpu()[[number for _, number in tokens]]
        return cls([word for word, _ in tokens], matrix)

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
        """The vector of a word, (D,); of one that is not there, that of its parts, where the file had such.

        Raises:
            InputError: there is none.
        """
        if word in self._places:
            return self.matrix[self._places[word]]
        made = self.subwords.vector(word) if self.subwords is not None else None
        if made is None:
            raise InputError(f"the word {word!r} has no vector; {self._hint(word)}")
        return made

    def vectors(self, words: Iterable[str]) -> Tensor:
        """Those of several words, (N, D)."""
        return torch.stack([self.vector(word) for word in words])

    def _hint(self, word: str) -> str:
        cased = [form for form in (word.lower(), word.capitalize(), word.upper()) if form in self._places]
        near = cased or difflib.get_close_matches(word, self.words[:SPELLED], 3)
        return f"did you mean {' or '.join(near)}?" if near else f"choose one of the {len(self):,} words that have one"

    def neighbours(self, word: str | Tensor, k: int = 10) -> list[Neighbour]:
        """The words nearest to a word, or to a vector, by cosine, the nearest first.

        Args:
            word: a word, which is none of its own neighbours, or a vector (D,).
            k: how many.

        Raises:
            InputError: the word has no vector, or what was given is none.
        """
        if isinstance(word, str):
            return self._nearest(self.vector(word), [word], k)
        if word.shape != self.matrix.shape[1:]:
            raise InputError(f"a vector {tuple(word.shape)} was given; expected {tuple(self.matrix.shape[1:])}")
        return self._nearest(word, [], k)

    def analogy(self, a: str, b: str, c: str, k: int = 10) -> list[Neighbour]:
        """What is to `c` as `b` is to `a`: the words nearest to b - a + c, none of the three among them.

        All vectors are scaled to length 1 first. This is the method of Mikolov, Yih and Zweig (2013), which Levy and
        Goldberg (2014) call 3CosAdd.

        Args:
            a: such as "man".
            b: such as "king".
            c: such as "woman".
            k: how many.

        Raises:
            InputError: a word has no vector.
        """
        first, second, third = F.normalize(self.vectors((a, b, c)), dim=1)
        return self._nearest(second - first + third, [a, b, c], k)

    def _nearest(self, vector: Tensor, without: list[str], k: int) -> list[Neighbour]:
        if k < 1:
            raise InputError(f"k={k} was given; expected how many words to find, at least 1")
        scores = self._cosines(F.normalize(vector.to(self.matrix), dim=0)[:, None]).squeeze(1)
        places = [self._places[word] for word in without if word in self._places]
        scores[places] = -torch.inf
        found = scores.topk(min(k, len(self) - len(set(places))))
        return [Neighbour(self.words[place], score) for score, place in zip(*map(Tensor.tolist, found), strict=True)]

    def _cosines(self, columns: Tensor) -> Tensor:
        """Of all words with vectors of length 1 that are columns (D, M), (N, M)."""
        return self.matrix @ columns / self._norms.clamp(min=1e-12)[:, None]

    def evaluate(self, questions: AnyPath | list[Question], lowercase: bool = False) -> dict[str, Accuracy]:
        """Answer questions by analogy, as `analogy` does.

        Args:
            questions: a file in the format of questions-words.txt (Mikolov et al. 2013): `: section`, and then four
                words on each line; or what `read_questions` makes of one.
            lowercase: take the questions in lower case, for vectors that know no other.

        Returns:
            For each section its accuracy, and that of all as "total". Questions with a word that has no vector of its
            own are left out and counted.

        Raises:
            InputError: the file cannot be read, or has no questions.
        """
        found = questions if isinstance(questions, list) else read_questions(questions)
        if lowercase:
            found = [Question(one.section, *(word.lower() for word in one[1:])) for one in found]
        known = [one for one in found if all(word in self._places for word in one[1:])]
        right = self._answered(known)
        sections = {one.section: [0, 0, 0] for one in found}
        for one in found:
            sections[one.section][2] += 1
        for one, correct in zip(known, right, strict=True):
            sections[one.section][0] += correct
            sections[one.section][1] += 1
            sections[one.section][2] -= 1
        total = Accuracy(*(sum(column) for column in zip(*sections.values(), strict=True)))
        return {name: Accuracy(*counts) for name, counts in sections.items()} | {"total": total}

    def _answered(self, questions: list[Question]) -> list[bool]:
        right = list[bool]()
        together = max(1, AT_ONCE // len(self))
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
        """Fill an embedding with the vectors of its words; those of words that have none stay as they are.

        The end of a line takes the vector of `</s>`, as word2vec and fastText call it. Where the softmax layer has the
        same matrix (`tie_embeddings`), it begins with the vectors, too, and is frozen with them.

        Args:
            target: a model, or an embedding (V, D).
            tokenizer: what its rows stand for; a model has its own.
            freeze: train these weights no further, those of missing words neither. It is not kept in checkpoints:
                freeze again before a run is resumed.
            lowercase: a word that has no vector takes that of its lower case.
            rescale: multiply the vectors by one factor, so that their numbers are as large, in the mean square, as
                those that were there.

        Raises:
            InputError: the dimensions differ, no word was found, or there is no tokenizer, or one of other size.
        """
        embedding = target if isinstance(target, nn.Embedding) else target.embedding
        if not isinstance(target, nn.Embedding):
            tokenizer = tokenizer or target.tokenizer
        rows, dim = embedding.weight.shape
        if tokenizer is None or tokenizer.vocab_size != rows:
            size = "none" if tokenizer is None else f"one of {tokenizer.vocab_size:,} tokens"
            raise InputError(f"an embedding of {rows:,} rows needs the tokenizer that says what they are, got {size}")
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
