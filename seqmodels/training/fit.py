"""A run: one training in one folder, with all that it leaves there."""

import atexit
import contextlib
import signal
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import yaml

from seqmodels.analysis import GradientHorizon, Samples, Spectra, Translations
from seqmodels.data import Replica, SequenceDataModule, TranslationDataModule
from seqmodels.environment import choose_accelerator, is_other_rank, keep_compiled_kernels, keep_freed_memory, quiet
from seqmodels.errors import InputError
from seqmodels.files import write_text
from seqmodels.tasks import SequenceTask
from seqmodels.training.budget import Budget
from seqmodels.training.checkpoint_callback import Checkpoints, RunCheckpointIO
from seqmodels.training.csv_logger import CSVLog
from seqmodels.training.interruption import Signals, Stopped, early_end, requeue, run_of_this_job
from seqmodels.training.nonfinite_steps import NonfiniteSteps
from seqmodels.training.precision import choose_precision
from seqmodels.training.progress import ProgressLine
from seqmodels.training.resume import check_batches, check_same, held_origin, rewind
from seqmodels.training.run_folder import held, known_to_all, make_folder
from seqmodels.training.run_summary import announce, describe, finish, size
from seqmodels.training.strategy import StrategyName, compile_steps, leave_group, make_strategy
from seqmodels.training.wandb_logger import plan_tracking, tracking
from seqmodels.training.weight_averaging import Average, make_average

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"]


def fit(
    task: SequenceTask,
    data: SequenceDataModule,
    *,
    max_minutes: float | None = None,
    max_steps: int | None = None,
    max_tokens: int | None = None,
    validations: int = 6,
    save_minutes: float = 10.0,
    max_nonfinite_steps: int = 10,
    average: Average = "none",
    ema_decay: float = 0.999,
    clip: float = 1.0,
    clip_by: Literal["norm", "value"] = "norm",
    accumulate: int = 1,
    precision: Precision = "32-true",
    compile: bool = False,
    devices: int = 1,
    nodes: int = 1,
    strategy: StrategyName = "auto",
    accelerator: str = "auto",
    prompt: str = "",
    diagnostics: bool = True,
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
        save_minutes: how often to save a checkpoint on the way between validations, each of which begins with one.
        max_nonfinite_steps: steps whose loss or gradient is not finite are skipped; so many in a row end training.
        average: what is validated and saved: none for the last weights, ema for a moving average of them, stalled for
            their mean since validation stopped improving (with sgd and a constant schedule, that of AWD-LSTM).
        ema_decay: of the moving average; it reaches back over about 1 / (1 - decay) steps, and over a tenth of those
            that have been made where that is less.
        clip: largest norm of the gradient, or with clip_by value largest size of any number in it; 0 for no limit.
        clip_by: norm, which scales a longer gradient down, or value, which cuts off each number by itself.
        accumulate: batches whose gradients make one step.
        precision: 32-true, bf16-mixed or 16-mixed; auto for bf16-mixed where the processor or GPU computes in it, and,
            on a processor, a few steps show that it is faster.
        compile: compile layers of attention and the loss, which takes half a minute; on a GPU, steps are faster then.
        devices: how many GPUs, or processes on the CPU, share the work; each reads a batch of its own.
        nodes: how many machines have so many devices each; torchrun or SLURM starts their processes.
        strategy: ddp, where every device has all weights; fsdp, where each has a part of every one, of its gradient
            and of what AdamW keeps; auto for ddp where there are several devices.
        accelerator: cpu or gpu; auto for a GPU where there is one.
        prompt: what the samples continue.
        diagnostics: log the gradient horizon and the spectra of recurrent matrices after steps 100, 200, 400, ...
        runs: the folder in which run folders are made.
        resume: a run folder, which goes on from its newest checkpoint that is whole, or a checkpoint, from which a run
            in a folder of its own begins; to the end of the budget given here.
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
        DivergedError: loss or gradient were not finite for too long.
        Stopped: SIGTERM or SIGUSR1 came. It is a SystemExit with code 143; the run can be resumed.
        KeyboardInterrupt: Ctrl-C came, likewise.
    """
    settings = {k: v for k, v in locals().items() if k not in ("task", "data", "resume", "callbacks")}
    if max_minutes is None and max_steps is None and max_tokens is None:
        max_minutes = 3.0
    budget = Budget(max_minutes, max_steps, max_tokens, validations)
    averages = make_average(average, ema_decay, validations)
    positive = {"accumulate": accumulate, "devices": devices, "nodes": nodes}
    for name, value in {**positive, "save_minutes": save_minutes, "max_nonfinite_steps": max_nonfinite_steps}.items():
        if value <= 0:
            raise InputError(f"{name}={value} was given; expected more than 0")
    if clip < 0:
        raise InputError(f"clip={clip} was given; expected a norm above 0, or 0 for no limit")
    if clip_by not in ("norm", "value"):
        raise InputError(f"clip_by={clip_by!r} was given; choose norm or value")
    accelerator = choose_accelerator(accelerator, devices)
    sharing = make_strategy(strategy, devices, nodes, task, average, precision, compile)
    if compile:
        compile_steps(task)
    recorded = configuration(task, data, settings)
    with contextlib.ExitStack() as stack:
        begun = run_of_this_job(Path(runs), recorded)
        origin = None
        if resume := begun or resume:
            origin = stack.enter_context(held_origin(resume))  # a bad one is refused before anything is written
            check_same(origin, task, data, devices * nodes, accumulate, average)
            if budget.is_spent(origin.content) and (origin.ended or not origin.due):
                if begun:
                    return begun
                raise InputError(
                    f"{str(origin.path)!r} has spent this budget, {budget.spent_by(origin.content)}; give more "
                    "--max-minutes, --max-steps or --max-tokens"
                )
        facts = data.facts("train")  # tokenized here, once; other processes find it in the cache
        batches = data.training_batches(Replica(0, devices * nodes))
        if origin is not None:
            check_batches(origin, len(batches))
        task.check(data, prompt)
        folder = origin.folder if origin else None
        # A single checkpoint begins a run of its own, in W&B too.
        plan = plan_tracking(wandb_project, wandb_name, wandb_group, wandb_tags, folder) if wandb else None
        if folder is None:
            folder = make_folder(Path(runs), type(task).__name__, task.name, data.data, data.seed)
            stack.enter_context(held(folder))
        elif origin is not None and not is_other_rank():
            rewind(folder, origin.content["global_step"], origin.due)
        path = None if origin is None else origin.path
        files = RunCheckpointIO(None if origin is None else origin.content)
        signals = Signals()
        stack.callback(signals.disarm)
        checkpoints = Checkpoints(folder / "checkpoints", files, signals, budget, path, save_minutes)
        keep_freed_memory()
        keep_compiled_kernels()
        why = ""
        if precision == "auto":
            before = origin.folder if origin else None
            precision, why = choose_precision(task, batches[0, 0], accelerator, before, devices * nodes)
        stack.enter_context(quiet())
        trackers = stack.enter_context(tracking(plan, folder, recorded | {"parameters": size(task)}))
        trainer = pl.Trainer(
            default_root_dir=folder,
            max_epochs=-1,
            val_check_interval=Budget.NEVER,  # the budget decides
            check_val_every_n_epoch=None,
            gradient_clip_val=clip or None,
            gradient_clip_algorithm=clip_by,
            accumulate_grad_batches=accumulate,
            precision=precision,
            devices=devices,
            num_nodes=nodes,
            strategy=sharing,
            inference_mode=strategy != "fsdp",  # weights gathered in it could not be trained again
            accelerator=accelerator,
            plugins=[files],
            logger=[CSVLog(folder), *trackers],
            callbacks=[
                budget,
                *averages,
                NonfiniteSteps(folder / "nonfinite_steps.jsonl", max_nonfinite_steps),
                _writes(folder, data, prompt),
                *_diagnostics(diagnostics, callbacks),
                ProgressLine(facts.tokens / facts.characters),
                *callbacks,
                checkpoints,
            ],
            log_every_n_steps=20,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        if trainer.is_global_zero:
            write_text(folder / "config.yaml", yaml.safe_dump(recorded, sort_keys=False, allow_unicode=True))
            describe(folder, trainer, data, origin.content["global_step"] if origin else 0)
            announce(task, data, folder, origin, f"{precision}, {why}" if why else "")
        task.tokens_seen = task.skipped_in_a_row = 0  # of another run before, if any
        signals.arm()
        atexit.register(leave_group)
        with known_to_all(folder):
            train = partial(trainer.fit, task, datamodule=data, ckpt_path=path, weights_only=True)
            ending = early_end(train, path, lambda: checkpoints.began)
        if trainer.is_global_zero:
            finish(folder, task, trainer, budget.spent, checkpoints.best, ending)
        if isinstance(ending, Stopped):
            requeue(trainer, ending)
            if ending.signal == signal.SIGINT:
                raise KeyboardInterrupt
        if ending is not None:
            raise ending
        if failed := trainer.strategy.broadcast(files.failed):
            raise InputError(
                f"the last checkpoint could not be saved ({failed}); make room, and resume {str(folder)!r}"
            )
        return Path(trainer.strategy.broadcast(str(folder)))  # torchrun's and SLURM's other processes do not know it


def configuration(task: SequenceTask, data: SequenceDataModule, settings: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a run by section, from which `seqmodels fit --config` does it again.

    Tokenizers of the task are left out: they come from the data.
    """
    call = task.constructor_call
    arguments = {k: v for k, v in call["init_args"].items() if k not in ("tokenizer", "source_tokenizer")}
    return {"task": {**call, "init_args": arguments}, "data": data.constructor_call, "fit": settings}


def _writes(folder: Path, data: SequenceDataModule, prompt: str) -> pl.Callback:
    """What writes text while the model learns."""
    if isinstance(data, TranslationDataModule):
        return Translations(folder, data.examples("validation"))
    return Samples(folder / "samples.md", prompt)


def _diagnostics(wanted: bool, given: tuple[pl.Callback, ...]) -> list[pl.Callback]:
    """Callbacks for diagnostics, unless the user gave some of the same class."""
    ours: list[pl.Callback] = [GradientHorizon(), Spectra()] if wanted else []
    return [callback for callback in ours if type(callback) not in {type(other) for other in given}]
