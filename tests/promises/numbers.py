"""Losses and gradients that are not finite: steps skipped, training stopped, and no good checkpoint lost."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from promises.forks import forked, tail
from promises.runs import Kind, checkpoint, content, only, train, write_data

from seqmodels import LanguageModel, Translator, load
from seqmodels.cli.program import guarded


class Spoils(pl.Callback):
    """Puts NaN into the loss, by way of the embedding, or into the weights, or infinity into a gradient.

    From step `first` on, for so many steps; weights stay as they are.
    """

    def __init__(self, what: str, first: int, steps: int) -> None:
        self.what, self.first, self.steps = what, first, steps
        self._embedding = torch.zeros(0)

    def _now(self, trainer: pl.Trainer) -> bool:
        return self.first <= trainer.global_step < self.first + self.steps

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Spoil weights: the first of them, or the embedding for as long as a step takes, and so the state carried."""
        if self._now(trainer) and self.what == "weights" and trainer.global_step == self.first:
            next(pl_module.parameters()).data.fill_(torch.nan)
        if self._now(trainer) and self.what == "loss":
            weight = _embedding(pl_module)
            self._embedding = weight.clone()
            weight.fill_(torch.nan)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Mend the embedding."""
        if len(self._embedding):
            _embedding(pl_module).copy_(self._embedding)
            self._embedding = torch.zeros(0)

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Into a gradient."""
        if self._now(trainer) and self.what == "gradient":
            grad = next(p.grad for p in pl_module.parameters() if p.grad is not None)
            grad.view(-1)[0] = torch.inf


def _embedding(task: pl.LightningModule) -> torch.Tensor:
    assert isinstance(task, LanguageModel | Translator)
    return task.embedding.weight.data


def skipped(folder: Path, kind: Kind, what: str) -> tuple[str, str]:
    """NaN or infinity for three steps, and for good.

    Returns:
        Checkpoints that were lost, and what was not skipped or not written down; empty where nothing was.
    """
    write_data(folder)
    log = folder / "log"
    told = ""
    if what != "weights":  # which stay as they are
        code = forked(partial(train, kind, folder, folder / "passing", callbacks=(Spoils(what, 14, 3),)), log)
        lines = [
            json.loads(line) for line in (only(folder / "passing") / "nonfinite_steps.jsonl").read_text().splitlines()
        ]
        if code or [line["step"] for line in lines] != [15, 16, 17] or not all(line["inputs"] for line in lines):
            told = f"three bad steps: code {code}, {len(lines)} lines: {tail(log)}"
    always: dict[str, Any] = {"steps": 400, "validations": 20, "save_minutes": 1e-9}  # saved after each step
    endless = partial(train, kind, folder, folder / "lasting", callbacks=(Spoils(what, 44, 1000),), **always)
    code = forked(lambda: guarded(endless), log)
    if code != 1 or "not finite for 10 steps in a row" not in log.read_text():
        told = told or f"for good: code {code}: {tail(log)}"
    steps = {}
    run = only(folder / "lasting")
    for name in ("best", "last", "previous"):
        saved = content(run, name)
        steps[name] = saved["global_step"]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in saved["state_dict"].values()):
            return f"{name} is not finite", told
        if code := forked(partial(load, checkpoint(run, name)), log):
            return f"{name} cannot be loaded: {code}", told
    # Finite weights are saved in the midst of skipped steps, too, and the last of before beside them.
    wanted = {"last": 44, "previous": 43} if what == "weights" else {"last": 53, "previous": 44}
    return "" if steps == {"best": steps["best"], **wanted} else f"saved at {steps}", told
