"""From logits to text; knows no model."""

from seqmodels.decoding.chance import Chance
from seqmodels.decoding.sampling import Sampling
from seqmodels.decoding.stream import Step, stream
from seqmodels.decoding.transcript import Transcript

__all__ = ["Chance", "Sampling", "Step", "Transcript", "stream"]
