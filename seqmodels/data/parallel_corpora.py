"""Parallel corpora: sentences with their translations from local files, the Hugging Face hub or built-in phrases."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import datasets
import numpy as np

from seqmodels.data.cache import generated
from seqmodels.data.corpora import (
    Corpus,
    Rows,
    Splits,
    check_val_fraction,
    from_hub,
    looks_like_a_path,
    split_of,
    text_splits,
)
from seqmodels.data.tables import READERS, is_table, read_tables
from seqmodels.data.text_files import lines, suffix
from seqmodels.errors import InputError

PHRASES = "phrases"
"""The name of the corpus that works offline: phrases of the Unicode CLDR."""

SIDES = ("source", "target")
PAIR_FEATURES = datasets.Features({side: datasets.Value("string") for side in SIDES})


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
    columns = {"source": source, "target": target}
    table = f"with columns {source!r} and {target!r}"
    if not isinstance(data, str):
        if len(data) != 2:
            raise InputError(f"{len(data)} files were given as data; expected two, the sources and their translations")
        files = [Path(name).expanduser() for name in data]
        if table_names := [file.name for file in files if is_table(file)]:
            raise InputError(
                f"{table_names[0]!r} is a table, and was given as one of two files; give it alone, {table}"
            )
        return _split(f"the files {files[0].name} and {files[1].name}", {"train": _lines_of(files)}, val_fraction)
    if data == PHRASES:
        from seqmodels.data.phrases import phrases

        return Corpus(*phrases(source, target))
    path = Path(data).expanduser()
    if path.is_dir():
        return _split(*_directory(path, source, target), val_fraction)
    if path.exists():
        if not is_table(path):
            expected = f"two, or a table ending in {', '.join(READERS)} {table}"
            raise InputError(f"{data!r} is one file of text; expected {expected}")
        tables = {"train": read_tables([path], [source, target])}
        return _split(*text_splits(f"the file {path.name}", tables, columns), val_fraction)
    if looks_like_a_path(data):
        raise InputError(
            f"there is no {data!r} (looked in {str(path.parent.absolute())!r}); expected two files, a directory, a "
            f"table, a hub name, or {PHRASES!r} for the built-in corpus"
        )
    return _split(*text_splits(f"{data} from the hub", from_hub(data, subset, PHRASES), columns), val_fraction)


def _lines_of(files: Sequence[Path]) -> Rows:
    return partial(generated, aligned_lines, files, PAIR_FEATURES)


def _directory(path: Path, source: str, target: str) -> tuple[str, Splits]:
    """The origin and the splits of a directory: pairs of files, or tables if there are none."""
    tables: dict[str, list[Path]] = {}
    sides: dict[tuple[str, str], dict[str, Path]] = {}
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        split = split_of(file.relative_to(path))
        if split and is_table(file):
            tables.setdefault(split, []).append(file)
        elif split and suffix(file) in (f".{source}", f".{target}"):
            stem = str(file.relative_to(path)).removesuffix(".gz").removesuffix(suffix(file))
            sides.setdefault((split, stem), {}).setdefault(suffix(file)[1:], file)
    pairs: dict[str, Rows] = {}
    for (split, stem), both in sides.items():
        if len(both) < 2:
            continue
        if split in pairs:
            several = f"several texts for the split {split!r}, one of them {stem!r}"
            raise InputError(f"the directory {str(path)!r} has {several}; leave one there, or give two files")
        pairs[split] = _lines_of([both[source], both[target]])
    origin = f"{path.name}, {source} to {target}"
    if "train" not in (pairs or tables):
        found = ", ".join(sorted(file.name for file in path.iterdir())[:8])
        raise InputError(
            f"the directory {str(path)!r} has no pairs to train on; expected files such as train.{source} and "
            f"train.{target}, plain or gzipped, or tables such as train.jsonl; found {found}"
        )
    if pairs:
        return origin, pairs
    read = {split: read_tables(files, [source, target]) for split, files in tables.items()}
    return text_splits(origin, read, {"source": source, "target": target})


def _split(origin: str, splits: Splits, val_fraction: float) -> Corpus:
    """A corpus; some sources of the training text validate if there is no validation split."""
    found = dict(splits)
    if "train" in found and "validation" not in found:
        corpus = Corpus(origin, {"whole": found["train"]})
        found |= {"train": partial(_held_out, corpus, val_fraction, False), "whole": found["train"]}
        found |= {"validation": partial(_held_out, corpus, val_fraction, True)}
    return Corpus(origin, found)


def _held_out(corpus: Corpus, fraction: float, held: bool) -> datasets.Dataset:
    """The rows whose sources are, or are not, among the held-out fraction."""
    rows = corpus.rows("whole")
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
    sides = [list(lines(Path(file))) for file in files]
    if len(sides[0]) != len(sides[1]):
        counts = f"{source!r} has {len(sides[0]):,} lines and {target!r} has {len(sides[1]):,}"
        raise InputError(f"{counts}; expected a translation on the same line for each")
    for pair in zip(*sides, strict=True):
        yield dict(zip(SIDES, pair, strict=True))
