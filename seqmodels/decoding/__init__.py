"""From logits to text; knows no model."""

from seqmodels.decoding.autoregressive import Draws, Steps, draw, stream
from seqmodels.decoding.beam_search import Beam, Hypothesis, beam_search
from seqmodels.decoding.rng import Chance
from seqmodels.decoding.sampling import Sampling
from seqmodels.decoding.stop_strings import Transcript

__all__ = [
    "Beam",
    "Chance",
    "Draws",
    "Hypothesis",
    "Sampling",
    "Steps",
    "Transcript",
    "beam_search",
    "draw",
    "stream",
]
