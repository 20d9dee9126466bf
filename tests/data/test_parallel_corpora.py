"""Sentences with their translations, from every kind of source."""

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from seqmodels.data import Corpus, TranslationDataModule
from seqmodels.data.corpora import HeldOut
from seqmodels.data.parallel_corpora import load_parallel
from seqmodels.errors import InputError

EN = ["a dog runs", "two cats", "", "a bird", "the dog", "a house", "some water", "three men", "a car", "one more"]
FR = ["un chien court", "deux chats", "rien", "un oiseau", "le chien", "une maison", "de l'eau", "trois hommes",
      "une voiture", "encore un"]  # fmt: skip


def write(path: Path, lines: list[str], end: str = "\n") -> Path:
    content = "".join(line + end for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def pairs(corpus: Corpus, split: str) -> list[tuple[str, str]]:
    rows = corpus.rows(split)
    return list(zip(rows["source"], rows["target"], strict=True))


def test_two_files(tmp_path: Path) -> None:
    files = [str(write(tmp_path / "a.txt", EN)), str(write(tmp_path / "b.txt.gz", FR, "\r\n"))]
    corpus = load_parallel(files, "en", "fr", held_out=HeldOut(0.3))
    parts = {split: pairs(corpus, split) for split in corpus.splits}
    assert parts["whole"] == list(zip(EN, FR, strict=True))
    assert sorted(parts["train"] + parts["validation"]) == sorted(parts["whole"])
    assert parts["validation"]


def test_no_source_is_in_two_splits(tmp_path: Path) -> None:
    sources = [f"sentence {number % 40}" for number in range(200)]
    files = [str(write(tmp_path / "a", sources)), str(write(tmp_path / "b", [str(n) for n in range(200)]))]
    corpus = load_parallel(files, "en", "fr", held_out=HeldOut(0.2))
    train, held = (set(corpus.rows(split)["source"]) for split in ("train", "validation"))
    assert not train & held
    assert len(train | held) == 40
    with_test = load_parallel(files, "en", "fr", held_out=HeldOut(0.2, 0.2))
    train, held, tested = (set(with_test.rows(split)["source"]) for split in ("train", "validation", "test"))
    assert not train & held | train & tested | held & tested
    assert len(train | held | tested) == 40
    assert 2 <= len(tested) <= 16


def test_a_directory_of_files_for_each_split(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("val", 2), ("test_2016_flickr", 2)):
        write(tmp_path / f"{split}.en.gz", EN[:count])
        write(tmp_path / f"{split}.fr.gz", FR[:count])
        write(tmp_path / f"{split}.de", ["x"] * count)
    corpus = load_parallel(str(tmp_path), "en", "fr")
    assert {split: len(corpus.rows(split)) for split in corpus.splits} == {"train": 6, "validation": 2, "test": 2}
    assert corpus.rows("test")["target"][1] == FR[1]


def test_files_of_different_texts_are_not_paired(tmp_path: Path) -> None:
    for name in ("train.en", "train.fr", "test_2016_flickr.en", "test_2017_flickr.en", "test_2017_flickr.fr"):
        write(tmp_path / name, [f"{name} {number}" for number in range(5)])
    found = pairs(load_parallel(str(tmp_path), "en", "fr"), "test")
    assert found[0] == ("test_2017_flickr.en 0", "test_2017_flickr.fr 0")
    write(tmp_path / "test_2016_flickr.fr", ["x"] * 5)
    corpus = load_parallel(str(tmp_path), "en", "fr")
    assert set(corpus.splits) == {"train", "validation", "whole", "test", "test_2016_flickr", "test_2017_flickr"}
    assert pairs(corpus, "test_2017_flickr") == found
    assert pairs(corpus, "test") == pairs(corpus, "test_2016_flickr") + found


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_tables(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs.{suffix}"
    english, french = [text or "nothing" for text in EN], FR
    if suffix == "jsonl":
        rows = [{"en": one, "fr": other, "id": n} for n, (one, other) in enumerate(zip(english, french, strict=True))]
        path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"en": None, "fr": "x", "id": 99}]))
    elif suffix == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"en": english, "fr": french}), path)
    else:
        separator = "," if suffix == "csv" else "\t"
        lines = [separator.join(pair) for pair in [("en", "fr"), *zip(english, french, strict=True)]]
        path.write_text("".join(line + "\n" for line in lines))
    corpus = load_parallel(str(path), "en", "fr")
    assert pairs(corpus, "whole") == list(zip(english, french, strict=True))


def test_a_translation_column_as_on_the_hub(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"translation": {"en": e, "fr": f, "de": "x"}}) + "\n"
                            for e, f in zip(EN, FR, strict=True)))  # fmt: skip
    corpus = load_parallel(str(tmp_path), "en", "fr")
    assert corpus.rows("whole")["target"][:2] == FR[:2]
    with pytest.raises(InputError, match=r"has columns \['translation', 'en', 'fr', 'de'\]; expected .* 'ja'"):
        load_parallel(str(path), "en", "ja").rows("whole")


def test_tabs_and_carriage_returns_are_text_but_at_the_end_of_a_line(tmp_path: Path) -> None:
    english = ["a\tb", "c\rd", "e", "f\x85g\u2028h", ""]
    files = [str(write(tmp_path / "a", english, "\r\n")), str(write(tmp_path / "b", FR[:5]))]
    corpus = load_parallel(files, "en", "fr", held_out=HeldOut(0.5))
    assert pairs(corpus, "whole") == list(zip(english, FR[:5], strict=True))


def refused(message: str, *arguments: object, **others: object) -> None:
    with pytest.raises(InputError, match=message):
        load_parallel(*arguments, **others).rows("train")  # type: ignore[arg-type]


def test_bad_input_is_named(tmp_path: Path) -> None:
    one, other = str(write(tmp_path / "a", EN)), str(write(tmp_path / "b", FR[:7]))
    refused("has 10 lines and .* has 7; expected a translation on the same line", [one, other], "en", "fr")
    (tmp_path / "empty").write_text("")
    refused("is empty; expected UTF-8 text", [one, str(tmp_path / "empty")], "en", "fr")
    (tmp_path / "latin").write_bytes(b"a\n\n" + "caf\u00e9\n".encode("latin1") * 8)
    refused("is not UTF-8: line 3 has byte 0xe9", [one, str(tmp_path / "latin")], "en", "fr")
    refused("is one file of text; expected two, a table", one, "en", "fr")
    refused("1 files were given as data; expected two", [one], "en", "fr")
    refused("cannot read .*missing", [one, str(tmp_path / "missing")], "en", "fr")
    table = tmp_path / "t.jsonl"
    table.write_text(json.dumps({"en": "a", "fr": "b"}) + "\n")
    refused(
        r"has columns \['en', 'fr'\]; expected the text in column 'de'; name the columns with --source and",
        str(table),
        "en",
        "de",
    )
    columns = tmp_path / "t.csv"
    columns.write_text("en,fr\na,b\n")
    refused(
        "in the first line of the file: where that is text, give two numbers, such as --columns 1 2",
        str(columns),
        "en",
        "de",
    )
    refused("or use text that works offline: .*--data phrases for", "nobody/nothing-of-the-kind", "en", "de")
    strings = tmp_path / "s.jsonl"
    strings.write_text('{"translation": "a"}\n')
    refused(r"has columns \['translation'\]; expected the text in column 'en'", str(strings), "en", "fr")
    numbers = tmp_path / "n.jsonl"
    numbers.write_text('{"en": 1, "fr": 2}\n')
    refused(r"column 'en' of .*n\.jsonl' holds 1 \(line 1\); expected text", str(numbers), "en", "fr")
    refused("'t.csv' is a table, and was given as one of two files", [str(columns), one], "en", "fr")
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "train.en", EN)
    refused("no pairs to train on; expected files such as train.en and train.fr", str(tmp_path / "folder"), "en", "fr")
    refused("there is no .*nothing.jsonl", str(tmp_path / "nothing.jsonl"), "en", "fr")
    refused("test_fraction=0.1 was given, and phrases .* has a test split", "phrases", "en", "de",
            held_out=HeldOut(test=0.1))  # fmt: skip
    with pytest.raises(InputError, match=r"test_fraction=1\.5"):
        HeldOut(0.1, 1.5)


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.tsv", "id\ten\tfr\n1\tHello\tBonjour\t\n2\tYes\tOui\n", [("Hello", "Bonjour"), ("Yes", "Oui")]),
        ("e.tsv", "en\tfr\nA\rB\tC\nD\tE\rF\n", [("A\rB", "C"), ("D", "E\rF")]),
        (
            "t.jsonl",
            '{"translation":{"en":"a","fr":"b"}}\n{"translation":{"en":"c","fr":"d","de":"e"}}\n',
            [("a", "b"), ("c", "d")],
        ),
        ("d.jsonl", '{"en": "3 May", "fr": "1979-05-03"}\n{"en": "x", "fr": "1979-05-04"}\n', [
            ("3 May", "1979-05-03"), ("x", "1979-05-04"),
        ]),
    ],
)  # fmt: skip
def test_tables_of_pairs(name: str, content: str, wanted: list[tuple[str, str]], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert pairs(load_parallel(str(tmp_path / name), "en", "fr"), "whole") == wanted


def test_rows_without_a_side_are_counted(tmp_path: Path) -> None:
    rows = [{"en": "a", "fr": "b"}, {"en": None, "fr": "c"}, {"en": "d"}, {"en": "e", "fr": ""}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = load_parallel(str(tmp_path / "t.jsonl"), "en", "fr")
    assert corpus.origin == "the file t.jsonl, 2 rows without text left out"
    assert pairs(corpus, "whole") == [("a", "b"), ("e", "")]


@pytest.mark.parametrize("name", ["fra.txt", "fra.tsv", "fra.txt.gz", "fra.csv"])
def test_columns_by_number(name: str, tmp_path: Path) -> None:
    """A file of Tatoeba or Anki as it is downloaded: English, tab, French, tab, attribution, and no header."""
    separator = "," if name.endswith(".csv") else "\t"
    lines = [separator.join((one, other, "CC-BY 2.0")) for one, other in zip(EN, FR, strict=True)]
    path = str(write(tmp_path / name, lines))
    assert pairs(load_parallel(path, "en", "fr", columns=[1, 2]), "whole") == list(zip(EN, FR, strict=True))
    assert pairs(load_parallel(path, "fr", "en", columns=[2, 1]), "whole") == list(zip(FR, EN, strict=True))
    between = "" if name.endswith(".csv") else " between tabs"
    refused(rf"3 fields{between} in place of 4 \(line 1\)", path, "en", "fr", columns=[1, 4])
    for columns in ([1], [0, 1], [1, 2, 3]):
        refused("was given; expected two from 1, such as 1 2", path, "en", "fr", columns=columns)


def test_an_export_of_anki(tmp_path: Path) -> None:
    comments = ["#separator:tab", "#html:true", "#tags column:3"]
    path = write(tmp_path / "deck.txt", [*comments, "#1 a\tb\tx", "c\td\ty"])
    assert pairs(load_parallel(str(path), "en", "fr", columns=[1, 2]), "whole") == [("#1 a", "b"), ("c", "d")]


@pytest.mark.parametrize(
    ("header", "languages", "found"),
    [
        ("en\tfr", ("en", "fr"), True), ("English\tFrench\tAttribution", ("en", "fr"), True),
        ("source\tTarget", ("en", "de"), True), ("English\tfrançais", ("en", "fr_CA"), True),
        ("Go.\tVa !", ("en", "fr"), False), ("Source\tSource", ("en", "fr"), False), ("en\tfr", ("it", "es"), False),
    ],
)  # fmt: skip
def test_a_header_is_no_pair(header: str, languages: tuple[str, str], found: bool, tmp_path: Path) -> None:
    """Where columns are given by numbers, and their names can be told from text."""
    path = tmp_path / "a.txt"
    path.write_text(f"{header}\nHello\tBonjour\tx\nYes\tOui\ty\n")
    corpus = load_parallel(str(path), *languages, columns=[1, 2])
    first = ", ".join(header.split("\t")[:2])
    told = f", its header left out ({first})"
    assert corpus.origin == f"the file a.txt{told if found else ''}"
    assert pairs(corpus, "whole")[-2:] == [("Hello", "Bonjour"), ("Yes", "Oui")]
    assert len(pairs(corpus, "whole")) == 3 - found


def test_one_file_that_is_no_pair(tmp_path: Path) -> None:
    one = write(tmp_path / "a.tmx", ["<tmx/>"])
    refused("'.*a.tmx' is one file of TMX, whose sentences are in markup; expected two, a table", str(one), "en", "fr")
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04...")
    refused("b.zip' is a zip archive", str(tmp_path / "b.zip"), "en", "fr")
    refused("found a.tmx, b.zip; two files of other names .* with --columns 1 2", str(tmp_path), "en", "fr")


def test_not_all_of_many_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps({str(number): "x" for number in range(1000)}))
    refused("'11'] and 988 more; expected the text in column 'en'".replace("]", "\\]"), str(path), "en", "fr")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\nc,d\n"))
    refused("where that is text, give two numbers", str(tmp_path / "a.csv.gz"), "en", "fr")


def test_byte_order_marks_and_line_ends_of_pairs(tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    files[0].write_bytes("\ufeffone\rtwo\rthree".encode())
    files[1].write_bytes("\ufeffun\r\ndeux\r\ntrois\r\n".encode())
    corpus = load_parallel(list(map(str, files)), "en", "fr")
    assert pairs(corpus, "whole") == [("one", "un"), ("two", "deux"), ("three", "trois")]


@pytest.mark.parametrize("pairs", [[("a", "b")], [("a", "b")] * 9, [("a", "b"), ("c", "d")]])
def test_too_few_pairs_are_refused_by_the_first_split(pairs: list[tuple[str, str]]) -> None:
    """So before a run folder is made."""
    with pytest.raises(InputError, match=f"{len(pairs)} pairs are too few to hold out some"):
        TranslationDataModule(pairs, "en", "fr").corpus.rows("train")
