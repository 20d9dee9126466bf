"""Measures and plots the internals of models, during and after training, without changing them."""

from seqmodels.analysis.attention import AlignmentMap, alignment, draw_alignment
from seqmodels.analysis.callbacks import GradientHorizon, Spectra
from seqmodels.analysis.projection import draw_map, map_of
from seqmodels.analysis.sample_callbacks import Samples, Translations
from seqmodels.analysis.word_senses import Occurrence, Senses, compare_senses, contextual, draw_senses

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
