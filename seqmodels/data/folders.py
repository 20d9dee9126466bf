"""Files below a directory: each found once, apart from what systems and editors leave, and in splits by their names."""

import contextlib
import gzip
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

SPLITS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "newsdev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test", "devtest": "test", "newstest": "test",
    "tst": "test",
}  # fmt: skip
"""Splits by the words that files, folders and the hub have for them."""

CODE = (".py", ".c", ".h", ".cc", ".cpp", ".hpp", ".java", ".js", ".ts", ".go", ".rs", ".sh")
"""Suffixes of source code, where the name `train.py` or `test_io.c` says nothing about splits."""

TEXT = (".txt", ".text", ".md", ".rst", ".tex", ".html", ".htm", ".tokens", ".raw", *CODE)
"""Suffixes of text files in a directory, also with `.gz` behind. A file that is given itself may have any suffix."""

TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""Suffixes of tables, all but Parquet also with `.gz` behind."""

NO_DATA = {
    "__macosx", "__pycache__", "node_modules", "site-packages", "thumbs.db", "desktop.ini", "$recycle.bin",
    "system volume information", "lost+found", "@eadir", "cvs",
}  # fmt: skip
"""Names, in lower case, of what systems and programs leave in folders."""

SUFFIXES = re.compile(rf"(-\d+-of-\d+)?({'|'.join(map(re.escape, (*TEXT, *TABLES)))})?(\.gz)?$", re.IGNORECASE)
"""The end of a name that tells no test set from another: the number of a shard, and the suffix."""

TOLD = 3
"""Names of files that are told in one line; of others, the number."""


def suffix(path: Path) -> str:
    """The suffix of a file in lower case, without `.gz`."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def walk(directory: Path) -> list[Path]:
    """The regular files below a directory, sorted by path, each once, however many links lead to it.

    Hidden files, and what systems and editors leave, are no data, nor is what lies above: links there are not followed.
    """
    seen, starts = dict[tuple[int, int], Path](), [directory]
    for above in directory.resolve().parents:
        status = above.stat()
        seen[status.st_dev, status.st_ino] = above
    for start in starts:  # which links join: what lies in the directory itself comes first
        waiting = [start]
        while waiting:
            path = waiting.pop()
            with contextlib.suppress(OSError):  # a broken link, or a folder that may not be read
                status = path.stat()
                if seen.setdefault((status.st_dev, status.st_ino), path) is path and path.is_dir():
                    for inner in filter(is_data, sorted(path.iterdir())):
                        (starts if inner.is_symlink() else waiting).append(inner)
    return sorted(path for path in seen.values() if path.is_file())


def is_data(path: Path) -> bool:
    """Whether a name is none of those that systems and editors give to files of their own."""
    name = path.name.lower()
    return not (name.startswith((".", "~$", "#")) or name.endswith("~") or name in NO_DATA)


def is_empty(path: Path) -> bool:
    """Whether a file, plain or gzipped, has no content."""
    if path.suffix.lower() != ".gz" or not path.stat().st_size:
        return not path.stat().st_size
    try:
        with gzip.open(path) as file:
            return not file.read(1)
    except (OSError, EOFError):
        return False  # damaged: whoever reads it will say so


def split_of(path: Path) -> str | None:
    """The split that a path below a directory names: by any part of its own name, or else by a folder above it.

    A name that speaks of two splits names none.
    """
    parts = [] if suffix(path) in CODE else re.findall("[a-z]+", path.name.lower())
    own = {SPLITS[part] for part in parts if part in SPLITS}
    if own:
        return own.pop() if len(own) == 1 else None
    return next((SPLITS[part.lower()] for part in path.parts[:-1] if part.lower() in SPLITS), None)


class InSplits(NamedTuple, Generic[T]):
    """What lies in a directory, in its splits."""

    splits: dict[str, list[T]]
    """By `train`, `validation`, `test`; of several test sets also each by its own name."""
    left_out: list[Path]
    """What names no split, where others name that of training."""


def in_splits(items: Mapping[Path, T]) -> InSplits[T]:
    """Items, which are called by paths below a directory, in the splits that these name.

    Those that name none are trained on if nothing is named for training. Code is split by its folders alone, and only
    if one is named for training, since programs have tests too. Parts such as `-00000-of-00002` of one test set belong
    together, as does all that a folder names.
    """
    names = {path: split_of(path) for path in items}
    code = {path for path in items if suffix(path) in CODE}
    if not any(names[path] == "train" for path in code):
        names |= dict.fromkeys(code)
    splits, tests = defaultdict[str, list[T]](list), defaultdict[str, list[T]](list)
    for path, item in items.items():
        if split := names[path] or ("train" if "train" not in names.values() else None):
            splits[split].append(item)
        if split == "test":
            by_name = split_of(Path(path.name)) == "test"
            tests[SUFFIXES.sub("", str(path)) if by_name else "test"].append(item)
    named = dict(tests) if len(tests) > 1 else {}
    named_train = "train" in names.values()
    return InSplits({**splits, **named}, [path for path in items if named_train and names[path] is None])


def told(**groups: Sequence[Path]) -> str:
    """Files by the reason for which they are left out, in one line for people; empty without any."""
    return "".join(f"; {reason.replace('_', ' ')}: {files_told(files)}" for reason, files in groups.items() if files)


def files_told(files: Sequence[Path]) -> str:
    """The names of some files, and the number of the others."""
    more = f" and {len(files) - TOLD:,} more" if len(files) > TOLD else ""
    return ", ".join(file.name for file in files[:TOLD]) + more
