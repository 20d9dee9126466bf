"""The fields of a checkpoint and their types, validated before use.

Weights (`state_dict`); the progress of Lightning (steps, loops, callbacks, optimizers, schedules); the record of this
package (`tasks/training_state`): constructor calls of task and data, random states, the state carried from batch to
batch, sums for the log; and, under the class of the data module, the position in the data (`data/base`).
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from seqmodels.config import FORMAT, RECORD
from seqmodels.errors import InputError
from seqmodels.files import check_depth


def fits(value: Any, form: Any) -> bool:
    """Whether a value has a form: a type, of which subclasses do not fit, or None; a tuple of forms, one of which fits;
    a list of one form for any number of items, or of several for as many; a dict of forms by key, beside which others
    may be there, or `{str: form}` for any keys; or a function of the value.
    """
    match form:
        case None:
            return value is None
        case type():
            return isinstance(value, Tensor) if form is Tensor else type(value) is form
        case tuple():
            return any(fits(value, one) for one in form)
        case [one]:
            return isinstance(value, list) and all(fits(part, one) for part in value)
        case list():
            return isinstance(value, list) and len(value) == len(form) and all(map(fits, value, form))
        case dict() if str in form:
            return isinstance(value, dict) and all(type(key) is str and fits(value[key], form[str]) for key in value)
        case dict():
            return isinstance(value, dict) and all(key in value and fits(value[key], form[key]) for key in form)
        case _:
            return bool(form(value))


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_plain(value: Any) -> bool:
    return fits(value, (None, bool, int, float, str, [_is_plain], {str: _is_plain}))


def _is_state(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, tuple) and all(map(_is_state, value)))


CALL = {"class_path": str, "init_args": {str: _is_plain}}
RANDOM_STATES = {
    "python": [int, Tensor, (None, float)],
    "numpy": [str, Tensor, int, int, float],
    "torch": Tensor,
    "cuda": (None, Tensor),
}
FIELDS: dict[str, Any] = {
    "task": CALL,
    "data": (None, CALL),
    "batch_size": (None, _is_count),
    "batches_per_epoch": (None, _is_count),
    "text_sha256": (None, str),
    "accumulate": _is_count,
    "tokens_seen": _is_count,
    "skipped_in_a_row": _is_count,
    "recent": lambda value: isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] == 2,
    "carried": (None, _is_state),
    "random": [RANDOM_STATES],
}
"""The record of this package. Fields that only a resumed run needs are missing where a model is shared."""


def _is_loop(value: Any) -> bool:
    """Whether a value is a loop's state, in which only counts and flags differ from one step to another."""
    if not isinstance(value, dict):
        return fits(value, (None, bool, int))
    counts = ("ready", "started", "processed", "completed")
    return all(_is_count(part) if key in counts else _is_loop(part) for key, part in value.items())


def _are_callbacks(value: Any) -> bool:
    """Whether a value holds states of callbacks; that of a budget is read before there is one."""
    budget = {"spent": float, "due": bool}
    return fits(value, {str: dict}) and fits(value.get("Budget", {"spent": 0.0, "due": False}), budget)


LOOPS = ("epoch_progress", "epoch_loop.batch_progress", "epoch_loop.automatic_optimization.optim_progress")
PROGRESS: dict[str, Any] = {
    "global_step": _is_count,
    "epoch": _is_count,
    "loops": {"fit_loop": dict.fromkeys(LOOPS, _is_loop)},
    "callbacks": _are_callbacks,
    "optimizer_states": [dict],
    "lr_schedulers": [dict],
}
"""The fields of Lightning that a resumed run needs."""


def check_record(content: dict[str, Any], name: str) -> None:
    """Refuse the content of the named file if it is foreign, of another format, or a field has another type."""
    record, weights = content.get(RECORD), content.get("state_dict")
    if not (isinstance(record, dict) and "task" in record and isinstance(weights, dict)):
        raise InputError(f"{name!r} comes from another program: expected a checkpoint that this package wrote")
    if (version := record.get("format")) != FORMAT or type(version) is not int:
        raise InputError(
            f"{name!r} has format {version!r:.40}, and this version of the package reads {FORMAT}: update it"
        )
    wrong = [field for field, form in FIELDS.items() if field in record and not fits(record[field], form)]
    if not fits(weights, {str: Tensor}):
        wrong.append("state_dict")
    if not fits(getattr(weights, "_metadata", {}), {str: {str: int}}):
        wrong.append("versions of modules")
    if wrong:
        raise InputError(f"{name!r} has a record that cannot be used: {', '.join(wrong)} has an unexpected type")
    check_depth(record["task"], f"the model in {name!r}")


def check_progress(content: dict[str, Any], name: str) -> None:
    """Refuse a checkpoint that training cannot go on from: it has weights alone, or a field has another type."""
    if "optimizer_states" not in content:
        raise InputError(f"{name!r} has weights alone, no optimizer state; expected last.safetensors of a run")
    wrong = [field for field, form in PROGRESS.items() if not fits(content.get(field), form)]
    if wrong := wrong + [field for field in FIELDS if field not in content[RECORD]]:
        raise InputError(
            f"{name!r} cannot be resumed: {', '.join(wrong)} has an unexpected type; take another checkpoint"
        )


FACTORS = {"row_var": -1, "col_var": -2}
"""Factors of second moments in `torch.optim.Adafactor`, by the dimension over which each is a mean."""


def check_restored(optimizers: Sequence[Optimizer], schedules: Sequence[LRScheduler], name: str) -> None:
    """Refuse the named checkpoint if what torch has taken from it is no state of these parameters and groups."""
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            for kind, value in state.items():
                expected = [*parameter.shape]
                if kind in FACTORS and expected:
                    expected[FACTORS[kind]] = 1
                if (
                    not isinstance(value, Tensor)
                    or [*value.shape] not in ([], expected)
                    or not value.is_floating_point()
                ):
                    raise InputError(f"{name!r} cannot be resumed: {kind!r:.40} of its optimizer is of another shape")
        for group in optimizer.param_groups:
            for setting, usual in optimizer.defaults.items():
                alike = {int: float, float: int, tuple: list}.get(type(usual))  # 0 for 0.0; pairs on several devices
                if setting != "lr" and not fits(group.get(setting), (type(usual), alike, None, bool)):
                    raise InputError(f"{name!r} cannot be resumed: {setting} of its optimizer has an unexpected type")
    for schedule in schedules:
        form = {"base_lrs": [float] * len(schedule.optimizer.param_groups), "last_epoch": _is_count}
        if not fits({"_step_count": 0, **vars(schedule)}, form | {"_step_count": _is_count}):
            raise InputError(f"{name!r} cannot be resumed: its learning rate schedule has an unexpected type")
