"""The base of all tasks: one training step, one evaluation step, one optimizer."""

import math
import time
from abc import abstractmethod
from functools import partial
from typing import Any

import torch
from lightning.pytorch.callbacks import Timer
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import Metric

from seqmodels.batch import IGNORE, Batch, check_batch
from seqmodels.config import RECORD
from seqmodels.data import SequenceDataModule, Tokenizer
from seqmodels.environment import SINGLE_ONLY, threads, wide
from seqmodels.errors import InputError
from seqmodels.metrics import TextMetrics, summed_nats
from seqmodels.nn.packing import lay_out
from seqmodels.state import State, detach, map_state
from seqmodels.tasks.any_trainer import AnyTrainer
from seqmodels.tasks.exchange import Exchanged, exchanged
from seqmodels.tasks.fsdp import whole_tensor
from seqmodels.tasks.losses import Losses
from seqmodels.tasks.optim import OptimizerName, Schedule, learning_rate_factor, make_optimizer, with_gradients
from seqmodels.tasks.recompute import is_narrow, pieces
from seqmodels.tasks.sequence_model import SequenceModel
from seqmodels.tasks.training_state import make_record, restore_rank


class SequenceTask(SequenceModel, AnyTrainer):
    """A model that scores targets, trained by summed cross-entropy under Lightning's automatic optimisation.

    The state is carried from batch to batch, detached, where the batch says that it continues: truncated BPTT with one
    chunk per batch. Validation carries a state of its own.

    Args:
        tokenizer: tokenizer of the targets.
        optimizer: adamw; muon for the weight matrices of the network and adamw for the rest; adafactor, whose moments
            take next to no memory; or plain sgd.
        lr: peak learning rate; of adafactor relative to the size of the weights, and 0.01 is usual.
        weight_decay: weight decay of matrices; vectors do not decay.
        beta2: decay of AdamW's second moments; beta1 is 0.9.
        warmup: fraction of the run in which the learning rate rises.
        schedule: learning rate after the warmup: cosine or linear to zero, constant, or inverse-sqrt.
        label_smoothing: probability spread over the whole vocabulary in training (Szegedy et al. 2016); reported
            figures are without it.
        freeze: parts or parameters that are not trained, by patterns of their names: embedding, backbone.layers.0,
            `*.bias`.
    """

    device = AnyTrainer.device
    """Of the trainer, which moves the weights there."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        optimizer: OptimizerName,
        lr: float,
        weight_decay: float,
        beta2: float,
        warmup: float,
        schedule: Schedule,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(tokenizer, optimizer, lr, weight_decay, beta2, warmup, schedule, label_smoothing)
        self.make_metrics()
        self.budget: tuple[float, float, float] | None = None
        """Fraction of the time spent, and steps and tokens allowed, where a budget (`training.budget`) sets them."""
        self.tokens_seen = 0
        """Tokens trained on so far, over all ranks."""
        self._carried: State | None = None
        self._carried_in_evaluation: State | None = None
        self._random: list[dict[str, Any]] | None = None  # restored where a run resumes
        self._recent = torch.zeros(2, dtype=torch.float64)  # nats and targets since the last logged step
        self._step = torch.zeros(2, dtype=torch.float64)  # nats and targets of the current step
        self._everywhere: list[Exchanged] = []  # nats of its batches, over all ranks
        self._divisor: Tensor | None = None  # of the losses of the current step
        self._norm = self.gradient_norm = torch.zeros(())
        """Norm of the last step's gradient, before clipping."""
        self.compiled = False  # whether the loss over many logits is
        self.recompute: int | None = None
        """Positions of the pieces in which windows are read, see `set_recompute`; None for windows as they are."""
        self.skipped_in_a_row = 0
        """Consecutive steps skipped up to now, for a loss or gradient that was not finite."""
        self._clock: tuple[float, int] | None = None  # time and tokens at the last logged step
        self.figures: dict[str, Tensor | float] = {}  # logged last in training

    def make_metrics(self) -> None:
        """Make the metrics of evaluations."""
        self.scores = TextMetrics(partial(getattr, self.tokenizer, "sizes"))  # which takes time, and may not be needed

    def check(self, data: SequenceDataModule, prompt: str = "") -> None:
        """Refuse data, or the prompt for samples during training, before a run begins, under any trainer.

        Raises:
            InputError: the vocabularies differ, or the two do not fit this task otherwise.
        """
        for side in ("tokenizer", "source_tokenizer"):
            ours, theirs = getattr(self, side, None), getattr(data, side, None)
            if ours is not None and theirs is not None and ours.json != theirs.json:
                raise InputError(
                    f"the {side} of this model, of {ours.vocab_size:,} tokens, is not that of the data, of "
                    f"{theirs.vocab_size:,}; build the model with data.{side}, or the data with "
                    "tokenizer=model.tokenizer"
                )

    # Training

    def setup(self, stage: str) -> None:
        """Refuse data that do not fit, and what is wrong with the trainer, before it begins."""
        super().setup(stage)
        if stage == "fit":
            lay_out(self)
        if self.trainer.strategy.root_device.type in SINGLE_ONLY:  # before the states of metrics are moved there
            for metric in self.modules():
                if isinstance(metric, Metric):
                    metric.set_dtype(torch.float32)
        if isinstance(data := self.trainer.datamodule, SequenceDataModule):  # type: ignore[attr-defined]
            self.check(data)
            if stage == "fit":
                self.count(data)
            self.longest_target = data.longest_target
        elif stage == "fit" and not self.learns:
            raise InputError(f"{self.name} counts the training text; give the Trainer a TextDataModule as datamodule")

    def on_fit_start(self) -> None:
        """Train in training mode, whatever mode the model was in, from the beginning of a step."""
        self.train()
        self._step, self._everywhere, self._divisor = torch.zeros_like(self._step), [], None
        super().on_fit_start()

    @abstractmethod
    def losses(self, batch: Batch, state: State | None) -> Losses:
        """The objective of a training step; arguments as of `forward`."""

    def prepared(self, batch: Batch) -> Batch:
        """The batch of a training step, made of that of the data: the same, unless a task changes it."""
        return batch

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Restore random states where a run resumes, after everything else that draws random numbers."""
        if self._random is not None:
            restore_rank(self._random, self.trainer.global_rank, self.device)
            self._random = None
            if self._carried is not None:  # read from a file, and so on the CPU
                self._carried = map_state(lambda tensor: tensor.to(self.device), self._carried)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy per target: the sum of nats on this rank, divided by the mean number of targets over all ranks.

        DDP averages gradients over ranks, so the gradient is that of all nats divided by all targets, however unequally
        they are spread over ranks. With gradient accumulation, all batches of a step are divided by the count of the
        first, and `on_before_optimizer_step` sets that right when the count of all is known.

        Counts are on their way to the other ranks during the forward pass, nats during the backward pass.
        """
        check_batch(batch)
        ranks = self.trainer.world_size
        # Neither padding nor rows that a task repeats count as tokens trained on.
        real = torch.tensor(batch.inputs.numel()) if batch.mask is None else batch.mask.sum()
        batch = self.prepared(batch)
        counts = exchanged(ranks, (batch.targets != IGNORE).sum(), real)
        losses = self.losses(batch, self._carried if batch.continues else None)
        self._carried = detach(losses.state) if batch.continued else None
        own = wide(losses.nats.detach())
        count, real = counts()
        self._everywhere.append(exchanged(ranks, own))
        self._step = self._step.to(own) + torch.stack([own, count.to(own)])
        self.tokens_seen += round(float(real) * ranks)
        count = count.clamp(min=1 / ranks)  # a mean: it is less than 1 where ranks have no target
        self._divisor = count if self._divisor is None else self._divisor
        return losses.objective / self._divisor + losses.penalty * (count / self._divisor)

    @property
    def logs_now(self) -> bool:
        """Whether this step is logged."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by Lightning's logger connector
        return every > 0 and (self.trainer.global_step + 1) % every == 0

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradient of accumulated batches by the number of all their targets; log every so many steps.

        Where loss or gradient are not finite, the step is skipped, on all ranks alike: it has no gradients, so that
        neither weights nor moments change. Its carried state is dropped, and its loss enters no figure.
        """
        gradients: list[Tensor] = [p.grad for p in with_gradients(optimizer)]  # type: ignore[misc]
        batches = self.trainer.accumulate_grad_batches
        if batches > 1 and self._divisor is not None and gradients:  # Lightning divides by their number
            torch._foreach_mul_(
                gradients, float(self._divisor * batches / self._step[1].clamp(min=1 / self.trainer.world_size))
            )
        self._norm = get_total_norm(gradients)
        self.gradient_norm = whole_tensor(self._norm)
        everywhere = sum(float(mean) for nats in self._everywhere for mean in nats())
        scaled = self.trainer.precision == "16-mixed"  # its scaler skips by itself
        if math.isfinite(everywhere) and (scaled or torch.isfinite(self.gradient_norm)):
            self.skipped_in_a_row = 0
            self._recent = self._recent.to(self._step) + self._step
        else:
            self.skipped_in_a_row += 1
            self._carried = None
            optimizer.zero_grad()
        self._step, self._everywhere, self._divisor = torch.zeros_like(self._step), [], None
        if self.logs_now:
            self._log_training(optimizer.param_groups[0]["lr"])

    def _log_training(self, lr: float) -> None:
        """Log the sums since the last logged step."""
        nats, count = self._recent
        self._recent = torch.zeros_like(self._recent)
        now = time.monotonic()
        self.figures = {
            "train/nats_per_token": nats / count,
            "train/gradient_norm": self.gradient_norm,
            "train/lr": lr,
            "train/tokens": float(self.tokens_seen),
        }
        if self._clock is not None:
            before, tokens = self._clock
            self.figures["train/tokens_per_second"] = (self.tokens_seen - tokens) / (now - before)
        self._clock = now, self.tokens_seen
        self.log_dict(self.figures, sync_dist=self.trainer.world_size > 1)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the trainer is set.

        Lightning's own clipping refuses fused optimizers in every mixed precision, though only float16 scales
        gradients, which are unscaled when this is called.
        """
        parameters = with_gradients(optimizer)
        if gradient_clip_val and gradient_clip_algorithm == "value":
            torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        elif gradient_clip_val:
            clip_grads_with_norm_(parameters, gradient_clip_val, self._norm)

    def configure_optimizers(self) -> Any:
        """The optimizer, and a learning rate schedule over the fraction of the run."""
        optimizer = make_optimizer(
            self, self.network, name=self.optimizer, lr=self.lr, weight_decay=self.weight_decay, beta2=self.beta2,
            fused=self.trainer.precision != "16-mixed",
        )  # fmt: skip
        self._schedule = LambdaLR(optimizer, lambda step: self._factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self._schedule, "interval": "step"}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Have groups of parameters that a callback has added follow the schedule, from the rate that they have."""
        if scheduler is self._schedule:
            for group in self._schedule.optimizer.param_groups[len(self._schedule.base_lrs) :]:
                self._schedule.base_lrs.append(group["lr"] / (self._factor or 1.0))
                self._schedule.lr_lambdas.append(self._schedule.lr_lambdas[0])
        super().lr_scheduler_step(scheduler, metric)

    def on_train_start(self) -> None:
        """Set the learning rate of the next step: the budget may differ from that of the run that is resumed."""
        super().on_train_start()
        if all(config.scheduler is not self._schedule for config in self.trainer.lr_scheduler_configs):
            return  # a callback or the learning rate finder has put another in its place
        for group, lr in zip(self._schedule.optimizer.param_groups, self._schedule.base_lrs, strict=True):
            group["lr"] = lr * self._factor

    @property
    def _factor(self) -> float:
        """Factor of the peak learning rate in the next step; where nothing bounds the run, it stays at the peak."""
        spent, steps, tokens = self._limits
        if spent is None and steps == tokens:
            return 1.0
        if self.budget is None and spent is not None and self.trainer.world_size > 1:
            spent = self.trainer.strategy.broadcast(spent)
        # In the middle of the step: the first of a warmup moves, and so does the last.
        fraction = max(spent or 0.0, (self.trainer.global_step + 0.5) / steps, self.tokens_seen / tokens)
        return learning_rate_factor(min(1.0, fraction), self.warmup, self.schedule)

    @property
    def _limits(self) -> tuple[float | None, float, float]:
        """Fraction of the time that is spent, None without a limit; steps and tokens allowed."""
        if self.budget is not None:
            return self.budget
        spent = None
        for timer in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(timer, Timer) and (left := timer.time_remaining()) is not None:
                spent = timer.time_elapsed() / (timer.time_elapsed() + left)
        return spent, max(1, self.trainer.estimated_stepping_batches), math.inf

    @property
    def run_fraction(self) -> float:
        """Fraction of the run that is over, from 0 to 1: of the budget where there is one, else of time and steps."""
        spent, steps, tokens = self._limits
        return min(1.0, max(spent or 0.0, self.trainer.global_step / steps, self.tokens_seen / tokens))

    def on_fit_end(self) -> None:
        """Drop the carried state."""
        self._carried = None

    # Evaluation

    def on_validation_epoch_start(self) -> None:
        """Begin with empty sums and no state."""
        self._carried_in_evaluation = None
        self._clock = None  # evaluation is not training time
        self.scores.reset()

    on_test_epoch_start = on_predict_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the batch to the sums."""
        check_batch(batch)
        with threads(1 if self.recompute is not None and is_narrow(self, batch) else None):
            for part in pieces(batch, self.recompute):
                self.evaluated(part)

    test_step = validation_step

    def evaluated(self, batch: Batch) -> Tensor:
        """Add the batch to the sums; returns its logits."""
        check_batch(batch)
        logits: Tensor
        logits, state = self(batch, self._carried_in_evaluation if batch.continues else None)
        self._carried_in_evaluation = state if batch.continued else None
        nats, _ = summed_nats(logits, batch.targets)
        self.scores.update(nats, batch.targets)
        return logits

    def on_validation_epoch_end(self) -> None:
        """Divide the sums once, after the reduction over ranks."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        self._log_scores("test")

    def figures_of_evaluation(self) -> dict[str, Tensor]:
        """Figures of an evaluation, summed over ranks by the metrics."""
        return self.scores.compute()

    def _log_scores(self, stage: str) -> None:
        figures: dict[str, Tensor | float] = {f"{stage}/{k}": v for k, v in self.figures_of_evaluation().items()}
        if self.trainer.validating and self.trainer.state.fn == "fit":
            figures["train/tokens"] = float(self.tokens_seen)
        self.log_dict(figures, sync_dist=self.trainer.world_size > 1)  # equal on all ranks already
        self._carried_in_evaluation = None

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the constructor call and the state of training: tensors and plain data."""
        counts = {"tokens_seen": self.tokens_seen, "skipped_in_a_row": self.skipped_in_a_row}
        checkpoint[RECORD] = make_record(self, self._carried, self._recent.cpu().double(), **counts)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state of training: of the carried state, this rank's rows."""
        if self._trainer is not None and self.trainer.precision == "64-true":
            self.double()  # before the weights are put in, or they would be rounded
        record = checkpoint[RECORD]
        rank, world = (0, 1) if self._trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        self.tokens_seen, self.skipped_in_a_row = record["tokens_seen"], record["skipped_in_a_row"]
        self._random, carried = record["random"], record["carried"]
        self._carried = None if carried is None else map_state(lambda tensor: tensor.chunk(world)[rank], carried)
        recent = record["recent"]
        self._recent = recent[rank] if len(recent) == world else recent.sum(0) / world
