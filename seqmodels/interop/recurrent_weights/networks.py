"""Networks of this package with the weights of given layers."""

from collections.abc import Sequence
from typing import Literal, cast

import torch

from seqmodels.errors import InputError
from seqmodels.interop.recurrent_weights.layouts import Layer
from seqmodels.nn import GRU, LSTM, RNN, Backbone, Bidirectional, FusedCell, RecurrentStack, Sequential


def network(
    layers: Sequence[Layer | tuple[Layer, Layer]], *, nonlinearity: Literal["tanh", "relu"] = "tanh"
) -> Backbone:
    """A network with the weights of these layers.

    Args:
        layers: from the first to the last, as `from_torch` returns them; a forward and a backward layer side by side
            are one bidirectional layer, whose two outputs the next one reads.
        nonlinearity: that of a vanilla RNN, which its weights do not say.

    Returns:
        An `RNN`, `LSTM` or `GRU`; with both directions a `Bidirectional` of it; and a `Sequential` of those where there
        are several bidirectional layers, several widths or several kinds.

    Raises:
        InputError: there is no layer, or the sizes of two of them do not fit.
    """
    if not layers:
        raise InputError("no layers were given; expected at least one")
    alike = {(layer.kind, layer.hidden_size) if isinstance(layer, Layer) else layer for layer in map(_key, layers)}
    if len(alike) == 1 and isinstance(layers[0], Layer):
        return _stack(cast(Sequence[Layer], layers), nonlinearity)
    parts = [_one(layer, nonlinearity) for layer in layers]
    return parts[0] if len(parts) == 1 else Sequential(parts)


def _key(layer: Layer | tuple[Layer, Layer]) -> object:
    return (layer.kind, layer.hidden_size) if isinstance(layer, Layer) else id(layer)


def _one(layer: Layer | tuple[Layer, Layer], nonlinearity: Literal["tanh", "relu"]) -> Backbone:
    """A network of one layer, or of one in each direction."""
    if isinstance(layer, Layer):
        return _stack([layer], nonlinearity)
    forwards, backwards = layer
    if (forwards.kind, forwards.hidden_size, forwards.input_size) != (
        backwards.kind,
        backwards.hidden_size,
        backwards.input_size,
    ):
        raise InputError("the two directions of a bidirectional layer differ in kind or size; expected the same")
    both = Bidirectional(_stack([forwards], nonlinearity))
    _fill(cast(RecurrentStack, both.directions[1]), [backwards])
    return both


def _stack(layers: Sequence[Layer], nonlinearity: Literal["tanh", "relu"]) -> RecurrentStack:
    first = layers[0]
    sizes = (first.input_size, first.hidden_size, len(layers))
    made: RecurrentStack
    if first.kind == "RNN":
        made = RNN(*sizes, nonlinearity=nonlinearity)
    else:
        made = (LSTM if first.kind == "LSTM" else GRU)(*sizes)
    _fill(made, layers)
    return made


@torch.no_grad()
def _fill(stack: RecurrentStack, layers: Sequence[Layer]) -> None:
    """Put the weights of layers into those of a stack."""
    for number, (cell, layer) in enumerate(zip(stack.cells, layers, strict=True), 1):
        kernel = cast(FusedCell, cell).kernel
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        for name, given in zip(names, layer[1:], strict=True):
            own = kernel.get_parameter(name)
            if own.shape != given.shape:
                raise InputError(
                    f"layer {number} takes {layer.input_size} inputs, and the one below it has {cell.input_size} "
                    "units; expected the layers of one network, from the first to the last"
                )
            own.copy_(given)
