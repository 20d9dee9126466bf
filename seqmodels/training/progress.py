"""The progress of a training: a bar in a terminal, bar and curves in a notebook, and a line for each validation."""

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from seqmodels.analysis.notebook import LiveCell, in_notebook
from seqmodels.files import bare
from seqmodels.tasks import SequenceTask


def greedily(figures: Mapping[str, Any]) -> str:
    """How a validation translates, and how many sentences."""
    return f"beam size 1, {int(figures['val/sentences']):,} sentences"


class TerminalBar:
    """A bar and figures in words, in one line of a terminal."""

    def __init__(self, console: Console) -> None:
        percent, figures = TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.fields[figures]}")
        columns = (BarColumn(24), percent, TimeElapsedColumn(), figures)
        self._bar = Progress(*columns, console=console, transient=True, auto_refresh=False)
        self._row = self._bar.add_task("training", total=1.0, figures="")
        self._bar.start()

    def point(self, name: str, tokens: float, nats: float) -> None:
        """A terminal shows no curves."""

    def show(self, figures: str, completed: float | None = None) -> None:
        """Draw it anew."""
        self._bar.update(self._row, completed=completed, figures=figures)
        self._bar.refresh()

    def stop(self) -> None:
        """Remove it."""
        self._bar.stop()


class ProgressLine(pl.Callback):
    """A bar with loss, bits per character and tokens per second, and a line for each validation; in a notebook, curves,
    too.

    Args:
        tokens_per_character: of the training text, to convert nats per token into bits per character.
    """

    def __init__(self, tokens_per_character: float) -> None:
        self.tokens_per_character, self._due = tokens_per_character, 0.0
        self._bar: TerminalBar | LiveCell | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        if in_notebook():
            self._bar = LiveCell()
        elif (console := Console(file=bare(sys.stdout), force_jupyter=False)).is_terminal:
            self._bar = TerminalBar(console)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        if self._bar is None or time.monotonic() < self._due:
            return
        assert isinstance(pl_module, SequenceTask)
        figures = pl_module.figures
        parts = [f"step {trainer.global_step:,}"]
        if figures:
            nats = float(figures["train/nats_per_token"])
            self._bar.point("training", pl_module.tokens_seen, nats)
            parts += [f"loss {nats:.3f}", f"{nats / math.log(2) * self.tokens_per_character:.2f} bits/char"]
        if "train/tokens_per_second" in figures:
            parts.append(f"{float(figures['train/tokens_per_second']):,.0f} tokens/s")
        if "val/nats_per_token" in trainer.callback_metrics:
            parts.append(f"val {trainer.callback_metrics['val/nats_per_token']:.3f}")
        self._show(" · ".join(parts), pl_module.run_fraction)

    def _show(self, figures: str, completed: float | None = None) -> None:
        """Draw the bar, and again when that takes a hundredth of the time."""
        assert self._bar is not None
        began = time.thread_time()
        self._bar.show(figures, completed)
        self._due = time.monotonic() + max(0.3, 100 * (time.thread_time() - began))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            self._bar.show("validating")

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        if self._bar is not None and time.monotonic() >= self._due:
            self._show(f"validating, batch {batch_idx + 1:,} of {trainer.num_val_batches[0]:,}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit" or not trainer.is_global_zero:  # Lightning prints once for each machine
            return
        assert isinstance(pl_module, SequenceTask)
        figures = trainer.callback_metrics
        if self._bar is not None:
            nats = float(figures["val/nats_per_token"])
            self._bar.point("validation", pl_module.tokens_seen, nats)
            self._bar.show(f"validated at {nats:.3f} nats per token", pl_module.run_fraction)
        speed = pl_module.figures.get("train/tokens_per_second")
        trainer.print(
            f"step {trainer.global_step:>6,} · {pl_module.run_fraction:4.0%} · validation "
            f"{figures['val/nats_per_token']:.4f} nats/token, {figures['val/bits_per_character']:.3f} bits/char"
            + (f" · BLEU {figures['val/bleu']:.2f}, {greedily(figures)}" if "val/bleu" in figures else "")
            + (f" · {float(speed):,.0f} tokens/s" if speed else "")
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)
