"""Parallel corpora: sentences with their translations from local files, the Hugging Face hub or built-in phrases."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import datasets
import numpy as np

from seqmodels.data.corpora import Corpus, Rows, check_val_fraction, from_hub, generated, looks_like_a_path, split_of
from seqmodels.data.tables import READERS, is_table, read_tables
from seqmodels.data.text_files import read_text, suffix
from seqmodels.errors import InputError

PHRASES = "phrases"
"""The name of the corpus that needs no network: phrases of the Unicode CLDR."""

SIDES = ("source", "target")
TRANSLATION = "translation"
"""The column of the hub's translation datasets: a sentence for each language."""


def load_parallel(
    data: str | Sequence[str], source: str, target: str, *, subset: str | None = None, val_fraction: float = 0.1
) -> Corpus:
    """Load a parallel corpus by name: rows of `source` and `target`.

    If there is no validation split, all pairs of some sources validate, chosen by a hash of the source: a sentence seen
    in training with another translation would be no test.

    Args: as for `TranslationDataModule`.

    Raises:
        InputError: there is nothing of that name, or no pairs in it.
    """
    check_val_fraction(val_fraction)
    if not isinstance(data, str):
        if len(data) != 2:
            raise InputError(f"{len(data)} files were given as data; expected two, the sources and their translations")
        files = [Path(name).expanduser() for name in data]
        if tables := [file.name for file in files if is_table(file)]:
            raise InputError(
                f"{tables[0]!r} is a table, and was given as one of two files of text; give it alone, with columns "
                f"{source!r} and {target!r}"
            )
        lines = partial(generated, aligned_lines, files)
        return _split(f"the files {files[0].name} and {files[1].name}", {"train": lines}, val_fraction)
    if data == PHRASES:
        from seqmodels.data.phrases import phrases

        return Corpus(*phrases(source, target))
    path = Path(data).expanduser()
    if path.is_dir():
        return _directory(path, source, target, val_fraction)
    if path.exists():
        if not is_table(path):
            raise InputError(
                f"{data!r} is one file of text; expected two, or a table ending in {', '.join(READERS)} with columns "
                f"{source!r} and {target!r}"
            )
        return _split(f"the file {path.name}", {"train": partial(_table, (path,), source, target)}, val_fraction)
    if looks_like_a_path(data):
        raise InputError(
            f"there is no {data!r} (looked in {str(path.parent.absolute())!r}); expected two files, a directory, a "
            f"table, a hub name, or {PHRASES!r} for the built-in corpus"
        )
    hub = from_hub(data, subset, PHRASES)
    splits = {split: partial(_sides, f"{data}, {split}", rows, source, target) for split, rows in hub.items()}
    return _split(f"{data} from the hub", splits, val_fraction)


def _directory(path: Path, source: str, target: str, val_fraction: float) -> Corpus:
    tables: dict[str, list[Path]] = {}
    sides: dict[tuple[str, str], dict[str, Path]] = {}
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        split = split_of(file.relative_to(path))
        if split and is_table(file):
            tables.setdefault(split, []).append(file)
        elif split and suffix(file) in (f".{source}", f".{target}"):
            stem = str(file.relative_to(path)).removesuffix(".gz").removesuffix(suffix(file))
            sides.setdefault((split, stem), {}).setdefault(suffix(file)[1:], file)
    pairs: dict[str, dict[str, Path]] = {}
    for (split, stem), both in sides.items():
        if len(both) < 2:
            continue
        if split in pairs:
            raise InputError(
                f"the directory {str(path)!r} has several texts for the split {split!r}, one of them {stem!r}; "
                "leave one there, or give two files"
            )
        pairs[split] = both
    splits: dict[str, Rows] = {
        split: partial(generated, aligned_lines, [both[source], both[target]]) for split, both in pairs.items()
    } or {split: partial(_table, tuple(files), source, target) for split, files in tables.items()}
    if "train" not in splits:
        found = ", ".join(sorted(file.name for file in path.iterdir())[:8])
        raise InputError(
            f"the directory {str(path)!r} has no pairs to train on; expected files such as train.{source} and "
            f"train.{target}, plain or gzipped, or tables such as train.jsonl; found {found}"
        )
    return _split(f"{path.name}, {source} to {target}", splits, val_fraction)


def _split(origin: str, splits: Mapping[str, Rows], val_fraction: float) -> Corpus:
    found = dict(splits)
    if "train" in found and "validation" not in found:
        whole = found["train"]
        found |= {"train": partial(_held_out, whole, val_fraction, False), "whole": whole}
        found |= {"validation": partial(_held_out, whole, val_fraction, True)}
    return Corpus(origin, found)


def _held_out(whole: Rows, fraction: float, held: bool) -> datasets.Dataset:
    """The rows whose sources are, or are not, among the held-out fraction."""
    rows = whole()
    numbers = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") for text in rows["source"]]
    chosen = (np.array(numbers, dtype=np.float64) / 2.0**48 < fraction) == held
    if not chosen.any():
        raise InputError(f"{len(rows)} pairs are too few to hold some out for validation; give more, or another split")
    return rows.select(np.flatnonzero(chosen))


def aligned_lines(files: tuple[str, str], stamps: tuple[str, ...]) -> Iterator[dict[str, str]]:
    r"""The lines of two files side by side; `\n` or `\r\n` ends a line.

    Args:
        files: paths of the sources and of their translations.
        stamps: size and time of each; part of the key of the cached rows.

    Raises:
        InputError: a file cannot be read, or they have different numbers of lines.
    """
    source, target = files
    sides = [read_text(Path(file)).removesuffix("\n").split("\n") for file in files]
    if len(sides[0]) != len(sides[1]):
        raise InputError(
            f"{source!r} has {len(sides[0]):,} lines and {target!r} has {len(sides[1]):,}; expected a translation on "
            "the same line for each"
        )
    for one, other in zip(*sides, strict=True):
        yield {"source": one.removesuffix("\r"), "target": other.removesuffix("\r")}


def _table(files: Sequence[Path], source: str, target: str) -> datasets.Dataset:
    return _sides(", ".join(file.name for file in files), read_tables(files, [source, target]), source, target)


def _sides(name: str, rows: datasets.Dataset, source: str, target: str) -> datasets.Dataset:
    """Columns `source` and `target`, from two columns or from one that holds a sentence for each language."""
    if TRANSLATION in rows.column_names and source not in rows.column_names:
        if not isinstance(rows.features[TRANSLATION], dict):
            raise InputError(
                f"{name!r} has a column {TRANSLATION!r} of {rows.features[TRANSLATION].dtype}; expected a sentence for "
                f"each language in it, {{{source!r}: ..., {target!r}: ...}}, or columns {source!r} and {target!r}"
            )
        languages = list(rows.features[TRANSLATION])
        if missing := [side for side in (source, target) if side not in languages]:
            raise InputError(f"{name!r} has translations in {languages}; expected {missing[0]!r} among them")
        rows = rows.select_columns([TRANSLATION]).flatten()
        source, target = f"{TRANSLATION}.{source}", f"{TRANSLATION}.{target}"
    for side in (source, target):
        if side not in rows.column_names:
            raise InputError(f"{name!r} has columns {rows.column_names}; expected the sentences in column {side!r}")
        if rows.features[side].dtype not in ("string", "large_string"):
            raise InputError(f"{name!r} has a column {side!r} of {rows.features[side].dtype}; expected sentences")
    rows = rows.select_columns([source, target]).rename_columns({source: "source", target: "target"})
    return rows.filter(_both, batched=True)


def _both(batch: dict[str, list[str | None]]) -> list[bool]:
    return [one is not None and other is not None for one, other in zip(batch["source"], batch["target"], strict=True)]
