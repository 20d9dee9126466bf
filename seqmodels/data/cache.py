"""The cache: rows and token columns on disk, so that a text is read and tokenized once; bounded, oldest out first."""

import contextlib
import json
import math
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
from datasets.arrow_writer import SchemaInferenceError
from filelock import FileLock

from seqmodels.errors import InputError

ROWS_VERSION = 4
"""Increased when the rows of the same files change, so that no stale ones are found in the cache."""


CACHE_GB = 20.0
"""Gigabytes that the cache may have, unless the environment variable SEQMODELS_CACHE_GB says otherwise."""

IN_USE = 3600
"""Seconds since its last use during which nothing is removed."""


def cache_folder() -> Path:
    """The folder of all that is cached, below that of `datasets`."""
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "seqmodels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache_bytes() -> int:
    """The size of the cache."""
    return sum(size for _, size, _ in _entries())


def trim_cache(most: float | None = None) -> int:
    """Remove what was not used for longest until the cache has at most so many bytes; returns the bytes removed.

    Without `most`, the bound is `CACHE_GB`, and what was used within the last hour stays.

    Raises:
        InputError: SEQMODELS_CACHE_GB is no number of at least 0.
    """
    newest = math.inf if most is not None else time.time() - IN_USE
    if most is None:
        given = os.environ.get("SEQMODELS_CACHE_GB", CACHE_GB)
        try:
            most = float(given) * 1e9
        except ValueError:
            most = -1
        if not most >= 0:
            raise InputError(f"SEQMODELS_CACHE_GB={given} was given; expected gigabytes of the cache, such as 20")
    entries = sorted(_entries())
    left, removed = sum(size for _, size, _ in entries), 0
    for used, size, paths in entries:
        if left - removed <= most or used > newest:
            break
        for path in sorted(paths, reverse=True):  # records before the columns that they tell of
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        removed += size
    return removed


def _entries() -> list[tuple[float, int, list[Path]]]:
    """When each entry was used last, its bytes, and its files and folders."""
    folder, together = cache_folder(), defaultdict[str, list[Path]](list)
    for path in [*folder.glob("*.*"), *folder.glob("rows/*/*")]:
        together[path.name.partition(".")[0]].append(path)
    found = []
    for paths in together.values():
        with contextlib.suppress(FileNotFoundError):  # removed by another process meanwhile
            files = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
            used = max(path.stat().st_mtime for path in paths)
            found.append((used, sum(file.stat().st_size for file in files), paths))
    return found


def _use(path: Path) -> None:
    """Note that an entry is used now; in a cache of others, which may only be read, nothing is noted."""
    with contextlib.suppress(OSError):
        os.utime(path)


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
    arguments = {"gen_kwargs": {"files": paths, "stamps": stamps, **others}, "cache_dir": str(cache_folder() / "rows")}
    began = time.time()
    with no_bars():
        try:
            # `datasets` takes longer to compare a sentence with its feature than to read it: found, not given.
            rows = datasets.Dataset.from_generator(generator, **arguments)
        except datasets.exceptions.DatasetGenerationError as error:
            if isinstance(error.__cause__, InputError):
                raise error.__cause__ from None
            if not isinstance(error.__cause__, SchemaInferenceError):
                raise
            rows = datasets.Dataset.from_generator(generator, features=features, **arguments)  # it has no row
    places = {Path(file["filename"]).parents[1] for file in rows.cache_files}
    if any(place.stat().st_mtime >= began for place in places):  # else there is nothing new in it
        trim_cache()
    for place in places:
        _use(place)
    return rows


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
                trim_cache()
    _use(path)
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
