"""Averages of the weights over training, with which a model is validated and saved."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_swa_multi_avg_fn

from seqmodels.errors import InputError
from seqmodels.tasks.fsdp import own_part

Average = Literal["none", "ema", "stalled"]
Update = Callable[[list[Tensor], list[Tensor], Any], None]
"""Updates means by weights, of which so many are in the means."""


def make_average(name: Average, decay: float, validations: int) -> list[pl.Callback]:
    """The callback that averages weights, if any; arguments as of `fit`.

    Raises:
        InputError: decay outside (0, 1), or too few validations for `StalledAverage`.
    """
    if not 0 < decay < 1:
        raise InputError(f"ema_decay={decay} was given; expected a number between 0 and 1, such as 0.999")
    if name == "none":
        return []
    if name == "ema":
        return [DeviceAverage(use_buffers=False, multi_avg_fn=partial(_update, decay))]
    stalled = StalledAverage()
    if validations < stalled.patience + 3:
        raise InputError(
            f"validations={validations} was given with average='stalled', which waits for {stalled.patience} "
            f"validations without a new best; give --validations of at least {stalled.patience + 3}, better 20"
        )
    return [stalled]


@torch.no_grad()
def _update(decay: float, average: list[Tensor], weights: list[Tensor], updates: Tensor) -> None:
    """Update a moving average, whose window is at most about a tenth of the steps so far.

    With the full decay from the start, the initial weights would make up a third of the average after `1 / (1 - decay)`
    steps, and short runs would be validated and saved with hardly trained weights.
    """
    number = float(updates)
    torch._foreach_lerp_(average, weights, 1 - min(decay, (1 + number) / (10 + number)))


class DeviceAverage(WeightAveraging):
    """Lightning's weight averaging on the device of the model, of the weights that are trained.

    Lightning makes the average before the model moves. Weights that are not trained stay as they are: a bias that is
    minus infinity, which forbids tokens, has no mean.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        average = self._average_model
        assert average is not None
        average.to(pl_module.device)
        pairs = zip(average.module.parameters(), pl_module.parameters(), strict=True)
        frozen = {own_part(mean.detach()).data_ptr() for mean, weight in pairs if not weight.requires_grad}
        if frozen and average.multi_avg_fn is not None:
            average.multi_avg_fn = partial(_of_others, frozen, cast(Update, average.multi_avg_fn))


def _of_others(frozen: set[int], update: Update, means: list[Tensor], weights: list[Tensor], count: Tensor) -> None:
    """`update` without the means at these places in memory."""
    moving = [pair for pair in zip(means, weights, strict=True) if own_part(pair[0]).data_ptr() not in frozen]
    if moving:
        update([mean for mean, _ in moving], [weight for _, weight in moving], count)


class StalledAverage(DeviceAverage):
    """The mean of the weights since validation stopped improving: the trigger of AWD-LSTM (Merity et al. 2018, alg. 1).

    It begins at the first validation that is not better than the best of those more than `patience` before it. With SGD
    at a constant learning rate this is averaged SGD; before, the weights are the current ones.

    Args:
        patience: validations without a new best.
    """

    def __init__(self, patience: int = 5) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=get_swa_multi_avg_fn())  # type: ignore[no-untyped-call]
        self.patience, self.figures, self.began = patience, list[float](), False

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        assert self._average_model is not None
        if not self.began:
            self._average_model.n_averaged.zero_()  # the next update copies
        super().on_train_batch_end(trainer, pl_module, *args)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit" or self.began:
            return
        figure = float(trainer.callback_metrics["val/nats_per_token"])
        earlier = self.figures[: -self.patience]
        self.began = bool(earlier) and figure >= min(earlier)
        self.figures.append(figure)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"figures": self.figures, "began": self.began}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.figures, self.began = list(state_dict["figures"]), state_dict["began"]
