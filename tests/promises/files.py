"""Good files, changed at random, through every door.

Each changed file is opened by a process that may die, hang or run out of memory without ending the count. Settings may
be changed into those of another model, and so may a checkpoint that is forged, its checksums included. Any other change
of a checkpoint must be refused.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import random
import resource
import sys
import tempfile
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from hostile import Canary, forged, mutated
from promises.forks import answering
from promises.runs import checkpoint

from seqmodels import InputError, LanguageModel, TextDataModule, Tokenizer, Translator, fit, load
from seqmodels.checkpoints.export import share
from seqmodels.checkpoints.safetensors_io import read, write
from seqmodels.cli.main import main
from seqmodels.nn import GRU, LSTM, Hybrid, Transformer

SECONDS = 60
"""Until a file counts as one that hangs."""
MEMORY = 1 << 30
"""Bytes of address space that a process may add while it opens files."""
GOOD = ("equal", "other but valid", "refused")
"""Allowed outcomes."""
DAMAGED = ("checkpoint", "lightning.ckpt", "model.safetensors")
"""Files that are damaged, not forged: never valid unless equal."""
KINDS = (*DAMAGED, "forged", "canary.ckpt", "config.json", "tokenizer.json", "config.yaml")


def prepare(folder: Path) -> None:
    """Write good files: checkpoints of several networks, the same shared, and settings."""
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
    checkpoints = [checkpoint(run)]
    for number, model in enumerate(models):
        path = folder / f"{number}.safetensors"
        record = {"format": 1, "task": model.constructor_call, "data": None}
        write(path, {"seqmodels": record, "state_dict": model.state_dict()})
        checkpoints.append(path)
    for number, path in enumerate(checkpoints):
        good = folder / "good" / str(number)
        share(path, good)
        (good / "checkpoint").write_bytes(path.read_bytes())
        content = read(path)
        torch.save(content, good / "lightning.ckpt")
        torch.save(content | {"optimizer_states": [Canary()]}, good / "canary.ckpt")
        (good / "config.yaml").write_bytes((run / "config.yaml").read_bytes())


def same(one: Any, other: Any) -> bool:
    """Whether two models have the same configuration and weights."""
    weights, theirs = one.state_dict(), other.state_dict()
    return (
        one.constructor_call == other.constructor_call
        and weights.keys() == theirs.keys()
        and all(torch.equal(weights[name], theirs[name]) for name in weights)
    )


def _opened(kind: str, good: Path, chance: random.Random, text: Path) -> str:
    """Change one of the good files, and open them in the current folder; returns the outcome."""
    for path in good.iterdir():
        Path(path.name).write_bytes(path.read_bytes())
    changed = Path(chance.choice(("checkpoint", "model.safetensors")) if kind == "forged" else kind)
    content = changed.read_bytes()
    is_text = kind.endswith(("json", "yaml"))
    changed.write_bytes(forged(content, chance) if kind == "forged" else mutated(content, chance, is_text))
    if kind == "tokenizer.json" and chance.random() < 0.7:  # by someone who knows of the checksum
        config = json.loads(Path("config.json").read_text())
        config["sha256"][kind] = hashlib.sha256(changed.read_bytes()).hexdigest()
        Path("config.json").write_text(json.dumps(config))
    if kind == "config.yaml":
        try:
            main(["fit", "--config", kind, "--data", str(text)])
        except SystemExit as stop:
            return "refused" if stop.code == 2 else f"exit code {stop.code}"
        return "equal" if changed.read_bytes() == content else "other but valid"
    try:
        task = load("." if changed.suffix in (".json", ".safetensors") else changed)
    except InputError:
        return "refused"
    if kind == "tokenizer.json":
        with contextlib.suppress(InputError):
            task.tokenizer.decode(task.tokenizer.encode("a line of gates, and more"))
    if same(task, load(good / "checkpoint")):
        return "equal"
    return "silently wrong" if kind in DAMAGED else "other but valid"


def _worker(pipe: Connection, folder: Path, numbers: list[int]) -> None:
    """Open files, which follow from their numbers, and send the outcome of each."""
    most = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    goods = sorted((folder / "good").iterdir())
    sys.stdout = sys.stderr = io.StringIO()

    @functools.wraps(fit)
    def without_training(*args: Any, **kwargs: Any) -> None:
        """`fit` of the command line builds everything and stops there."""

    with mock.patch("seqmodels.training.fit.fit", without_training):
        for number in numbers:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                os.chdir(place)
                chance = random.Random(number)
                kind, good = chance.choice(KINDS), chance.choice(goods)
                try:
                    outcome = _opened(kind, good, chance, folder / "text.txt")
                except (Exception, SystemExit) as error:
                    outcome = f"{type(error).__name__}: {error}"
                pipe.send("code was run" if list(Path(place).rglob("canary")) else outcome)


def opened(folder: Path, numbers: range) -> tuple[dict[str, str], Counter[str]]:
    """Open changed files; a process that dies or hangs is replaced, and goes on behind the file that it failed at.

    Returns the trouble with each, empty if there was none, and how often each outcome was met.
    """
    left, outcomes = list(numbers), dict[int, str]()
    while left:
        with answering(_worker, folder, left) as pipe:
            running = True
            while left and running:
                number = left.pop(0)
                try:
                    outcomes[number] = pipe.recv() if pipe.poll(SECONDS) else "hang"
                except EOFError:
                    outcomes[number] = "crash"
                running = outcomes[number] not in ("hang", "crash")
    troubles = {
        f"{number} ({random.Random(number).choice(KINDS)})": "" if outcome in GOOD else outcome
        for number, outcome in outcomes.items()
    }
    return troubles, Counter(outcomes.values())
