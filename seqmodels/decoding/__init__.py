"""From logits to text; knows no model."""

from seqmodels.decoding.beam import Beam, Hypothesis, beam_search
from seqmodels.decoding.chance import Chance
from seqmodels.decoding.sampling import Sampling
from seqmodels.decoding.stream import Step, stream
from seqmodels.decoding.transcript import Transcript

__all__ = ["Beam", "Chance", "Hypothesis", "Sampling", "Step", "Transcript", "beam_search", "stream"]
