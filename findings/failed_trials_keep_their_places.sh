#!/usr/bin/env bash
# optuna 5.0.0 (Python 3.11)
#
# Guess: a trial that failed has no result, so the pruners, which stop trials that are worse than others, compare with
# those that have one.
#
# Seen: `MedianPruner` and `PercentilePruner` do. `SuccessiveHalvingPruner`, and with it `HyperbandPruner`, compare with
# every trial that reached the step: with failed ones, and with those of processes that are gone, which stay "running".
# After three trainings that began best and then diverged, eight of ten that would have ended well are stopped at their
# first report; had the three never been, none were.
#
# Output seen (is the fourth trial stopped after its first report?):
#   three complete: median yes, percentile yes, halving yes, hyperband yes
#   three failed: median no, percentile no, halving yes, hyperband yes
#   three abandoned: median no, percentile no, halving yes, hyperband yes
#   halving, 3 failed, then ten more: FAIL 3, PRUNED 8, COMPLETE 2
#   median, 3 failed, then ten more: FAIL 3, PRUNED 0, COMPLETE 10
#   halving, 0 failed, then ten more: FAIL 0, PRUNED 0, COMPLETE 10
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import optuna
from optuna import pruners
from optuna.trial import TrialState

warnings.filterwarnings("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
KINDS = {
    "median": lambda: pruners.MedianPruner(n_startup_trials=1),
    "percentile": lambda: pruners.PercentilePruner(25, n_startup_trials=1),
    "halving": lambda: pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    "hyperband": lambda: pruners.HyperbandPruner(min_resource=1, max_resource=2, reduction_factor=3),
}


def begun(kind, end, trials=3):
    """A study after trials that began with a loss of 0.1 and ended so."""
    study = optuna.create_study(pruner=KINDS[kind](), sampler=optuna.samplers.RandomSampler(0), study_name="one")
    for _ in range(trials):
        trial = study.ask()
        trial.report(0.1, 1)
        trial.should_prune()
        if end is not TrialState.RUNNING:
            study.tell(trial, 0.1 if end is TrialState.COMPLETE else None, state=end)
    return study


def stopped(study, loss):
    trial = study.ask()
    trial.report(loss, 1)
    return trial, trial.should_prune()


for name, end in (("complete", TrialState.COMPLETE), ("failed", TrialState.FAIL), ("abandoned", TrialState.RUNNING)):
    found = {kind: bool(stopped(begun(kind, end), 0.5)[1]) for kind in KINDS}
    print(f"three {name}: " + ", ".join(f"{kind} {'yes' if stop else 'no'}" for kind, stop in found.items()))
    complete = end is TrialState.COMPLETE
    assert found == {"median": complete, "percentile": complete, "halving": True, "hyperband": True}
for kind, failed in (("halving", 3), ("median", 3), ("halving", 0)):
    study = begun(kind, TrialState.FAIL, failed)
    for _ in range(10):
        trial, stop = stopped(study, 0.5)
        study.tell(trial, None if stop else 0.4, state=TrialState.PRUNED if stop else TrialState.COMPLETE)
    ends = [trial.state for trial in study.trials]
    counts = {one.name: ends.count(one) for one in (TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE)}
    print(f"{kind}, {failed} failed, then ten more: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    stops = 8 if kind == "halving" and failed else 0
    assert counts == {"FAIL": failed, "PRUNED": stops, "COMPLETE": 10 - stops}
PYTHON
