"""Finds the checkpoint that a run is resumed from, checks that it fits, and resets the run folder to its step."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqmodels.analysis.csv_table import filter_rows
from seqmodels.checkpoints.saved import checkpoint_path, read_checkpoint
from seqmodels.checkpoints.schema import check_progress
from seqmodels.config import RECORD, construct, read_run
from seqmodels.data import SequenceDataModule
from seqmodels.environment import is_other_rank
from seqmodels.errors import InputError
from seqmodels.files import filter_parts, local, read_json
from seqmodels.tasks import SequenceTask
from seqmodels.training.weight_averaging import Average

NEWEST_FIRST = ("next.safetensors", "last.safetensors", "previous.safetensors")
"""Files to resume from. The first is there only where a process died between two renames."""


@dataclass(frozen=True)
class Origin:
    """The checkpoint that a run is resumed from, with its content; the run continues in `folder`, or in a new one if it
    is None: then a single checkpoint was given.
    """

    path: Path
    content: dict[str, Any]
    folder: Path | None

    @property
    def due(self) -> bool:
        """Whether the validation of its step is to be done first."""
        return any(state.get("due", False) for state in self.content["callbacks"].values())

    @property
    def ended(self) -> bool:
        """Whether the run ended with this checkpoint, the last validation included."""
        path = self.path.parent.parent / "result.json"
        if not path.is_file():
            return False
        result = read_json(path)
        return bool(result.get("ended") == "budget" and result.get("steps") == self.content["global_step"])


def has_ended(folder: Path) -> bool:
    """Whether a run came to its end by itself, rather than by a signal or by diverging."""
    path = folder / "result.json"
    return path.is_file() and read_json(path).get("ended") in ("budget", "callback", "early stopping")


def find_origin(path: str | Path, quietly: bool = False) -> Origin:
    """The newest checkpoint of a run folder that can be read, or a given one.

    Args:
        path: the folder, or the checkpoint.
        quietly: without a warning for a damaged one.

    Raises:
        InputError: there is none, or training cannot be resumed from it.
    """
    path = local(path)
    if not path.is_dir():
        return Origin(path, _resumable(path), None)
    there = [found for name in NEWEST_FIRST if (found := path / "checkpoints" / name).is_file()]
    if not there:
        checkpoint_path(path, "last")  # which says why
    for place, found in enumerate(there, 1):
        try:
            return Origin(found, _resumable(found), path)
        except InputError as error:
            if place == len(there):
                raise type(error)(f"{error}, such as --resume {path}/checkpoints/best.safetensors") from error
            if quietly or is_other_rank():
                continue
            print(f"warning: {error}; resuming from {there[place].name}, the one before it", file=sys.stderr)
    raise AssertionError


def _resumable(path: Path) -> dict[str, Any]:
    content = read_checkpoint(path)
    check_progress(content, str(path))
    return content


def rebuild_run(
    origin: Origin, devices: int, moved: Sequence[str] | None = None
) -> tuple[SequenceTask, SequenceDataModule]:
    """The model and the data of a run, so that any number of devices together read the same batches.

    Args:
        origin: the checkpoint.
        devices: of all nodes.
        moved: new paths of the text: one, or two for a translator.

    Raises:
        InputError: the batches cannot be divided among them, or the checkpoint does not name its data.
    """
    record = origin.content[RECORD]
    if record["data"] is None:
        raise InputError(f"{str(origin.path)!r} does not say what it was trained on; resume it from Python")
    arguments = dict(record["data"]["init_args"])
    if moved is not None:
        arguments["data"] = moved[0] if len(moved) == 1 else list(moved)
    data = construct({**record["data"], "init_args": arguments}, SequenceDataModule)
    if data.size * devices != record["batch_size"]:
        arguments[data.size_argument], left = divmod(record["batch_size"], devices)
        if left:
            raise InputError(
                f"batches of {record['batch_size']} cannot be divided by devices={devices}; give a divisor"
            )
        data = construct({**record["data"], "init_args": arguments}, SequenceDataModule)
    return construct(record["task"], SequenceTask), data


def settings_of(origin: Origin) -> dict[str, Any]:
    """The arguments of `fit` of the run that a checkpoint belongs to; empty without one."""
    path = origin.path.parent.parent / "config.yaml"
    return read_run(path).get("fit", {}) if path.is_file() else {}


def check_same(
    origin: Origin, task: SequenceTask, data: SequenceDataModule, devices: int, accumulate: int, average: Average
) -> None:
    """Refuse (InputError) a checkpoint of another model or of other data, by the names of the differences."""
    record, wrong = origin.content[RECORD], []
    for call, theirs, names in (
        (task.constructor_call, record["task"], task.identity),
        (data.constructor_call, record["data"] or data.constructor_call, data.order),
    ):
        wrong += [name for name in names if call["init_args"].get(name) != theirs["init_args"].get(name)]
    if record["batch_size"] not in (None, data.size * devices):
        wrong.append("size of batches * devices * nodes")
    if data.ranks(origin.content) not in (None, devices):
        wrong.append("number of devices, each of which reads shards of its own")
    if record["accumulate"] != accumulate:
        wrong.append("accumulate")
    if ("current_model_state" in origin.content) != (average != "none"):  # Lightning keeps the weights there
        wrong.append("average")
    if wrong:
        raise InputError(
            f"{str(origin.path)!r} was trained with another {', '.join(wrong)}; resume with the settings of its run: "
            "--resume RUN alone takes them from there"
        )
    if record["text_sha256"] not in (None, data.facts("train").sha256):
        raise InputError(
            f"{str(origin.path)!r} was trained on another text than that of {data.origin} now; give --data the text as "
            "it was, or begin a new run"
        )


def check_batches(origin: Origin, count: int) -> None:
    """Refuse (InputError) another number of batches an epoch, which depends on the number of processes."""
    if (before := origin.content[RECORD]["batches_per_epoch"]) not in (None, count):
        raise InputError(
            f"an epoch had {before:,} batches, and has {count:,} with this number of processes, so that some examples "
            "would be read twice and others never; resume with as many devices as before"
        )


def rewind(folder: Path, content: Mapping[str, Any], due: bool) -> None:
    """Remove everything that a run wrote after a checkpoint was saved.

    Args:
        folder: of the run.
        content: of the checkpoint.
        due: whether its validation is due, and so done again.
    """
    step = content["global_step"]
    # Callbacks measure the model at the last step before or after it is saved, and their states say which.
    last = {name: state["last"] for name, state in content["callbacks"].items() if "last" in state}
    for half in folder.glob("checkpoints/.*.safetensors.*"):  # of a process that died while writing
        half.unlink()
    # Rows of a log are numbered by the steps before theirs, and the last of them may be those of a validation.
    filter_rows(folder / "metrics.csv", lambda at, row: at < step - (due and bool(row.get("val/nats_per_token"))))
    filter_rows(folder / "gradient_horizon.csv", lambda at, row: at <= last.get("GradientHorizon", step))
    filter_rows(folder / "spectra.csv", lambda at, row: at <= last.get("Spectra", step))
    filter_parts(folder / "nonfinite_steps.jsonl", r'^(?=\{"step": (\d+),)', step)
    filter_parts(folder / "samples.md", r"^(?=## step ([\d,]+))", last.get("Samples", step))
    filter_parts(folder / "translations.md", r"^(?=## step ([\d,]+))", step - due)
