"""A callback that ends a training after a signal, between two steps, with a checkpoint to resume from."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from seqmodels.training.budget import between_steps
from seqmodels.training.interruption import Signals, Stopped


def largest(trainer: pl.Trainer, *numbers: int) -> list[int]:
    """The largest values of numbers over all ranks, which all ranks call together."""
    if trainer.world_size == 1:
        return list(numbers)
    found = torch.tensor(numbers, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return found.tolist()


class StopOnSignal(pl.Callback):
    """Saves and ends a training after the step in which SIGTERM, SIGUSR1, SIGHUP or Ctrl-C came on any rank.

    `fit` of this package has it built in. Training ends by `Stopped`, a SystemExit with the code of shells, 143 after
    SIGTERM; a second signal ends the process at once. Resume with `trainer.fit(..., ckpt_path=PATH)`.

    Args:
        path: of the checkpoint; None for `stopped.ckpt` in the trainer's `default_root_dir`.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = path
        self.signals = Signals()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Handle signals in place of Lightning."""
        self.signals.received = None
        self.signals.arm()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Save and end, between two steps."""
        if not between_steps(trainer):
            return
        (number,) = largest(trainer, self.signals.received or 0)
        if number:
            path = Path(trainer.default_root_dir) / "stopped.ckpt" if self.path is None else self.path
            trainer.save_checkpoint(path)
            trainer.print(f"stopped by a signal; to go on, give fit ckpt_path={str(path)!r}")
            raise Stopped(number)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the handlers that were there before."""
        self.signals.disarm()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Likewise."""
        self.signals.disarm()
