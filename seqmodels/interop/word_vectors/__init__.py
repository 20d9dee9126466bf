"""Word vectors of word2vec, GloVe, fastText, and of trained models."""

from seqmodels.interop.word_vectors.analogies import Accuracy
from seqmodels.interop.word_vectors.subwords import Subwords
from seqmodels.interop.word_vectors.vectors import Filled, Neighbour, WordVectors, words_of

__all__ = ["Accuracy", "Filled", "Neighbour", "Subwords", "WordVectors", "words_of"]
