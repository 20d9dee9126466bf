"""Small runs under Lightning for the tests of training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from seqmodels import LSTM, LanguageModel, TextDataModule
from seqmodels.batch import Batch
from seqmodels.checkpoints.checkpoint_io import SafetensorsCheckpointIO
from seqmodels.data import Batches
from seqmodels.data.sampler import loader
from seqmodels.environment import quiet
from seqmodels.nn import Backbone


def hooked(**hooks: Callable[..., Any]) -> pl.Callback:
    """A callback made of functions by the names of their hooks."""
    callback = pl.Callback()
    for name, hook in hooks.items():
        setattr(callback, name, hook)
    return callback


class Record(pl.Callback):
    """Keeps the inputs of every batch and the weights at the end, and saves a checkpoint after one of the steps."""

    def __init__(self, save_at: int | None = None, path: Path | None = None) -> None:
        self.save_at, self.path, self.inputs = save_at, path, list[Tensor]()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        batch: Batch = args[2]
        self.inputs.append(batch.inputs.clone())
        if trainer.global_step == self.save_at:
            trainer.save_checkpoint(self.path)


def small_module(path: Path, carry: bool, **settings: Any) -> TextDataModule:
    return TextDataModule(str(path), length=16, batch_size=4, carry=carry, **settings)


def small_model(data: TextDataModule, backbone: Backbone | None = None, **settings: Any) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(backbone or LSTM(8, 16), data.tokenizer, **settings)


def trainer(steps: int, *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
    """A plain trainer of Lightning, as a user would make it."""
    with quiet():
        off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        usual = {"accelerator": "cpu", "devices": 1, "limit_val_batches": 0, "plugins": [SafetensorsCheckpointIO()]}
        return pl.Trainer(**off | usual | {"max_steps": steps, "callbacks": list(callbacks)} | settings)


def train(
    model: LanguageModel, data: TextDataModule, steps: int, *callbacks: pl.Callback, **settings: Any
) -> pl.Trainer:
    resume = settings.pop("resume", None)
    runner = trainer(steps, *callbacks, **settings)
    with quiet():
        runner.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
    return runner


def validate(model: LanguageModel, batches: Batches) -> dict[str, float]:
    """The figures of one pass over batches."""
    runner = trainer(1, limit_val_batches=1.0)
    with quiet():
        (figures,) = runner.validate(model, loader(batches), verbose=False)
    return dict(figures)
