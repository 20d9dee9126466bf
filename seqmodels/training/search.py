"""A search of settings in a folder: trials within core-minutes, stopped early by successive halving, and resumable."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from seqmodels.errors import DivergedError, InputError
from seqmodels.files import read_json, to_json, write_text
from seqmodels.interop.optional import optional
from seqmodels.training.budget import Budget
from seqmodels.training.resume import has_ended
from seqmodels.training.run_folder import held
from seqmodels.training.search_recipe import Recipe
from seqmodels.training.search_results import Trial, best_settings, write_results

Train = Callable[[dict[str, Any], Sequence[pl.Callback], Path | None], Path]
"""Trains with settings, or resumes a run folder, with callbacks; returns the run folder."""
MAY_CHANGE = ("minutes", "seeds", "finalists", "trials")
"""Parts of a recipe that may be others when a sweep goes on."""


class Halving(pl.Callback):
    """Reports each validation of a trial, and stops a training whose figures are not among the best.

    (Successive halving as trials come, Li et al. 2020.)
    """

    def __init__(self, trial: Any, recipe: Recipe, prunes: bool) -> None:
        self.trial, self.recipe, self.prunes, self.pruned = trial, recipe, prunes, False
        self._reported = set(trial.study.trials[trial.number].intermediate_values)
        self._before, self._began = float(trial.user_attrs.get("core_minutes", 0.0)), time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.trial.set_user_attr("run", str(trainer.default_root_dir))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step = next(one.validated for one in trainer.callbacks if isinstance(one, Budget))  # type: ignore[attr-defined]
        if self.recipe.monitor not in trainer.callback_metrics:
            known = ", ".join(name for name in trainer.callback_metrics if name.startswith("val/"))
            raise InputError(f"monitor={self.recipe.monitor} was given; the figures of a validation are {known}")
        self.count_time()
        if step in self._reported:
            return
        self._reported.add(step)
        self.trial.report(float(trainer.callback_metrics[self.recipe.monitor]), step)
        if self.prunes and step < self.recipe.validations and self.trial.should_prune():
            self.pruned = trainer.should_stop = True

    def count_time(self) -> None:
        """Note the core-minutes so far."""
        minutes = (time.monotonic() - self._began) / 60 * torch.get_num_threads()
        self.trial.set_user_attr("core_minutes", self._before + minutes)


def search(recipe: Recipe, folder: Path, train: Train) -> Path:
    """Run trials until the budget is spent, then the best settings with other seeds.

    It can be stopped at any time, and goes on where it was. `results.md`, `results.json` and `results.png` in the
    folder are written after each trial.

    Args:
        recipe: what to do.
        folder: of the sweep; run folders are below `trials`.
        train: trains one model.

    Returns:
        The table.

    Raises:
        InputError: optuna is missing, the folder has another sweep, or the first trial cannot be trained.
    """
    optuna = optional("optuna", "sweep", "a sweep")
    try:
        (folder / "trials").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {str(folder)!r}: {error.strerror}; give another --to") from error
    with held(folder), _quiet(optuna):
        _check_same(folder / "sweep.json", recipe)
        study = _study(optuna, recipe, folder)
        while (trial := _next(optuna, study, recipe)) is not None:
            _run(optuna, study, trial, recipe, train)
            write_results(folder, recipe, _trials(study))
        return write_results(folder, recipe, _trials(study))


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _check_same(path: Path, recipe: Recipe) -> None:
    """Keep the recipe; refuse another one in the folder of a sweep that has begun."""
    if path.exists():
        kept = read_json(path)
        differ = [n for n, v in asdict(recipe).items() if n not in MAY_CHANGE and kept.get(n) != v]
        if differ:
            raise InputError(
                f"{str(path.parent)!r} has a sweep with other {', '.join(differ)}; give another folder by --to"
            )
    write_text(path, to_json(asdict(recipe), 2) + "\n")


def _study(optuna: Any, recipe: Recipe, folder: Path) -> Any:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "trials.journal")))
    study = optuna.create_study(
        storage=storage, study_name="sweep", load_if_exists=True,
        direction="maximize" if recipe.upwards else "minimize",
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=recipe.halving),
    )  # fmt: skip
    # Another seed where a sweep goes on: the same one would draw what was drawn before.
    study.sampler = optuna.samplers.TPESampler(seed=1 + len(study.trials))
    return study


def _spaces(optuna: Any, recipe: Recipe) -> dict[str, Any]:
    kinds, found = optuna.distributions, {}
    for name, space in recipe.search.items():
        if isinstance(space, list):
            found[name] = kinds.CategoricalDistribution(space)
            continue
        whole = type(space["low"]) is int and type(space["high"]) is int
        kind, options = kinds.IntDistribution if whole else kinds.FloatDistribution, {"log": space.get("log", False)}
        found[name] = kind(space["low"], space["high"], **options, **{k: v for k, v in space.items() if k == "step"})
    return found


def _trials(study: Any) -> list[Trial]:
    return [
        Trial(
            one.number, one.state.name.lower(), dict(one.params), one.user_attrs.get("seed", 1),
            one.user_attrs.get("figure"), one.user_attrs.get("core_minutes", 0.0), one.user_attrs.get("run"),
            {int(step): float(value) for step, value in one.intermediate_values.items()}, one.user_attrs.get("why"),
            bool(one.user_attrs.get("final", False)),
        )
        for one in study.trials
    ]  # fmt: skip


def _next(optuna: Any, study: Any, recipe: Recipe) -> Any:
    """The trial that was interrupted, one of the best settings with another seed, or a new one; None at the end."""
    for one in study.trials:
        if one.state == optuna.trial.TrialState.RUNNING:
            return optuna.trial.Trial(study, one._trial_id)
    every = _trials(study)
    whole = [one for one in every if one.state == "complete"]
    spent, each = sum(one.core_minutes for one in every), max((one.core_minutes for one in whole), default=0.0)
    searched = [one for one in every if not one.final]
    kept = recipe.finalists * (recipe.seeds - 1) * each  # for the best settings
    if spent + kept + each < recipe.minutes and (recipe.trials is None or len(searched) < recipe.trials):
        trial = study.ask(_spaces(optuna, recipe))
        trial.set_user_attr("seed", 1 + sum(one.params == trial.params for one in every))  # drawn before: another seed
        return trial
    for params in best_settings(whole, recipe.upwards)[: recipe.finalists]:
        seeds = {one.seed for one in every if one.params == params}
        missing = [seed for seed in range(1, recipe.seeds + 1) if seed not in seeds]
        if missing and spent < recipe.minutes:
            study.enqueue_trial(params, user_attrs={"seed": missing[0], "final": True})
            return study.ask(_spaces(optuna, recipe))
    return None


def _run(optuna: Any, study: Any, trial: Any, recipe: Recipe, train: Train) -> None:
    """Train one trial, or go on with it, and tell the study how it ended."""
    states, seed = optuna.trial.TrialState, trial.user_attrs.get("seed", 1)
    settings = {**recipe.settings, "validations": recipe.validations, **trial.params, "seed": seed}
    shown = ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items())
    print(f"\ntrial {trial.number}: {shown}, seed {seed}", flush=True)
    halving = Halving(trial, recipe, prunes=not trial.user_attrs.get("final", False))
    try:
        run = _ended(trial) or train(settings, [halving], _begun(trial))
    except (InputError, DivergedError) as error:
        halving.count_time()
        trial.set_user_attr("why", str(error))
        study.tell(trial, state=states.FAIL)
        if isinstance(error, InputError) and not any(one.state == "complete" for one in _trials(study)):
            raise
        print(f"failed   {error}")
        return
    if not _ended(trial):
        halving.count_time()
    trial.set_user_attr("run", str(run))
    result = read_json(run / "result.json")
    trial.set_user_attr("figure", result.get(recipe.monitor))
    if halving.pruned or result.get("ended") == "callback":
        study.tell(trial, state=states.PRUNED)
    elif recipe.monitor in result:
        study.tell(trial, result[recipe.monitor])
    else:
        study.tell(trial, state=states.FAIL)


def _begun(trial: Any) -> Path | None:
    """The run folder of an interrupted trial, if it has a checkpoint."""
    run = Path(trial.user_attrs.get("run", ""))
    return run if any(run.glob("checkpoints/*.safetensors")) and "run" in trial.user_attrs else None


def _ended(trial: Any) -> Path | None:
    """The run folder of a trial that ended before the study was told."""
    run = _begun(trial)
    return run if run is not None and has_ended(run) else None


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
