"""One training in one run folder: prepare, build, train."""

import atexit
import math
import os
import signal
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import Strategy

from seqmodels.analysis import GradientHorizon, Samples, Spectra, Translations
from seqmodels.analysis.notebook import RunFolder
from seqmodels.checkpoints.load import load_weights
from seqmodels.checkpoints.saved import TOKENIZERS
from seqmodels.data import Replica, SequenceDataModule, TranslationDataModule
from seqmodels.data.given import is_data
from seqmodels.environment import (
    choose_accelerator,
    choose_devices,
    is_other_rank,
    kept_kernels,
    kept_memory,
    quiet,
)
from seqmodels.errors import InputError, hinted, one_line
from seqmodels.files import any_console, local, write_text
from seqmodels.tasks import SequenceTask
from seqmodels.tasks.own_data import data_of
from seqmodels.tasks.training_state import random_states, restore_rank
from seqmodels.training.budget import Budget
from seqmodels.training.checkpoint_callback import Checkpoints
from seqmodels.training.compiling import MANY, compile_now, compile_steps, kept_code
from seqmodels.training.interruption import Stopped, early_end, requeue, run_of_this_job
from seqmodels.training.loggers import check_names, chosen, loggers
from seqmodels.training.nonfinite_steps import NonfiniteSteps
from seqmodels.training.precision import choose_precision
from seqmodels.training.progress import ProgressLine
from seqmodels.training.resume import Origin, check_batches, check_same, find_origin, rewind, settings_of
from seqmodels.training.run_folder import held, known_to_all, make_folder, with_files
from seqmodels.training.run_summary import announce, describe, finish, size
from seqmodels.training.strategy import StrategyName, leave_group, make_strategy, set_recompute
from seqmodels.training.wandb_logger import TrackingPlan, plan_tracking
from seqmodels.training.weight_averaging import Average, make_average

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"]


END = "a training ends after max_minutes, max_steps or max_tokens"
OF_TASK, OF_DATA = "it is an argument of the task, such as LanguageModel", "it is an argument of the data module"


@hinted(epochs=END, max_epochs=END, num_epochs=END, num_train_epochs=END, lr=OF_TASK, learning_rate=OF_TASK + ": lr",
        optimizer=OF_TASK, batch_size=OF_DATA, length=OF_DATA, seed=OF_DATA)  # fmt: skip
def fit(
    task: SequenceTask,
    data: SequenceDataModule | Any,
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
    recompute: int | str | None = None,
    keep_memory: bool = False,
    devices: int | str = 1,
    nodes: int = 1,
    strategy: StrategyName = "auto",
    accelerator: str = "auto",
    prompt: str = "",
    diagnostics: bool = True,
    runs: str | Path = "runs",
    resume: str | Path | None = None,
    init: str | Path | None = None,
    logger: str | list[str] | Logger | list[Logger] | None = None,
    wandb_project: str | None = None,
    wandb_name: str | None = None,
    wandb_group: str | None = None,
    wandb_tags: str = "",
    callbacks: tuple[pl.Callback, ...] = (),
) -> RunFolder:
    """Train, and leave a run folder: configuration, figures, checkpoints, samples, curves.

    Args:
        task: trained in place.
        data: a data module; or from Python data as such a module takes them, with default settings.
        max_minutes: duration of training, validation included. (default: 3, unless max_steps or max_tokens is given)
        max_steps: maximum number of optimizer steps.
        max_tokens: maximum number of training tokens.
        validations: number of validations, evenly spaced, the last one at the end.
        save_minutes: minutes between checkpoints; each validation saves one, too.
        max_nonfinite_steps: steps with a loss or gradient that is not finite are skipped; after so many in a row
            training ends.
        average: weights that are validated and saved: none, the current ones; ema, their exponential moving average;
            stalled, their mean since validation stopped improving (AWD-LSTM, with sgd and a constant schedule).
        ema_decay: decay of the moving average, less in the first steps, so that it covers a tenth of the run so far.
        clip: maximum norm of the gradient, or with clip_by value maximum size of its elements; 0 for no clipping.
        clip_by: norm, or value.
        accumulate: batches per optimizer step.
        precision: 32-true, bf16-mixed or 16-mixed; auto for bf16-mixed where the hardware has it and, on a CPU, where
            it is faster in a short measurement.
        compile: compile residual blocks and the loss of large vocabularies, once for all later runs; it pays on GPUs,
            and a little on CPUs, for associative memories and for Transformers in bf16-mixed.
        recompute: for long windows in little memory: keep only the states between pieces of so many positions, such as
            256, and compute the activations of a piece again in the backward pass; blocks to do so with each block of a
            Transformer. It takes about a third more time.
        keep_memory: on a CPU with Linux, keep the memory that a step frees for the next one: up to a third less
            time for a fifth more memory. With a vocabulary of 4,096 tokens or more it is always kept.
        devices: number of GPUs, or of processes on the CPU; each reads batches of its own. auto or -1 for all GPUs, or
            their numbers, such as 0,1.
        nodes: number of machines with so many devices each; torchrun or SLURM starts their processes.
        strategy: ddp, a whole model on each device; fsdp, weights, gradients and optimizer state split among devices
            (FSDP2); auto for ddp where there are several devices.
        accelerator: cpu, gpu or mps (an Apple GPU); auto for a GPU where there is one, but not for mps.
        prompt: prompt of the samples.
        diagnostics: log the gradient horizon and the spectra of recurrent matrices at steps 100, 200, 400 and so on.
        runs: the folder in which run folders are made.
        resume: a run folder, which continues from its newest intact checkpoint; or a checkpoint, from which a new run
            begins. The budget is that of the whole run.
        init: a run folder, a shared one or a checkpoint, with whose weights the training begins; from Python, `load`
            makes a task of one, with other settings.
        logger: where figures, samples and pictures go beside the run folder: wandb, tensorboard, mlflow, trackio; csv
            for the folder alone. Several are separated by commas or spaces; from Python also loggers of Lightning.
        wandb_project: W&B project. (default: that of the resumed run, WANDB_PROJECT, or seqmodels)
        wandb_name: W&B name of the run.
        wandb_group: W&B group of the run.
        wandb_tags: W&B tags, separated by commas.
        callbacks: further Lightning callbacks; from Python only.

    Returns:
        The run folder, a path that shows the run in a notebook.

    Raises:
        InputError: a setting cannot be used here.
        DivergedError: loss or gradient were not finite for too many steps in a row.
        Stopped: SIGTERM or SIGUSR1 came; a SystemExit with code 143. The run can be resumed.
        KeyboardInterrupt: Ctrl-C came. The run can be resumed.
    """
    settings = {k: v for k, v in locals().items() if k not in ("task", "data", "resume", "callbacks")}
    settings["runs"] = os.fspath(runs)
    names, objects = chosen(logger)
    settings["logger"] = names or None
    check_names(names, settings)
    settings["init"] = None if init is None else os.fspath(init)
    if isinstance(task, SequenceTask) and is_data(data):
        data = data_of(task, data)
    for name, given, kind in (("task", task, SequenceTask), ("data", data, SequenceDataModule)):
        if not isinstance(given, kind):
            wanted = f"{kind.__name__}, such as {'LanguageModel' if name == 'task' else 'TextDataModule'}(...)"
            raise InputError(f"fit({name}=...) was given {one_line(repr(given)):.40}; expected a {wanted}")
    assert isinstance(data, SequenceDataModule)
    with ExitStack() as stack:
        stack.enter_context(any_console(lasting=True))
        run = _prepare(stack, task, data, settings, resume)
        return RunFolder(run if isinstance(run, Path) else _train(run, _trainer(stack, run, callbacks, objects)))


@dataclass
class _Run:
    """A run that is about to begin; `settings` are the arguments of `fit`, with the devices and precision chosen."""

    task: SequenceTask
    data: SequenceDataModule
    settings: dict[str, Any]
    configuration: dict[str, Any]  # content of config.yaml
    budget: Budget
    averages: list[pl.Callback]
    strategy: Strategy | str
    origin: Origin | None  # the checkpoint that it resumes
    tokenizers: dict[str, str]  # files of those that were given
    folder: Path
    tracking: TrackingPlan | None
    how: str  # the chosen precision and the reason, or what was counted, in words; empty where the former was given

    def __post_init__(self) -> None:
        minutes = self.settings["save_minutes"]
        self.checkpoints = Checkpoints(self.folder / "checkpoints", self.budget, minutes, self.origin)


def _prepare(
    stack: ExitStack, task: SequenceTask, data: SequenceDataModule, settings: dict[str, Any], resume: str | Path | None
) -> _Run | Path:
    """Check everything before anything is written, then make or rewind the run folder.

    Returns:
        The run; or the folder of a run that a restarted SLURM job had finished.
    """
    _check(settings)
    begins_with, settings["init"] = settings["init"], settings["init"] or task.loaded_from
    call = task.constructor_call
    arguments = {k: v for k, v in call["init_args"].items() if k not in TOKENIZERS}  # those are of the data
    data_call, tokenizers = with_files(data.constructor_call)
    recorded = {"task": {**call, "init_args": arguments}, "data": data_call, "fit": settings}
    minutes, steps, tokens = (settings[name] for name in ("max_minutes", "max_steps", "max_tokens"))
    counts = not task.learns
    if counts:  # all at once
        minutes, steps, tokens = None, 1, None
    budget = Budget(3.0 if minutes is steps is tokens is None else minutes, steps, tokens, settings["validations"])
    averages = make_average(settings["average"], settings["ema_decay"], settings["validations"])
    accelerator = choose_accelerator(settings["accelerator"])
    devices = choose_devices(accelerator, settings["devices"])
    if accelerator == "mps" and settings["precision"] == "64-true":
        raise InputError(
            "precision='64-true' was given, and Apple GPUs have no double precision; give accelerator='cpu'"
        )
    ranks = len(devices) * settings["nodes"]
    strategy = make_strategy(task, settings, len(devices))
    compiling = compile_steps(task, accelerator) if settings["compile"] else ""
    code = stack.enter_context(kept_code()) if settings["compile"] else None
    again = set_recompute(task, settings["recompute"], data.length)
    restarted = run_of_this_job(Path(settings["runs"]), recorded)
    origin = None
    if resume := restarted or resume:
        if local(resume).is_dir():
            stack.enter_context(held(local(resume)))
        origin = find_origin(resume)
        settings["init"] = settings_of(origin).get("init")  # it has weights of its own
        check_same(origin, task, data, ranks, settings["accumulate"], settings["average"])
        if budget.is_spent(origin.content) and (origin.ended or not origin.due):
            if restarted:
                return restarted
            raise InputError(
                f"{str(origin.path)!r} has spent this budget, {budget.spent_by(origin.content)}; give more "
                "--max-minutes, --max-steps or --max-tokens"
            )
    elif begins_with:
        load_weights(task, begins_with)
    task.check(data, settings["prompt"])
    why = task.count(data)
    data.facts("train")  # tokenized here, once; other processes find it in the cache
    batches = data.training_batches(Replica(0, ranks))
    if origin is not None:
        check_batches(origin, len(batches))
    folder = origin.folder if origin else None  # None for a single checkpoint, from which a new run begins
    plan = plan_tracking(settings, folder) if "wandb" in (settings["logger"] or ()) else None
    if folder is None:
        folder = make_folder(Path(settings["runs"]), type(task).__name__, task.name, data.data, data.seed)
        stack.enter_context(held(folder))
    elif origin is not None and not is_other_rank():
        rewind(folder, origin.content, origin.due)
    if settings["keep_memory"] or task.tokenizer.vocab_size >= MANY:
        stack.enter_context(kept_memory())
    stack.enter_context(kept_kernels())
    device = torch.device({"gpu": "cuda"}.get(accelerator, accelerator), devices[0] if accelerator == "gpu" else 0)
    stack.callback(restore_rank, [random_states(device)], 0, device)  # the caller's, as they were
    precision = settings["precision"]
    if precision == "auto":
        before = origin.folder if origin else None
        if counts:
            precision = "32-true"
        else:
            with torch.compiler.set_stance("force_eager") if settings["compile"] else nullcontext():
                precision, why = choose_precision(task, batches[0, 0], accelerator, before, ranks)
            why = f"computes in {precision}, {why}"
    if precision == "64-true":
        task.double()  # before callbacks copy its weights for averages; Lightning converts it later
    if code is not None and task.compiled and accelerator == "cpu":
        compiled = compile_now(task, batches[0, 0], code, precision.endswith("-mixed"), not is_other_rank())
        compiling = compiling if compiled else ""
    why = "\n".join(line for line in (why, compiling, again) if line)
    settings = {**settings, "accelerator": accelerator, "devices": devices, "precision": precision}
    return _Run(task, data, settings, recorded, budget, averages, strategy, origin, tokenizers, folder, plan, why)


def _check(settings: dict[str, Any]) -> None:
    for name, kind in get_type_hints(fit).items():
        value, kinds = settings.get(name), get_args(kind) or (kind,)
        if get_origin(kind) is Literal and value not in kinds:
            raise InputError(f"{name}={value!r} was given; choose one of {', '.join(kinds)}")
        number = int in kinds or float in kinds
        if number and isinstance(value, bool | str) and str not in kinds:
            raise InputError(f"{name}={value!r} was given; expected a number")
        if number and isinstance(value, float) and (float not in kinds or not math.isfinite(value)):
            raise InputError(f"{name}={value!r} was given; expected a {'finite' if float in kinds else 'whole'} number")
    for name in ("accumulate", "nodes", "save_minutes", "max_nonfinite_steps"):
        if settings[name] <= 0:
            raise InputError(f"{name}={settings[name]} was given; expected more than 0")
    if settings["clip"] < 0:
        raise InputError(f"clip={settings['clip']} was given; expected a norm above 0, or 0 for no clipping")


def _trainer(stack: ExitStack, run: _Run, callbacks: tuple[pl.Callback, ...], objects: list[Logger]) -> pl.Trainer:
    """Lightning's trainer with everything that a run needs; `stack` ends it in order."""
    settings, folder, data = run.settings, run.folder, run.data
    stack.callback(run.checkpoints.signals.disarm)
    stack.enter_context(quiet())
    configuration = run.configuration | {"parameters": size(run.task)}
    step = run.origin.content["global_step"] if run.origin and run.origin.folder else 0
    names = settings["logger"] or []
    logs = stack.enter_context(loggers(names, objects, run.tracking, folder, configuration, step))
    facts = data.facts("train")
    samples: pl.Callback = Samples(settings["prompt"])
    if isinstance(data, TranslationDataModule):
        samples = Translations()
    given = {type(callback) for callback in callbacks}  # in place of ours
    diagnostics = [kind() for kind in (GradientHorizon, Spectra) if settings["diagnostics"] and kind not in given]
    if not run.task.learns:
        diagnostics = []
    return pl.Trainer(
        default_root_dir=folder,
        max_epochs=-1,
        val_check_interval=Budget.NEVER,  # the budget decides
        check_val_every_n_epoch=None,
        gradient_clip_val=settings["clip"] or None,
        gradient_clip_algorithm=settings["clip_by"],
        accumulate_grad_batches=settings["accumulate"],
        precision=settings["precision"],
        devices=settings["devices"] if settings["accelerator"] == "gpu" else len(settings["devices"]),
        num_nodes=settings["nodes"],
        strategy=run.strategy,
        inference_mode=settings["strategy"] != "fsdp",  # weights gathered in it could not be trained again
        accelerator=settings["accelerator"],
        plugins=[run.checkpoints.files],
        logger=logs,
        callbacks=[
            run.budget,
            *run.averages,
            NonfiniteSteps(settings["max_nonfinite_steps"]),
            samples,
            *diagnostics,
            ProgressLine(facts.tokens / facts.characters),
            *callbacks,
            run.checkpoints,
        ],
        log_every_n_steps=20,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _train(run: _Run, trainer: pl.Trainer) -> Path:
    """Train to the end of the budget, or until something ends it; write the final figures in any case."""
    task, data, folder, origin = run.task, run.data, run.folder, run.origin
    if trainer.is_global_zero:
        write_text(folder / "config.yaml", yaml.safe_dump(run.configuration, sort_keys=False, allow_unicode=True))
        for name, text in run.tokenizers.items():
            write_text(folder / name, text)
        describe(folder, trainer, data, origin.content["global_step"] if origin else 0)
        announce(task, data, folder, origin, run.how, run.settings["init"])
    task.loaded_from = None  # from here on, its weights are of this run
    task.tokens_seen = task.skipped_in_a_row = 0  # of another run before, if any
    run.checkpoints.signals.arm()
    atexit.register(leave_group)
    path = origin.path if origin else None
    with known_to_all(folder):
        train = partial(trainer.fit, task, datamodule=data, ckpt_path=path, weights_only=True)
        ending = early_end(train, path, lambda: run.checkpoints.files.has_read and not run.checkpoints.began)
    if trainer.is_global_zero:
        finish(folder, trainer, run.budget, run.checkpoints.best, ending)
    if isinstance(ending, Stopped):
        requeue(trainer, ending)
        if ending.signal == signal.SIGINT:
            raise KeyboardInterrupt
    if ending is not None:
        raise ending
    if failed := trainer.strategy.broadcast(run.checkpoints.files.failed):
        raise InputError(f"the last checkpoint could not be saved ({failed}); make room, and resume {str(folder)!r}")
    return Path(trainer.strategy.broadcast(str(folder)))  # other processes of torchrun and SLURM do not know it
