"""Looking at a model while it learns; nothing here changes what it learns."""

from seqmodels.diagnostics.alignment import AlignmentMap, alignment, draw_alignment
from seqmodels.diagnostics.contextual import Occurrence, Senses, compare_senses, contextual, draw_senses
from seqmodels.diagnostics.samples import Samples
from seqmodels.diagnostics.translations import Translations
from seqmodels.diagnostics.vector_map import draw_map, map_of
from seqmodels.diagnostics.watched_horizon import GradientHorizon
from seqmodels.diagnostics.watched_spectra import Spectra

__all__ = [
    "AlignmentMap",
    "GradientHorizon",
    "Occurrence",
    "Samples",
    "Senses",
    "Spectra",
    "Translations",
    "alignment",
    "compare_senses",
    "contextual",
    "draw_alignment",
    "draw_map",
    "draw_senses",
    "map_of",
]
