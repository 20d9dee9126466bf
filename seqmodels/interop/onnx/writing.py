"""Writes ONNX files: graphs of single steps and of windows, in single precision or with 8-bit weights."""

import contextlib
import inspect
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from seqmodels.batch import BOS
from seqmodels.errors import InputError, one_line
from seqmodels.interop.onnx.graphs import (
    DecoderGraph,
    EncoderGraph,
    EncoderStepGraph,
    FirstGraph,
    MemoryGraph,
    StepGraph,
    WindowGraph,
    example_states,
    flattened,
)
from seqmodels.interop.optional import optional
from seqmodels.nn import Attentive, Backbone, Bidirectional, Cell, Transformer
from seqmodels.nn.attention import SelfAttention
from seqmodels.state import State
from seqmodels.tasks.autoregressive_model import AutoregressiveModel
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel

STEP, WINDOW, ENCODER, DECODER = "step.onnx", "window.onnx", "encoder.onnx", "decoder.onnx"
START = "state.safetensors"
"""The state of one row before the first token, by the names of the inputs."""
STEPS, MEMORY, FIRST = ("encoder_step", "encoder_step_backward"), "memory.onnx", "first.onnx"
OF_STEPS = (
    "The encoder is recurrent, so in place of `encoder.onnx` there are `encoder_step.onnx`, which reads one token of "
    "each source (`real` is false at padding) from the state in `state.safetensors` on; `encoder_step_backward.onnx`, "
    "if it is there, which reads from the last to the first; and `memory.onnx`, which makes the memory of all outputs "
    "in the order of the text, those of the first beside those of the second."
)
"""What a folder with a recurrent encoder says."""
ROWS, CACHE, LENGTH, SOURCE = "rows", "cache", "length", "source"
"""Names of dimensions."""


def write_language_model(model: AutoregressiveModel, folder: Path, *, int8: bool = False) -> list[str]:
    """Write `step.onnx`, for Transformers `window.onnx`, and `state.safetensors` into a folder.

    Args:
        model: on the CPU, in single precision.
        folder: there already.
        int8: weights of matrix products in 8 bits.

    Returns:
        What these files cannot hold, a sentence each.

    Raises:
        InputError: a library is not installed, or the network cannot be written as a graph.
    """
    model = model.eval()
    before, after = example_states(model)
    inputs, outputs, axes = step_inputs(model, before, after)
    told = write_graph(folder / STEP, StepGraph(model, after), inputs, outputs, axes, int8=int8)
    if isinstance(model.backbone, Transformer):
        inputs["ids"] = inputs["ids"][:, None].repeat(1, 3)
        window, axes[0] = WindowGraph(model, after), {0: ROWS, 1: LENGTH}
        told = write_graph(folder / WINDOW, window, inputs, outputs, axes, int8=int8)
    names = list(inputs)[1:]
    starts = flattened(before)
    save_file({name: start[:1].clone() for name, start in zip(names, starts, strict=True)}, folder / START)
    return told


def step_inputs(
    model: AutoregressiveModel, before: State, after: State
) -> tuple[dict[str, Tensor], list[str], list[dict[int, str]]]:
    """Inputs of `StepGraph` by name, names of its outputs, and the dimensions of each input that vary.

    Arguments are the model and what `example_states` gives of it.
    """
    starts, state = flattened(before), flattened(after)
    ids = torch.full((len(state[0]),), model.tokenizer.vocab_size - 1)
    inputs = {"ids": ids} | {f"state_{number}": tensor for number, tensor in enumerate(state)}
    axes = [_axes(first, then) for first, then in zip(starts, state, strict=True)]
    return inputs, ["logits", *(f"next_{name}" for name in list(inputs)[1:])], [{0: ROWS}, *axes]


def write_translator(model: EncoderDecoderModel, folder: Path, *, int8: bool = False) -> list[str]:
    """Write `encoder.onnx` and `decoder.onnx`, a step of the decoder, into a folder; see `write_language_model`."""
    model = model.eval()
    if any(isinstance(part, Cell) for part in model.encoder.modules()):
        return _write_recurrent(model, folder, int8=int8)
    source, mask = _example(model)
    with torch.no_grad():
        names = [f"memory_{number}" for number in range(len(flattened(model.encode(source, mask))))]
    told = write_graph(
        folder / ENCODER, EncoderGraph(model), {"source": source, "mask": mask}, names,
        [{0: ROWS, 1: SOURCE}, {0: ROWS, 1: SOURCE}], int8=int8,
    )  # fmt: skip
    write_decoder(model, folder / DECODER, int8=int8)
    _write_first(model, folder / FIRST, int8=int8)
    return told


def _write_recurrent(model: EncoderDecoderModel, folder: Path, *, int8: bool) -> list[str]:
    """The same for an encoder of recurrent layers, of which exporters write steps only."""
    encoder = model.encoder
    ways = dict(zip(STEPS, encoder.directions if isinstance(encoder, Bidirectional) else [encoder], strict=False))
    if not all(_is_recurrent(network) for network in ways.values()) or model.reverse:
        raise InputError(
            "the encoder of this translator has attention beside recurrent layers, or layers that read from the end, "
            "and exporters write no whole source of any length through recurrent layers; translate with this package, "
            "whose --engine onnx runs the decoder"
        )
    source, mask = _example(model)
    copies = isinstance(model.decoder, Attentive) and model.decoder.bridge == "copy"
    told, starts = list[str](), dict[str, Tensor]()
    for name, network in ways.items():
        before: State = network.initial_state(len(source))  # type: ignore[operator]
        states = {f"state_{number}": one for number, one in enumerate(flattened(before))}
        starts |= {f"{name}.{number}": one[:1].clone() for number, one in states.items()}
        told = write_graph(
            folder / f"{name}.onnx", EncoderStepGraph(model, network, before),
            {"ids": source[:, 0], "real": mask[:, 4]} | states, ["output", *(f"next_{one}" for one in states)],
            [{0: ROWS}] * (2 + len(states)), int8=int8,
        )  # fmt: skip
    with torch.no_grad():
        outputs, last = encoder(model.source_embedding(source), mask=mask)
        last = last if copies else ()
        ends = {f"state_{number}": one for number, one in enumerate(flattened(last))}
        names = [f"memory_{number}" for number in range(len(flattened(model.encode(source, mask))))]
    write_graph(
        folder / MEMORY, MemoryGraph(model, last), {"outputs": outputs, "mask": mask} | ends, names,
        [{0: ROWS, 1: SOURCE}] * 2 + [{0: ROWS}] * len(ends),
    )  # fmt: skip
    save_file(starts, folder / START)
    write_decoder(model, folder / DECODER, int8=int8)
    _write_first(model, folder / FIRST, int8=int8)
    return [*told, OF_STEPS]


def _is_recurrent(network: Backbone) -> bool:
    """Whether it reads step by step, with a state of one size."""
    attends = any(isinstance(part, SelfAttention) for part in network.modules())
    return network.causal and hasattr(network, "initial_state") and not attends


def _write_first(model: EncoderDecoderModel, path: Path, *, int8: bool) -> None:
    """Write the first step of the decoder, before which there is no state."""
    source, mask = _example(model)
    with torch.no_grad():
        memory = model.encode(source, mask)
        shorter = flattened(model.encode(source[:, :4], mask[:, :4]))
        ids = torch.full((3,), BOS)
        _, state = model.step(ids, None, memory)
    memories = {f"memory_{number}": tensor for number, tensor in enumerate(flattened(memory))}
    axes = [_axes(one, other, SOURCE) for one, other in zip(shorter, memories.values(), strict=True)]
    names = [f"next_state_{number}" for number in range(len(flattened(state)))]
    graph = FirstGraph(model, memory, state)
    write_graph(path, graph, {"ids": ids} | memories, ["logits", *names], [{0: ROWS}, *axes], int8=int8)


def _example(model: EncoderDecoderModel) -> tuple[Tensor, Tensor]:
    """Sources of three rows, and their mask."""
    source = torch.full((3, 5), model.source_tokenizer.vocab_size - 1)
    return source, torch.arange(5) < torch.tensor([5, 4, 3])[:, None]


def write_decoder(model: EncoderDecoderModel, path: Path, *, int8: bool = False) -> None:
    """Write a step of the decoder, from the state after at least one; errors as of `write_graph`."""
    model = model.eval()
    source, mask = _example(model)
    with torch.no_grad():
        memory = model.encode(source, mask)
        ids = torch.full((3,), model.tokenizer.vocab_size - 1)
        _, first = model.step(ids, None, memory)
        _, state = model.step(ids, first, memory)
        shorter = flattened(model.encode(source[:, :4], mask[:, :4]))
    remembered, states = flattened(memory), flattened(state)
    memories = {f"memory_{number}": tensor for number, tensor in enumerate(remembered)}
    of_memory = [_axes(one, other, SOURCE) for one, other in zip(shorter, remembered, strict=True)]
    names = [f"state_{number}" for number in range(len(states))]
    of_state = [_axes(one, other) for one, other in zip(flattened(first), states, strict=True)]
    write_graph(
        path, DecoderGraph(model, memory, state),
        {"ids": ids} | memories | dict(zip(names, states, strict=True)),
        ["logits", *(f"next_{name}" for name in names)],
        [{0: ROWS}, *of_memory, *of_state], int8=int8,
    )  # fmt: skip


def _axes(first: Tensor, then: Tensor, name: str = CACHE) -> dict[int, str]:
    """The dimensions that vary, and their names: rows, and those in which two examples differ."""
    return {0: ROWS} | {axis: name for axis in range(1, then.ndim) if first.shape[axis] != then.shape[axis]}


def write_graph(
    path: Path, module: nn.Module, inputs: dict[str, Tensor], outputs: Sequence[str],
    axes: Sequence[dict[int, str]], *, int8: bool = False,
) -> list[str]:  # fmt: skip
    """Write a module of tensors as an ONNX file, which is checked against it on the given inputs.

    Args:
        path: of the file.
        module: takes tensors and returns a tuple of them.
        inputs: examples, by the names of the inputs.
        outputs: names of the outputs.
        axes: for each input, its dimensions of any size, by number, and their names.
        int8: weights of matrix products in 8 bits.

    Returns:
        What 8 bits did not cover; nothing without.

    Raises:
        InputError: a library is missing, or the exporter cannot write this module.
    """
    optional("onnxscript", "onnx", "an ONNX file")
    examples = tuple(inputs.values())
    dynamic: list[Any] = [dict.fromkeys(each, torch.export.Dim.DYNAMIC) for each in axes]
    named = inspect.signature(module.forward).parameters.values()
    before = sum(one.kind != one.VAR_POSITIONAL for one in named)
    rest = [tuple(dynamic[before:])] if before < min(len(named), len(examples)) else []
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(), examples, dynamo=True, verbose=False, input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=(*dynamic[:before], *rest),
            )  # fmt: skip
    except Exception as error:  # of many kinds, from deep inside
        why = one_line(str(error.__cause__ or error))
        raise InputError(f"this network cannot be written as an ONNX graph: {why:.300}") from error
    assert program is not None
    _name_axes(program.model.graph, axes)
    if not int8:
        with _quiet():
            program.save(str(path))
        return []
    with _quiet(), tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        whole = Path(temporary, "whole.onnx")
        program.save(str(whole))
        return to_int8(whole, path)


def _name_axes(graph: Any, axes: Sequence[dict[int, str]]) -> None:
    """Give the sizes of inputs and outputs that vary their names."""
    names: dict[str, str] = {}
    for given, named in zip(graph.inputs, axes, strict=True):
        for axis, name in named.items():
            names.setdefault(str(given.shape[axis]), name)
    for value in (*graph.inputs, *graph.outputs):
        for axis, size in enumerate(value.shape):
            if not isinstance(size, int):
                text = str(size)
                for old, new in names.items():
                    text = text.replace(old, new)
                value.shape[axis] = text.replace(" ", "")


def to_int8(source: Path, target: Path) -> list[str]:
    """Write an ONNX file anew, with the weights of its matrix products in 8 bits and their inputs rounded dynamically.

    Returns:
        What stays in single precision.

    Raises:
        InputError: onnxruntime is missing, or there is no product to round.
    """
    onnx = optional("onnx", "onnx", "an ONNX file")
    quantization = optional("onnxruntime.quantization", "onnx", "an ONNX file in 8 bits")
    shape_inference = optional("onnxruntime.quantization.shape_inference", "onnx", "an ONNX file in 8 bits")
    prepared = source.with_name("prepared.onnx")
    with _quiet():
        shape_inference.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        whole = onnx.load(str(prepared))
        weights = {one.name for one in whole.graph.initializer}
        for value in [one for one in whole.graph.value_info if one.name in weights]:
            whole.graph.value_info.remove(value)  # the quantizer transposes some, and would not find them so
        quantization.quantize_dynamic(
            whole, str(target), op_types_to_quantize=["MatMul"], per_channel=True,
            weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip
    nodes = onnx.load(str(target), load_external_data=False).graph.node
    rounded = sum(node.op_type in ("MatMulInteger", "DynamicQuantizeMatMul") for node in nodes)
    if not rounded:
        raise InputError("no product of this network has weights that 8 bits could hold; leave out int8")
    return ["Embeddings, norms, attention and products of two activations stay in single precision; results differ "
            "slightly from those of the model."]  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' warnings about themselves."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.__trace", "onnxscript", "onnx_ir", "root")]
    levels = [one.level for one in loggers]
    try:
        for one in loggers:
            one.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            for library in ("torch", "onnx", "onnxscript", "onnx_ir", "onnxruntime", "copyreg"):
                warnings.filterwarnings("ignore", module=rf"{library}(\.|$)")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
