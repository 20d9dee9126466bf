"""A model from its constructor call and its weights, of which neither is trusted: it costs no more than the file holds.

A few characters in a file may ask for layers of any size and number. So the model is first made without memory, on
torch's meta device, and compared with the weights; a constructor that makes more parameters than there are weights is
stopped on its way.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from seqmodels.config import Call, class_path, construct
from seqmodels.data import Tokenizer
from seqmodels.errors import InputError
from seqmodels.tasks import SequenceTask

LARGEST = 1 << 40
"""No setting of a model is a larger whole number."""
LONGEST = 10_000
"""No setting is a longer string."""


def rebuild(call: Call, weights: dict[str, Tensor]) -> SequenceTask:
    """Make the model that a call describes, with given weights.

    Args:
        call: of the constructor.
        weights: by name, as in `Module.state_dict`.

    Returns:
        The model on the CPU. The weights of a model of this package are the given tensors, not copies.

    Raises:
        InputError: the call is malformed, or the weights are not those of its model.
    """
    call = _with_tokenizers(call)
    _check_settings(call)
    most, own = 2 * len(weights) + 16, all(path.startswith("seqmodels.") for path in _classes(call))
    try:
        with at_most(most), torch.device("meta"):
            outline = _outline(call, own)
        if outline is not None:
            _check_fit(outline, weights)
        with at_most(most, on_meta=own):
            task: SequenceTask = construct(call, SequenceTask)
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


def _outline(call: Call, own: bool) -> SequenceTask | None:
    """The model without memory; None for a network from elsewhere whose constructor reads its initial weights."""
    try:
        return construct(call, SequenceTask)  # type: ignore[no-any-return]
    except InputError:
        raise
    except RuntimeError:  # NotImplementedError, too, which torch raises
        if own:
            raise
        return None


def _assign(task: SequenceTask, weights: dict[str, Tensor]) -> None:
    """Put weights into a model whose parameters have no memory yet; tied parameters stay tied."""
    first = dict[int, str]()
    tied = [(name, first.setdefault(id(old), name)) for name, old in task.named_parameters(remove_duplicate=False)]
    expected = task.state_dict()
    task.load_state_dict({name: weights[name].to(old.dtype) for name, old in expected.items()}, assign=True)
    for name, owner in tied:
        module, _, own_name = name.rpartition(".")
        setattr(task.get_submodule(module), own_name, task.get_parameter(owner))


def _with_tokenizers(call: Call) -> Call:
    """The call with its tokenizers made, once for all that is built of it."""
    if not isinstance(call.get("init_args"), dict):
        return call
    made = dict(call["init_args"])
    for name, value in made.items():
        if isinstance(value, dict) and value.get("class_path") == class_path(Tokenizer):
            made[name] = construct(value, Tokenizer)
            made[name].sizes  # noqa: B018 - made here, with memory, and kept by the tokenizer
    return {**call, "init_args": made}


def _check_settings(value: Any) -> None:
    """Refuse numbers and names that no model has, before a constructor meets them."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _check_settings(part)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise InputError(f"the model is said to have a setting of {value:.3g}; expected less than {LARGEST:,}")
    elif isinstance(value, str) and len(value) > LONGEST:
        raise InputError(f"the model is said to have a setting of {len(value):,} characters; expected a name")


@contextlib.contextmanager
def at_most(count: int = 4_000, on_meta: bool = False) -> Iterator[None]:
    """Stop a constructor of this thread that makes more parameters than that, such as one of a billion layers.

    Args:
        count: how many; a Transformer of 300 layers has 4,000.
        on_meta: take the memory of parameters away as soon as they are made, before they are initialized.

    Raises:
        InputError: from inside the constructor.
    """
    mine, left = threading.get_ident(), [count]

    def count_down(module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter | None:
        if threading.get_ident() != mine:
            return None
        left[0] -= 1
        if left[0] < 0:
            raise InputError(f"it would have more than {count:,} parameters; expected fewer layers")
        if on_meta and not parameter.is_meta:
            return nn.Parameter(parameter.to("meta"), parameter.requires_grad)
        return None

    hook = register_module_parameter_registration_hook(count_down)  # type: ignore[arg-type]
    try:
        yield
    finally:
        hook.remove()


def _classes(value: Any) -> Iterator[str]:
    """Every class that a call names."""
    if isinstance(value, dict):
        if isinstance(path := value.get("class_path"), str):
            yield path
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _classes(part)


def _check_fit(outline: SequenceTask, weights: dict[str, Tensor]) -> None:
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
