"""Text that is read in sequence and never stored: nothing lost, nothing twice, and the same after any stop."""

import gzip
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from batches import same
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from trainers import Record, small_model, train

from seqmodels import TextDataModule, fit
from seqmodels.checkpoints.safetensors_io import read
from seqmodels.data import Replica, stream_corpus, text_files
from seqmodels.data.sampler import permutation
from seqmodels.errors import InputError

SHARDS, ROWS = 5, 12


def row(shard: int, number: int) -> str:
    return f"{number} of {shard} " + "xyz"[: number % 4] * number


def table(path: Path, texts: list[str | None]) -> None:
    """Parquet or JSON lines, plain or zipped, with another column beside the text."""
    rows = [{"id": number, "text": text} for number, text in enumerate(texts)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=5)
    else:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write(folder: Path, kind: str) -> Path:
    """Five shards to train on and one to validate."""
    folder.mkdir()
    for shard in range(SHARDS):
        texts = [row(shard, number) for number in range(ROWS)]
        if kind == "txt":
            (folder / f"part{shard}.txt").write_text("\n".join(texts))
        else:
            table(folder / f"train-{shard}-of-5.{kind}", [None, *texts[:7], None, *texts[7:]])
    if kind == "txt":
        (folder / "valid.txt").write_text("to validate with")
    else:
        table(folder / f"valid.{kind}", ["to validate", "with"])
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("streams")
    return {kind: write(root / kind, kind) for kind in ("parquet", "jsonl", "jsonl.gz", "txt")}


def make(path: Path, **options: Any) -> TextDataModule:
    return TextDataModule(
        str(path), **{"tokenizer": "byte", "length": 7, "batch_size": 3, "stream": True, "shuffle_buffer": 12} | options
    )


# Oracles


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "jsonl.gz", "txt"])
@pytest.mark.parametrize(("bos", "eos"), [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize("stride", [None, 2])
def test_in_order_it_is_the_stored_text(
    kind: str, bos: bool, eos: bool, stride: int | None, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same batches, to the last of the first epoch."""
    monkeypatch.setattr(text_files, "PIECE_CHARACTERS", 30)  # so that documents are of several rows
    options: dict[str, Any] = {"shuffle": False, "bos": bos, "eos": eos, "stride": stride}
    stored = make(folders[kind], stream=False, val_fraction=0.1, **options).training_batches()
    streamed = make(folders[kind], **options).training_batches()
    assert len(stored) > 20
    for step in range(len(stored)):
        assert same([streamed[0, step]], [stored[0, step]]), step


@pytest.mark.parametrize("kind", ["parquet", "txt"])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_token_once_in_an_epoch(kind: str, world: int, shuffle: bool, folders: dict[str, Path]) -> None:
    """The ranks together read each shard once, whole, and go on into the next epoch without a gap."""
    data = make(folders[kind], shuffle=shuffle, batch_size=1, shuffle_buffer=1)
    stored = make(folders[kind], stream=False)
    wanted = sorted(data.tokenizer.decode(part) for part in _documents(stored.tokens("train").tolist()))
    found = []
    for rank in range(world):
        batches = data.training_batches(Replica(rank, world))
        epochs = 3
        enough = epochs * len(stored.tokens("train")) // 7 + 10
        tokens = [token for step in range(enough) for token in batches[0, step].inputs[0].tolist()]
        own = len(range(rank, SHARDS, world)) * (ROWS if kind == "parquet" else 1)
        documents = [data.tokenizer.decode(part) for part in _documents(tokens)]
        found.append([documents[epoch * own : (epoch + 1) * own] for epoch in range(epochs)])
    for epoch in range(epochs):
        assert sorted(text for rank in found for text in rank[epoch]) == wanted
    assert (found[0][0] != found[0][1]) == shuffle  # other shards, or in another order, each time


def _documents(tokens: list[int]) -> list[list[int]]:
    return [list(group) for begins, group in itertools.groupby(tokens, lambda token: token == 1) if not begins]


def test_windows_of_a_block_are_shuffled_among_themselves(folders: dict[str, Path]) -> None:
    """The shuffled windows are those in order, for blocks of four batches; and no two blocks are shuffled alike."""
    data = make(folders["parquet"], seed=3)
    batches = data.training_batches()
    orders = []
    for block in range(6):
        in_order = batches.windows(block)
        rows = torch.cat([batches[0, block * 4 + inside].inputs for inside in range(4)])
        order = permutation(12, 3, 1 + block)
        assert torch.equal(rows, in_order[order, :-1].long())
        orders.append(tuple(order.tolist()))
    assert len(set(orders)) == 6
    other = make(folders["parquet"], seed=4).training_batches()
    assert not torch.equal(other[0, 0].inputs, batches[0, 0].inputs)


# Places


@settings(max_examples=40)
@given(stop=st.integers(0, 260), further=st.integers(1, 20), rank=st.integers(0, 1), shuffle=st.booleans())
@pytest.mark.parametrize("kind", ["parquet", "txt"])
def test_from_any_place_it_goes_on_to_the_bit(
    kind: str, stop: int, further: int, rank: int, shuffle: bool, folders: dict[str, Path]
) -> None:
    """Over borders of blocks, shards and epochs; the position is that of the batch, whatever was read ahead of it."""
    data, replica = make(folders[kind], shuffle=shuffle), Replica(rank, 2)
    whole = data.training_batches(replica)
    for step in range(stop):
        whole[0, step]
    ahead = [whole[0, step].inputs for step in range(stop, stop + 2)]
    position = json.loads(json.dumps(whole.position(stop)))
    again = data.training_batches(replica)
    again.seek(position)
    for step in range(stop, stop + further):
        assert torch.equal(again[0, step].inputs, whole[0, step].inputs)
    assert torch.equal(again[0, stop].inputs, ahead[0])
    assert again.position(stop) == position


def test_a_batch_is_a_function_of_its_number(folders: dict[str, Path]) -> None:
    """Also where they are not asked for in their order: slower, but the same."""
    first, other = (make(folders["parquet"]).training_batches() for _ in range(2))
    wanted = [first[0, step].inputs for step in range(40)]
    for step in (17, 3, 39, 0, 21, 20):
        assert torch.equal(other[0, step].inputs, wanted[step])


def test_it_knows_only_a_few_places(folders: dict[str, Path]) -> None:
    batches = make(folders["parquet"]).training_batches()
    for step in range(0, 400, 4):
        batches[0, step]
    assert len(batches._places) <= 4
    assert batches.position(396)[1] > 0  # epochs were passed


def test_shards_that_were_read_are_not_opened_again(folders: dict[str, Path]) -> None:
    """A resumed stream opens the shard that it stopped in, and none of those before it."""
    data = make(folders["parquet"], shuffle=False)
    batches = data.training_batches()
    step = next(step for step in range(0, 400, 4) if batches[0, step] and batches.position(step)[2] == 3)
    opened: list[int] = []
    rows = data.corpus.shards.rows
    data.corpus.shards.rows = lambda shard, first=0: opened.append(shard) or rows(shard, first)
    again = data.training_batches()
    again.seek(batches.position(step))
    assert torch.equal(again[0, step].inputs, batches[0, step].inputs)
    assert opened[0] == 3


@pytest.mark.parametrize("kind", ["parquet", "txt"])
@pytest.mark.parametrize("stop", [1, 4, 23, 24, 90])
def test_resumed_run(kind: str, stop: int, folders: dict[str, Path], tmp_path: Path) -> None:
    """The same batches follow under Lightning, and the same weights come out."""
    steps, path = stop + 9, tmp_path / "part.safetensors"
    whole = Record(stop, path)
    data = make(folders[kind])
    model = small_model(data, dropout=0.2)
    train(model, data, steps, whole)
    data, rest = make(folders[kind]), Record()
    resumed = small_model(data, dropout=0.2)
    train(resumed, data, steps, rest, resume=path)
    assert len(rest.inputs) == 9
    for ours, theirs in zip(rest.inputs, whole.inputs[stop:], strict=True):
        assert_close(ours, theirs)
    assert_close(resumed.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_another_number_of_processes_is_refused(folders: dict[str, Path]) -> None:
    data = make(folders["parquet"])
    with pytest.raises(InputError, match=r"read by 2 processes.* there are 1 now; give --devices 2"):
        data.load_state_dict({"place": [0, 8], "positions": [[2, 0, 1, 1, 1], [2, 0, 1, 1, 1]]})


# Runs


class Stop(pl.Callback):
    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step == self.step


def test_fit(folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, run = [], None
    budget: dict[str, Any] = {"max_steps": 20, "validations": 2, "runs": str(tmp_path), "diagnostics": False}
    for stop, resume in ((None, False), (10, False), (None, True)):
        data = make(folders["parquet"])
        model = small_model(data)
        run = fit(model, data, **budget, callbacks=(Stop(stop),), resume=run if resume else None)
        weights.append(model.state_dict())
    assert_close(weights[2], weights[0], rtol=0, atol=0)
    assert "a stream of 5 shards of 0.0 MB; counts and vocabulary are of its first" in capsys.readouterr().out
    data = make(folders["jsonl"])
    with pytest.raises(InputError, match="another text"):
        fit(small_model(data), data, max_steps=30, runs=str(tmp_path), resume=run)


TWO = """
import sys
import torch
from seqmodels import LSTM, LanguageModel, TextDataModule, fit
folder, runs, steps, *resume = sys.argv[1:]
data = TextDataModule(folder, tokenizer="byte", length=7, batch_size=3, stream=True, shuffle_buffer=12)
torch.manual_seed(0)
model = LanguageModel(LSTM(8, 16), data.tokenizer, schedule="constant", warmup=0.0)
run = fit(model, data, max_steps=int(steps), validations=1, runs=runs, devices=2, accelerator="cpu",
          resume=resume[0] if resume else None)
"""


@pytest.mark.slow
def test_two_processes_resume_each_at_its_own_place(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)

    def run(name: str, steps: int, *resume: str) -> dict[str, Any]:
        arguments = [str(tmp_path / "two.py"), str(folders["parquet"]), str(tmp_path / name), str(steps), *resume]
        paths = {"PYTHONPATH": str(Path(__file__).parents[2])}
        subprocess.run([sys.executable, *arguments], env={**os.environ, **paths}, check=True)
        (path,) = (tmp_path / name).rglob("last.safetensors")
        found: dict[str, Any] = read(path)
        return found

    whole = run("whole", 19)
    run("part", 10)
    resumed = run("rest", 19, str(next((tmp_path / "part").rglob("last.safetensors"))))
    assert resumed["TextDataModule"] == whole["TextDataModule"]
    assert len(whole["TextDataModule"]["positions"]) == 2
    assert_close(resumed["state_dict"], whole["state_dict"], rtol=0, atol=0)


# Splits


def test_a_validation_split_is_read_whole(folders: dict[str, Path]) -> None:
    for kind, text in (("parquet", "to validatewith"), ("txt", "to validate with")):
        data = make(folders[kind])
        assert data.tokenizer.decode(data.tokens("validation").tolist()) == text
        assert data.facts("validation").characters == len(text)


@pytest.mark.parametrize(("held_out", "left"), [(1, 59), (ROWS, 48), (ROWS + 3, 45), (59, 1)])
def test_rows_held_out_are_not_trained_on(held_out: int, left: int, folders: dict[str, Path]) -> None:
    data = make(folders["jsonl"].parent / "jsonl" / "train*", held_out=held_out, shuffle=False, batch_size=1)
    all_rows = [row(shard, number) for shard in range(SHARDS) for number in range(ROWS)]
    assert data.tokenizer.decode(data.tokens("validation").tolist()) == "".join(all_rows[:held_out])
    batches = data.training_batches()
    tokens = [token for step in range(200) for token in batches[0, step].inputs[0].tolist()]
    documents = [data.tokenizer.decode(part) for part in _documents(tokens)]
    assert documents[: left + 1] == [*all_rows[held_out:], all_rows[held_out]]
    assert data.facts("train").documents == left


def test_long_rows_are_not_all_held_out(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_corpus, "HELD_OUT_CHARACTERS", 10)
    data = make(folders["jsonl"].parent / "jsonl" / "train*")
    assert data.facts("validation").documents == 2


def test_vocabulary_and_figures_are_of_a_sample(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes later and is not in it is unknown."""
    monkeypatch.setattr(stream_corpus, "SAMPLE_CHARACTERS", 20)
    data = make(folders["parquet"], tokenizer="char", shuffle=False)
    assert data.facts("train").documents == 3
    assert data.tokenizer.unknown("0 of 1") == ""
    assert data.tokenizer.unknown("x7") == "7"
    assert "counts and vocabulary are of its first 2" in data.extent


def test_fingerprint(folders: dict[str, Path], tmp_path: Path) -> None:
    """The same for the same shards wherever they lie; another where one has another size, or what is held out."""
    write(tmp_path / "again", "parquet")
    hashes = [make(folders["parquet"]).facts("train").sha256, make(tmp_path / "again").facts("train").sha256]
    assert hashes[0] == hashes[1]
    table(tmp_path / "again" / "train-4-of-5.parquet", ["a", "b"])
    assert make(tmp_path / "again").facts("train").sha256 != hashes[0]


# Refused


def test_fewer_shards_than_processes(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"has 5 shards to train on for 6 processes.* split it into 6 files or more"):
        make(folders["parquet"]).training_batches(Replica(0, 6))


def test_nothing_but_what_is_held_out(tmp_path: Path) -> None:
    table(tmp_path / "small.jsonl", ["a", "b"])
    with pytest.raises(InputError, match="no more than the 2 rows that are held out for validation; give a smaller"):
        make(tmp_path / "small.jsonl").training_batches()


def damaged(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def bad_line(path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:7], '{"text": "b', *lines[7:]]))


def other_column(path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"body": ["a"]}), path)
    else:
        path.write_text('{"body": "a"}\n')


@pytest.mark.parametrize(
    ("kind", "damage", "message"),
    [
        ("parquet", damaged, r"train-2-of-5\.parquet' cannot be read as parquet.*remove it"),
        ("jsonl.gz", damaged, r"train-2-of-5\.jsonl\.gz' is a damaged gzip file"),
        ("jsonl", bad_line, r"train-2-of-5\.jsonl' cannot be read as jsonl.*\(line 8\)"),
        ("parquet", other_column, r"train-2-of-5\.parquet' has columns \['body'\]; expected the text in column 'text'"),
        ("jsonl", other_column, r"train-2-of-5\.jsonl' has columns \['body'\]; expected the text in column 'text'"),
        ("parquet", lambda path: table(path, []), r"train-2-of-5\.parquet' has columns \[\]"),
        ("parquet", lambda path: table(path, [None]), r"train-2-of-5\.parquet' has no text in column 'text'"),
        (
            "jsonl",
            lambda path: path.write_bytes(b'{"text": 7}'),
            r"train-2-of-5\.jsonl' holds 7 \(line 1\)",
        ),
        ("jsonl", lambda path: path.write_bytes(b""), r"train-2-of-5\.jsonl' is empty"),
        ("jsonl", Path.unlink, r"train-2-of-5\.jsonl'"),
        ("txt", lambda path: path.write_bytes(b"a\n\xff"), r"part2\.txt' is not UTF-8: line 2"),
    ],
)
def test_a_bad_shard_is_named(kind: str, damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    """Also where it goes bad while the stream is read."""
    folder = write(tmp_path / "text", kind)
    data = make(folder, shuffle=False)
    batches = data.training_batches()
    damage(next(folder.glob("*2-of-5*" if kind != "txt" else "part2*")))
    with pytest.raises(InputError, match=message):
        batches[0, 100]


def test_epochs_of_the_trainer(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="no limit_train_batches"):
        make(folders["parquet"]).training_batches()[1, 0]
