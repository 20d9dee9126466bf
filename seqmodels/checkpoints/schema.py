"""What a checkpoint holds beside its tensors, checked field by field before anything is made of it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from seqmodels.errors import InputError
from seqmodels.files import check_depth
from seqmodels.tasks.training_state import RECORD

FORMAT = 1
"""Of the record; a later one may mean something else by the same fields."""


def check_record(content: dict[str, Any], name: str) -> None:
    """Refuse content that this package did not write, or not as it is read today.

    Args:
        content: of a checkpoint.
        name: what to call the file.

    Raises:
        InputError: it is foreign, of another format, or a field is not what it should be.
    """
    record, weights = content.get(RECORD), content.get("state_dict")
    if not (isinstance(record, dict) and "task" in record and isinstance(weights, dict)):
        raise InputError(f"{name!r} comes from another program: expected a checkpoint that this package wrote")
    if (version := record.get("format")) != FORMAT or type(version) is not int:
        raise InputError(
            f"{name!r} has format {version!r:.40}, and this version of the package reads {FORMAT}: update it"
        )
    wrong = [field for field, fits in FIELDS.items() if field in record and not fits(record[field])]
    if not all(type(key) is str and isinstance(tensor, Tensor) for key, tensor in weights.items()):
        wrong.append("state_dict")
    if not _are_versions(getattr(weights, "_metadata", {})):
        wrong.append("the versions of modules")
    if wrong:
        raise InputError(f"{name!r} has a record that cannot be used: {', '.join(wrong)} is not what it should be")
    check_depth(record["task"], f"the model in {name!r}")


def check_progress(content: dict[str, Any], name: str) -> None:
    """Refuse a checkpoint that training cannot go on from.

    Args:
        content: of a checkpoint whose record was checked.
        name: what to call the file.

    Raises:
        InputError: it has weights alone, or a part of Lightning's is not what it should be.
    """
    if "optimizer_states" not in content:
        raise InputError(f"{name!r} has weights alone, no optimiser to go on with; expected last.ckpt of a run")
    if wrong := [field for field, fits in PROGRESS.items() if not fits(content.get(field))]:
        raise InputError(
            f"{name!r} cannot be gone on with: {', '.join(wrong)} is not what it should be; take another checkpoint"
        )


def _is_call(value: Any) -> bool:
    """A constructor call of plain data."""
    return (
        isinstance(value, dict)
        and value.keys() == {"class_path", "init_args"}
        and isinstance(value["class_path"], str)
        and isinstance(value["init_args"], dict)
        and _is_plain(value["init_args"])
    )


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and _is_plain(part) for key, part in value.items())
    if isinstance(value, list):
        return all(_is_plain(part) for part in value)
    return value is None or type(value) in (bool, int, float, str)


def _are_versions(value: Any) -> bool:
    """What torch keeps beside weights: numbers by their names, for each module."""
    return isinstance(value, dict) and all(
        isinstance(part, dict) and all(type(number) is int for number in part.values()) for part in value.values()
    )


def _is_state(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_state(part) for part in value)
    return isinstance(value, Tensor)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _are_random_states(value: Any) -> bool:
    """Of each rank, those of all generators; what is in them, the generators check themselves."""
    return isinstance(value, list) and all(
        isinstance(states, dict)
        and states.keys() == {"python", "numpy", "torch", "cuda"}
        and _are_parts(states["python"], int, Tensor, float | None)
        and _are_parts(states["numpy"], str, Tensor, int, int, float)
        and isinstance(states["torch"], Tensor)
        and isinstance(states["cuda"], Tensor | None)
        for states in value
    )


def _are_parts(value: Any, *kinds: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == len(kinds)
        and all(isinstance(part, kind) for part, kind in zip(value, kinds, strict=True))
    )


FIELDS: dict[str, Callable[[Any], bool]] = {
    "task": _is_call,
    "data": lambda value: value is None or _is_call(value),
    "rows": lambda value: value is None or _is_count(value),
    "batches": lambda value: value is None or _is_count(value),
    "text": lambda value: value is None or isinstance(value, str),
    "accumulate": _is_count,
    "tokens_seen": _is_count,
    "skipped_in_a_row": _is_count,
    "recent": lambda value: isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] == 2,
    "carried": lambda value: value is None or _is_state(value),
    "random": _are_random_states,
}
"""What each field may be. What only a resumed run needs is missing where a model is shared."""


def _are_loops(value: Any) -> bool:
    fit = value.get("fit_loop") if isinstance(value, dict) else None
    parts = ("epoch_progress", "epoch_loop.batch_progress", "epoch_loop.automatic_optimization.optim_progress")
    return isinstance(fit, dict) and all(isinstance(fit.get(part), dict) for part in parts)


def _are_records(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, dict) for part in value)


PROGRESS: dict[str, Callable[[Any], bool]] = {
    "global_step": _is_count,
    "epoch": _is_count,
    "loops": _are_loops,
    "callbacks": lambda value: isinstance(value, dict) and all(isinstance(part, dict) for part in value.values()),
    "optimizer_states": _are_records,
    "lr_schedulers": _are_records,
}
"""What the fields of Lightning may be that a resumed run needs."""
