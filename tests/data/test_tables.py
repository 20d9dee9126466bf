"""Tables as text: JSON lines, CSV, TSV and Parquet, by themselves and in folders."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from seqmodels.data import Corpus, TextDataModule, Tokenizer, load_corpus, tokenize_column
from seqmodels.data.cache import no_bars
from seqmodels.data.corpora import HeldOut
from seqmodels.data.stream_corpus import FileShards
from seqmodels.errors import InputError

Row = dict[str, Any]


def json_lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def separated(rows: list[Row], **settings: Any) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n", **settings)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def parquet(rows: list[Row]) -> bytes:
    file = io.BytesIO()
    with no_bars():
        datasets.Dataset.from_list(rows).to_parquet(file)
    return file.getvalue()


WRITERS: dict[str, Callable[[list[Row]], bytes]] = {
    "jsonl": json_lines,
    "ndjson": json_lines,
    "json": lambda rows: json.dumps(rows).encode(),
    "csv": separated,
    "tsv": lambda rows: separated(rows, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None),
    "parquet": parquet,
    "jsonl.gz": lambda rows: gzip.compress(json_lines(rows)),
    "csv.gz": lambda rows: gzip.compress(separated(rows)),
    "tsv.gz": lambda rows: gzip.compress(separated(rows, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)),
}
kinds = pytest.mark.parametrize("kind", WRITERS)


def write(path: Path, texts: list[Any], column: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"number": number, column: text} for number, text in enumerate(texts)]
    path.write_bytes(WRITERS[path.name.partition(".")[2]](rows))
    return path


def texts(corpus: Corpus, split: str) -> list[str]:
    return list(corpus.rows(split)["text"])


NINE = ["one", "two, 2", '"three"', "NA", "005", "None", "fünf 火车", " six ", "7"]


@kinds
def test_every_row_is_a_document(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"tale.{kind}", [*NINE, "ten"])
    corpus = load_corpus(str(path))
    assert texts(corpus, "whole") == [*NINE, "ten"]
    assert texts(corpus, "train") == NINE
    assert texts(corpus, "validation") == ["ten"]
    assert set(corpus.splits) == {"train", "validation", "whole"}
    assert corpus.origin == f"the file tale.{kind}"
    rows = corpus.rows("train")
    assert all(rows["starts"])
    assert all(rows["ends"])
    column, facts = tokenize_column(rows, Tokenizer.byte())
    assert Tokenizer.byte().decode(column.tolist()) == "".join(NINE)
    assert facts.documents == 9


@kinds
def test_another_column(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"tale.{kind}", NINE, "body")
    assert texts(load_corpus(str(path), column="body"), "whole") == NINE
    with pytest.raises(InputError, match=r"has columns \['number', 'body'\]; expected .* 'text'.*--column"):
        load_corpus(str(path))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "json", "parquet", "jsonl.gz"])
def test_line_ends_inside_a_row(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"tale.{kind}", ["one\ntwo\n", "\n", "three"])
    assert texts(load_corpus(str(path)), "whole") == ["one\ntwo\n", "\n", "three"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "json", "jsonl.gz"])
def test_rows_without_text_are_left_out_and_counted(kind: str, tmp_path: Path) -> None:
    """Null is no text; the empty text is one, of no characters."""
    path = write(tmp_path / f"tale.{kind}", ["one", None, "two", "", None])
    corpus = load_corpus(str(path))
    assert texts(corpus, "whole") == ["one", "two", ""]
    assert corpus.origin == f"the file tale.{kind}, 2 rows without text left out"
    with pytest.raises(InputError, match="2 rows, all without"):
        load_corpus(str(write(tmp_path / f"none.{kind}", [None, None])))


def test_what_csv_has_is_text(tmp_path: Path) -> None:
    """Numbers as they are written, and an empty field as the empty text, which is what it says."""
    path = write(tmp_path / "tale.csv", ["007", "", "1.50"])
    assert texts(load_corpus(str(path)), "whole") == ["007", "", "1.50"]


def test_quotes_in_tab_separated_values_are_text(tmp_path: Path) -> None:
    (tmp_path / "tale.tsv").write_text('text\tother\n"Hi\tx\n"Ho" he said\ty\n')
    assert texts(load_corpus(str(tmp_path / "tale.tsv")), "whole") == ['"Hi', '"Ho" he said']


@kinds
def test_changed_table_is_read_again(kind: str, tmp_path: Path) -> None:
    for letter in "ab":
        path = write(tmp_path / f"tale.{kind}", [letter, letter])
        assert texts(load_corpus(str(path)), "whole") == [letter, letter]


# Folders


@kinds
def test_folder_with_named_tables(kind: str, tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        write(tmp_path / f"{name}.{kind}", [name, "x"])
    (tmp_path / "README.md").write_text("about")
    corpus = load_corpus(str(tmp_path))
    assert {split: texts(corpus, split) for split in corpus.splits} == {
        "train": ["train", "x"],
        "validation": ["valid", "x"],
        "test": ["test", "x"],
    }
    assert corpus.origin == f"3 files in {tmp_path.name}; left out: README.md"


def test_shards_and_folders_as_on_the_hub(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / "data" / f"train-0000{number}-of-00002.parquet", [f"train {number}"])
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", ["validation"])
    corpus = load_corpus(str(tmp_path))
    assert texts(corpus, "train") == ["train 0", "train 1"]
    assert texts(corpus, "validation") == ["validation"]


@pytest.mark.parametrize("suffix", ["txt", "jsonl"])
@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (
            ["train/deep/a", "train/b", "dev/a", "test/train/a"],
            {"train": "train/b train/deep/a ", "validation": "dev/a ", "test": "test/train/a "},
        ),
        (["a", "b", "test"], {"whole": "a b ", "test": "test "}),  # not trained on, though training has no name
        (["test"], {"test": "test "}),
    ],
)
def test_splits_by_names(suffix: str, names: list[str], wanted: dict[str, str], tmp_path: Path) -> None:
    for name in names:
        path = tmp_path / f"{name}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"text": f"{name} "}) if suffix == "jsonl" else f"{name} ")
    corpus = load_corpus(str(tmp_path))
    found = {split: "".join(corpus.rows(split)["text"]) for split in corpus.splits}
    if "whole" in found:
        assert found.pop("train") + found.pop("validation") == found["whole"]
    assert found == wanted
    if "train" not in corpus.splits:
        with pytest.raises(InputError, match=r"has no split 'train', only test"):
            TextDataModule(str(tmp_path)).training_batches()


def test_folder_of_tables_without_names(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.jsonl", [f"{name}{n}" for n in range(5)])
    corpus = load_corpus(str(tmp_path), held_out=HeldOut(0.2))
    assert texts(corpus, "train") == ["a0", "a1", "a2", "a3", "a4", "b0", "b1", "b2"]
    assert texts(corpus, "validation") == ["b3", "b4"]


# What a user can put right


def test_text_and_tables_in_one_folder(tmp_path: Path) -> None:
    write(tmp_path / "tale.jsonl", ["a"])
    (tmp_path / "LICENSE.txt").write_text("free")
    with pytest.raises(InputError, match=r"holds text \(LICENSE\.txt\) and tables \(tale\.jsonl\); name one file"):
        load_corpus(str(tmp_path))


def test_tables_of_two_kinds(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", ["a"])
    write(tmp_path / "b.csv", ["a"])
    with pytest.raises(InputError, match=r"different kinds .*\.csv, \.jsonl.*; give one, such as '.*a\.jsonl'"):
        load_corpus(str(tmp_path))


def test_the_columns_of_a_missing_one_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("satz;preis\nGuten Tag;3,50\n")
    with pytest.raises(InputError, match=r"has columns \['satz', 'preis'\]; expected the text in column 'text'"):
        load_corpus(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"nonsense", r"cannot be read as jsonl: .*\(line 1\)"),
        ("a.jsonl", b'{"text": "a"\n', r"cannot be read as jsonl: .*\(line 1\)"),
        ("a.jsonl", b'\n"a"\n"b"\n', r"cannot be read as jsonl: a str in place of an object with 'text' \(line 2\)"),
        ("a.json", b'[{"text": "a"},', "cannot be read as json: ."),
        ("a.json", b'{"train": [{"text": "a"}], "dev": [{"text": "b"}]}', ".*several tables, train, dev; write each"),
        ("a.json", b'{\n"text": "a"\n}\n{\n"text": "b"\n}\n', "cannot be read as json: Extra data"),
        ("a.csv", b'text,n\n"a,1\n', r"cannot be read as csv: unexpected end of data \(line 2\)"),
        ("a.csv", b"text,text\na,b\n", "cannot be read as csv: two columns are called 'text'"),
        ("a.csv", b"text,n\na,1\nb\n", r"cannot be read as csv: 1 fields in place of 2 \(line 3\)"),
        ("a.tsv", b"text\tn\na\t1\tb\n", r"cannot be read as tsv: 3 fields between tabs in place of 2 \(line 2\)"),
        ("a.parquet", b"PAR1 and then nothing", "cannot be read as parquet: ."),
        ("a.parquet.gz", gzip.compress(parquet([{"text": "a"}])), r"unzip it with: gunzip a\.parquet\.gz"),
        ("a.csv", b"text,n\n\xff,1\n", "is not UTF-8: line 2 has byte 0xff"),
        ("a.jsonl", b'{"text": "a"}\n' * 20_000 + b'{"text": "a\xff"}\n', "is not UTF-8: line 20,001"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:20], "is a damaged gzip file"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "is empty"),
        *[(f"a.{kind}", b"", "is empty" if kind != "parquet" else "0 bytes") for kind in WRITERS],
    ],
)
def test_damaged_table(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}' {message}|{message}") as caught:
        load_corpus(str(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("values", [[1, 2], [["a"], ["b"]], [{"a": 1}, {"a": 2}], ["a", 2]])
def test_column_of_something_else(kind: str, values: list[Any], tmp_path: Path) -> None:
    if kind == "parquet" and values == ["a", 2]:
        pytest.skip("a column of Parquet has one type")
    number = next(number for number, value in enumerate(values, 1) if value != "a")
    with pytest.raises(InputError, match=rf"the column 'text' of .* holds .* \((line|row) {number}\); expected text"):
        load_corpus(str(write(tmp_path / f"a.{kind}", values)))


def test_one_row_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 1 rows; expected at least 2"):
        load_corpus(str(write(tmp_path / "a.jsonl", ["a"])))


# Kinds of tables that people have


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.csv", "text,label\nHello world,1,\nGood bye,0,\n", ["Hello world", "Good bye"]),  # a comma at each end
        ("a.tsv", "id\ttext\n1\tA\rB\n2\tC\rD\n", ["A\rB", "C\rD"]),  # returns inside fields
        ("a.csv", '\ufefftext,n\r\n"one\r\ntwo",1\r\nthree,2\r\n', ["one\ntwo", "three"]),
        ("a.csv", "text,n\rone,1\rtwo,2\r", ["one", "two"]),
        ("a.csv", "text,n\nA\rB,1\nC,2\n", ["A\rB", "C"]),
        ("a.csv", 'text;label\nHello, world;1\n"a;b";2\n', ["Hello, world", "a;b"]),  # as in many countries
        ("a.csv", "\ufeffsep=;\r\ntext;label\r\nHello, world;1\r\nb;2\r\n", ["Hello, world", "b"]),  # Excel reads it
        ("a.csv", "n\ttext\n1\ta, b\n2\tc\n", ["a, b", "c"]),
        ("a.jsonl", '{"text":"a"}\n{"text":"b","meta":"x"}\n{"id": null, "text": "c"}\n', ["a", "b", "c"]),
        ("a.jsonl", '{"id":1,"text":"a"}\n{"id":"x","text":"b"}\n', ["a", "b"]),
        ("a.jsonl", '{"text":"3 May 1979"}\n' + '{"text":"1979-05-03"}\n' * 9, ["3 May 1979", *["1979-05-03"] * 9]),
        ("a.jsonl", '\ufeff{"text":"a\u2028b"}\n\n{"text":"c"}', ["a\u2028b", "c"]),
        ("a.json", '{"version": 2, "data": [{"text":"a"}, {"text":"b"}]}\n', ["a", "b"]),
        ("a.json", '{\n  "rows": [\n    {"text":"a"},\n    {"text":"b"}\n  ]\n}\n', ["a", "b"]),
        ("a.json", '{"text":"a", "more": [{}]}\n{"text":"b"}\n', ["a", "b"]),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_only_the_text_column_matters(name: str, content: str, wanted: list[str], stream: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content.encode())
    if stream:
        assert [text for text, *_ in FileShards([tmp_path / name], "text").rows(0)] == wanted
    else:
        assert texts(load_corpus(str(tmp_path / name)), "whole") == wanted


def test_long_fields_and_late_values_of_another_type(tmp_path: Path) -> None:
    """As they are in their own rows, whatever stands in later ones."""
    path = tmp_path / "a.csv"
    path.write_text(f'text\n"{"x" * 200_000}"\ny\n')
    before = csv.field_size_limit()
    assert list(map(len, texts(load_corpus(str(path)), "whole"))) == [200_000, 1]
    assert csv.field_size_limit() == before
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "n": "x"}\n' * 50_000 + '{"text": 5, "n": 1}\n')
    with pytest.raises(InputError, match=r"holds 5 \(line 50,001\); expected text"):
        load_corpus(str(path))
    path.write_text('{"text": "a"}\n{"text": "\\ud800"}\n')
    with pytest.raises(InputError, match=r"holds '\\ud800' \(line 2\); expected text"):
        load_corpus(str(path))


def test_tables_with_other_columns_each(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text":"a"}\n')
    (tmp_path / "b.jsonl").write_text('{"text":"b","meta":{"x":1}}\n')
    assert texts(load_corpus(str(tmp_path)), "whole") == ["a", "b"]
    for name, rows in {"a": [{"text": "a"}], "b": [{"more": 1, "text": "b"}]}.items():
        (tmp_path / "parquet").mkdir(exist_ok=True)
        (tmp_path / "parquet" / f"{name}.parquet").write_bytes(parquet(rows))
    assert texts(load_corpus(str(tmp_path / "parquet")), "whole") == ["a", "b"]
