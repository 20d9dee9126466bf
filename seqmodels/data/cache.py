"""Rows and token columns on disk, so that a text is read and tokenized once."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
from filelock import FileLock

from seqmodels.errors import InputError

ROWS_VERSION = 4
"""Increased when the rows of the same files change, so that no stale ones are found in the cache."""


def cache_folder() -> Path:
    """The folder of all that is cached, below that of `datasets`."""
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "seqmodels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def generated(
    generator: Callable[..., Iterator[Any]], files: Sequence[Path], features: datasets.Features, **others: Any
) -> datasets.Dataset:
    """The rows of a generator of `files`, `stamps` (which tell their content) and `others`, cached on disk.

    Raises:
        InputError: the generator did.
    """
    # Tuples: a list would be taken for shards, each of them read, and cut, by itself.
    paths = tuple(str(file.absolute()) for file in files)
    # The time of the last change cannot be set, as that of the last writing can.
    found = [file.stat() for file in files if file.exists()]
    stamps = tuple(f"{ROWS_VERSION} {one.st_size} {one.st_mtime_ns} {one.st_ctime_ns} {one.st_ino}" for one in found)
    arguments = {"files": paths, "stamps": stamps, **others}
    try:
        with no_bars():
            return datasets.Dataset.from_generator(generator, features=features, gen_kwargs=arguments)
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise


def once(path: Path, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """A JSON record from a file, made by one process, while the others wait, if there is no such file.

    It is renamed when it is complete: a killed process leaves no partial record.

    Args:
        path: the file.
        make: makes the record, and may write other files to the same folder.
    """
    if not path.exists():
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                beside = path.with_suffix(".json.part")
                beside.write_text(json.dumps(make(path)))
                beside.replace(path)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    """Hide the progress bars of `datasets`, three for every file however short."""
    already = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not already:
            datasets.enable_progress_bars()
