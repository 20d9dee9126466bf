"""What a task has and asks for under any Trainer of Lightning, its own or one that a user sets up."""

import sys
from typing import Any, Self

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy

from seqmodels.config import Recorded, class_path
from seqmodels.data import SequenceDataModule, Tokenizer
from seqmodels.data.sampler import BatchNumbers
from seqmodels.errors import InputError, one_line
from seqmodels.tasks.fsdp import PIECES, FSDPMixin, FSDPStrategy, check_fsdp


class AnyTrainer(FSDPMixin):
    """A LightningModule that refuses settings of its Trainer which break what is promised about a training."""

    @classmethod
    def load_from_checkpoint(
        cls, checkpoint_path: Any, map_location: Any = None, hparams_file: Any = None, strict: bool | None = None,
        weights_only: bool | None = None, **kwargs: Any,
    ) -> Self:  # fmt: skip
        """A trained model, in evaluation mode, from a file of this package or of Lightning's own format.

        Args:
            checkpoint_path: the file, or the folder of a run.
            map_location: the device it is moved to.
            hparams_file: not taken, and neither are other arguments: a checkpoint holds those of its model.
            strict: not false: all weights must fit.
            weights_only: true in any case: nothing in a file is run.
            **kwargs: not taken.

        Raises:
            DamagedError: the file is truncated, or its bits have changed.
            InputError: there is no such file, it is foreign or of another class, or arguments were given.
        """
        if wrong := [*kwargs, *["hparams_file"] * (hparams_file is not None), *["strict"] * (strict is False)]:
            raise InputError(
                f"load_from_checkpoint was given {wrong[0]}; a checkpoint holds the arguments of its model, and all of "
                "its weights: leave that out, or change what may change by seqmodels.load(path, lr=...)"
            )
        model = sys.modules["seqmodels"].load(checkpoint_path)  # which is public, and stands on a floor above
        if not isinstance(model, cls):
            raise InputError(
                f"{str(checkpoint_path)!r} holds a {type(model).__name__}, not a {cls.__name__}; load it by its own "
                "class, or by seqmodels.load"
            )
        return model if map_location is None else model.to(map_location)

    def count(self, data: SequenceDataModule) -> str:
        """Take counts of the training text where the network has any; returns what was counted, in words."""
        return ""

    def setup(self, stage: str) -> None:
        """Refuse a strategy, before a trainer begins."""
        check_strategy(self, self.trainer)

    def on_fit_start(self) -> None:
        """Give the constructor calls of task and data to the loggers, without their tokenizers."""
        parts = {"task": self, "data": self.trainer.datamodule}  # type: ignore[attr-defined]
        calls = {name: plain_call(part.constructor_call) for name, part in parts.items() if isinstance(part, Recorded)}
        for logger in self.trainer.loggers:
            logger.log_hyperparams(calls)

    def on_predict_start(self) -> None:
        """Refuse a single text, which a Trainer would take for a list of its letters."""
        super().on_predict_start()
        given = self.trainer.predict_dataloaders
        if isinstance(given, str | bytes):
            raise InputError(
                f"predict was given the text {one_line(repr(given)):.40}; expected several: put it in a list"
            )

    def on_train_start(self) -> None:
        """Refuse batches in another order, once the loaders are there; begin the next epoch where one was complete."""
        check_sampler(self.trainer)
        begin_next_epoch(self.trainer)


def check_strategy(task: FSDPMixin, trainer: pl.Trainer) -> None:
    """Refuse (InputError) a strategy under which gradients, checkpoints or figures would not be those of one device."""
    strategy = trainer.strategy
    if isinstance(strategy, FSDPStrategy):
        averages = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        loops = (trainer.validate_loop, trainer.test_loop, trainer.predict_loop, trainer.fit_loop.epoch_loop.val_loop)
        inferring = any(loop.inference_mode for loop in loops)
        others = {
            "a WeightAveraging callback; leave it out": averages,
            "inference_mode=True, in which gathered weights could not be trained again; give the Trainer "
            "inference_mode=False": inferring,
            PIECES: getattr(task, "recompute", None) is not None,
        }
        check_fsdp(task, trainer.precision, trainer.world_size, others)
    elif not isinstance(strategy, SingleDeviceStrategy | DDPStrategy) or isinstance(strategy, DeepSpeedStrategy):
        raise InputError(
            f"the Trainer has the strategy {type(strategy).__name__}, under which nothing here was tested; give "
            "strategy='ddp', or strategy=seqmodels.FSDPStrategy() for weights in parts"
        )


def check_sampler(trainer: pl.Trainer) -> None:
    """Refuse (InputError) training batches of this package in another order, or the same ones on every rank.

    Exact resume needs batch k of epoch e to be a function of k and e, and ranks that read different rows of it.
    """
    sampler = getattr(trainer.train_dataloader, "sampler", None)
    given = isinstance(trainer.datamodule, SequenceDataModule)  # type: ignore[attr-defined]
    if given and not isinstance(sampler, BatchNumbers):
        module = type(trainer.datamodule).__name__  # type: ignore[attr-defined]
        by = "no sampler" if sampler is None else f"a {type(sampler).__name__}"
        raise InputError(
            f"the batches of {module} are drawn by {by} in place of the data module's own sampler, so that a resumed "
            "run would read others; leave the sampler to the data module"
        )
    if isinstance(sampler, BatchNumbers) and sampler.world not in (None, trainer.world_size):
        raise InputError(
            f"the loader that fit was given divides its batches among {sampler.world} processes, and the Trainer has "
            f"{trainer.world_size}, which would read the same; give the data module: fit(model, datamodule=data)"
        )


def begin_next_epoch(trainer: pl.Trainer) -> None:
    """Have a training resumed from the last batch of an epoch count the next one as begun.

    Lightning 2.6 takes it for the epoch that was complete: it is not counted, its hooks are not called, and a training
    that is resumed once more repeats an epoch.
    """
    loop = trainer.fit_loop
    counted = loop.epoch_progress.total
    if loop.restarted_mid_epoch and counted.processed == counted.started:  # type: ignore[attr-defined]
        loop.reset_restart_stage()


def plain_call(call: dict[str, Any]) -> dict[str, Any]:
    """A constructor call without the tokenizers among its arguments, which may have megabytes."""
    own, arguments = class_path(Tokenizer), call["init_args"].items()
    kept = {k: v for k, v in arguments if not (isinstance(v, dict) and v.get("class_path") == own)}
    return {**call, "init_args": kept}
