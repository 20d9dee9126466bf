"""Training steps by torch's compiler: what of a task is compiled, when, and where the machine code is kept."""

import contextlib
import io
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from seqmodels.batch import Batch
from seqmodels.data.cache import cache_folder
from seqmodels.environment import check_compiler, compiles
from seqmodels.errors import InputError, NoCompilerError
from seqmodels.nn.multiplicative import MultiplicativeCell
from seqmodels.nn.transformer import ResidualStack
from seqmodels.state import detach
from seqmodels.tasks import SequenceTask

MANY = 4096
"""Smallest vocabulary whose logits are large: compiling their loss is worth its time, keeping their memory its size."""

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""Environment variable in which torch looks for the folder of its code."""


def compile_steps(task: SequenceTask, accelerator: str = "gpu") -> str:
    """Compile residual blocks and the loss of a large vocabulary; a line that tells what is done.

    Multiplicative layers have a kernel of their own, which is never compiled. On a CPU without a C++ compiler nothing
    is compiled.

    Raises:
        InputError: there is neither; compiling does not speed up the kernels of recurrent layers.
    """
    parts = list(task.modules())
    stacks = [part for part in parts if isinstance(part, ResidualStack)]
    if not stacks and task.tokenizer.vocab_size < MANY:
        if any(isinstance(part, MultiplicativeCell) for part in parts):
            return (
                f"compile nothing: {task.name} has a backward pass of its own, which cannot be compiled; generation can"
            )
        raise InputError(
            f"compile was given, and {task.name} has neither residual blocks nor {MANY:,} tokens to predict: there is "
            "nothing to gain; leave it out"
        )
    if accelerator == "cpu":
        try:
            check_compiler()
        except NoCompilerError as error:
            return f"{error}; nothing is compiled"
    _set(task, True)
    return "compile before the first step, once" if accelerator == "cpu" else "compile in the first steps, once"


def _set(task: SequenceTask, compiled: bool) -> None:
    for part in task.modules():
        if isinstance(part, ResidualStack):
            part.compiled = compiled
    task.compiled = compiled


@contextlib.contextmanager
def kept_code() -> Iterator[Path]:
    """Have torch keep the code that it compiles in the cache of this package, for later processes; yields the folder.

    A folder that the user has chosen for torch stands. Meanwhile a warning that torch has of its own code is no error,
    where a program makes errors of warnings.
    """
    before = os.environ.get(VARIABLE)
    chosen = None if before == default_cache_dir() else before  # torch writes its own when it is imported
    folder = Path(chosen) if chosen else cache_folder() / "compiled.torch"
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)  # used now
    os.environ[VARIABLE] = str(folder)
    try:
        with warnings.catch_warnings():
            # Torch (2.13) looks at gradients of what it is given; the warning is never shown, but stops it as an error.
            warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf", UserWarning)
            yield folder
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before


def compile_now(task: SequenceTask, batch: Batch, folder: Path, mixed: bool, say: bool = True) -> bool:
    """Compute the losses and gradients of a batch on the CPU, so that its code is compiled, and tell how long it took.

    Neither weights nor random state change; gradients are set to None. Where the compiler fails, that is told, and
    nothing is compiled.

    Args:
        task: of which `compile_steps` has compiled something.
        batch: of its data.
        folder: of `kept_code`.
        mixed: compute in bf16-mixed.
        say: print the lines.

    Returns:
        Whether it is compiled.
    """
    told = sys.stderr if say else io.StringIO()
    before, began = _codes(folder), time.perf_counter()
    print(f"steps of {task.name}, compiled once ... ", end="", file=told, flush=True)
    task.train()
    try:
        with compiles(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own code, which a user cannot mend
            _both_ways(task, batch, mixed)
    except NoCompilerError as error:
        _set(task, False)
        print(f"\n{error}; torch computes the steps one operation at a time", file=told)
    else:
        seconds = f"{time.perf_counter() - began:.1f} s"
        print(f"{seconds}, kept in {folder}" if _codes(folder) - before else f"read in {seconds}", file=told)
    for parameter in task.parameters():
        parameter.grad = None
    return task.compiled


def _both_ways(task: SequenceTask, batch: Batch, mixed: bool) -> None:
    """Losses and gradients, where a state is carried also those of a second batch, which goes on from it."""
    state = None
    for _ in range(2 if batch.continued else 1):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            losses = task.losses(task.prepared(batch), state)
            objective = losses.objective / batch.targets.numel() + losses.penalty
        objective.backward()  # type: ignore[no-untyped-call]
        state = detach(losses.state)


def _codes(folder: Path) -> set[Path]:
    """Files of machine code."""
    return set(folder.rglob("*.so"))
