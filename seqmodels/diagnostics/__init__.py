"""Looking at a model while it learns; nothing here changes what it learns."""

from seqmodels.diagnostics.alignment import AlignmentMap, alignment, draw_alignment
from seqmodels.diagnostics.samples import Samples
from seqmodels.diagnostics.translations import Translations

__all__ = ["AlignmentMap", "Samples", "Translations", "alignment", "draw_alignment"]
