"""A run: one training in one folder, with all that it leaves there."""

import json
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from seqmodels.checkpoint import checkpoint_path, read_checkpoint
from seqmodels.curves import best_figures, draw_curves
from seqmodels.data import SequenceDataModule, Share, TranslationDataModule
from seqmodels.diagnostics import Samples, Translations
from seqmodels.environment import choose_accelerator, choose_precision, environment, quiet
from seqmodels.errors import InputError
from seqmodels.folder import known_to_all, make_folder
from seqmodels.hardware import keep_compiled_kernels, keep_freed_memory
from seqmodels.progress import ProgressLine
from seqmodels.tasks import SequenceTask
from seqmodels.tasks.averaging import Average, make_average
from seqmodels.tasks.base import RECORD
from seqmodels.tasks.budget import Budget
from seqmodels.tracking import Tracker, settle, tracked

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"]


def fit(
    task: SequenceTask,
    data: SequenceDataModule,
    *,
    max_minutes: float | None = None,
    max_steps: int | None = None,
    max_tokens: int | None = None,
    validations: int = 6,
    average: Average = "none",
    ema_decay: float = 0.999,
    clip: float = 1.0,
    clip_by: Literal["norm", "value"] = "norm",
    accumulate: int = 1,
    precision: Precision = "32-true",
    devices: int = 1,
    accelerator: str = "auto",
    prompt: str = "",
    runs: str = "runs",
    resume: str | Path | None = None,
    wandb: bool = False,
    wandb_project: str | None = None,
    wandb_name: str | None = None,
    wandb_group: str | None = None,
    wandb_tags: str = "",
    callbacks: tuple[pl.Callback, ...] = (),
) -> Path:
    """Train, and leave a run folder: configuration, figures, checkpoints, samples, curves.

    The arguments of W&B are flat, since that makes them flags and lines of `config.yaml` as they stand. They tell one
    run from another; for all else, and where they are not given, W&B's own variables hold, such as WANDB_ENTITY.

    Args:
        task: what to train.
        data: what to train on.
        max_minutes: how long to train, with validation on the way. (default: 3, unless max_steps or
            max_tokens is given)
        max_steps: how many steps to train at most.
        max_tokens: how many tokens to train on at most.
        validations: how often to validate on the way, at even distances; the last time is at the end.
        average: what is validated and saved: none for the last weights, ema for a moving average of them, stalled for
            their mean since validation stopped improving (with sgd and a constant schedule, that of AWD-LSTM).
        ema_decay: of the moving average; it reaches back over about 1 / (1 - decay) steps, and over a tenth of those
            that have been made where that is less.
        clip: largest norm of the gradient, or with clip_by value largest size of any number in it; 0 for no limit.
        clip_by: norm, which scales a longer gradient down, or value, which cuts off each number by itself.
        accumulate: batches whose gradients make one step.
        precision: 32-true, bf16-mixed or 16-mixed; auto for bf16-mixed where the processor or GPU computes in it.
        devices: how many GPUs, or processes on the CPU, share the work; each reads a batch of its own.
        accelerator: cpu or gpu; auto for a GPU where there is one.
        prompt: what the samples continue.
        runs: the folder in which run folders are made.
        resume: a run folder, whose last checkpoint is taken, or a checkpoint to go on from, to the end of the budget
            given here.
        wandb: also track the run by Weights & Biases; offline where it has no key or network.
        wandb_project: the project it belongs to. (default: that of the resumed run, WANDB_PROJECT, or seqmodels)
        wandb_name: what it is called there.
        wandb_group: what it is grouped with, such as the same with other seeds.
        wandb_tags: words to find it by, with commas between them.
        callbacks: more callbacks of Lightning; from Python only.

    Returns:
        The run folder.

    Raises:
        InputError: a setting cannot be used here.
    """
    settings = {k: v for k, v in locals().items() if k not in ("task", "data", "resume", "callbacks")}
    if max_minutes is None and max_steps is None and max_tokens is None:
        max_minutes = 3.0
    budget = Budget(max_minutes, max_steps, max_tokens, validations)
    averages = make_average(average, ema_decay, validations)
    for name, value in {"accumulate": accumulate, "devices": devices}.items():
        if value < 1:
            raise InputError(f"{name}={value} was given; expected at least 1")
    if clip < 0:
        raise InputError(f"clip={clip} was given; expected a norm above 0, or 0 for no limit")
    if clip_by not in ("norm", "value"):
        raise InputError(f"clip_by={clip_by!r} was given; choose norm or value")
    accelerator = choose_accelerator(accelerator, devices)
    if resume is not None:
        resume = checkpoint_path(resume, "last")
        content = read_checkpoint(resume)  # a bad one is refused before anything is written
        _check_resumable(resume, content, task, data, devices, average)
        if budget.is_spent(content):
            raise InputError(
                f"{str(resume)!r} has spent this budget; give more --max-minutes, --max-steps or --max-tokens"
            )
    facts = data.facts("train")  # tokenized here, once; other processes find it in the cache
    data.training_batches(Share(0, devices))
    task.check(data, prompt)
    plan = settle(wandb_project, wandb_name, wandb_group, wandb_tags, resume) if wandb else None
    folder = make_folder(Path(runs), type(task).__name__, task.name, data.data, data.seed)
    # Two, since the last that one of them keeps is the last that was also the best.
    checkpoints = [
        ModelCheckpoint(folder / "checkpoints", filename=name, monitor=monitor, enable_version_counter=False)
        for name, monitor in (("best", "val/nats_per_token"), ("last", None))
    ]
    recorded = configuration(task, data, settings)
    keep_freed_memory()
    keep_compiled_kernels()
    with quiet(), tracked(plan, folder, recorded | {"parameters": _size(task)}) as trackers:
        trainer = pl.Trainer(
            max_epochs=-1,
            val_check_interval=Budget.NEVER,  # the budget decides
            check_val_every_n_epoch=None,
            gradient_clip_val=clip or None,
            gradient_clip_algorithm=clip_by,
            accumulate_grad_batches=accumulate,
            precision=choose_precision(accelerator) if precision == "auto" else precision,
            devices=devices,
            accelerator=accelerator,
            logger=[CSVLogger(folder, name="", version=""), *trackers],
            callbacks=[
                budget,
                *averages,
                *checkpoints,
                _writes(folder, data, prompt),
                ProgressLine(facts.tokens / facts.characters),
                *callbacks,
            ],
            log_every_n_steps=20,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        if trainer.is_global_zero:
            _write_yaml(folder / "config.yaml", recorded)
            record = environment(trainer.strategy.root_device) | {"corpus": {"origin": data.origin, **vars(facts)}}
            (folder / "env.json").write_text(json.dumps(record, indent=2) + "\n")
            _announce(task, data, folder)
        interrupted = False
        try:
            with known_to_all(folder):
                trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
        except SystemExit:  # how Lightning ends after Ctrl-C
            interrupted = True
        if trainer.is_global_zero:
            _finish(folder, task, trainer, budget.spent)
        if interrupted:
            raise KeyboardInterrupt
    return folder


def _check_resumable(
    path: Path, content: dict[str, Any], task: SequenceTask, data: SequenceDataModule, devices: int, average: Average
) -> None:
    """Refuse a checkpoint of another model, or of other data, with which its place would mean something else."""
    record, wrong = content[RECORD], []
    for call, theirs, names in (
        (task.constructor_call, record["task"], task.identity),
        (data.constructor_call, record["data"] or data.constructor_call, data.order),
    ):
        wrong += [name for name in names if call["init_args"].get(name) != theirs["init_args"].get(name)]
    if record.get("rows") not in (None, data.size * devices):
        wrong.append("size of batches * devices")
    if data.ranks(content) not in (None, devices):
        wrong.append("number of devices, each of which reads shards of its own")
    if record.get("text") not in (None, data.facts("train").sha256):
        wrong.append("text")
    if ("current_model_state" in content) != (average != "none"):  # Lightning keeps the weights there beside a mean
        wrong.append("average")
    if wrong:
        raise InputError(
            f"{str(path)!r} was trained with another {', '.join(wrong)}; resume with the settings of its run: "
            "--config RUN/config.yaml --resume RUN"
        )


def configuration(task: SequenceTask, data: SequenceDataModule, settings: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a run by name: what `seqmodels fit --config` reads to do it again."""
    model = dict(task.constructor_call["init_args"])
    for name in ("tokenizer", "source_tokenizer"):
        model.pop(name, None)
    return {**data.constructor_call["init_args"], **model, **settings}


def _writes(folder: Path, data: SequenceDataModule, prompt: str) -> pl.Callback:
    """What writes text while the model learns."""
    if isinstance(data, TranslationDataModule):
        return Translations(folder, data.examples("validation"))
    return Samples(folder / "samples.md", prompt)


def _announce(task: SequenceTask, data: SequenceDataModule, folder: Path) -> None:
    """What is about to happen, in a few lines."""
    facts = data.facts("train")
    print(f"text     {data.origin}: {data.extent}")
    print(f"network  {task.name}, {_size(task):,} parameters, vocabulary of {data.tokenizer.vocab_size:,}")
    print(f"run      {folder}")
    if facts.unknown:
        print(f"note     {facts.unknown:,} of {facts.tokens:,} tokens are unknown to the vocabulary")


def _finish(folder: Path, task: SequenceTask, trainer: pl.Trainer, seconds: float) -> None:
    """Final figures, curves, and what to do next."""
    (folder / "hparams.yaml").unlink(missing_ok=True)  # the logger's own, always empty: config.yaml has it all
    best = best_figures(folder / "metrics.csv")
    spent = {"steps": trainer.global_step, "tokens": task.tokens_seen, "seconds": round(seconds, 1)}
    result = {**best, **spent, "parameters": _size(task)}
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    draw_curves(folder)
    for logger in trainer.loggers:
        if isinstance(logger, Tracker):
            logger.log_result(folder / "checkpoints" / "best.ckpt", result)
    if best:
        print(f"best     {_figures(best)} on validation text")
    print(f"trained  {task.tokens_seen:,} tokens, {trainer.global_step:,} steps, {seconds:,.0f} s")
    if (folder / "checkpoints" / "best.ckpt").exists():
        print(f"model    {folder}/checkpoints/best.ckpt")
        print(f"next     seqmodels {task.command} {folder}{_own(task)}")
    else:
        print("model    none was saved: that is done at each validation, and there was none; give more --validations")


def _figures(best: dict[str, float]) -> str:
    """The figures of a validation that people look for."""
    shown = [f"{best['val/nats_per_token']:.4f} nats per token"]
    if "val/bleu" in best:
        return ", ".join([*shown, f"BLEU {best['val/bleu']:.2f}", f"{best['val/exact_match']:.1%} to the letter"])
    return ", ".join([*shown, f"{best['val/bits_per_byte']:.3f} bits per byte"])


def _own(task: SequenceTask) -> str:
    """The flag that makes a command know networks from elsewhere."""
    arguments = task.constructor_call["init_args"].values()
    paths = [call["class_path"] for call in arguments if isinstance(call, dict) and "class_path" in call]
    modules = dict.fromkeys(path.rpartition(".")[0] for path in paths if not path.startswith("seqmodels."))
    return "".join(f" --import {module}" for module in modules)


def _size(task: SequenceTask) -> int:
    return sum(parameter.numel() for parameter in task.parameters())


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
