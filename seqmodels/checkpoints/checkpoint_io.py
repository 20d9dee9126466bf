"""Checkpoints of any Trainer of Lightning in the format of this package."""

from typing import Any

from lightning.fabric.plugins import CheckpointIO

from seqmodels.checkpoints.safetensors_io import read, write
from seqmodels.errors import InputError
from seqmodels.files import local


class SafetensorsCheckpointIO(CheckpointIO):
    """Lightning's checkpoints in this format: `Trainer(plugins=[SafetensorsCheckpointIO()])`.

    A file appears under its name only when all of it is on the disk. Checkpoints of Lightning's own format are read,
    too, if they hold nothing but tensors and plain data.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; an InputError says why it cannot be written, or what it holds beside plain data."""
        try:
            write(local(path), checkpoint)
        except OSError as error:
            why = error.strerror or error
            raise InputError(f"the checkpoint {str(path)!r} could not be saved ({why}); make room there") from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a whole checkpoint, on the CPU; see `read`."""
        return read(local(path))

    def remove_checkpoint(self, path: Any) -> None:
        local(path).unlink(missing_ok=True)
