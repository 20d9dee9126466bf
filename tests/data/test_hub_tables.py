"""Datasets of the hub, which a server plays: their files are read by the rules of local ones, stored and streamed."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import Hub, ask, serving

from seqmodels import InputError, TextDataModule, TranslationDataModule
from seqmodels.data import hub_tables

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own use of httpx


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as server:
        ask(server, tmp_path, monkeypatch)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
        yield server


def texts(name: str, stream: bool, column: str = "text") -> dict[str, list[str]]:
    """The texts of each split, with those that validate in front of the others."""
    data = TextDataModule(name, column=column, stream=stream, **({"held_out": 1} if stream else {}))
    rows = {split: list(data.corpus.rows(split)["text"]) for split in data.corpus.splits if split != "whole"}
    both = rows.pop("validation") + rows["train"] if stream else rows["train"] + rows.pop("validation")
    return {**rows, "train": both}


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(**columns: list[object]) -> bytes:
    pq.write_table(pa.table(columns), file := io.BytesIO())
    return file.getvalue()


def card(settings: str) -> bytes:
    return f"---\nconfigs:\n- config_name: default\n  data_files: '*.csv'\n{settings}---\n".encode()


CASES = {
    "another type, a date, a null": (
        {"train.jsonl": lines({"text": "a", "id": 1}, {"text": None}, {"text": "2024-01-16", "id": "x"})},
        ["a", "2024-01-16"],
    ),
    "two files with other columns": (
        {
            "data/train-00000-of-00002.jsonl": lines({"text": "a"}, {"text": "b"}),
            "data/train-00001-of-00002.jsonl": lines({"text": "c", "meta": {"x": 1}}),
        },
        ["a", "b", "c"],
    ),
    "words that stand for null": ({"train.csv": b"text,n\nNA,1\nnull,x\n007,\n1e5,3\n"}, ["NA", "null", "007", "1e5"]),
    "quotes between tabs": ({"train.tsv": b'text\tn\n"a" b\t1\n"\t2\n'}, ['"a" b', '"']),
    "semicolons, as the card says": (
        {"train.csv": b"text;n\na;1\nb, c;2\n", "README.md": card("  sep: ';'\n")}, ["a", "b, c"]
    ),
    "no header, as the card says": (
        {"train.csv": b"a,1\nb,2\n", "README.md": card("  column_names: [text, n]\n")}, ["a", "b"]
    ),
    "a byte order mark and CRLF": ({"train.txt": b"\xef\xbb\xbfone\r\n\r\ntwo\r\n"}, ["one", "", "two"]),
    "one column more": (
        {
            "data/train-00000-of-00002.parquet": parquet(text=["a", None]),
            "data/train-00001-of-00002.parquet": parquet(n=[1], text=["b"]),
        },
        ["a", "b"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["stored", "streamed"])
@pytest.mark.parametrize("case", CASES)
def test_files_are_read_as_local_ones(case: str, stream: bool, hub: Hub) -> None:
    files, wanted = CASES[case]
    hub.commit("datasets/me/some", {"README.md": b"---\nlicense: mit\n---\n", **files})
    assert texts("me/some", stream) == {"train": wanted}


BROKEN = {
    "a field too many": ({"train.csv": b"text,n\na,1\nb,2,3\n"}, r"train\.csv' .*3 fields in place of 2 \(line 3\)"),
    "a field too few": ({"train.tsv": b"n\ttext\n1\ta\n2\n"}, r"train\.tsv' .*1 fields .* in place of 2 \(line 3\)"),
    "a number": ({"train.jsonl": lines({"text": "a"}, {"text": 5})}, r"'text' of .*train\.jsonl' holds 5 \(line 2"),
    "no such column": ({"train.jsonl": lines({"body": "a"})}, r"has columns \['body'\]; expected .* 'text'"),
    "no split": ({"all/some.jsonl": b""}, "is empty"),
}  # fmt: skip


@pytest.mark.parametrize(("case", "stream"), list(zip(BROKEN, (False, True, True, False, True), strict=True)))
def test_broken_files_are_refused_by_line(case: str, stream: bool, hub: Hub) -> None:
    files, message = BROKEN[case]
    hub.commit("datasets/me/some", {"README.md": b"---\nlicense: mit\n---\n", **files})
    with pytest.raises(InputError, match=message):
        texts("me/some", stream)


def test_pairs(hub: Hub) -> None:
    rows = [{"translation": {"en": f"{n} cats", "fr": f"{n} chats"}} for n in range(20)]
    hub.commit("datasets/me/pairs", {"train.jsonl": lines(*rows, {"translation": {"en": "x", "fr": None, "de": "y"}})})
    data = TranslationDataModule("me/pairs", "en", "fr")
    assert data.origin == "me/pairs from the hub, 1 rows without text left out"
    assert sorted(data.corpus.rows("whole")["target"]) == sorted(row["translation"]["fr"] for row in rows)
    with pytest.raises(InputError, match=r"columns=\[1, 2\] was given with 'me/pairs' from the hub"):
        TranslationDataModule("me/pairs", "en", "fr", columns=[1, 2]).origin  # noqa: B018


@pytest.mark.parametrize("subset", [None, "it"])
def test_subsets_are_named(subset: str | None, hub: Hub) -> None:
    names = "".join(f"- config_name: {name}\n  data_files: {name}/*.jsonl\n" for name in ("de", "fr"))
    files = {f"{name}/a.jsonl": lines({"text": name}, {"text": "b"}) for name in ("de", "fr")}
    hub.commit("datasets/me/some", {"README.md": f"---\nconfigs:\n{names}---\n".encode(), **files})
    with pytest.raises(InputError, match="'me/some' on the hub has subsets; choose one with --subset: de, fr"):
        TextDataModule("me/some", subset=subset).corpus  # noqa: B018


def test_downloaded_once_and_without_network_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: lines({"text": name[:1]}, {"text": "b"}) for name in ("train.jsonl", "test.jsonl")}
    hub.commit("datasets/me/some", {**files, "notes.pdf": b"%PDF"})
    first = texts("me/some", False)
    assert first == {"train": ["t", "b"], "test": ["t", "b"]}
    assert hub.downloaded().count("train.jsonl") == 1
    hub.asked.clear()
    assert texts("me/some", False) == first
    assert "train.jsonl" not in hub.downloaded()
    assert "notes.pdf" not in hub.downloaded()
    monkeypatch.setattr(hub_tables, "reachable", lambda: False)
    hub.asked.clear()
    assert texts("me/some", False) == first
    assert not hub.asked


def test_a_stream_that_breaks_off_says_how_to_go_on(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "STREAMING_READ_MAX_RETRIES", 1)
    monkeypatch.setattr(datasets.config, "STREAMING_READ_RETRY_INTERVAL", 0)
    hub.commit("datasets/me/some", {"train.jsonl": lines(*({"text": str(n)} for n in range(20)))})
    data = TextDataModule("me/some", stream=True, held_out=1)
    shard = data.corpus.shards  # type: ignore[attr-defined]
    hub.failing = 403
    with pytest.raises(InputError, match=r"train\.jsonl' cannot be read from the hub .*--resume"):
        list(shard.rows(0))
