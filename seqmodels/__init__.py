"""Train, understand and use sequence models, from the vanilla RNN to GPT, on one contract."""

from typing import TYPE_CHECKING

from seqmodels.imports import VERSION, on_demand

if TYPE_CHECKING:  # read from this source when a name is first used: `seqmodels --help` must not wait for torch
    from seqmodels.analysis import GradientHorizon as GradientHorizon
    from seqmodels.analysis import Samples as Samples
    from seqmodels.analysis import Spectra as Spectra
    from seqmodels.analysis import Translations as Translations
    from seqmodels.batch import Batch as Batch
    from seqmodels.checkpoints.checkpoint_io import SafetensorsCheckpointIO as SafetensorsCheckpointIO
    from seqmodels.checkpoints.export import share as share
    from seqmodels.checkpoints.load import load as load
    from seqmodels.data import TextDataModule as TextDataModule
    from seqmodels.data import Tokenizer as Tokenizer
    from seqmodels.data import TranslationDataModule as TranslationDataModule
    from seqmodels.decoding import Beam as Beam
    from seqmodels.decoding import Draws as Draws
    from seqmodels.decoding import Sampling as Sampling
    from seqmodels.errors import DamagedError as DamagedError
    from seqmodels.errors import DivergedError as DivergedError
    from seqmodels.errors import InputError as InputError
    from seqmodels.interop.export import export as export
    from seqmodels.nn import *  # noqa: F403
    from seqmodels.tasks import LanguageModel as LanguageModel
    from seqmodels.tasks import Translator as Translator
    from seqmodels.tasks.fsdp import FSDPStrategy as FSDPStrategy
    from seqmodels.tasks.sizes import find_size as find_size
    from seqmodels.training.fit import fit as fit
    from seqmodels.training.nonfinite_steps import NonfiniteSteps as NonfiniteSteps
    from seqmodels.training.stop_on_signal import StopOnSignal as StopOnSignal
    from seqmodels.training.trackio_logger import TrackioLogger as TrackioLogger

__version__ = VERSION
__getattr__, __dir__ = on_demand(__name__, __file__)
