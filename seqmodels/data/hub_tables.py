"""Datasets of the Hugging Face hub by their names: their files, read as local ones are, or by `datasets`."""

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import datasets
import huggingface_hub
from datasets.utils.file_utils import xopen

from seqmodels.data.cache import cache_folder, no_bars
from seqmodels.data.folders import SPLITS, suffix
from seqmodels.data.hub import reachable
from seqmodels.data.tables import READERS, read_tables
from seqmodels.errors import InputError, one_line

SCHEME = "hf://datasets/"
"""The beginning of addresses of files in datasets; what follows has the revision."""

NO_SETTINGS = {"name", "version", "data_dir", "data_files", "description"}
"""What a configuration of `datasets` has that says nothing about how files are read."""

SEPARATORS = (",", ";", "\t", "|")
"""Those of CSV that the header shows by itself."""


class HubFile(PurePosixPath):
    """A file in a dataset, read from the hub piece by piece and never stored: `user/name@revision/path`."""

    def open(self, mode: str = "rb") -> BinaryIO:
        """The file, for reading; `datasets` asks again where the network fails.

        Raises:
            InputError: it cannot be had, now or while it is read.
        """
        with self._told():
            file = xopen(SCHEME + str(self), mode)
        read = file.read

        def told(*size: int) -> bytes:
            with self._told():
                found: bytes = read(*size)
            return found

        file.read = told
        return cast(BinaryIO, file)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of the hub's client, in several libraries
            reason = f"{type(error).__name__}: {one_line(str(error))[:160]}"
            failed = f"{str(self)!r} cannot be read from the hub ({reason})"
            raise InputError(f"{failed}; try again with --resume, from where the run was saved last") from error


def from_hub(
    name: str, subset: str | None, columns: Sequence[str] | None, built_in: str
) -> dict[str, datasets.Dataset]:
    """Load a dataset from the hub: its tables by our names of splits, with some columns at least, or with all (`None`).

    Files of tables and text are read by `tables.read_tables`, unless the dataset has settings of its own for them.
    `built_in` is recommended without network.

    Raises:
        InputError: it cannot be loaded, or has no training split; or see `read_tables`.
    """
    with hub(name, built_in):
        found = datasets.load_dataset(name, subset) if columns is None else _files_or_tables(name, subset)
    splits = by_split(name, found)
    if columns is None or isinstance(found, datasets.DatasetDict):
        return splits
    return {split: read_tables(list(map(Path, paths)), columns) for split, paths in splits.items()}


def _files_or_tables(name: str, subset: str | None) -> dict[str, list[str]] | datasets.DatasetDict:
    """The files of each split, downloaded; those of before if the hub is out of reach; or what `datasets` reads."""
    record = cache_folder() / f"{hashlib.sha256(json.dumps([name, subset]).encode()).hexdigest()[:32]}.hub.json"
    if datasets.config.HF_HUB_OFFLINE and (files := stored(record)):
        return files
    builder = datasets.load_dataset_builder(name, subset)
    if (found := plain_files(builder)) is None:
        builder.download_and_prepare()
        return builder.as_dataset()
    files = datasets.DownloadManager().download(found)
    record.write_text(json.dumps(files))
    return files


def stored(record: Path) -> dict[str, list[str]] | None:
    """The files of each split as they were downloaded before; None if one is not there."""
    if not record.exists():
        return None
    files: dict[str, list[str]] = json.loads(record.read_text())
    return files if all(Path(file).exists() for paths in files.values() for file in paths) else None


def plain_files(builder: datasets.DatasetBuilder) -> dict[str, list[str]] | None:
    """The addresses of a dataset's files by its names of splits; None if they are not of one kind that we read, or its
    card has settings for reading them.
    """
    config = builder.config
    files = {str(split): list(map(str, urls)) for split, urls in (config.data_files or {}).items()}
    urls = [url for urls in files.values() for url in urls]
    kinds = {suffix(Path(url)) for url in urls}
    elsewhere = [url for url in urls if "::" in url or ("://" in url and not url.startswith(SCHEME))]
    readers = {READERS.get(kind) for kind in kinds}
    if elsewhere or len(readers) != 1 or None in readers:
        return None
    marks = ("\t",) if ".tsv" in kinds else SEPARATORS
    for setting in dataclasses.fields(config):
        value = getattr(config, setting.name)
        separates = setting.name in ("sep", "delimiter") and value in marks
        if not (setting.name in NO_SETTINGS or separates or value == setting.default):
            return None
    return files


@contextlib.contextmanager
def hub(name: str, built_in: str) -> Iterator[None]:
    """A context for requests to the hub: no retries without network, and advice if they fail.

    Raises:
        InputError: a request failed.
    """
    if not reachable():  # without this, minutes of retries; cached datasets still load
        datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        with no_bars():
            yield
    except Exception as error:  # the hub client raises errors of four libraries
        if isinstance(error, ValueError) and (subsets := re.search(r"(?:configs|Available): \[(.+?)\]", str(error))):
            names = subsets[1].replace("'", "")
            raise InputError(f"{name!r} on the hub has subsets; choose one with --subset: {names:.200}") from error
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{name!r} is no file here, and could not be had from the Hugging Face hub ({type(error).__name__}: "
            f"{reason[:160]}); check the name and the network, or use text that works offline: --data PATH for your "
            f"own file, --data {built_in} for the built-in corpus"
        ) from error


def by_split(name: str, loaded: Mapping[str, Any]) -> dict[str, Any]:
    """The splits of the hub by our names.

    Raises:
        InputError: there is no training split.
    """
    splits = {SPLITS[key]: rows for key, rows in loaded.items() if key in SPLITS}
    if "train" not in splits:
        raise InputError(f"{name!r} has splits {list(loaded)}; expected a split 'train'")
    return splits
