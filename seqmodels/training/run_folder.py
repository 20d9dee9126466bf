"""The folder of a run, which is never written over, and files in it that are written atomically."""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from seqmodels.checkpoints.saved import TOKENIZERS
from seqmodels.config import Call, is_call
from seqmodels.environment import RUN_VARIABLE, is_other_rank
from seqmodels.errors import InputError


def make_folder(runs: Path, task: str, network: str, data: str, seed: int) -> Path:
    """Make a folder of its own for a run, named by its task, network, text and seed, as `runs` / task / name; an
    InputError where it cannot be made.
    """
    if RUN_VARIABLE in os.environ:
        return Path(os.environ[RUN_VARIABLE])
    if is_other_rank():  # started by torchrun or SLURM: rank 0 alone writes
        return runs
    kind = re.sub(r"(?<!^)(?=[A-Z])", "_", task).lower()
    parts = (re.sub(r"\W+", "-", part.split(".")[0]).strip("-").lower() for part in reversed(Path(data).parts))
    text = next(filter(None, parts), "data")  # of texts/*.txt, the folder
    name = f"{network.lower()}-{text}-s{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(1, 1000):
        folder = runs / kind / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not folder.is_dir():
                break  # a file stands in the way
        except OSError as error:
            why = f"cannot make a run folder in {str(runs)!r}: {error.strerror}; give another --runs"
            raise InputError(why) from error
        else:
            return folder
    raise InputError(f"no free name for a run in {str(runs / kind)!r}; give another folder with --runs")


def with_files(data: Call) -> tuple[Call, dict[str, str]]:
    """The constructor call of data with names of files in place of tokenizers, and the text of each file.

    A vocabulary of many thousand tokens has no place among settings; the files lie beside `config.yaml`.
    """
    arguments, files = dict(data["init_args"]), dict[str, str]()
    for name, file in TOKENIZERS.items():
        given: Any = arguments.get(name)
        if is_call(given):
            arguments[name], files[file] = file, given["init_args"]["json"]
    return {**data, "init_args": arguments}, files


def beside(config: Path, data: Call) -> Call:
    """The same call as it is read from a `config.yaml`, with paths of tokenizers that lie beside it."""
    arguments = dict(data.get("init_args", {}))
    for name, file in TOKENIZERS.items():
        if arguments.get(name) == file and (config.parent / file).is_file():
            arguments[name] = str(config.parent / file)
    return {**data, "init_args": arguments} if arguments else data


@contextlib.contextmanager
def known_to_all(folder: Path) -> Iterator[None]:
    """While processes are started: which run they belong to."""
    already = RUN_VARIABLE in os.environ
    os.environ.setdefault(RUN_VARIABLE, str(folder))
    try:
        yield
    finally:
        if not already:
            del os.environ[RUN_VARIABLE]


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """A run folder that no other run trains in meanwhile and that holds no links, else an InputError; the processes of
    one run share it.
    """
    if is_other_rank():
        yield
        return
    for path in folder.rglob("*"):
        if path.is_symlink() and path.relative_to(folder).parts[:-1][:1] != ("wandb",):
            raise InputError(
                f"{str(path)!r} is a link, and a run would write through it; put what it leads to in its place"
            )
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        why = f"another run is training in {str(folder)!r}; wait for its end, or stop it with kill"
        raise InputError(why) from None
    except OSError as error:
        raise InputError(f"cannot write to {str(folder)!r}, the folder of the run: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
