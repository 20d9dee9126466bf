"""Networks and how each learns long-memory problems: published methods, gated cells, what came after them."""

from collections.abc import Callable
from typing import Any

from seqmodels.experiments.abilities import make_network
from seqmodels.nn import GRU, LSTM, RNN, Backbone


def two_layers(inputs: int, size: int, name: str) -> Backbone:
    """A network of `abilities.NETWORKS` with two layers of two heads; a linear layer makes its inputs."""
    return make_network(name, size, 2, 2)


TANH: dict[str, Any] = {"recurrent_init": "sparse"}
RELU: dict[str, Any] = {"nonlinearity": "relu"}
SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.03}
ADAM: dict[str, Any] = {"optimizer": "adam", "lr": 3e-4}

METHODS: dict[str, tuple[Callable[..., Backbone], dict[str, Any], float, dict[str, Any]]] = {
    "RNN SGD": (RNN, TANH, 0.1, SGD | {"clip": 0.0}),
    "RNN SGD clipping": (RNN, TANH, 0.1, SGD),
    "RNN SGD clipping Omega": (RNN, TANH, 0.1, SGD | {"omega": 4.0}),
    "RNN Adam clipping": (RNN, TANH, 0.1, ADAM),
    "RNN Adam clipping Omega": (RNN, TANH, 0.1, ADAM | {"omega": 2.0}),
    "tanh np-RNN Omega": (RNN, {"recurrent_init": "np-rnn"}, 0.1, ADAM | {"omega": 2.0}),
    "IRNN": (RNN, RELU | {"recurrent_init": "identity"}, 0.01, ADAM),
    "np-RNN": (RNN, RELU | {"recurrent_init": "np-rnn"}, 0.01, ADAM),
    "LSTM": (LSTM, {"forget_bias": 4.0}, 0.0, ADAM | {"lr": 3e-3}),
    "GRU": (GRU, {}, 0.0, ADAM | {"lr": 3e-3}),
    "MinGRU": (two_layers, {"name": "MinGRU"}, 0.0, ADAM | {"lr": 3e-3}),
    "SLSTM": (two_layers, {"name": "SLSTM"}, 0.0, ADAM | {"lr": 3e-3}),
    "Mamba2": (two_layers, {"name": "Mamba2"}, 0.0, ADAM | {"lr": 3e-3}),
    "GatedDeltaNet": (two_layers, {"name": "GatedDeltaNet negative"}, 0.0, ADAM | {"lr": 3e-3}),
}
"""Network, its arguments, standard deviation of the initial input weights, and arguments of training. The published
program of Omega squares the norms: its weight of 2 is about 8 here. The last four have two layers."""
