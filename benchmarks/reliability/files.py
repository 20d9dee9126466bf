"""Good files, changed at random, through every door: `python -m benchmarks.reliability.files --mutations 10000`.

Each changed file is opened by a process that may die, hang or run out of memory without taking the count along. A file
of settings or numbers may be changed into that of another model, which is as it should be; a checkpoint may not.
"""

import argparse
import collections
import contextlib
import functools
import hashlib
import io
import json
import os
import queue
import random
import re
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.reliability.promise import Promise, none_of

SECONDS = 60
"""Until a file counts as one that hangs."""
MEMORY = 6 << 30
"""Bytes of address space of a process that opens files."""
OUTCOMES = ("equal", "other but valid", "refused", "silently wrong", "other exception", "crash", "hang", "canary")
"""What may become of a file; the last five must not."""
ALLOWED = 3
EXTREME = ("0", "-1", "1e308", "1e-320", "1000000", "4294967296", "1000000000000", "9" * 40, "NaN", "null", "[]", '"x"')

KINDS = ("checkpoint", "model.safetensors", "config.json", "tokenizer.json", "config.yaml")


def prepare(folder: Path) -> None:
    """Good files: checkpoints of several networks, the same shared, and settings."""
    import torch

    from seqmodels import GRU, LSTM, Hybrid, LanguageModel, TextDataModule, Tokenizer, Transformer, Translator, fit
    from seqmodels.checkpoints.export import share

    text = folder / "text.txt"
    text.write_text("".join(f"line {i} of a text about gates and states\n" for i in range(400)))
    torch.manual_seed(0)
    data = TextDataModule(str(text), length=16, batch_size=4)
    with contextlib.redirect_stdout(io.StringIO()):
        run = fit(
            LanguageModel(LSTM(8, 8), data.tokenizer), data, max_steps=3, validations=1, runs=str(folder / "runs"),
            accelerator="cpu",
        )  # fmt: skip
    bpe = Tokenizer.bpe([text.read_text()], 300)
    models: list[Any] = [
        LanguageModel(GRU(8, 8), bpe, tie_embeddings=True),
        LanguageModel(Transformer(8, 2, 2), data.tokenizer, tie_embeddings=True),
        LanguageModel(Hybrid(8, "MinGRU,attention", 2), Tokenizer.word([text.read_text()])),
        Translator(GRU(6, 4), GRU(6, 8), data.tokenizer, bpe),
    ]
    checkpoints = [run / "checkpoints" / "last.ckpt"]
    for number, model in enumerate(models):
        path = folder / f"{number}.ckpt"
        record = {"format": 1, "task": model.constructor_call, "data": None}
        torch.save({"seqmodels": record, "state_dict": model.state_dict()}, path)
        checkpoints.append(path)
    for number, path in enumerate(checkpoints):
        good = folder / "good" / str(number)
        share(path, good)
        (good / "checkpoint").write_bytes(path.read_bytes())
        (good / "config.yaml").write_bytes((run / "config.yaml").read_bytes())


def mutated(content: bytes, chance: random.Random, text: bool) -> bytes:
    """The same with bits flipped, bytes written over, cut off, doubled or moved, or an extreme number in a text."""
    made, place, length = bytearray(content), chance.randrange(len(content)), 1 << chance.randrange(12)
    what = chance.randrange(8 if text else 6)
    if what == 0:
        made[place] ^= 1 << chance.randrange(8)
    elif what == 1:
        for _ in range(chance.randint(2, 40)):
            made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)
    elif what == 2:
        made[place : place + length] = chance.choice((chance.randbytes(length), bytes(length), b"\xff" * length))
    elif what == 3:
        del made[place:]
    elif what == 4:
        made[place:place] = made[place : place + length] * chance.randint(1, 3)
    elif what == 5:
        other = chance.randrange(len(content))
        made[place : place + length] = content[other : other + length]
    else:
        numbers = list(re.finditer(rb"(?<![\w.])-?\d+(\.\d+)?(?![\w.])|null|true|false", content))
        if numbers:
            number = chance.choice(numbers)
            made[number.start() : number.end()] = chance.choice(EXTREME).encode()
    return bytes(made)


def _same(one: Any, other: Any) -> bool:
    import torch

    theirs, weights = other.state_dict(), one.state_dict()
    return (
        one.constructor_call == other.constructor_call
        and weights.keys() == theirs.keys()
        and all(torch.equal(weights[name], theirs[name]) for name in weights)
    )


def _without_training() -> None:
    """`fit` of the command line builds everything and stops there."""
    from seqmodels.training import fit

    def stop(*args: Any, **kwargs: Any) -> None:
        return None

    fit.fit = functools.wraps(fit.fit)(stop)  # type: ignore[assignment]


def _opened(kind: str, good: Path, changed: bytes, chance: random.Random, text: Path) -> str:
    """What becomes of one file."""
    from seqmodels import InputError, load
    from seqmodels.cli.main import main

    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    for name in KINDS:
        (folder / name).write_bytes((good / name).read_bytes())
    if (good / "source_tokenizer.json").exists():
        (folder / "source_tokenizer.json").write_bytes((good / "source_tokenizer.json").read_bytes())
    (folder / kind).write_bytes(changed)
    if kind in ("model.safetensors", "tokenizer.json") and chance.random() < 0.7:  # by one who knows of the checksums
        config = json.loads((folder / "config.json").read_text())
        config["sha256"][kind] = hashlib.sha256(changed).hexdigest()
        (folder / "config.json").write_text(json.dumps(config))
    try:
        if kind == "config.yaml":
            try:
                main(["fit", "--config", str(folder / kind), "--data", str(text)])
            except SystemExit as stop:
                return "refused" if stop.code == 2 else "other exception"
            return "equal" if changed == (good / kind).read_bytes() else "other but valid"
        path = folder / kind if kind == "checkpoint" else folder
        task = load(path)
        if kind == "tokenizer.json":
            with contextlib.suppress(InputError):
                task.tokenizer.decode(task.tokenizer.encode("a line of gates, and more"))
        if _same(task, load(good / "checkpoint" if kind == "checkpoint" else good)):
            return "equal"
        return "silently wrong" if kind == "checkpoint" else "other but valid"
    except InputError:
        return "refused"
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def worker(folder: Path, first: int, last: int, step: int) -> None:
    """Open files number `first`, `first + step` and so on, and say of each what became of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _without_training()
    goods = sorted((folder / "good").iterdir())
    told, sys.stdout = sys.stdout, io.StringIO()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        os.chdir(place)
        for number in range(first, last, step):
            chance = random.Random(number)
            kind, good = chance.choice(KINDS), chance.choice(goods)
            changed = mutated((good / kind).read_bytes(), chance, kind.endswith(("json", "yaml")))
            why = ""
            try:
                outcome = _opened(kind, good, changed, chance, folder / "text.txt")
            except (Exception, SystemExit) as error:
                outcome, why = "other exception", f"{type(error).__name__}: {error}"
            if list(Path.cwd().rglob("canary")):
                outcome = "canary"
            print(json.dumps([number, kind, outcome, why[:300]]), file=told, flush=True)


def _watch(folder: Path, first: int, last: int, step: int, tell: Callable[[list[Any]], None]) -> None:
    """Keep a worker going: one that dies or hangs is replaced, and goes on behind the file that it failed at."""
    while first < last:
        words = [
            sys.executable,
            "-m",
            "benchmarks.reliability.files",
            "--worker",
            *map(str, (folder, first, last, step)),
        ]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
        with subprocess.Popen(words, stdout=-1, stderr=-1, text=True, env=environment) as process:
            lines, errors = _lines(process.stdout), _lines(process.stderr)
            outcome = ""
            while first < last and not outcome:
                try:
                    line = lines.get(timeout=SECONDS)
                except queue.Empty:
                    outcome = "hang"
                    continue
                if line:
                    tell(json.loads(line))
                    first += step
                else:
                    outcome = "crash"
            process.kill()
            if outcome:
                kind = random.Random(first).choice(KINDS)
                tell([first, kind, outcome, "".join(list(errors.queue)[-5:])[-300:]])
                first += step


def _lines(stream: Any) -> queue.Queue[str]:
    """The lines of a stream as they come, and an empty one at its end."""
    found: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: [*map(found.put, stream), found.put("")], daemon=True).start()
    return found


def run(folder: Path, small: bool) -> Iterator[Promise]:
    """Ten thousand files."""
    mutations = 50 if small else 10_000
    counts = main(["--mutations", str(mutations), "--workers", "2"])
    wrong = {outcome: sum(count[outcome] for count in counts.values()) for outcome in OUTCOMES[ALLOWED:]}
    trouble = tuple(f"{outcome}: {number}" for outcome, number in wrong.items() if number)
    what = "Files changed at random that were taken for good, ran code, crashed or hung the program"
    yield none_of(what, mutations, sum(wrong.values()), trouble)


def main(arguments: Sequence[str] | None = None) -> dict[str, collections.Counter[str]]:
    """Count what becomes of changed files, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability.files", description=__doc__)
    parser.add_argument("--mutations", type=int, default=10_000, help="how many files (default: 10000)")
    parser.add_argument("--workers", type=int, default=1, help="processes that open files (default: 1)")
    parser.add_argument("--first", type=int, default=0, help="number of the first file, which it follows from")
    given = parser.parse_args(arguments)
    counts: dict[str, collections.Counter[str]] = {kind: collections.Counter() for kind in KINDS}
    failures: list[list[Any]] = []

    def tell(found: list[Any]) -> None:
        _, kind, outcome, _ = found
        counts[kind][outcome] += 1
        if outcome in OUTCOMES[ALLOWED:]:
            failures.append(found)
            print(*found, sep="\t", flush=True)

    with tempfile.TemporaryDirectory() as place:
        folder, last = Path(place), given.first + given.mutations
        prepare(folder)
        watches = [
            threading.Thread(target=_watch, args=(folder, given.first + number, last, given.workers, tell))
            for number in range(given.workers)
        ]
        for watch in watches:
            watch.start()
        for watch in watches:
            watch.join()
    print(f"| {given.mutations:,} files | {' | '.join(OUTCOMES)} |\n|{'---|' * (len(OUTCOMES) + 1)}")
    for kind, count in counts.items():
        print(f"| {kind} | {' | '.join(str(count[outcome]) for outcome in OUTCOMES)} |")
    print(f"{len(failures)} of them must not be")
    return counts


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(Path(sys.argv[2]), *map(int, sys.argv[3:6]))
    else:
        main()
