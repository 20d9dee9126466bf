"""Recurrent and attention layers in one residual stack."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from seqmodels.config import subclasses
from seqmodels.errors import InputError
from seqmodels.nn.attention import Span
from seqmodels.nn.block import Activation, Residual
from seqmodels.nn.mixer_stack import CellMixer, MixerStack
from seqmodels.nn.norms import Norm
from seqmodels.nn.recurrent import RecurrentStack
from seqmodels.nn.trace import Trace
from seqmodels.nn.transformer import Bias, ResidualStack
from seqmodels.state import State

ATTENTION = "attention"


def layer_networks() -> dict[str, type[RecurrentStack] | type[MixerStack]]:
    """The recurrent networks that can be a layer, by name: all stacks of one kind of cell.

    Stacks without residuals take an input size, a hidden size and a number of layers, those with them an input size,
    heads and layers.
    """
    fitting: list[type[RecurrentStack] | type[MixerStack]] = []
    for base, size in ((RecurrentStack, "hidden_size"), (MixerStack, "num_heads")):
        concrete = [cls for cls in subclasses(base) if not inspect.isabstract(cls)]
        sizes = {"input_size", size, "num_layers"}
        fitting += [cls for cls in concrete if sizes <= inspect.signature(cls).parameters.keys()]
    # Of one name, the network of this package: a file that names it means the same network everywhere.
    fitting.sort(key=lambda cls: cls.__module__.startswith("seqmodels."))
    return {cls.__name__: cls for cls in fitting}


class RecurrentMixer(nn.Module):
    """A recurrent layer in the place of a block's attention.

    Args:
        network: any recurrent network of one layer, with outputs of the size of its inputs.
        bias: whether the linear layer behind it has one.
    """

    attends = False

    def __init__(self, network: RecurrentStack, bias: bool) -> None:
        super().__init__()
        self.network = network
        self.out = nn.Linear(network.output_size, network.output_size, bias)

    def initial_state(self, rows: int) -> State:
        return self.network.initial_state(rows)

    def forward(self, x: Tensor, state: State, span: Span, trace: Trace | None = None) -> tuple[Tensor, State]:
        if trace is None:
            y, state = self.network(x, state, mask=span.mask)
        else:
            y, state, inside = self.network.traced(x, state, mask=span.mask)
            trace.take(inside, lambda name: name.removeprefix("1."))  # it has one layer
        return self.out(y), state


class Hybrid(ResidualStack):
    """Recurrent layers and attention in any order, in one residual stack.

    Griffin (De et al. 2024) mixes two recurrent layers with one of local attention: the state of the recurrent layers
    reaches far, attention copies exactly. Without any attention it is a deep recurrent network. Further arguments: see
    `ResidualStack`.

    Args:
        layers: names from the first layer to the last, separated by commas: attention, or a recurrent network such as
            GRU, MinGRU or GatedDeltaNet.
        layer_settings: arguments of layers of a kind by its name, such as `{"GatedDeltaNet": {"negative": True}}`; a
            recurrent layer has the heads and the eps of the whole if it takes such arguments and has no others here.
    """

    def __init__(
        self,
        input_size: int = 128,
        layers: str = "MinGRU,MinGRU,attention",
        num_heads: int = 4,
        num_kv_heads: int | None = None,
        context: int = 256,
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        memory_size: int | None = None,
        residual: Residual = "pre-norm",
        bias: Bias = "none",
        feed_forward_size: int | None = None,
        head_size: int | None = None,
        eps: float | None = None,
        qk_norm: bool = False,
        attention_scale: float | None = None,
        input_scale: float = 1.0,
        rotary_base: float = 10_000.0,
        rotary_share: float = 1.0,
        rotary_scaling: dict[str, float] | None = None,
        attention_gate: bool = False,
        layer_settings: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.layers = [name for name in re.split(r"[\s,]+", layers) if name]
        known = layer_networks()
        for name in self.layers:
            if name != ATTENTION and name not in known:
                names = ", ".join((ATTENTION, *known))
                raise InputError(f"Hybrid(layers={layers!r}) has a layer {name!r}; expected names of {names}")
        self.layer_settings = {} if layer_settings is None else layer_settings
        for name, settings in self.layer_settings.items():
            _check_settings(name, settings, self.layers, known)
        super().__init__(
            input_size, len(self.layers), num_heads, num_kv_heads, context, "rotary", norm, activation, dropout, True,
            memory_size, residual, bias, feed_forward_size, head_size, eps, qk_norm, attention_scale, None, input_scale,
            0, rotary_base, rotary_share, rotary_scaling, attention_gate=attention_gate,
        )  # fmt: skip

    def _mixer(self, number: int) -> nn.Module:
        if self.layers[number] == ATTENTION:
            return self._attention()
        name = self.layers[number]
        network, settings = layer_networks()[name], self.layer_settings.get(name, {})
        if issubclass(network, MixerStack):
            usual = {"num_heads": self.heads[0], "eps": self.eps}
            known = inspect.signature(network).parameters
            more = {key: value for key, value in (usual | settings).items() if key in known}
            return CellMixer(network(self.input_size, num_layers=1, **more).cells[0])
        return RecurrentMixer(network(self.input_size, self.input_size, 1, **settings), self._heads.out_bias)


OF_THE_WHOLE = {"input_size", "hidden_size", "num_layers", "norm", "activation", "dropout", "memory_size",
                "feed_forward_size", "value_residual", "channel_mixing", "norm_first", "value_rank"}  # fmt: skip
"""Arguments of networks that a layer has from the stack."""


def _check_settings(
    name: str, settings: Any, layers: list[str], known: Mapping[str, type[RecurrentStack] | type[MixerStack]]
) -> None:
    """Refuse settings of layers that are not there, and settings that they lack."""
    if name not in layers or name == ATTENTION:
        kinds = ", ".join(dict.fromkeys(one for one in layers if one != ATTENTION)) or "no recurrent layer"
        raise InputError(f"layer_settings has settings for {name!r}; expected names of recurrent layers, here {kinds}")
    own = [one for one in inspect.signature(known[name]).parameters if one not in OF_THE_WHOLE]
    if not isinstance(settings, dict) or (unknown := [one for one in settings if one not in own]):
        given = f"{unknown[0]!r}" if isinstance(settings, dict) else repr(settings)
        raise InputError(f"layer_settings has {given} for {name}; expected values for {', '.join(own)}")
