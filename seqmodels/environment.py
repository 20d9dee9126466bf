"""The environment of a run: its description, capabilities of the hardware, settings of the libraries below."""

import contextlib
import ctypes
import functools
import logging
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from torch import Tensor

from seqmodels.errors import InputError, NoCompilerError
from seqmodels.imports import VERSION

PACKAGES = ("torch", "lightning", "torchmetrics", "datasets", "tokenizers")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of settings in malloc.h of glibc."""

STOP_SIGNALS = tuple(
    number
    for name in ("SIGTERM", "SIGUSR1", "SIGINT", "SIGHUP", "SIGBREAK")
    if (number := getattr(signal, name, None)) is not None
)
"""Signals of this system that schedulers send before they take a machine away, of Ctrl-C (on Windows also
Ctrl-Break), and of a terminal that is closed.
"""

RUN_VARIABLE = "SEQMODELS_RUN"
"""Environment variable that tells the processes that Lightning starts for more devices which run they belong to."""

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
"""Texts of warnings of Lightning that say nothing about this run; all others are shown."""


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Versions, commit, command and device of this process, and the time, as plain data."""
    return {
        "command": shlex.join([_program(), *without_secrets(sys.argv[1:])]),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {"seqmodels": VERSION, **{name: version(name) for name in PACKAGES}},
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "began": time.strftime("%F %T%z"),
    }


def _program() -> str:
    program = Path(sys.argv[0])
    return program.parent.name if program.name == "__main__.py" else program.name  # the package of `python -m PACKAGE`


def without_secrets(words: list[str]) -> list[str]:
    """The words of a command, with ``***`` for values that a flag or an environment variable names as secret."""
    values = [value for name, value in os.environ.items() if _names_a_secret(name) and len(value) >= 8]
    shown: list[str] = []
    hidden = False
    for word in words:
        name, equals, _ = word.partition("=")
        if hidden or any(value in word for value in values):
            shown.append("***")
        else:
            shown.append(f"{name}=***" if equals and _names_a_secret(name) else word)
        hidden = word.startswith("-") and not equals and _names_a_secret(name)
    return shown


def _names_a_secret(name: str) -> bool:
    words = re.split(r"[^a-z0-9]+", name.lower())
    return bool({"key", "apikey", "token", "secret", "password", "passwd", "credentials", "auth"} & set(words))


SINGLE_ONLY = {"mps"}
"""Types of devices without double precision: Apple GPUs."""


def widest(device: torch.device) -> torch.dtype:
    """Double precision, or single precision on devices that have no other."""
    return torch.float32 if device.type in SINGLE_ONLY else torch.float64


def wide(tensor: Tensor) -> Tensor:
    """A tensor in the widest precision of its device, for sums of many terms."""
    return tensor.to(widest(tensor.device))


def choose_accelerator(wanted: str = "auto") -> str:
    """The accelerator, cpu, gpu or mps, for auto or one of these on this machine, else an InputError."""
    if wanted not in ("auto", "cpu", "gpu", "mps"):
        raise InputError(f"the accelerator {wanted!r} is not known; choose auto, cpu, gpu or mps")
    if wanted == "mps":
        if not torch.backends.mps.is_available():
            raise InputError(
                "accelerator='mps' was given, and torch finds no Apple GPU here; give cpu, or leave it out"
            )
        return wanted
    gpus = torch.cuda.device_count()
    if wanted == "gpu" and not gpus:
        raise InputError("accelerator='gpu' was given, and torch finds no GPU here; give cpu, or leave it out")
    return ("gpu" if gpus else "cpu") if wanted == "auto" else wanted


def choose_devices(accelerator: str, devices: int | str) -> list[int]:
    """The numbers of the devices of an accelerator; on the CPU, they are processes.

    Args:
        accelerator: cpu, gpu or mps, of which there is one.
        devices: how many; auto or -1 for all GPUs, and for one process on the CPU; or numbers of GPUs, such as "0,1".

    Raises:
        InputError: it is none of these, or there are fewer.
    """
    gpu = accelerator == "gpu"
    if accelerator == "mps" and devices not in (1, "1", "auto", -1, "-1", "0"):
        raise InputError(f"devices={devices!r} was given, and there is one Apple GPU; give 1")
    if accelerator == "mps":
        return [0]
    available, kind = (torch.cuda.device_count(), "GPUs") if gpu else (os.cpu_count() or 1, "cores")
    if devices in ("auto", -1, "-1"):
        return list(range(available if gpu else 1))
    if isinstance(devices, str) and gpu and re.fullmatch(r"\d+(,\d+)*,?", devices):
        numbers = [int(number) for number in devices.rstrip(",").split(",")]
        if len(set(numbers)) < len(numbers) or max(numbers) >= available:
            raise InputError(f"devices={devices!r} was given; expected different numbers of GPUs below {available}")
        return numbers
    if isinstance(devices, str) or devices < 1:
        expected = "a number above 0, or auto" + ", or numbers of GPUs such as 0,1" * gpu
        raise InputError(f"devices={devices!r} was given; expected {expected}")
    if devices > available:
        raise InputError(f"devices={devices} was given, and there are {available} {kind}; give at most that many")
    return list(range(devices))


def _commit() -> str | None:
    """The commit of this package's source, with a plus if there are local changes; None outside a repository."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.check_output(
            command, stderr=subprocess.DEVNULL, text=True, timeout=5, cwd=Path(__file__).parent
        ).strip()
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
    """Filter Lightning's advertisements and its warnings about itself, each by its text."""
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


@functools.cache
def multiplies_bf16(device: str) -> bool:
    """Whether the hardware of a device, cpu or cuda, itself multiplies matrices in bfloat16, without emulation."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))


@functools.cache
def has_bf16_lstm() -> bool:
    """Whether torch's LSTM runs in bfloat16 on this CPU: torch calls oneDNN's kernel even without AVX-512."""
    return not torch.backends.mkldnn.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def kept_memory() -> Iterator[bool]:
    """Keep the memory that the process frees meanwhile, so that the next step finds it mapped; yields whether it is.

    glibc returns blocks above 32 MiB at once, and the system maps and clears each page of the next one again. The
    logits of a large vocabulary are such blocks: if memory is kept, a training step of a word model on a CPU takes two
    thirds of the time and two fifths more memory at the peak. Nothing is changed if the user has set glibc's
    variables, or with another C library; at the end glibc's defaults hold again, and what is free is given back.
    """
    chosen = [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]
    try:
        glibc = bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, OSError, ValueError):  # no such function, or no such name
        glibc = False
    if chosen or not glibc:
        yield False
        return
    library = ctypes.CDLL(None)
    try:
        yield bool(library.mallopt(M_MMAP_MAX, 0) and library.mallopt(M_TRIM_THRESHOLD, -1))
    finally:
        library.mallopt(M_MMAP_MAX, 1 << 16)
        library.mallopt(M_TRIM_THRESHOLD, 128 << 10)
        library.malloc_trim(0)


@contextlib.contextmanager
def threads(count: int | None = None) -> Iterator[None]:
    """Let torch work by so many threads meanwhile, or by as many as before; afterwards it has those of before.

    Libraries that share an OpenMP runtime with torch change its threads, too: CTranslate2 (4.8) where it is imported
    after torch.
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


@contextlib.contextmanager
def kept_kernels() -> Iterator[None]:
    """Enlarge oneDNN's cache of the kernels that it compiles for each shape of a matrix product.

    Batches of sentences have hundreds of shapes, and the cache has room for 1,024 kernels by default: a Transformer in
    bf16 would compile kernels again in every training step, which takes a sixth of the time and ever more memory.
    oneDNN reads the variable at the first product of the process; a value set by the user stands.
    """
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    if name in os.environ:
        yield
        return
    os.environ[name] = "16384"
    try:
        yield
    finally:
        os.environ.pop(name, None)


def check_compiler() -> None:
    """Refuse to compile for the CPU without the C++ compiler that torch would call: that of the variable CXX, or g++.

    Raises:
        NoCompilerError: it is not installed.
    """
    if shutil.which(_compiler()) is None:
        raise NoCompilerError(f"compile was given, and the C++ compiler {_compiler()} is not installed; install g++")


@contextlib.contextmanager
def compiles() -> Iterator[None]:
    """Have torch compile for the CPU; in place of a traceback of torch, one line says that the compiler has failed.

    Raises:
        NoCompilerError: it is not installed, or it fails, such as for want of Python's header files.
    """
    check_compiler()
    try:
        yield
    except Exception as error:
        said = str(error)
        if "CppCompileError" not in f"{type(error).__name__} {said}":
            raise
        why = next((line.strip() for line in said.splitlines() if "error:" in line), "it says nothing of why")
        raise NoCompilerError(
            f"compile was given, and the C++ compiler {_compiler()} fails ({why:.200}); it needs g++ and the header "
            "files of Python, python3-dev"
        ) from error


def _compiler() -> str:
    return os.environ.get("CXX", "g++")


def is_other_rank() -> bool:
    """Whether this process is not the first of a run; only the first one writes files."""
    rank: int = getattr(rank_zero_only, "rank", 0)
    return rank > 0 or RUN_VARIABLE in os.environ
