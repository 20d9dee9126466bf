"""Parallel corpora: sentences with their translations from local files, the Hugging Face hub or built-in phrases."""

import contextlib
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import datasets
import numpy as np

from seqmodels.data.cache import generated
from seqmodels.data.corpora import TENTH, Corpus, HeldOut, Rows, Splits, looks_like_a_path, not_there, text_splits
from seqmodels.data.folders import SPLITS, TABLES, in_splits, is_empty, suffix, told, walk
from seqmodels.data.given import SIDES, Given, is_saved, saved, tables
from seqmodels.data.hub_tables import from_hub
from seqmodels.data.tables import TRANSLATION, is_table, read_tables, table_rows
from seqmodels.data.text_files import lines
from seqmodels.data.text_kinds import MARKUP, notes_on
from seqmodels.errors import InputError
from seqmodels.files import check_regular

PHRASES = "phrases"
"""The name of the corpus that works offline: phrases of the Unicode CLDR."""

HEADERS = frozenset({
    "source", "target", "src", "tgt", "trg", "source_text", "target_text", "text", "translation", "original",
    "translated", "sentence", "sentence1", "sentence2", "input", "output", "front", "back",
})  # fmt: skip
"""Names of columns of pairs, in lower case, beside those of languages."""

PAIR_FEATURES = datasets.Features({side: datasets.Value("string") for side in SIDES})


def load_parallel(
    data: str | Sequence[str] | Given, source: str, target: str, *,
    subset: str | None = None, columns: Sequence[int] | None = None, held_out: HeldOut = TENTH,
) -> Corpus:  # fmt: skip
    """Load a parallel corpus by name: rows of `source` and `target`.

    If there is no validation split, all pairs of some sources validate, chosen by a hash of the source: a sentence seen
    in training with another translation would be no test.

    Args: as for `TranslationDataModule`.

    Raises:
        InputError: there is nothing of that name, or no pairs in it.
    """
    named = {"source": source, "target": target}
    table = f"with columns {source!r} and {target!r}"
    if columns is not None and isinstance(data, Given):
        raise InputError(
            f"columns={list(columns)} was given with {data.origin}; its columns have names: source, target"
        )
    if columns is not None and (len(columns) != 2 or min(columns) < 1 or not isinstance(data, str)):
        raise InputError(f"columns={list(columns)} was given; expected two from 1, such as 1 2, for one file of data")
    if subset is not None and (not isinstance(data, str) or data == PHRASES or Path(data).expanduser().exists()):
        told_of = data.origin if isinstance(data, Given) else data if isinstance(data, str) else "two files"
        raise InputError(f"subset={subset!r} was given with {told_of}; it is of datasets on the hub")
    if isinstance(data, Given):
        named = dict(zip(SIDES, SIDES, strict=True)) if data.ours else named
        return _split(*_of_given(data.origin, data, named), held_out)
    if not isinstance(data, str):
        if len(data) != 2:
            raise InputError(f"{len(data)} files were given as data; expected two, the sources and their translations")
        files = [Path(name).expanduser() for name in data]
        for file in files:
            if file.exists():
                check_regular(file)
        if tables := [file.name for file in files if is_table(file)]:
            raise InputError(f"{tables[0]!r} is a table, and was given as one of two files; give it alone, {table}")
        origin = f"the files {files[0].name} and {files[1].name}"
        return _split(origin, {"train": _lines_of(files)}, held_out, notes_on(files))
    if data == PHRASES:
        from seqmodels.data.phrases import phrases

        origin, splits = phrases(source, target)
        held_out.parts(origin, splits)  # refuses a second test split
        return Corpus(origin, splits)
    path = Path(data).expanduser()
    if is_saved(path) and columns is None:
        given = saved(path)
        return _split(*_of_given(f"{path.name}, {given.origin}", given, named), held_out)
    if path.is_dir() and columns is None:
        origin, found, notes = _directory(path, source, target)
        return _split(origin, found, held_out, notes)
    if path.exists():
        check_regular(path)
        if columns is not None:
            named = dict(zip(SIDES, map(str, columns), strict=True))
        elif not is_table(path):
            next(lines(path), None)  # says so where it is no text
            expected = f"two, a table ending in {', '.join(TABLES)} {table}, or with --columns 1 2 one without a header"
            kind = f"{path.suffix[1:].upper()}, whose sentences are in markup" if path.suffix in MARKUP else "text"
            raise InputError(f"{data!r} is one file of {kind}; expected {expected}")
        header = None if columns is None else header_of(path, columns, source, target)
        rows = read_tables([path], list(named.values()), header=columns is None, skipped=int(header is not None))
        told_header = f", its header left out ({header})" if header else ""
        return _split(*text_splits(f"the file {path.name}{told_header}", {"train": rows}, named), held_out)
    if looks_like_a_path(data):
        expected = f"two files, a directory, a table, a hub name, or {PHRASES!r} for the built-in corpus"
        raise InputError(not_there(data, path, expected))
    if columns is not None:
        raise InputError(
            f"columns={list(columns)} was given with {data!r} from the hub; its columns have names: source, target"
        )
    rows_by_split = from_hub(data, subset, [source, target], PHRASES)
    return _split(*text_splits(f"{data} from the hub", rows_by_split, named), held_out)


def _of_given(origin: str, given: Given, named: Mapping[str, str]) -> tuple[str, Splits]:
    """The origin and the splits of Python's data."""
    return text_splits(origin, tables(given, [*named.values(), TRANSLATION]), named)


def _lines_of(files: Sequence[Path]) -> Rows:
    return partial(generated, aligned_lines, files, PAIR_FEATURES)


def header_of(path: Path, columns: Sequence[int], source: str, target: str) -> str | None:
    """The first fields of two columns of a table if they are names of columns, such as those of the languages."""
    names = [str(number) for number in columns]
    first = [
        (text or "").strip() for text in next(table_rows(path, names, header=False), dict.fromkeys(names)).values()
    ]
    known = [HEADERS | names_of(code) for code in (source, target)]
    words = [text.lower() for text in first]
    if words[0] == words[1] or not all(word in there for word, there in zip(words, known, strict=True)):
        return None
    return ", ".join(first)


def names_of(code: str) -> set[str]:
    """Names of a language in lower case: its code, also without its region, in English and in the language itself."""
    import babel  # here, since few need it

    short = re.split("[-_]", code)[0]
    found = [code, short]
    with contextlib.suppress(ValueError, babel.UnknownLocaleError):  # a code of one's own
        locale = babel.Locale.parse(short)
        found += [locale.get_language_name("en") or "", locale.get_language_name() or ""]
    return {name.lower() for name in found}


def _directory(path: Path, source: str, target: str) -> tuple[str, Splits, list[str]]:
    """The origin, the splits and the notes of a directory: pairs of files, or tables if there are none."""
    every = walk(path)
    empty = [file for file in every if is_empty(file)]
    sides, tables = dict[Path, dict[str, Path]](), dict[Path, Path]()
    for file in (file for file in every if file not in empty):
        name = file.relative_to(path)
        if one := _side(name, source, target):
            sides.setdefault(one[0], {}).setdefault(one[1], file)
        elif is_table(file):
            tables[name] = file
    pairs = {stem: [both[side] for side in SIDES] for stem, both in sides.items() if len(both) == 2}
    alone = [file for both in sides.values() if len(both) == 1 for file in both.values()]
    splits, of_tables = in_splits(pairs).splits, in_splits(tables)
    if "train" not in (splits or of_tables.splits):
        found = ", ".join(sorted(file.name for file in path.iterdir())[:8])
        raise InputError(
            f"the directory {str(path)!r} has no pairs to train on; expected files such as train.{source} and "
            f"train.{target}, plain or gzipped, or tables such as train.jsonl; found {found}; two files of other names "
            "are given themselves, sources first, and a file of two columns with --columns 1 2"
        )
    origin = f"{path.name}, {source} to {target}"
    files = {split: list(itertools.chain(*found)) for split, found in splits.items()} or of_tables.splits
    used = list(dict.fromkeys(itertools.chain(*files.values())))
    unused = [file for file in every if file not in {*used, *alone, *empty}]
    origin += told(left_out=unused, without_the_other_side=alone, empty=empty)
    if splits:
        return origin, {split: _lines_of(both) for split, both in files.items()}, notes_on(used)
    read = {split: read_tables(those, [source, target]) for split, those in files.items()}
    return *text_splits(origin, read, {"source": source, "target": target}), []


def _side(name: Path, source: str, target: str) -> tuple[Path, str] | None:
    """The name that a file shares with its other side, and which side it is, by a code at the end of its name, or in
    names of plain text by the last one anywhere: `train.en`, `train_en.txt`, `en/train.txt`, `src-train.txt`.
    """
    text = re.sub(r"(\.txt)?(\.gz)?$", "", str(name))
    codes = {"source": (source, "src", "source"), "target": (target, "tgt", "trg", "target")}
    forms = [r"(?P<before>.+)\.({})(?P<after>)"]
    if suffix(name) in ("", ".txt") or suffix(name)[1:] in SPLITS:
        forms.append(r"(?P<before>(.*[._/-])?)({})(?P<after>([._/-].*)?)")
    for form in forms:
        found = list[tuple[int, str, str]]()
        for side, own in codes.items():
            either = "|".join("[-_]".join(map(re.escape, re.split("[-_]", code))) for code in own)  # zh-CN or zh_CN
            if match := re.fullmatch(form.format(either), text, re.IGNORECASE):
                before, after = match["before"], match["after"]
                shared = before if form is forms[0] else before[:-1] + after if before else after[1:]
                found.append((len(before), shared, side))
        if found:
            return Path(max(found)[1]), max(found)[2]
    return None


def _split(origin: str, splits: Splits, held_out: HeldOut, notes: Sequence[str] = ()) -> Corpus:
    """A corpus; some sources of the training text validate, or test, if there is no such split."""
    found = dict(splits)
    if parts := held_out.parts(origin, splits):
        corpus = Corpus(origin, {"whole": found["train"]})
        found |= corpus.splits | {split: partial(_part, corpus, split, parts) for split in parts}
    corpus = Corpus(origin, found)
    corpus.notes = notes
    return corpus


def _part(corpus: Corpus, split: str, parts: Mapping[str, tuple[float, float]]) -> datasets.Dataset:
    """The rows whose sources have a hash in a part of all hashes; refused where another part would have none."""
    rows = corpus.rows("whole")
    numbers = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") for text in rows["source"]]
    hashes = 1 - np.array(numbers, dtype=np.float64) / 2.0**48  # in (0, 1]
    chosen = {part: (hashes > first) & (hashes <= last) for part, (first, last) in parts.items()}
    if few := next((part for part, there in chosen.items() if not there.any()), None):
        raise InputError(f"{len(rows)} pairs are too few to hold out some for each split: none is left for {few}")
    return rows.select(np.flatnonzero(chosen[split]))


def aligned_lines(files: tuple[str, ...], stamps: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The lines of files side by side.

    Args:
        files: paths, the sources and their translations in turn.
        stamps: size and time of each; part of the key of the cached rows.

    Raises:
        InputError: a file cannot be read, or they have different numbers of lines.
    """
    for source, target in zip(files[::2], files[1::2], strict=True):
        sides = [list(lines(Path(file))) for file in (source, target)]
        if len(sides[0]) != len(sides[1]):
            counts = f"{source!r} has {len(sides[0]):,} lines and {target!r} has {len(sides[1]):,}"
            raise InputError(f"{counts}; expected a translation on the same line for each")
        for pair in zip(*sides, strict=True):
            yield dict(zip(SIDES, pair, strict=True))
