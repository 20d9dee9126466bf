"""What other programs have made: word vectors."""

from seqmodels.interop.word_vectors.subwords import Subwords
from seqmodels.interop.word_vectors.token_words import words_of
from seqmodels.interop.word_vectors.vectors import Accuracy, Filled, Neighbour, WordVectors

__all__ = ["Accuracy", "Filled", "Neighbour", "Subwords", "WordVectors", "words_of"]
