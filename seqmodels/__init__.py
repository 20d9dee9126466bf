"""Train, understand and use sequence models, from the vanilla RNN to GPT, on one contract."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from seqmodels.imports import quick_imports

if TYPE_CHECKING:
    from seqmodels.checkpoints.export import share
    from seqmodels.checkpoints.load import load
    from seqmodels.data import TextDataModule, Tokenizer, TranslationDataModule
    from seqmodels.decoding import Beam, Draws, Sampling
    from seqmodels.errors import DamagedError, InputError
    from seqmodels.nn import (
        GRU,
        LSTM,
        RNN,
        Attentive,
        Backbone,
        Bidirectional,
        Hybrid,
        MinGRU,
        MinLSTM,
        MultiplicativeLSTM,
        MultiplicativeRNN,
        Transformer,
    )
    from seqmodels.tasks import LanguageModel, Translator
    from seqmodels.training.fit import fit

# Read when first asked for: `seqmodels --help` must not wait for torch.
_HOMES = {
    "seqmodels.nn": (
        "GRU",
        "Hybrid",
        "LSTM",
        "MinGRU",
        "MinLSTM",
        "MultiplicativeLSTM",
        "MultiplicativeRNN",
        "RNN",
        "Attentive",
        "Backbone",
        "Bidirectional",
        "Transformer",
    ),
    "seqmodels.data": ("TextDataModule", "Tokenizer", "TranslationDataModule"),
    "seqmodels.tasks": ("LanguageModel", "Translator"),
    "seqmodels.decoding": ("Beam", "Draws", "Sampling"),
    "seqmodels.training.fit": ("fit",),
    "seqmodels.checkpoints.load": ("load",),
    "seqmodels.checkpoints.export": ("share",),
    "seqmodels.errors": ("DamagedError", "InputError"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    # Networks
    "Attentive",
    "Backbone",
    "Bidirectional",
    "GRU",
    "Hybrid",
    "LSTM",
    "MinGRU",
    "MinLSTM",
    "MultiplicativeLSTM",
    "MultiplicativeRNN",
    "RNN",
    "Transformer",
    # Text
    "TextDataModule",
    "Tokenizer",
    "TranslationDataModule",
    # Learning and writing
    "Beam",
    "Draws",
    "LanguageModel",
    "Sampling",
    "Translator",
    "fit",
    "load",
    "share",
    # What went wrong
    "DamagedError",
    "InputError",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        with quick_imports():
            return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'seqmodels' has no attribute {name!r}")
