"""From logits to text; knows no model."""

from seqmodels.decoding.sampling import Sampling
from seqmodels.decoding.stream import Step, stream

__all__ = ["Sampling", "Step", "stream"]
