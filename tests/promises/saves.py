"""Processes killed while they write, full disks, and files that were damaged later."""

import contextlib
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from promises.forks import forked, started, tail
from promises.runs import Ends, Kind, checkpoint, difference, only, train, write_data

from seqmodels import GRU, LanguageModel, TextDataModule, fit
from seqmodels.training.resume import find_origin

ALWAYS = 1e-9
"""Minutes between two checkpoints where each step is followed by one."""


def killed_while_saving(folder: Path, kills: int, temporary: Path) -> dict[str, str]:
    """SIGKILL at any moment of a save; the run must have a whole checkpoint, and go on from it."""
    write_data(folder)
    chance, results = random.Random(kills), {}
    log, runs = folder / "log", folder / "runs"
    os.environ["TMPDIR"] = str(temporary)
    before, settings = 0, {}
    for kill in range(kills):
        endless = partial(_large, folder, runs, steps=1_000_000, save_minutes=ALWAYS, validations=1, **settings)
        _kill_in_save(started(endless, log), runs, chance.uniform(0, 0.03), saves=chance.randint(1, 4))
        settings = {"resume": only(runs)}
        after = _step(only(runs), log)
        results[f"kill {kill}"] = "" if after > before else f"step {after} after {before}: {tail(log)}"
        before = after
    return results


def _large(folder: Path, runs: Path, **settings: object) -> None:
    """A model whose checkpoint takes a while to be written."""
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
        for run in runs.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                seen.add(checkpoint(run).stat().st_mtime_ns)
        if len(seen) > saves and any(runs.glob("*/*/checkpoints/.next.*")):
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


def damaged(folder: Path, times: int) -> dict[str, str]:
    """The newest checkpoint damaged: the run goes on from the one before it, and ends as if nothing had been."""
    write_data(folder)
    chance, results, log, kind = random.Random(0), {}, folder / "log", Kind("GRU", "lanes")
    forked(partial(train, kind, folder, folder / "whole"), log)
    for name, damage in DAMAGES.items():
        for number in range(times):
            runs = folder / f"{name}-{number}"
            forked(partial(train, kind, folder, runs, callbacks=(Ends("mid-epoch", signal.SIGKILL),)), log)
            newest = checkpoint(only(runs))
            newest.write_bytes(damage(bytearray(newest.read_bytes()), chance))
            code = forked(partial(train, kind, folder, runs, resume=only(runs)), log)
            why = f"ended with {code}: {tail(log)}" if code else difference(only(folder / "whole"), only(runs))
            results[f"{name} {number}"] = why
    return results


def _zeroed(content: bytearray, chance: random.Random) -> bytes:
    first = chance.randrange(len(content) - 4096)
    content[first : first + 4096] = bytes(4096)
    return bytes(content)


def _flipped(content: bytearray, chance: random.Random) -> bytes:
    bit = chance.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    return bytes(content)


DAMAGES: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    "truncated": lambda content, chance: bytes(content[: chance.randrange(len(content))]),
    "zeroed": lambda content, chance: bytes(len(content)),
    "zeroed in part": _zeroed,
    "one bit flipped": _flipped,
}


def full(folder: Path) -> dict[str, str]:
    """No room for another checkpoint: training goes on, and the earlier ones stay whole."""
    write_data(folder)
    log, runs = folder / "log", folder / "full"
    forked(partial(_large, folder, runs, steps=4, validations=1), log)
    begun = only(runs)
    before = checkpoint(begun).read_bytes()

    def without_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, resource.RLIM_INFINITY))
        _large(folder, runs, steps=8, validations=1, resume=begun)

    code = forked(without_room, log)
    whole = checkpoint(begun).read_bytes() == before
    results = {
        "the earlier file is whole": "" if whole else "it is not",
        "the user is told": "" if "no checkpoint could be saved" in log.read_text() else tail(log),
        "the run does not count as done": "" if code else "exit code 0",
        "nothing half-written is left": ", ".join(str(path) for path in begun.glob("checkpoints/.*")),
    }
    code = forked(partial(_large, folder, runs, steps=8, validations=1, resume=begun), log)
    return results | {"it goes on once there is room": f"ended with {code}: {tail(log)}" if code else ""}
