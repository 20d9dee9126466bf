"""From logits to text; knows no model."""

from seqmodels.decoding.beam import Beam, Hypothesis, beam_search
from seqmodels.decoding.chance import Chance
from seqmodels.decoding.draws import Draws, draw
from seqmodels.decoding.sampling import Sampling
from seqmodels.decoding.stream import Steps, stream
from seqmodels.decoding.transcript import Transcript

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
