"""From a file to batches, the way a trainer asks for them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmodels.batch import BOS, EOS, IGNORE, PAD, Batch
from seqmodels.config import construct
from seqmodels.data import (
    DocumentWindows,
    Lanes,
    Replica,
    ScoredDocuments,
    ScoredLanes,
    ScoredWindows,
    TextDataModule,
    Tokenizer,
    Windows,
)
from seqmodels.data.sampler import loader
from seqmodels.data.targets import choose_targets
from seqmodels.errors import InputError


def make(text_file: Path, **options: Any) -> TextDataModule:
    return TextDataModule(str(text_file), **{"length": 16, "batch_size": 4, "seed": 3} | options)


def same(found: list[Batch], wanted: list[Batch]) -> bool:
    return len(found) == len(wanted) and all(
        torch.equal(ours.inputs, theirs.inputs) and torch.equal(ours.targets, theirs.targets) and ours[2:] == theirs[2:]
        for ours, theirs in zip(found, wanted, strict=True)
    )


def test_windows_of_the_training_text(text: str, text_file: Path) -> None:
    data = make(text_file)
    train = text[: len(text) * 9 // 10]
    batches = list(data.train_dataloader())
    windows = Windows(data.tokens("train"), 16, 4, 16, True, 3, Replica())
    assert same(batches, [windows[0, k] for k in range(len(windows))])
    read = [data.tokenizer.decode(row) for batch in batches for row in batch.inputs.tolist()]
    assert len(read) == len(train) // 16 // 4 * 4
    assert all(row in train for row in read)
    assert read != sorted(read, key=train.index)
    assert not any(batch.continues or batch.goes_on for batch in batches)


def test_windows_in_order_are_the_text(text: str, text_file: Path) -> None:
    data = make(text_file, shuffle=False)
    read = [data.tokenizer.decode(row) for batch in data.train_dataloader() for row in batch.targets.tolist()]
    assert text.startswith("".join(read))


def test_stride(text_file: Path) -> None:
    whole, half = make(text_file), make(text_file, stride=8)
    assert len(half.training_batches()) == pytest.approx(2 * len(whole.training_batches()), abs=1)
    assert len(make(text_file, stride=16).training_batches()) == len(whole.training_batches())


def test_carried_lanes_of_the_training_text(text: str, text_file: Path) -> None:
    data = make(text_file, carry=True)
    batches = list(data.train_dataloader())
    lanes = Lanes(data.tokens("train"), 16, 4, 3, Replica())
    assert same(batches, [lanes[0, k] for k in range(len(lanes))])
    assert [batch.continues for batch in batches] == [False] + [True] * (len(batches) - 1)
    for row in range(4):
        assert data.tokenizer.decode(torch.cat([batch.targets[row] for batch in batches]).tolist()) in text


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("world", [1, 3])
def test_validation_scores_every_token_once(text: str, text_file: Path, carry: bool, world: int) -> None:
    data = make(text_file, carry=carry)
    ranks = [data.scored_batches("validation", Replica(rank, world)) for rank in range(world)]
    assert all(isinstance(rank, ScoredLanes if carry else ScoredWindows) for rank in ranks)
    targets = torch.cat([rank[0, k].targets.flatten() for rank in ranks for k in range(len(rank))])
    scored = targets[targets != IGNORE].tolist()
    assert len(scored) == data.facts("validation").tokens == len(text) - len(text) * 9 // 10
    assert sorted(scored) == sorted(data.tokenizer.encode(text[len(text) * 9 // 10 :]))
    if world == 1:
        wanted = [ranks[0][0, k] for k in range(len(ranks[0]))]
        assert same(list(data.val_dataloader()), wanted)
        assert same(list(data.test_dataloader()), wanted)  # there is no test split: validation stands in


def test_test_split(tmp_path: Path) -> None:
    for name, letter in {"train": "a", "valid": "b", "test": "c"}.items():
        (tmp_path / f"{name}.txt").write_text(letter * 40)
    data = make(tmp_path, tokenizer="byte", length=8)
    for batches, letter in [(data.val_dataloader(), "b"), (data.test_dataloader(), "c")]:
        targets = torch.cat([batch.targets.flatten() for batch in batches])
        assert data.tokenizer.decode(targets[targets != IGNORE].tolist()) == letter * 40


@pytest.mark.parametrize(("tokenizer", "vocab_size"), [("char", None), ("byte", 260), ("bpe", 270)])
def test_tokenizers(text: str, text_file: Path, tokenizer: str, vocab_size: int | None) -> None:
    data = make(text_file, tokenizer=tokenizer, vocab_size=270 if tokenizer == "bpe" else None)
    train = text[: len(text) * 9 // 10]
    assert data.tokenizer.vocab_size == (vocab_size or 4 + len(set(train)))
    assert data.tokens("train")[0] == BOS
    assert data.tokenizer.decode(data.tokens("train").tolist()) == train
    assert data.facts("train").characters == len(train)
    assert data.facts("train").tokens == len(data.tokens("train")) - 1


@pytest.mark.parametrize("tokenizer", ["char", "bpe"])
def test_tokenizer_knows_the_training_text_only(tokenizer: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a" * 90 + "qu" * 5)
    data = make(tmp_path / "text.txt", tokenizer=tokenizer)
    if tokenizer == "char":
        assert data.tokenizer.unknown("aqu") == "qu"
        assert data.facts("validation").unknown == 10
    else:
        assert len(data.tokenizer.encode("ququ")) == 4
        assert len(data.tokenizer.encode("aaaa")) < 4


def test_tokenizer_that_is_there_already(text_file: Path) -> None:
    mine = Tokenizer.char(["etaoin"])
    data = make(text_file, tokenizer=mine)
    assert data.tokenizer is mine
    assert data.facts("train").unknown > 0


@pytest.mark.parametrize("carry", [False, True])
def test_seed_decides_the_order(text_file: Path, carry: bool) -> None:
    one, again, other = (list(make(text_file, carry=carry, seed=s).train_dataloader()) for s in (5, 5, 6))
    assert same(one, again)
    assert not same(one, other)


@pytest.mark.parametrize("carry", [False, True])
def test_resumed_in_the_middle(text_file: Path, carry: bool) -> None:
    """The rest of that epoch, then whole ones: what a run would have read that was never stopped."""
    data = make(text_file, carry=carry)
    batches = data.training_batches()
    data.load_state_dict({"place": [2, 3]})
    loaded = data.train_dataloader()
    assert same(list(loaded), [batches[2, k] for k in range(3, len(batches))])
    loaded.sampler.set_epoch(3)  # type: ignore[attr-defined]
    assert same(list(loaded), [batches[3, k] for k in range(len(batches))])
    assert same(list(data.train_dataloader()), [batches[0, k] for k in range(len(batches))])


def test_without_a_trainer_there_is_no_place(text_file: Path) -> None:
    assert make(text_file).state_dict() == {}


@pytest.mark.parametrize("tokenizer", ["char", Tokenizer.char(["the state"])])
def test_rebuilt_from_its_record(text_file: Path, tokenizer: str | Tokenizer) -> None:
    data = make(text_file, tokenizer=tokenizer, carry=True, val_fraction=0.2)
    record = json.loads(json.dumps(data.constructor_call))
    assert record["class_path"] == "seqmodels.TextDataModule"
    assert record["init_args"]["data"] == str(text_file)
    assert record["init_args"]["stride"] is None
    again = construct(record, TextDataModule)
    assert same(list(again.train_dataloader()), list(data.train_dataloader()))
    assert again.facts("validation") == data.facts("validation")
    assert again.tokenizer.json == data.tokenizer.json


@pytest.mark.parametrize("name", ["length", "batch_size", "stride"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_below_one(text_file: Path, name: str, value: int) -> None:
    with pytest.raises(InputError, match=f"{name}={value} was given; expected at least 1"):
        make(text_file, **{name: value})


@pytest.mark.parametrize("tokenizer", ["words", "", "BPE"])
def test_unknown_tokenizer(text_file: Path, tokenizer: str) -> None:
    with pytest.raises(InputError, match=f"the tokenizer '{tokenizer}' is not known; choose char, byte, bpe, word or"):
        make(text_file, tokenizer=tokenizer)


def test_words(text: str, text_file: Path) -> None:
    data = make(text_file, tokenizer="word", length=4)
    train = text[: len(text) * 9 // 10]
    assert data.tokenizer.vocab_size == 4 + 1 + len(set(train.split()))
    assert data.tokenizer.decode(data.tokens("train").tolist()) == train
    assert make(text_file, tokenizer="word", vocab_size=9).tokenizer.vocab_size == 9
    counts = Counter(train.split())
    often = make(text_file, tokenizer="word", min_count=40, length=4).tokenizer
    assert often.vocab_size == 5 + sum(count >= 40 for count in counts.values())


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe"])
def test_a_count_of_words_without_words(text_file: Path, tokenizer: str) -> None:
    with pytest.raises(InputError, match=f"min_count=2 was given with tokenizer='{tokenizer}'; it is for word only"):
        make(text_file, tokenizer=tokenizer, min_count=2)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"carry": True, "shuffle": True}, "carry=True and shuffle=True"),
        ({"carry": True, "shuffle": False}, "carry=True and shuffle=False"),
        ({"carry": True, "stride": 4}, "carry=True and stride=4"),
        ({"carry": True, "documents": "apart"}, "carry=True and documents='apart'"),
        ({"documents": "apart", "bos": False}, "documents='apart' and bos=False"),
    ],
)
def test_options_that_contradict_each_other(text_file: Path, options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=f"{named} contradict each other"):
        make(text_file, **options)


@pytest.mark.parametrize("name", ["targets", "scored_targets"])
@pytest.mark.parametrize(
    "value", ["", "first", "last:0", "last:-1", "every", "every:", "all:3", "every:2x", "last:1.5"]
)
def test_targets_that_there_are_not(text_file: Path, name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"targets='{value}' was given; expected all, last, last:K or every:K"):
        make(text_file, **{name: value})


def test_documents_that_there_are_not(text_file: Path) -> None:
    with pytest.raises(InputError, match="documents='alone' was given; choose joined or apart"):
        make(text_file, documents="alone")


@pytest.fixture(scope="module")
def tales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of 0 to 39 characters."""
    path = tmp_path_factory.mktemp("tales") / "tales.jsonl"
    path.write_text("".join(json.dumps({"text": "abcde fg"[n % 8] * n}) + "\n" for n in range(40)))
    return path


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("eos", [False, True])
def test_documents_apart(tales: Path, eos: bool, world: int) -> None:
    data = make(tales, documents="apart", eos=eos, val_fraction=0.5, length=8)
    ranks = [data.training_batches(Replica(rank, world)) for rank in range(world)]
    assert all(isinstance(rank, DocumentWindows) for rank in ranks)
    for batch in (rank[0, k] for rank in ranks for k in range(len(rank))):
        for row in batch.inputs.tolist():
            letters = set(row) - {PAD, BOS, EOS}
            assert len(letters) <= 1  # of one document
            assert EOS not in row[:-1] or PAD in row[row.index(EOS) + 1 :]
    scored = [data.scored_batches("validation", Replica(rank, world)) for rank in range(world)]
    assert all(isinstance(rank, ScoredDocuments) for rank in scored)
    targets = torch.cat([rank[0, k].targets.flatten() for rank in scored for k in range(len(rank))])
    column = data.tokens("validation")
    assert sorted(targets[targets != IGNORE].tolist()) == sorted(column[column != BOS].tolist())
    strided = data.scored_batches("validation", stride=3)
    targets = torch.cat([strided[0, k].targets.flatten() for k in range(len(strided))])
    assert sorted(targets[targets != IGNORE].tolist()) == sorted(column[column != BOS].tolist())


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("targets", ["last", "last:3", "every:4"])
def test_chosen_targets_in_training_only(text_file: Path, carry: bool, targets: str) -> None:
    data, whole = make(text_file, carry=carry, targets=targets), make(text_file, carry=carry)
    for mine, all_of_them in zip(data.train_dataloader(), whole.train_dataloader(), strict=True):
        assert torch.equal(mine.targets, choose_targets(all_of_them.targets, targets))
        assert torch.equal(mine.inputs, all_of_them.inputs)
        assert mine[2:] == all_of_them[2:]
    assert same(list(data.val_dataloader()), list(whole.val_dataloader()))
    asked = make(text_file, carry=carry, scored_targets=targets)
    assert same(list(asked.train_dataloader()), list(whole.train_dataloader()))
    in_rows = loader(whole.scored_batches("validation", piece=asked.length))  # of as many tokens as in training
    for mine, all_of_them in zip(asked.val_dataloader(), in_rows, strict=True):
        assert torch.equal(mine.targets, choose_targets(all_of_them.targets, targets))


def test_nothing_left_to_predict(text_file: Path) -> None:
    make(text_file, targets="every:16").training_batches()
    for replica in (Replica(), Replica(1, 2)):
        with pytest.raises(InputError, match="targets='every:17' leaves nothing to predict in this text"):
            make(text_file, targets="every:17").training_batches(replica)
        with pytest.raises(InputError, match="targets='every:17' leaves nothing to predict in this text"):
            make(text_file, scored_targets="every:17").scored_batches("validation", replica)


def test_nothing_is_read_before_it_is_asked_for() -> None:
    data = TextDataModule("no/such/file.txt")
    with pytest.raises(InputError, match="there is no file"):
        data.train_dataloader()


@pytest.mark.parametrize(("carry", "message"), [(False, "does not fit a text"), (True, "lanes of at least")])
def test_text_too_short(text_file: Path, carry: bool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(text_file, carry=carry, length=10_000).train_dataloader()
