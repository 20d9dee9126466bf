"""Writes a language model as `model.py`, which needs torch alone, with its weights and settings beside it."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.interop.plain_torch import templates
from seqmodels.nn import GRU, LSTM, RNN, MinGRU, MinLSTM, RecurrentStack, Transformer
from seqmodels.nn.positions import Rotary
from seqmodels.tasks import LanguageModel

RECURRENT = (RNN, LSTM, GRU, MinGRU, MinLSTM)


def write(model: LanguageModel, folder: Path) -> None:
    """Write `model.py`, `config.json` and `model.safetensors` into a folder that is there already.

    Raises:
        InputError: there is no such form of this network.
    """
    network = model.backbone
    if type(model.head) is not nn.Linear:
        raise InputError("there is no plain form of a softmax layer with a logit_cap; export it to onnx")
    if isinstance(network, Transformer) and not network.position.are_of_pairs and network.plain:
        name, settings, weights = "transformer", _transformer(network), _stacked(model)
    elif type(network) in RECURRENT:
        assert isinstance(network, RecurrentStack)
        name, settings, weights = "recurrent", _recurrent(network), _layers(model, network)
    else:
        names = ", ".join([*(cls.__name__ for cls in RECURRENT), "Transformer"])
        raise InputError(
            f"there is no plain form of {type(network).__name__}, or of its settings; those of {names} are there. "
            "Export it to onnx"
        )
    settings["vocab_size"] = model.tokenizer.vocab_size
    source = Path(templates.__path__[0], f"{name}.py").read_text(encoding="utf-8")
    (folder / "model.py").write_text(source, encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"model": settings}, indent=2) + "\n", encoding="utf-8")
    save_file(
        {key: tensor.detach().clone().contiguous() for key, tensor in weights.items()}, folder / "model.safetensors"
    )


def argument(network: Any, name: str) -> Any:
    """What a network was made with."""
    return network.constructor_call["init_args"].get(name, inspect.signature(type(network)).parameters[name].default)


def _transformer(network: Transformer) -> dict[str, Any]:
    block: Any = network.blocks[0]
    mixer, feed_forward = block.mixer, block.feed_forward
    return {
        "size": network.input_size, "layers": len(network.blocks), "heads": network.heads[0],
        "kv_heads": network.heads[1], "head_size": network.head_size, "scale": mixer.scale,
        "qkv_bias": mixer.project.bias is not None, "out_bias": mixer.out.bias is not None,
        "feed_forward_bias": feed_forward.up.bias is not None, "width": feed_forward.out.in_features,
        "qk_norm": mixer.norm_query is not None, "context": network.context, "window": network.window,
        "input_scale": network.input_scale, "offset": argument(network, "position_offset"),
        "rotary_size": network.position.size if isinstance(network.position, Rotary) else 0,
        **{name: argument(network, name) for name in SAME},
    }  # fmt: skip


SAME = ("positions", "norm", "activation", "residual", "eps", "rotary_base", "rotary_scaling")
"""Arguments of the same name."""


def _stacked(model: LanguageModel) -> dict[str, Tensor]:
    return {name.removeprefix("backbone."): tensor for name, tensor in _weights(model).items()}


def _recurrent(network: RecurrentStack) -> dict[str, Any]:
    found = {
        "kind": type(network).__name__, "input_size": network.input_size, "hidden_size": network.output_size,
        "num_layers": len(network.layers),
    }  # fmt: skip
    return found | ({"nonlinearity": network.nonlinearity} if isinstance(network, RNN) else {})


def _layers(model: LanguageModel, network: RecurrentStack) -> dict[str, Tensor]:
    """Weights under the names of torch's own layers."""
    found = {"start": network.start.view(len(network.layers), -1, network.output_size)}
    for name, tensor in _weights(model).items():
        parts = name.split(".")
        if parts[0] != "backbone":
            found[name] = tensor
        elif "kernel" in parts:  # backbone.layers.1.kernel.weight_ih_l0
            found[f"rnn.{parts[-1].removesuffix('0')}{parts[2]}"] = tensor
        elif parts[1] == "layers":
            found[name.removeprefix("backbone.")] = tensor
    return found


def _weights(model: LanguageModel) -> Mapping[str, Tensor]:
    """The weights of the model, without what only training needs."""
    used = ("embedding.", "head.", "backbone.")
    with torch.no_grad():
        return {name: tensor for name, tensor in model.state_dict().items() if name.startswith(used)}
