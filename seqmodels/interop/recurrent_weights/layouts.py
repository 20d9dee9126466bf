"""The weights of one recurrent layer, from the layouts of other programs to torch's.

Torch stacks the matrices of gates and candidates as rows, (gates * H, D) and (gates * H, H): i, f, g, o of an LSTM and
r, z, n of a GRU. Keras stacks them as columns: i, f, c, o and z, r, h. TensorFlow's older cells, and ELMo with them,
have i, j, f, o, and a constant is added to the forget gate.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from seqmodels.errors import InputError

GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}
"""Networks by the number of matrices that are stacked in one."""


class Layer(NamedTuple):
    """The weights of one layer and direction, as torch has them."""

    kind: str
    """RNN, GRU or LSTM."""
    inputs: Tensor
    """(gates * H, D)."""
    recurrent: Tensor
    """(gates * H, H)."""
    input_bias: Tensor
    """(gates * H,)."""
    recurrent_bias: Tensor
    """(gates * H,)."""

    @property
    def input_size(self) -> int:
        """Features D of the inputs."""
        return self.inputs.shape[1]

    @property
    def hidden_size(self) -> int:
        """Hidden units H."""
        return self.recurrent.shape[1]


def _layer(inputs: Tensor, recurrent: Tensor, input_bias: Tensor | None, recurrent_bias: Tensor | None) -> Layer:
    """A layer in torch's layout, its kind by the shapes; a missing bias is zero."""
    rows = len(recurrent)
    gates = rows // max(1, recurrent.shape[-1])
    biases = [torch.zeros(rows, dtype=inputs.dtype) if b is None else b for b in (input_bias, recurrent_bias)]
    whole = inputs.ndim == recurrent.ndim == 2 and gates in GATES and rows == gates * recurrent.shape[1]
    if not whole or len(inputs) != rows or any(bias.shape != (rows,) for bias in biases):
        shapes = ", ".join(str(tuple(one.shape)) for one in (inputs, recurrent, *biases))
        raise InputError(
            f"the weights of a layer are {shapes}; expected (gates * H, D), (gates * H, H) and biases (gates * H,), "
            "with 1 gate for a vanilla RNN, 3 for a GRU and 4 for an LSTM"
        )
    return Layer(GATES[gates], inputs, recurrent, *biases)


def from_torch(tensors: Mapping[str, Tensor], prefix: str = "") -> list[Layer | tuple[Layer, Layer]]:
    """The layers of torch's `nn.RNN`, `nn.LSTM` or `nn.GRU`, or of its cells, from a state dict.

    Args:
        tensors: tensors by name.
        prefix: what the names begin with, such as `rnn.`.

    Returns:
        Each layer from the first to the last, or the forward and the backward one of a bidirectional layer.

    Raises:
        InputError: there are no such tensors, one is missing, or there are projections (`proj_size`).
    """
    names = [name.removeprefix(prefix) for name in tensors if name.startswith(prefix)]
    pattern = re.compile(r"(?:weight|bias)_(?:ih|hh|hr)(?:_l(\d+)(_reverse)?)?")
    matches = {name: match for name in names if (match := pattern.fullmatch(name))}
    if not matches:
        raise InputError(f"no tensor has the name {prefix}weight_ih_l0; the names are {', '.join(tensors):.200}")
    if projected := [name for name in matches if "_hr" in name]:
        raise InputError(f"{prefix}{projected[0]} is a projection of the hidden state (proj_size), which no layer has")

    def one(suffix: str) -> Layer:
        parts = [tensors.get(f"{prefix}{kind}{suffix}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        for kind, part in zip(("weight_ih", "weight_hh"), parts, strict=False):
            if part is None:
                raise InputError(f"{prefix}{kind}{suffix} is missing")
        return _layer(*parts)  # type: ignore[arg-type]

    if all(match[1] is None for match in matches.values()):
        return [one("")]
    count = 1 + max(int(match[1] or 0) for match in matches.values())
    if count > len(matches):
        raise InputError(f"{prefix}weight_ih_l{count - 1} is there, and layers below it are missing")
    if any(match[2] for match in matches.values()):
        return [(one(f"_l{number}"), one(f"_l{number}_reverse")) for number in range(count)]
    return [one(f"_l{number}") for number in range(count)]


def from_keras(
    kernel: Tensor, recurrent_kernel: Tensor, bias: Tensor | None = None, *, reset_after: bool | None = None
) -> Layer:
    """A layer of Keras: SimpleRNN, LSTM, GRU with `reset_after`, CuDNNLSTM or CuDNNGRU.

    The CuDNN layers are told by their bias, which is twice as long: of their kernels, each gate's block is read by
    columns, and each recurrent block is transposed.

    Args:
        kernel: (D, gates * H).
        recurrent_kernel: (H, gates * H).
        bias: (gates * H,), two of them, or None.
        reset_after: whether a GRU without bias resets behind the recurrent product; with one, its shape says it.

    Raises:
        InputError: shapes do not fit, or the GRU resets before the recurrent product, as the first version of its paper
            has it, which no layer here does.
    """
    hidden = len(recurrent_kernel)
    columns = recurrent_kernel.shape[-1]
    gates = columns // max(1, hidden)
    if kernel.ndim != 2 or gates not in GATES or columns != gates * hidden or kernel.shape[1] != columns:
        raise InputError(
            f"kernel {tuple(kernel.shape)} and recurrent kernel {tuple(recurrent_kernel.shape)} were given; expected "
            "(D, gates * H) and (H, gates * H), with 1, 3 or 4 gates"
        )
    biases = [] if bias is None else list(torch.split(bias.reshape(-1), columns))
    if any(one.shape != (columns,) for one in biases) or len(biases) > 2:
        raise InputError(f"a bias {tuple(bias.shape)} was given; expected ({columns},) or twice as many")  # type: ignore[union-attr]
    if GATES[gates] == "GRU" and (not reset_after if bias is None else len(biases) < 2):
        raise InputError(
            "this GRU resets before the recurrent product (reset_after=False, or it is not said); only those that "
            "reset behind it, as cuDNN and torch do, can be read"
        )
    blocks, recurrent_blocks = kernel.chunk(gates, 1), recurrent_kernel.chunk(gates, 1)
    if bias is not None and bias.ndim == 1 and len(biases) == 2:  # of cuDNN
        blocks = tuple(block.reshape(block.shape[1], block.shape[0]).T for block in blocks)
        recurrent_blocks = tuple(block.T for block in recurrent_blocks)
    order = (1, 0, 2) if gates == 3 else range(gates)

    def rows(parts: tuple[Tensor, ...]) -> Tensor:
        return torch.cat([parts[place].T for place in order]).contiguous()

    def ordered(one: Tensor) -> Tensor:
        return torch.cat([one.chunk(gates)[place] for place in order])

    given = [ordered(one) for one in biases] + [None] * (2 - len(biases))
    return _layer(rows(blocks), rows(recurrent_blocks), *given)


def keras_layer(tensors: Mapping[str, Tensor], name: str, *, reset_after: bool | None = None) -> Layer:
    """A layer of Keras by its name in a file: `rnn_1/rnn_1/kernel:0` and so on, or `layers/lstm/cell/vars/0`.

    Raises:
        InputError: it is not there, or there are several; or see `from_keras`.
    """
    inside = {key: value for key, value in tensors.items() if f"/{name}/" in f"/{key}"}
    parts: list[Tensor | None] = []
    for endings in (("kernel", "vars/0"), ("recurrent_kernel", "vars/1"), ("bias", "vars/2")):
        known = [key for key in inside if re.sub(r":\d+$", "", f"/{key}").endswith(tuple(f"/{one}" for one in endings))]
        if len(known) > 1 or (not known and "bias" not in endings):
            found = f"{len(known)} tensors {endings[0]}" if inside else "no tensors"
            raise InputError(f"{name!r} has {found}; expected one layer; the names are {', '.join(tensors):.200}")
        parts.append(inside[known[0]] if known else None)
    return from_keras(*parts, reset_after=reset_after)  # type: ignore[arg-type]


def from_tensorflow(kernel: Tensor, bias: Tensor, *, forget_bias: float = 1.0) -> Layer:
    """An LSTM of TensorFlow's older cells (`BasicLSTMCell`, `LSTMCell`), with the gates i, j, f, o, as ELMo has them.

    Args:
        kernel: inputs and hidden units in one matrix, (D + H, 4 * H).
        bias: (4 * H,).
        forget_bias: what the cell adds to the forget gate.

    Raises:
        InputError: shapes do not fit, as with ELMo's projection of the hidden state.
    """
    hidden = len(bias) // 4
    inputs = len(kernel) - hidden
    if kernel.ndim != 2 or bias.ndim != 1 or kernel.shape[1] != len(bias) or len(bias) % 4 or inputs < 1:
        raise InputError(
            f"a kernel {tuple(kernel.shape)} and a bias {tuple(bias.shape)} were given; expected (D + H, 4 * H) and "
            "(4 * H,), without a projection of the hidden state"
        )
    order = (0, 2, 1, 3)
    rows = torch.cat([kernel.chunk(4, 1)[place].T for place in order])
    added = bias.clone()
    added[2 * hidden : 3 * hidden] += forget_bias
    own = torch.cat([added.chunk(4)[place] for place in order])
    return _layer(rows[:, :inputs].contiguous(), rows[:, inputs:].contiguous(), own, None)
