"""From logits to tokens: decoding algorithms, which know no model."""

from seqmodels.decoding.autoregressive import Draws, Steps, draw, stream
from seqmodels.decoding.beam_search import Beam, Hypothesis, beam_search
from seqmodels.decoding.sampling import RowGenerators, Sampling
from seqmodels.decoding.stop_strings import VisibleText

__all__ = [
    "Beam",
    "RowGenerators",
    "Draws",
    "Hypothesis",
    "Sampling",
    "Steps",
    "VisibleText",
    "beam_search",
    "draw",
    "stream",
]
