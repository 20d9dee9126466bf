"""Processes killed while they write, disks that are full, and files that were damaged later."""

import contextlib
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.reliability.forks import forked, started
from benchmarks.reliability.promise import Promise, all_of, none_of
from benchmarks.reliability.resume import difference
from benchmarks.reliability.runs import Ends, Kind, train, write_data
from seqmodels.training.resume import find_origin

KIND = Kind("GRU", "lanes")
ALWAYS = 1e-9
"""Minutes between two checkpoints where each step is followed by one."""


def run(folder: Path, small: bool) -> Iterator[Promise]:
    """All of it."""
    write_data(folder)
    for place, where in (("the same", folder), ("another", Path("/dev/shm"))):
        yield killed_while_saving(folder, 3 if small else 100, place, where)
    yield damaged(folder, 1 if small else 12)
    yield full(folder)


def killed_while_saving(folder: Path, kills: int, place: str, temporary: Path) -> Promise:
    """SIGKILL at any moment of a save; the run must have a whole checkpoint, and go on from it."""
    chance, trouble = random.Random(kills), []
    log, runs = folder / "saves.log", folder / f"saves-{place.replace(' ', '-')}"
    os.environ["TMPDIR"] = str(temporary)
    for kill in range(kills):
        begun = sorted(runs.glob("*/*"))
        settings = {"resume": begun[0]} if begun else {}
        before = _step(begun[0], log) if begun else 0
        pid = started(
            partial(_large, folder, runs, steps=1_000_000, save_minutes=ALWAYS, validations=1, **settings), log
        )
        _kill_in_save(pid, runs, chance.uniform(0, 0.03), saves=chance.randint(1, 4))
        after = _step(next(iter(runs.glob("*/*"))), log)
        if after <= before:
            trouble.append(f"kill {kill}: step {after} after {before}: {log.read_text()[-300:]}")
    del os.environ["TMPDIR"]
    what = f"Unusable runs after SIGKILL while a checkpoint was being written, `$TMPDIR` on {place} file system"
    return none_of(what, kills, len(trouble), tuple(trouble))


def _large(folder: Path, runs: Path, **settings: object) -> None:
    """A model whose checkpoint takes a while to be written."""
    from seqmodels import GRU, LanguageModel, TextDataModule, fit

    torch.manual_seed(1)
    text = TextDataModule(str(folder / "text.txt"), length=4, batch_size=2, carry=True)
    model = LanguageModel(GRU(64, 512, num_layers=2), text.tokenizer)
    steps = settings.pop("steps")
    fit(model, text, max_steps=steps, runs=str(runs), **settings)  # type: ignore[arg-type]


def _kill_in_save(pid: int, runs: Path, delay: float, saves: int) -> None:
    """Wait until so many are saved and the next one is being written, and a little longer, and kill."""
    seen: set[int] = set()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for path in runs.glob("*/*/checkpoints/last.ckpt"):
            with contextlib.suppress(FileNotFoundError):
                seen.add(path.stat().st_mtime_ns)
        if len(seen) > saves and any(runs.glob("*/*/checkpoints/.next.ckpt.*")):
            break
        time.sleep(0.0005)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _step(run: Path, log: Path) -> int:
    """The step that a run would go on from, as another process finds it; -1 where it cannot."""
    answer = log.with_suffix(".step")
    answer.unlink(missing_ok=True)
    forked(lambda: answer.write_text(str(find_origin(run).content["global_step"])), log)
    return int(answer.read_text()) if answer.exists() else -1


def damaged(folder: Path, times: int) -> Promise:
    """The newest checkpoint damaged: the run goes on from the one before it, and ends as if nothing had been."""
    chance, results, log = random.Random(0), {}, folder / "damage.log"
    whole = folder / "damage-whole"
    forked(partial(train, KIND, folder, whole), log)
    harms: dict[str, Callable[[bytearray], bytes]] = {
        "truncated": lambda content: bytes(content[: chance.randrange(len(content))]),
        "zeroed": lambda content: bytes(len(content)),
        "zeroed in part": lambda content: _zeroed(content, chance.randrange(len(content) - 4096)),
        "one bit flipped": lambda content: _flipped(content, chance.randrange(8 * len(content))),
    }
    for name, harm in harms.items():
        for number in range(times):
            runs = folder / f"damage-{name.replace(' ', '-')}-{number}"
            forked(partial(train, KIND, folder, runs, callbacks=(Ends("mid-epoch", signal.SIGKILL),)), log)
            (begun,) = runs.glob("*/*")
            newest = begun / "checkpoints" / "last.ckpt"
            newest.write_bytes(harm(bytearray(newest.read_bytes())))
            code = forked(partial(train, KIND, folder, runs, resume=begun), log)
            why = f"ended with {code}: {log.read_text()[-300:]}" if code else difference(next(whole.glob("*/*")), begun)
            results[f"{name} {number}"] = why
    what = (
        "The newest checkpoint truncated, zeroed or with one bit flipped: the run goes on, and ends as if it were whole"
    )
    return all_of(what, results)


def _zeroed(content: bytearray, first: int) -> bytes:
    content[first : first + 4096] = bytes(4096)
    return bytes(content)


def _flipped(content: bytearray, bit: int) -> bytes:
    content[bit // 8] ^= 1 << bit % 8
    return bytes(content)


def full(folder: Path) -> Promise:
    """No room for another checkpoint: training goes on, and what was saved before stays whole."""
    log, runs = folder / "full.log", folder / "full"
    forked(partial(_large, folder, runs, steps=4, validations=1), log)
    (begun,) = runs.glob("*/*")
    before = (begun / "checkpoints" / "last.ckpt").read_bytes()

    def without_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, resource.RLIM_INFINITY))
        _large(folder, runs, steps=8, validations=1, resume=begun)

    code = forked(without_room, log)
    results = {
        "the earlier file is whole": ""
        if (begun / "checkpoints" / "last.ckpt").read_bytes() == before
        else "it is not",
        "the user is told": "" if "no checkpoint could be saved" in log.read_text() else log.read_text()[-300:],
        "the run does not count as done": "" if code else "exit code 0",
        "nothing half-written is left": ", ".join(str(path) for path in begun.glob("checkpoints/.*")),
        "it goes on once there is room": "",
    }
    if code := forked(partial(_large, folder, runs, steps=8, validations=1, resume=begun), log):
        results["it goes on once there is room"] = f"ended with {code}: {log.read_text()[-300:]}"
    return all_of("Disk full while saving", results)
