"""A model from its constructor call and its weights, untrusted: its memory is bounded by the file's size.

A few characters in a file may ask for layers of any size and number. So the model is first made without memory, on
torch's meta device, and compared with the weights; a constructor that makes more parameters than there are weights is
stopped on its way.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from seqmodels.config import Call, class_path, construct
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError
from seqmodels.nn import Backbone
from seqmodels.tasks.outline import at_most
from seqmodels.tasks.sequence_model import SequenceModel

INTEGER = 1 << 40
"""No setting of a model is a larger whole number."""
CHARACTERS = 10_000
"""No setting is a longer string."""


def rebuild(call: Call, weights: dict[str, Tensor], tokenizers: Mapping[str, Tokenizer] | None = None) -> SequenceModel:
    """Make the model that a constructor call describes, on the CPU, with weights by name as in `Module.state_dict`.

    The weights of a model of this package are the given tensors, not copies. Tokenizers that are made already are
    given by their arguments.

    Raises:
        InputError: the call is malformed, or the weights are not those of its model.
    """
    call = _with_tokenizers(call, tokenizers or {})
    own = True
    for name, value in _settings(call):
        own = own and (name != "class_path" or str(value).startswith("seqmodels."))
        if isinstance(value, int) and abs(value) > INTEGER:
            raise InputError(f"the model is said to have a setting of {value:.3g}; expected less than {INTEGER:,}")
        if isinstance(value, str) and len(value) > CHARACTERS:
            raise InputError(f"the model is said to have a setting of {len(value):,} characters; expected a name")
    most = 2 * len(weights) + 16
    try:
        try:
            with at_most(most), torch.device("meta"):
                check_fit(construct(call, SequenceModel), weights)
        except RuntimeError:  # a network from elsewhere whose constructor reads its initial weights
            if own:
                raise
        with at_most(most, on_meta=own):
            task: SequenceModel = construct(call, SequenceModel)
        if own:
            _assign(task, weights)
        else:
            task.load_state_dict(weights)
    except InputError:
        raise
    except Exception as error:  # a constructor that is given other arguments than it was made for
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"it cannot be made as it is described: {why}") from error
    return task


def _with_tokenizers(call: Call, there: Mapping[str, Tokenizer]) -> Call:
    """The call with its tokenizers made, once for all that is built of it."""
    if not isinstance(call.get("init_args"), dict):
        return call
    made = dict(call["init_args"])
    for name, value in made.items():
        if isinstance(value, dict) and value.get("class_path") == class_path(Tokenizer):
            made[name] = there[name] if name in there else construct(value, Tokenizer)
    return {**call, "init_args": made}


def _settings(value: Any, name: Any = "") -> Iterator[tuple[Any, Any]]:
    """All names and values of a call, those of calls within it included."""
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _settings(part, key)
    else:
        yield name, value


def check_fit(outline: SequenceModel, weights: dict[str, Tensor]) -> None:
    """Refuse (InputError) weights by name that are not those of a model, which may be without memory."""
    for path, network in outline.named_modules():
        if isinstance(network, Backbone):  # counts are as many as the file has
            network.take_sizes({name.removeprefix(f"{path}."): t for name, t in weights.items()})
    expected = outline.state_dict()
    if missing := sorted(expected.keys() - weights.keys()):
        raise InputError(f"{missing[0]!r} is missing")
    if more := sorted(weights.keys() - expected.keys()):
        raise InputError(f"it has no {more[0]!r:.100}")
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            raise InputError(f"{name!r} is {tuple(weights[name].shape)}, expected {tuple(tensor.shape)}")
    needed = sum(tensor.numel() for tensor in {id(t): t for t in outline.state_dict(keep_vars=True).values()}.values())
    storages = {tensor.untyped_storage().data_ptr(): tensor for tensor in weights.values()}
    held = sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in storages.values())
    if needed > held:
        raise InputError(f"the network needs {needed:,} weights, and the file holds {held:,}: some are given twice")


def _assign(task: SequenceModel, weights: dict[str, Tensor]) -> None:
    """Put weights into a model whose parameters have no memory yet; tied parameters stay tied."""
    first = dict[int, str]()
    tied = [(name, first.setdefault(id(old), name)) for name, old in task.named_parameters(remove_duplicate=False)]
    kinds = {name: old.dtype for name, old in task.state_dict().items()}
    task.load_state_dict({name: tensor.to(kinds[name]) for name, tensor in weights.items()}, assign=True)
    for name, owner in tied:
        module, _, own_name = name.rpartition(".")
        setattr(task.get_submodule(module), own_name, task.get_parameter(owner))
