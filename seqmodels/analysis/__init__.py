"""Measures and plots the internals of models, during and after training, without changing them."""

from typing import TYPE_CHECKING

from seqmodels.imports import on_demand

if TYPE_CHECKING:  # imported when a name is first used: who uses a tokenizer or a model waits for neither
    # `datasets` nor Lightning
    from seqmodels.analysis.attention import AlignmentMap as AlignmentMap
    from seqmodels.analysis.attention import alignment as alignment
    from seqmodels.analysis.attention import draw_alignment as draw_alignment
    from seqmodels.analysis.callbacks import GradientHorizon as GradientHorizon
    from seqmodels.analysis.callbacks import Spectra as Spectra
    from seqmodels.analysis.projection import draw_map as draw_map
    from seqmodels.analysis.projection import map_of as map_of
    from seqmodels.analysis.sample_callbacks import Samples as Samples
    from seqmodels.analysis.sample_callbacks import Translations as Translations
    from seqmodels.analysis.word_senses import Occurrence as Occurrence
    from seqmodels.analysis.word_senses import Senses as Senses
    from seqmodels.analysis.word_senses import compare_senses as compare_senses
    from seqmodels.analysis.word_senses import contextual as contextual
    from seqmodels.analysis.word_senses import draw_senses as draw_senses

__getattr__, __dir__ = on_demand(__name__, __file__)
