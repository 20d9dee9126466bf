"""Recurrent networks of other programs: their weights in torch's, Keras's and TensorFlow's layouts."""

from seqmodels.interop.recurrent_weights.layouts import Layer, from_keras, from_tensorflow, from_torch, keras_layer
from seqmodels.interop.recurrent_weights.models import language_model, translator
from seqmodels.interop.recurrent_weights.networks import network
from seqmodels.interop.recurrent_weights.vocabulary import Vocabulary
from seqmodels.interop.recurrent_weights.weight_files import read_weights

__all__ = [
    "Layer",
    "Vocabulary",
    "from_keras",
    "from_tensorflow",
    "from_torch",
    "keras_layer",
    "language_model",
    "network",
    "read_weights",
    "translator",
]
