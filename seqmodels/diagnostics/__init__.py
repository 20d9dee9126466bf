"""Looking at a model while it learns; nothing here changes what it learns."""

from seqmodels.diagnostics.alignment import AlignmentMap, alignment, draw_alignment
from seqmodels.diagnostics.samples import Samples
from seqmodels.diagnostics.translations import Translations
from seqmodels.diagnostics.watched_horizon import GradientHorizon
from seqmodels.diagnostics.watched_spectra import Spectra

__all__ = ["AlignmentMap", "GradientHorizon", "Samples", "Spectra", "Translations", "alignment", "draw_alignment"]
