"""What a run ran on, and quiet from the libraries below."""

import contextlib
import logging
import os
import platform
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from seqmodels.errors import InputError

PACKAGES = ("seqmodels", "torch", "lightning", "torchmetrics", "datasets", "tokenizers")

NOISE = (
    r".*does not have many workers.*",  # batches are gathered at once, which worker processes only slow down
    r".*[Cc]heckpoint directory .* exists and is not empty.*",  # the folder of this very run
    r".*Experiment logs directory .* exists and is not empty.*",  # likewise
    r".*The dirpath has changed from .* to .*",  # a resumed run has a folder of its own
    r".*It is recommended to use .self\.log\(.*sync_dist=True.*",  # the metric has been summed over ranks already
    r".*torch\.distributed\.nn\.functional\.all_gather is deprecated.*",  # Lightning's own use of torch
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",  # Lightning's own use of torch
    r".*`torch\.jit\.\w+` is deprecated.*",  # likewise
    r".*RNN module weights are not part of single contiguous chunk.*",  # weights of which some are dropped are new ones
    r".*WeightAveraging callback with a model that overrides the configure_model.*",  # nothing is in parts beside it
    r".*FSDP2-wrapped module .* returned a view tensor.*",  # into which nothing is written
    r".*number of training batches .* is smaller than the logging interval.*",
    r".*You're resuming from a checkpoint that ended before the epoch ended.*",  # the data module goes on exactly there
)
"""Warnings of Lightning that say nothing about this run, by their text; all others are shown."""


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, commit, command and device of this process, as plain data."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *without_secrets(sys.argv[1:])]),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def without_secrets(words: list[str]) -> list[str]:
    """The words of a command, with ``***`` for what is secret by the name of its flag or of an environment variable."""
    values = [value for name, value in os.environ.items() if _names_a_secret(name) and len(value) >= 8]
    shown: list[str] = []
    hidden = False
    for word in words:
        name, equals, _ = word.partition("=")
        names = _names_a_secret(name)
        if hidden or any(value in word for value in values):
            shown.append("***")
        else:
            shown.append(f"{name}=***" if equals and names else word)
        hidden = names and not equals and word.startswith("-")
    return shown


def _names_a_secret(name: str) -> bool:
    words = re.split(r"[^a-z0-9]+", name.lower())
    return bool({"key", "apikey", "token", "secret", "password", "passwd", "credentials", "auth"} & set(words))


def choose_accelerator(wanted: str, devices: int) -> str:
    """The accelerator meant by auto, cpu or gpu, if it has that many devices.

    Raises:
        InputError: it is not known, or has fewer.
    """
    if wanted not in ("auto", "cpu", "gpu"):
        raise InputError(f"the accelerator {wanted!r} is not known; choose auto, cpu or gpu")
    gpus = torch.cuda.device_count()
    if wanted == "auto":
        wanted = "gpu" if gpus else "cpu"
    available = gpus if wanted == "gpu" else os.cpu_count() or 1
    if devices > available:
        things = "GPUs" if wanted == "gpu" else "cores"
        raise InputError(
            f"devices={devices} was given, and this machine has {available} {things}; give at most that many"
        )
    return wanted


def _commit() -> str | None:
    """The commit of this package's source, with a plus where it has changes; None where it lies in no repository."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=5, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's advertisements and its warnings about itself, each filtered by name."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in NOISE:
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
