"""All promises, each a test; `python -m pytest --slow tests/promises` tries all cases and prints a table of figures.

Without `--slow` a few cases of each are tried, as far as they are fast.
"""

import signal
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from promises import chains, devices, files, numbers, order, resume, saves, secrets, signals, stream
from promises.conftest import Check
from promises.forks import apart
from promises.runs import LAYOUTS, POINTS, PRECISIONS, Kind
from promises.table import Outcome, Report, all_of, none_of, plain, rows


def fast(few: Iterable[Any], cases: Iterable[Any]) -> list[Any]:
    """Cases, all but a few of which are marked slow."""
    few = list(few)
    return [pytest.param(case, marks=[] if case in few else pytest.mark.slow, id=_name(case)) for case in cases]


def _name(case: Any) -> str:
    return "-".join(map(str, case)) if isinstance(case, tuple) else str(case).replace(" ", "-")


@pytest.mark.parametrize("kind", fast([Kind("GRU")], resume.KINDS))
def test_resume(tmp_path: Path, check: Check, slow: bool, kind: Kind) -> None:
    points = POINTS if slow else POINTS[:1]
    results = apart(resume.killed, tmp_path, kind, points)
    check(
        {"Killed and resumed: weights, moments, random states, figures and samples equal to the bit": all_of(results)}
    )


@pytest.mark.parametrize("number", fast([], range(200)))
def test_chains(tmp_path: Path, check: Check, number: int) -> None:
    results = {str(number): apart(chains.drawn, tmp_path, number)}
    what = "Ended by up to six signals at random calls, each time resumed: the same, every log, picture and sample too"
    check({what: all_of(results)})


@pytest.mark.slow
def test_places_where_something_is_due(tmp_path: Path) -> None:
    """Before the first sample, at a step that is logged, in the last validation, and behind the last sample."""
    assert apart(due, tmp_path) == ""


def due(folder: Path) -> str:
    step, validation = "training.budget.Budget.on_train_batch_end", "tasks.base.SequenceTask.on_validation_epoch_start"
    return chains.resumed(
        folder,
        Kind("LSTM", "lanes"),
        lambda calls: [
            (signal.SIGTERM, step, 90),
            (signal.SIGTERM, step, 10),
            (signal.SIGKILL, validation, 1),
            (signal.SIGKILL, "training.run_summary.finish", 1),
        ],
    )


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 3])
def test_stopped_twice_at_the_end_of_an_epoch(tmp_path: Path, accumulate: int) -> None:
    """The epoch after the first stop is counted, or the next resumed run repeats one."""
    assert apart(twice, tmp_path, accumulate) == ""


def twice(folder: Path, accumulate: int) -> str:
    step, epoch = "training.budget.Budget.on_train_batch_end", 6  # batches
    places = [(signal.SIGTERM, step, 7 * epoch), (signal.SIGTERM, step, 2 * epoch), (signal.SIGTERM, step, epoch + 2)]
    return chains.resumed(folder, Kind("GRU", "pairs", accumulate=accumulate), lambda calls: places)


@pytest.mark.parametrize("layout", fast([], LAYOUTS))
def test_devices(tmp_path: Path, check: Check, layout: str) -> None:
    results = devices.killed(tmp_path, layout)
    check({"Two processes killed and resumed: equal to the bit, the state carried by each included": all_of(results)})


@pytest.mark.slow
def test_devices_skip(tmp_path: Path, check: Check) -> None:
    results = {"lanes": devices.spoilt(tmp_path)}
    check({"A loss of one of two processes that is not finite: both skip the step": all_of(results)})


def test_order(tmp_path: Path, check: Check) -> None:
    results = apart(order.lost_or_repeated, tmp_path)
    what = "Examples lost or repeated in epochs stopped at any batch and resumed by 1, 2 or 4 processes"
    check({what: none_of(results)})


@pytest.mark.slow
@pytest.mark.parametrize("place", ["the same", "another"])
def test_saves(tmp_path: Path, check: Check, place: str) -> None:
    temporary = tmp_path if place == "the same" else Path("/dev/shm")
    results = apart(saves.killed_while_saving, tmp_path, 100, temporary)
    what = "Unusable runs after SIGKILL while a checkpoint was being written, `$TMPDIR` on {} file system"
    check({what.format(place): none_of(results)})


@pytest.mark.slow
def test_damaged(tmp_path: Path, check: Check) -> None:
    results = apart(saves.damaged, tmp_path, 12)
    what = "The newest checkpoint truncated, zeroed or with one bit flipped: resumed, to the same end"
    check({what: all_of(results)})


@pytest.mark.slow
def test_full_disk(tmp_path: Path, check: Check) -> None:
    what = "Disk full while saving: the earlier file whole, the user told, nothing left behind, resumable"
    check({what: all_of(apart(saves.full, tmp_path))})


SIGNALS = [
    (layout, point, number.name)
    for layout, point, number in product(LAYOUTS, signals.POINTS, (signal.SIGTERM, signal.SIGUSR1))
    if (layout, point) != ("pairs", "generation")
]


@pytest.mark.parametrize("case", fast([("lanes", "wrap", "SIGUSR1")], SIGNALS))
def test_signals(tmp_path: Path, check: Check, case: tuple[str, str, str]) -> None:
    layout, point, name = case
    code, lost = apart(signals.sent, tmp_path, layout, point, signal.Signals[name])
    check(
        {
            "Exit code 143 after SIGTERM or SIGUSR1 in training, validation or generation": all_of({str(case): code}),
            "Steps lost by it: at most one": all_of({str(case): lost}),
        }
    )


@pytest.mark.slow
def test_more_signals(tmp_path: Path, check: Check) -> None:
    results = {
        "SIGTERM twice": apart(signals.twice, tmp_path),
        "two workers": apart(signals.to_the_group, tmp_path),
    }
    check({"A second signal ends at once; one to all processes of a run leaves it whole": all_of(results)})


NUMBERS = list(product(LAYOUTS, PRECISIONS, ("loss", "gradient", "weights")))


@pytest.mark.parametrize("case", fast([case for case in NUMBERS if case[:2] == ("lanes", "32-true")], NUMBERS))
def test_numbers(tmp_path: Path, check: Check, case: tuple[str, str, str]) -> None:
    layout, precision, what = case
    lost, told = apart(numbers.skipped, tmp_path, Kind("LSTM", layout, precision), what)
    skipped = "Such steps skipped and written down with their batches; ten in a row end the run with code 1"
    check(
        {
            "Good checkpoints lost to numbers that are not finite": none_of({str(case): lost}),
            skipped: all_of({str(case): told}),
        }
    )


SECRETS = list(product(secrets.PLACES, (False, True)))


@pytest.mark.parametrize("case", fast([], SECRETS))
def test_secrets(tmp_path: Path, check: Check, case: tuple[str, bool]) -> None:
    check({"Planted keys found in a run folder": none_of({str(case): apart(secrets.planted, tmp_path, *case)})})


def test_files(tmp_path: Path, check: Check, slow: bool) -> None:
    apart(files.prepare, tmp_path)
    troubles, outcomes = files.opened(tmp_path, range(10_000 if slow else 200))
    assert outcomes["refused"] > len(troubles) / 2
    what = "Files changed at random that were taken for good, ran code, crashed or hung the program"
    kinds = ", ".join(f"{outcomes[outcome]:,} {outcome}" for outcome in files.GOOD)
    check({f"{what} ({kinds})": none_of(troubles)})


@pytest.mark.slow
def test_a_process_that_dies_is_counted(tmp_path: Path) -> None:
    """Without good files a process fails at once, each time."""
    assert set(files.opened(tmp_path, range(2))[1]) == {"crash"}


def test_stream(check: Check, slow: bool) -> None:
    gigabytes = 5.0 if slow else 0.002
    first, last, speed = apart(stream.measured, gigabytes)
    found = f"{first:,.0f} MB in the second tenth, {last:,.0f} MB in the last ({speed:,.1f} MB/s)"
    most = 5 if slow else 50  # percent; a short text ends before memory has settled
    outcome = Outcome(f"at most {most} % more", 1, last > (1 + most / 100) * first, found)
    check({f"Memory while {gigabytes:g} GB of text pass through": outcome})


def test_shards_of_the_stream(tmp_path: Path) -> None:
    """Each is on disk only while it is read."""
    shards = stream.Passing(tmp_path, 2, 50_000)
    for number in range(2):
        count = 0
        for text, starts, ends in shards.rows(number):
            assert starts
            assert ends
            assert len(list(tmp_path.iterdir())) == 1
            count += len(text)
        assert count >= 50_000
        assert not list(tmp_path.iterdir())


def test_table() -> None:
    """Cases are summed; a promise without cases is not kept, nor a test that failed before it had any."""
    good, broken = all_of({"one": "", "other": ""}), all_of({"one": "", "other": "why"})
    assert (good.kept, broken.kept, broken.trouble) == (True, False, ("other: why",))
    assert not all_of({}).kept
    assert not none_of({}).kept
    passed = Report("test_a", True, 1.0, {"this": plain(good)})
    failed = Report("test_a", False, 2.0, {"this": plain(broken)})
    that = Report("test_b", True, 1.0, {"that": plain(none_of({"one": ""}))})
    ended = Report("test_c", False, 1.0, {})
    assert rows([passed, that])[2:] == [
        "| this | 2 of 2 | all | yes | `test_a`, 1 |",
        "| that | 0 of 1 | 0 | yes | `test_b`, 1 |",
    ]
    assert rows([passed, failed])[2:] == ["| this | 3 of 4 | all | **no** | `test_a`, 3 |"]
    assert rows([ended])[2].endswith("| **no** | `test_c`, 1 |")
